package smtp

import (
	"net"
	"syscall"
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
	if _, ok := nc.Conn.(*net.TCPConn); !ok {
		return false
	}
	sc, ok := nc.Conn.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return false
	}
	return hasInput(raw)
}
