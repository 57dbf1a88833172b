package smtp

// mayLeave reports whether a shutdown waits for nothing more: no transaction
// is under way and the commands that have come are answered, or a transaction
// has ended since.
func (c *session) mayLeave() bool {
	if c.ctx.Err() != nil {
		return true // by force
	}
	return c.state&stateTransaction == 0 && (c.r.Buffered() == 0 || c.leaving)
}

func (c *session) shutDown() {
	c.bye(Reply{421, EnhancedCode{4, 3, 2}, c.hostname + " Service shutting down"}, ErrServerClosed)
}
