package imap

import (
	"bytes"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/posta-mail/posta/store"
)

// Messages that are filed one after another share a commit, and so do changes of
// flags (RFC 9051 §5.5): while it goes on, the session reads and begins what the
// client sends next. The replies come in order, from a goroutine that lives as
// long as there are any to come. Until it has ended, out and sel are its own; the
// session calls settle before it touches them.

// pending is the outcome of a command whose reply comes later.
var pending = reply{status: "PENDING"}

// filing is a command that has begun and whose reply is to come.
type filing struct {
	tag    []byte
	name   string
	began  time.Time
	octets int64
	lent   int // octets of the budget
	rest   rest
}

// rest is what is left of a command once it has begun.
type rest interface {
	// finish waits for the outcome, tells it and gives the reply.
	finish(s *session) reply
	// abandon gives back what the command holds, once the store is done with it:
	// wait is whether that is still to be waited for.
	abandon(wait bool)
}

// appending is an APPEND whose messages are being filed.
type appending struct {
	name    string
	acc     store.Account // that they go to
	targets []store.Target
	wait    func() []store.Placed
}

// filings are those of a session that have not been answered, oldest first.
type filings struct {
	mu      sync.Mutex
	queue   []filing
	octets  int64 // of those in the queue and the one waited for
	running bool
	uids    *store.Snapshot // what the client knew last, while all of them are UID STORE
	okay    bool            // one of them succeeded; for settle
	panic   any             // what has ended the goroutine, for settle
	ended   chan struct{}   // closed when the goroutine ends
}

// Bounds of what one session may have in flight besides Server.MaxPipelined.
const (
	maxFilingOctets = 4 << 20
	filingOverhead  = 1 << 10
)

// fileLater has a command begun and answered later and reports true, or false if
// that must be done at once.
func (s *session) fileLater(f *filing, begin func() rest) bool {
	if f.octets > smallMessage || s.srv.lim.pipelined <= 1 {
		s.settle()
		return false
	}
	if n, octets := s.filings.waiting(); n >= s.srv.lim.pipelined || octets+f.octets > maxFilingOctets {
		s.settle()
	}
	lent := int(f.octets) + filingOverhead
	if !s.srv.budget.Acquire(lent) {
		s.settle()
		return false
	}
	f.tag, f.began, f.lent = bytes.Clone(s.tag), s.began, lent
	f.rest = begin()
	s.filings.add(s, f)
	return true
}

// waiting tells what has not been answered.
func (q *filings) waiting() (n int, octets int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.queue), q.octets
}

// add appends to the queue and makes sure that somebody waits.
func (q *filings) add(s *session, f *filing) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if _, flags := f.rest.(*storing); !flags {
		q.uids = nil
	} else if !q.running {
		q.uids = s.sel.told
	}
	q.queue = append(q.queue, *f)
	q.octets += f.octets
	if !q.running {
		q.running, q.ended = true, make(chan struct{})
		go s.answerFilings(q.ended)
	}
}

// answerFilings answers filings in order until there are none.
func (s *session) answerFilings(ended chan struct{}) {
	defer close(ended)
	defer s.filingPanicked()
	q := &s.filings
	for {
		q.mu.Lock()
		if len(q.queue) == 0 {
			q.running, q.queue = false, nil
			q.mu.Unlock()
			return
		}
		f := q.queue[0]
		q.mu.Unlock()

		okay := s.answerFiling(&f)
		q.mu.Lock()
		if q.uids != nil {
			q.uids = s.sel.told
		}
		q.mu.Unlock()
		_ = s.out.flush()

		q.mu.Lock()
		q.queue[0] = filing{}
		q.queue = q.queue[1:]
		q.octets -= f.octets
		q.okay = q.okay || okay
		q.mu.Unlock()
		s.srv.budget.Release(f.lent)
	}
}

// filingPanicked, deferred, leaves a panic to the session, which reads meanwhile
// and is woken by the end of its connection.
func (s *session) filingPanicked() {
	p := recover()
	if p == nil {
		return
	}
	why := fmt.Sprintf("%v\n%s", p, debug.Stack())
	_ = s.conn.Close()
	q := &s.filings
	q.mu.Lock()
	defer q.mu.Unlock()
	for begun := false; len(q.queue) > 0; begun = true { // the session may be adding to it
		f := q.queue[0]
		q.queue = q.queue[1:]
		q.octets -= f.octets
		q.mu.Unlock()
		f.rest.abandon(begun)
		s.srv.budget.Release(f.lent)
		q.mu.Lock()
	}
	q.running, q.queue, q.panic = false, nil, why
}

func (f *appending) abandon(wait bool) {
	defer func() {
		_ = recover() // the first panic is told
		for i := range f.targets {
			_ = f.targets[i].Body.Discard()
		}
	}()
	if wait {
		f.wait()
	}
}

// answerFiling waits for one filing and answers it.
func (s *session) answerFiling(f *filing) bool {
	r := f.rest.finish(s)
	s.out.begin()
	s.out.b = r.append(s.out.b, f.tag)
	s.traceCommand(f.name, r.status, f.began)
	return r.status == "OK"
}

func (f *appending) finish(s *session) reply {
	placed := f.wait()
	r := okCode("", f.name+" completed")
	for i, p := range placed {
		_ = f.targets[i].Body.Discard()
		if p.Err != nil && r.status == "OK" {
			r = s.failedTo(p.Err)
		}
	}
	if r.status == "OK" {
		r.code = s.appendUID(f.acc, placed)
	}
	_ = s.catchUp(true) // what fails now is for the next command to tell
	return r
}

// settle waits until everything has been answered.
func (s *session) settle() {
	q := &s.filings
	q.mu.Lock()
	running, ended := q.running, q.ended
	q.mu.Unlock()
	if running {
		<-ended
	}
	if p := q.panic; p != nil {
		q.panic = nil
		panic(p)
	}
	if q.okay {
		q.okay, s.badCount = false, 0
	}
}

// settled reports whether the session may write.
func (s *session) settled() bool {
	q := &s.filings
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.running
}
