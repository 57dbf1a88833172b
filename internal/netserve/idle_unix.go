//go:build unix

package netserve

import "syscall"

const canPeek = true

// inputWaits reports whether a read would not have to wait. It needs an octet
// that no one reads.
func inputWaits(fd uintptr, b []byte) bool {
	for {
		_, _, err := syscall.Recvfrom(int(fd), b, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err != syscall.EINTR {
			return err != syscall.EAGAIN
		}
	}
}
