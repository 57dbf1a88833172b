package smtp

import "fmt"

// startTLS encrypts the connection (RFC 3207).
func (c *session) startTLS(string) {
	switch {
	case c.conn.Peer().Secure():
		c.refuse(503, EnhancedCode{5, 5, 1}, "TLS is in use")
		return
	case c.tls == nil:
		c.refuse(454, EnhancedCode{4, 7, 0}, "TLS not available")
		return
	}
	c.reply(220, EnhancedCode{2, 0, 0}, "Begin TLS")
	c.reset()
	if err := c.flush(); err != nil {
		c.over, c.why = true, err
		return
	}
	err := c.nc.StartTLS(c.ctx, c.tls)
	if c.trace.TLS != nil {
		c.trace.TLS(c.conn.Peer(), err)
	}
	if err != nil {
		c.log.Info("TLS handshake failed", "peer", c.conn.Peer(), "err", err)
		c.over, c.why = true, fmt.Errorf("%w: %w", ErrHandshake, err)
		c.out.err = err // there is no way to say more
		return
	}
	// RFC 3207 §6: what was sent ahead in plain text is never executed; §4.2:
	// nothing learned before counts.
	c.r.Reset(c)
	c.enter(stateStart)
	c.conn.setExtended(false)
}
