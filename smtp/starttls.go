package smtp

import "errors"

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
	if err := c.nc.StartTLS(c.ctx, c.tls); err != nil {
		c.log.Info("TLS handshake failed", "peer", c.conn.Peer(), "err", err)
		c.over, c.why = true, errors.Join(errors.New("smtp: TLS handshake failed"), err)
		c.out.err = err // there is no way to say more
		return
	}
	// RFC 3207 §6: what was sent ahead in plain text is never executed; §4.2:
	// nothing learned before counts.
	c.r.Reset(c)
	c.state = stateStart
	c.conn.setExtended(false)
}
