package netserve

import (
	"encoding/binary"
	"syscall"
)

// States of TCP where the peer has closed, or the connection is no more.
const (
	tcpClose     = 7
	tcpCloseWait = 8
)

// socketGone reports whether the other end has closed. Of TCP the state tells,
// whatever has yet to be read. Multipath TCP has a state for each path, and
// other sockets have none.
func socketGone(fd uintptr) bool {
	if p, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_PROTOCOL); err != nil || p != syscall.IPPROTO_TCP {
		return atEnd(fd)
	}
	info, err := syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_INFO)
	if err != nil {
		return false
	}
	var first [4]byte // octets of the struct
	binary.NativeEndian.PutUint32(first[:], uint32(info))
	return first[0] == tcpClose || first[0] == tcpCloseWait
}
