//go:build linux || darwin || freebsd || netbsd || openbsd

package smtp

import "syscall"

// hasInput looks, without waiting or reading, whether octets have arrived.
func hasInput(raw syscall.RawConn) bool {
	n := 0
	_ = raw.Control(func(fd uintptr) {
		var b [1]byte
		n, _, _ = syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	})
	return n > 0
}
