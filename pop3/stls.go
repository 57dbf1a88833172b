package pop3

import (
	"errors"
	"fmt"
)

var errHandshake = errors.New("pop3: TLS handshake failed")

// stls encrypts the connection (RFC 2595 §4).
func (c *session) stls(string) {
	switch {
	case c.peer().Secure():
		c.refuse(refusal{codeNone, "TLS is in use"})
		return
	case c.tls == nil:
		c.refuse(refusal{codeNone, "TLS not available"})
		return
	}
	c.ok("Begin TLS")
	if err := c.out.flush(); err != nil {
		c.over, c.why = true, err
		return
	}
	if err := c.nc.StartTLS(c.ctx, c.tls); err != nil {
		c.log.Info("TLS handshake failed", "server", "pop3", "peer", c.peer(), "err", err)
		c.over, c.why = true, fmt.Errorf("%w: %w", errHandshake, err)
		c.out.err = err // there is no way to say more
		return
	}
	// What was sent ahead in plain text is never executed, and what was
	// learned before does not count (RFC 2595 §2.4, §4).
	c.r.Reset(c)
	c.user = ""
}
