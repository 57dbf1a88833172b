package smtp

import (
	"sync"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/netserve"
)

// Conn is one connection as a Handler may see it. The zero Conn is that of a
// peer of whom nothing is known. Safe for concurrent use.
type Conn struct {
	nc       *netserve.Conn
	hostname string
	lmtp     bool

	mu       sync.Mutex
	extended bool // EHLO or LHLO was given
}

// Peer describes the connection as it is now: HELO name, TLS and login
// included.
func (c *Conn) Peer() auth.Peer {
	if c.nc == nil {
		return auth.Peer{}
	}
	return auth.Peer(netserve.PeerOf[*auth.Identity](c.nc))
}

// Identity is who has logged in, as in Peer; nil before that.
func (c *Conn) Identity() *auth.Identity {
	if c.nc == nil {
		return nil
	}
	id, _ := c.nc.Identity().(*auth.Identity)
	return id
}

// Hostname is the Server's name for itself.
func (c *Conn) Hostname() string { return c.hostname }

// LMTP reports whether the Server speaks LMTP.
func (c *Conn) LMTP() bool { return c.lmtp }

// Protocol is what follows "with" in a Received field (RFC 3848): SMTP after
// HELO, else ESMTP or LMTP, with S for TLS and A for a login. For messages with
// SMTPUTF8 see [Received].
func (c *Conn) Protocol() string {
	extended, in := c.isExtended(), c.Identity() != nil
	name := "ESMTP"
	switch {
	case c.lmtp:
		name = "LMTP"
	case !extended:
		return "SMTP" // there is no keyword for HELO under TLS
	}
	if c.nc != nil && c.Peer().Secure() {
		name += "S"
	}
	if in {
		name += "A"
	}
	return name
}

func (c *Conn) isExtended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.extended
}

func (c *Conn) setExtended(extended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.extended = extended
}
