package netserve

import (
	"crypto/tls"
	"fmt"
	"net"
	"runtime"
)

// Apart runs f on a goroutine of its own and waits for it: a stack that f has
// made grow is gone with it, where that of a connection would stay large while
// it is idle. A panic of f is the caller's.
func Apart(f func()) {
	done := make(chan any, 1)
	go apart(f, done)
	switch p := (<-done).(type) {
	case nil:
	case goexit:
		runtime.Goexit()
	default:
		panic(p)
	}
}

// goexit is told of an f that neither returned nor panicked.
type goexit struct{}

func apart(f func(), done chan<- any) {
	var end any = goexit{}
	defer func() {
		if p := recover(); p != nil {
			end = fmt.Sprintf("%v\n%s", p, stack())
		}
		done <- end
	}()
	f()
	end = nil
}

// awaiter is a connection that can wait for input by itself.
type awaiter interface{ Await() error }

// CanAwait reports whether Await works on this connection, and makes it ready.
func (c *Conn) CanAwait() bool {
	t := c.transport()
	if nc, ok := t.(*net.TCPConn); ok && canPeek && c.raw == nil {
		// Await itself must not allocate: a collection would have it help, which
		// takes much stack.
		if raw, err := nc.SyscallConn(); err == nil {
			c.raw, c.waits = raw, func(fd uintptr) bool { return inputWaits(fd, c.peeked[:]) }
		}
	}
	_, ok := t.(awaiter)
	return ok || c.raw != nil
}

// transport is what lies below TLS.
func (c *Conn) transport() net.Conn {
	if t, ok := c.Conn.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c.Conn
}

// Await waits until there is something to read, or the peer is gone, without
// reading and without a buffer. Idle and Busy bound it. Under TLS it is only of
// use when a Read has just ended by its deadline: before that, the TLS layer may
// have what is awaited.
func (c *Conn) Await() error {
	for {
		err := c.await()
		if !c.early(0, err) {
			return err
		}
	}
}

func (c *Conn) await() error {
	if c.raw != nil {
		return c.raw.Read(c.waits)
	}
	if a, ok := c.transport().(awaiter); ok {
		return a.Await()
	}
	return nil
}
