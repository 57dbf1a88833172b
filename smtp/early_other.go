//go:build !(linux || darwin || freebsd || netbsd || openbsd)

package smtp

import "syscall"

// hasInput cannot look here.
func hasInput(syscall.RawConn) bool { return false }
