//go:build unix

package netserve

import "syscall"

const canPeek = true

// inputWaits reports whether a read would not have to wait.
func inputWaits(fd uintptr) bool {
	var b [1]byte
	for {
		_, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		if err != syscall.EINTR {
			return err != syscall.EAGAIN
		}
	}
}
