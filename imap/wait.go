package imap

import (
	"errors"
	"os"
	"time"
)

// awake is how long a session keeps its buffers and its stack for the next
// command.
const awake = 250 * time.Millisecond

// wait is how a session waits for the next line: at first awake, then at rest.
type wait struct {
	able    bool      // the connection can wait by itself
	waiting bool      // a line has been waited for already
	resting bool      // the goroutine shall end until something happens
	ended   error     // why the rest has ended; nil: something has come
	until   time.Time // end of the wait; zero: never
	still   time.Time // when the client is told that the wait goes on; zero: never
}

// errNothing: no line has come yet.
var errNothing = errors.New("imap: nothing to do")

// next reads a line. Without one for a while, or when the session has been
// woken meanwhile, that is errNothing.
func (s *session) next() ([]byte, error) {
	w := &s.wait
	if w.resting {
		w.resting = false
		if err := w.ended; err != nil {
			w.ended = nil
			return nil, s.interrupted(err, true)
		}
	}
	if !w.waiting {
		w.waiting, w.until = true, time.Time{}
		s.releaseCommand()
		if d := s.patience(); d > 0 {
			w.until = time.Now().Add(d)
		}
		s.keepAlive()
	}
	d := s.left()
	brief := w.able && (d == 0 || d > awake)
	if brief {
		d = awake
	}
	_ = s.conn.Idle(d)
	line, err := s.in.ReadLine(s.maxCommand())
	if err != nil {
		return nil, s.interrupted(err, brief)
	}
	w.waiting = false
	s.pace()
	return line, nil
}

// left is how much longer to wait until there is something to do; 0: without
// limit.
func (s *session) left() time.Duration {
	end := s.wait.until
	if still := s.wait.still; end.IsZero() || !still.IsZero() && still.Before(end) {
		end = still
	}
	if end.IsZero() {
		return 0
	}
	return max(time.Until(end), time.Nanosecond)
}

// keepAlive settles when the client is to be told that the session is still there,
// if nothing is told before.
func (s *session) keepAlive() {
	s.wait.still = time.Time{}
	if d := s.srv.lim.keepAlive; d > 0 && (s.idling || len(s.watches) > 0) {
		s.wait.still = time.Now().Add(d)
	}
}

// stillHere tells so when it is time. It reports whether the session goes on.
func (s *session) stillHere() bool {
	if still := s.wait.still; still.IsZero() || time.Now().Before(still) {
		return true
	}
	s.settle()
	s.keepAlive()
	s.out.put("* OK Still here\r\n")
	return s.out.flush() == nil
}

// interrupted says what an error means that has ended a wait before a line was
// there: errNothing if the wait goes on, at rest if it may.
func (s *session) interrupted(err error, rest bool) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) || s.conn.Closing() {
		s.wait.waiting = false
		return err
	}
	if s.conn.Woken() && !s.woken() {
		return errNothing
	}
	if u := s.wait.until; !u.IsZero() && !time.Now().Before(u) {
		s.wait.waiting = false
		return err
	}
	if !s.stillHere() {
		return errNothing
	}
	// A read has ended without anything: no layer has what is awaited.
	if rest && s.wait.able && s.settled() {
		s.in.Rest()
		_ = s.conn.Idle(s.left())
		s.wait.resting = true
	}
	return errNothing
}

// woken tells what the client is to be told when nothing is being executed. It
// reports whether the session goes on.
func (s *session) woken() bool {
	s.settle()
	n := s.notify
	// RFC 5465 §6.1: EXPUNGE comes at any time, if the client has asked for it.
	if (s.idling || n != nil && n.selected != 0) && !s.sync(s.idling || !n.delayed) {
		return false
	}
	s.tellElsewhere()
	s.tellHighest()
	if len(s.out.b) > 0 {
		s.keepAlive()
	}
	return s.out.flush() == nil
}
