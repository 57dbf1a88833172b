package netserve

import (
	"syscall"
	"time"
)

// lookEvery is how often connections are looked at whose handler is at work on
// one thing.
const lookEvery = time.Second

// BeginCall says that what follows, until EndCall, may take long without a
// read or write that would find out that the peer is gone. If the peer goes
// meanwhile, the connection's context ends: within 2 seconds, or within one if
// the call has been going on for 2. A peer that has closed only its own
// direction counts as gone, whether or not all that it had sent has been read.
// One that vanishes without a word is gone when the system's keepalive says so.
//
// That is known of sockets on Unix systems, and of connections that have a
// method PeerGone; under TLS of what lies below it. On Linux it is known of TCP
// whatever is unread; elsewhere only once all has been read.
//
// It costs two atomic operations. Calls do not nest.
func (c *Conn) BeginCall() {
	c.calls.Add(1)
	if !c.server.watching.Load() {
		c.server.watch()
	}
}

// EndCall ends what BeginCall has begun.
func (c *Conn) EndCall() { c.calls.Add(1) }

// Gone reports whether the peer was found gone during a call.
func (c *Conn) Gone() bool { return c.gone.Load() }

// Pause waits for d, or until the server shuts down, the connection is closed,
// or the peer is gone.
func (c *Conn) Pause(d time.Duration) {
	c.BeginCall()
	defer c.EndCall()
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	case <-c.server.stopped():
	}
}

// inCall reports what a count of calls means: each counts 1 when it begins and
// when it ends, and a read 2.
func inCall(n uint32) bool { return n%2 == 1 }

// watch begins to look after those in a call.
func (s *Server) watch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.watching.Load() || len(s.conns) == 0 {
		return
	}
	s.watching.Store(true)
	s.unwatch = make(chan struct{})
	go s.sentinel(s.unwatch)
}

// sentinel is one for all connections, and there only while one is in a call.
func (s *Server) sentinel(stop <-chan struct{}) {
	t := time.NewTicker(lookEvery)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
		}
		long, on := s.longCalls()
		for _, c := range long {
			c.look()
		}
		if !on {
			return
		}
	}
}

// longCalls are the connections whose call has been going on since the last
// time. It reports whether any is in a call; otherwise the sentinel must end.
func (s *Server) longCalls() (long []*Conn, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.unwatch == nil {
		return nil, false
	}
	// First this, then the look: a call that is not seen now sees it.
	s.watching.Store(false)
	for c := range s.conns {
		n := c.calls.Load()
		if inCall(n) {
			on = true
			if n == c.seen && !c.gone.Load() {
				long = append(long, c)
			}
		}
		c.seen = n
	}
	if on {
		s.watching.Store(true)
	} else {
		s.unwatch = nil
	}
	return long, on
}

// endWatch is for when the last connection has left. Its caller holds the lock.
func (s *Server) endWatch() {
	if s.unwatch != nil {
		close(s.unwatch)
		s.unwatch = nil
		s.watching.Store(false)
	}
}

// look ends the context of a connection whose peer is gone.
func (c *Conn) look() {
	c.mu.Lock()
	t := c.transport()
	c.mu.Unlock()
	if peerGone(t) {
		c.gone.Store(true)
		c.cancel()
	}
}

func peerGone(nc any) (gone bool) {
	switch nc := nc.(type) {
	case interface{ PeerGone() bool }:
		return nc.PeerGone()
	case syscall.Conn:
		raw, err := nc.SyscallConn()
		// Control, not Read: that would wait for a reader.
		return err == nil && raw.Control(func(fd uintptr) { gone = socketGone(fd) }) == nil && gone
	}
	return false
}
