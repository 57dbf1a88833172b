package netserve

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/posta-mail/posta/internal/netserve/internal/proxyproto"
)

// proxyTimeout is how long a proxy may take for its header, which it is to
// send with the connection's first octets.
const proxyTimeout = 10 * time.Second

// Contains reports whether an address is in one of the prefixes; 4-in-6 is
// taken for IPv4.
func Contains(prefixes []netip.Prefix, a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range prefixes {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// isProxy tells before anything is announced.
func (c *Conn) isProxy() bool {
	return len(c.cfg.Proxies) > 0 && Contains(c.cfg.Proxies, addrPort(c.Conn.RemoteAddr()).Addr())
}

// readProxyHeader takes the header of the PROXY protocol off the stream.
func (c *Conn) readProxyHeader() error {
	h, err := c.proxyHeader()
	if err != nil {
		// Whoever it is does not speak the protocol that the reply would be in.
		c.end = fmt.Errorf("%w: %w", ErrProxyHeader, err)
		c.cfg.Logger.Warn("connection closed", "server", c.cfg.Name, "remote", c.Conn.RemoteAddr(), "err", c.end)
		return err
	}
	remote, local := h.Source, h.Dest
	if h.Local {
		remote, local = c.peer.Remote, c.peer.Local
	}
	if err := c.announce(remote, local, !h.Local); err != nil {
		c.refuse(err)
		return err
	}
	return nil
}

func (c *Conn) proxyHeader() (proxyproto.Header, error) {
	raw, err := c.beginHandshake(min(proxyTimeout, c.handshake))
	if err != nil {
		return proxyproto.Header{}, err
	}
	h, err := proxyproto.Read(raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shaking = false
	if err == nil {
		err = raw.SetDeadline(time.Time{})
	}
	return h, err
}

// Announce says that a trusted peer passes on the connection between these
// ends; they are invalid if it does not know them. From now on the connection
// counts by remote's address. An error is one of the reasons for refusing a
// connection; nothing has changed then.
func (c *Conn) Announce(remote, local netip.AddrPort) error { return c.announce(remote, local, true) }

func (c *Conn) announce(remote, local netip.AddrPort, proxied bool) error {
	s := c.server
	s.mu.Lock()
	err := s.count(c, remote.Addr())
	s.mu.Unlock()
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if proxied {
		c.peer.Proxy = addrPort(c.Conn.RemoteAddr())
	}
	c.peer.Remote, c.peer.Local, c.peer.Name = remote, local, ""
	return nil
}
