package smtp

import (
	"net"
	"time"

	"github.com/posta-mail/posta/internal/netserve"
)

// earlyTalker reports whether the client has said something before the
// greeting, within delay. Without a delay only what is there already is seen.
func earlyTalker(nc *netserve.Conn, delay time.Duration) bool {
	if delay > 0 {
		if nc.Idle(delay) != nil {
			return false
		}
		n, _ := nc.Read(make([]byte, 1))
		return n > 0
	}
	return inputWaits(nc.Conn)
}

// inputWaits reports whether octets have arrived on a TCP connection in plain
// text; false where that cannot be told without reading.
func inputWaits(nc net.Conn) bool {
	c, ok := nc.(*net.TCPConn)
	if !ok {
		return false
	}
	raw, err := c.SyscallConn()
	return err == nil && hasInput(raw)
}
