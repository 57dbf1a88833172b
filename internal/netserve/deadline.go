package netserve

import (
	"errors"
	"net"
	"os"
	"time"
)

// A deadline of the network is expensive to set. So one is only set when the one
// in force would come too late; when it comes too early, Read and Write move it
// on and go on waiting.

// moment is a time, as it is after the connection's begin; 0 is never.
type moment time.Duration

// over is a moment that has gone by.
const over moment = -1

// past is a deadline that is over.
var past = time.Unix(1, 0)

// now is how old the connection is.
func (c *Conn) now() moment { return moment(time.Since(c.peer.Since)) }

// in is d from now; never, if d is not positive.
func (m moment) in(d time.Duration) moment {
	if d <= 0 {
		return 0
	}
	return max(m+moment(d), 1)
}

func (c *Conn) time(m moment) time.Time {
	switch m {
	case 0:
		return time.Time{}
	case over:
		return past
	}
	return c.peer.Since.Add(time.Duration(m))
}

// Idle says that the connection waits for the peer's next command, for at
// most d (0: no limit). When the server is shutting down, the wait ends at
// once with a timeout and Closing reports true.
func (c *Conn) Idle(d time.Duration) error { return c.wait(d, true) }

// Busy says that a command is being worked on; a shutdown waits for it. Each
// read of its body may take at most d (0: no limit).
func (c *Conn) Busy(d time.Duration) error { return c.wait(d, false) }

func (c *Conn) wait(d time.Duration, idle bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.idle = idle
	switch {
	case c.dead:
		return net.ErrClosed
	case c.idle && (c.closing || c.woken):
		return c.armRead(over)
	}
	now := c.now()
	if c.readBy = now.in(d); serves(c.readArmed, now, c.readBy) {
		return nil
	}
	return c.armRead(c.readBy)
}

// Wake ends the wait that Idle bounds, or the next one if there is none now, as a
// deadline does: nothing that the peer sends is lost. Woken tells it from other
// deadlines. It does not block and may be called from any goroutine.
func (c *Conn) Wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.woken || c.dead {
		return
	}
	c.woken = true
	if c.idle && !c.shaking {
		_ = c.armRead(over)
	}
}

// Woken reports whether Wake has been called since the last call of Woken. Idle
// must follow before the connection waits again.
func (c *Conn) Woken() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	was := c.woken
	c.woken = false
	return was
}

// serves reports whether a deadline in force will do for a wait from now until
// by: it comes, and not too late.
func serves(armed, now, by moment) bool {
	if armed == 0 {
		return by == 0
	}
	return armed > now && (by == 0 || armed <= by)
}

func (c *Conn) armRead(m moment) error {
	c.readArmed = m
	return c.Conn.SetReadDeadline(c.time(m))
}

// early reports whether a read has ended at a deadline that had not been moved
// on, and moves it on.
func (c *Conn) early(n int, err error) bool {
	if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.dead && c.readArmed != over && c.movable(c.readArmed, c.readBy) && c.armRead(c.readBy) == nil
}

func (c *Conn) movable(armed, by moment) bool { return armed != by && (by == 0 || c.now() < by) }

// Read implements io.Reader.
func (c *Conn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if !c.early(n, err) {
			c.calls.Add(2) // a call that reads finds out by itself
			return n, err
		}
	}
}

// WriteTimeout bounds the writes from now on to d (0: no limit); under TLS to
// somewhat more, an eighth at most.
func (c *Conn) WriteTimeout(d time.Duration) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return net.ErrClosed
	}
	now := c.now()
	c.writeBy = now.in(d)
	if c.peer.TLS == nil {
		if serves(c.writeArmed, now, c.writeBy) {
			return nil
		}
		return c.armWrite(c.writeBy)
	}
	// Under TLS a write that has timed out cannot be taken up again. So what is
	// set is too late, and serves for the next ones too.
	late := moment(d / 8)
	if armed := c.writeArmed; armed == c.writeBy || (c.writeBy != 0 && c.writeBy < armed && armed <= c.writeBy+late) {
		return nil
	}
	if c.writeBy != 0 {
		c.writeBy += late
	}
	return c.armWrite(c.writeBy)
}

func (c *Conn) armWrite(m moment) error {
	c.writeArmed = m
	return c.Conn.SetWriteDeadline(c.time(m))
}

// Write implements io.Writer.
func (c *Conn) Write(p []byte) (int, error) {
	for n := 0; ; {
		m, err := c.Conn.Write(p[n:])
		n += m
		if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !c.earlyWrite() {
			return n, err
		}
	}
}

func (c *Conn) earlyWrite() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.dead && c.peer.TLS == nil && c.movable(c.writeArmed, c.writeBy) && c.armWrite(c.writeBy) == nil
}
