//go:build unix

package netserve

import "syscall"

// atEnd reports whether a read would find the end, or an error. It neither
// waits nor reads.
func atEnd(fd uintptr) bool {
	var b [1]byte
	for {
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err != syscall.EINTR {
			return err == nil && n == 0 || err != nil && err != syscall.EAGAIN
		}
	}
}
