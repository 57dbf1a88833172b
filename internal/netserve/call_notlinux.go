//go:build unix && !linux

package netserve

// socketGone reports whether the other end has closed; it is not known before
// all has been read.
func socketGone(fd uintptr) bool { return atEnd(fd) }
