package imap

import (
	"context"
	"slices"
	"sync"

	"github.com/posta-mail/posta/internal/netserve"
	"github.com/posta-mail/posta/store"
)

// hubs wake sessions that wait for something to happen in an account. There is
// one goroutine for each account that somebody waits on, however many do, and
// none for the others. The zero value is ready; safe for concurrent use.
type hubs struct {
	mu sync.Mutex
	of map[string]*hub // by the account's name
}

// hub is one account that is waited on.
type hub struct {
	start sync.Once
	end   context.CancelFunc

	mu    sync.Mutex
	conns map[*netserve.Conn]struct{}
}

// join has a connection woken after each change in an account, until it leaves.
// What happens after join returns is not missed: the session looks then, and
// again whenever it is woken. A connection joins an account once.
func (h *hubs) join(acc store.Account, c *netserve.Conn) {
	h.mu.Lock()
	w := h.of[acc.Name()]
	if w == nil {
		if h.of == nil {
			h.of = make(map[string]*hub)
		}
		w = &hub{conns: make(map[*netserve.Conn]struct{})}
		h.of[acc.Name()] = w
	}
	w.mu.Lock()
	w.conns[c] = struct{}{}
	w.mu.Unlock()
	h.mu.Unlock()
	// The store may have to read the account.
	w.start.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		w.end = cancel
		go w.wake(acc.Watch(ctx))
	})
}

// leave ends what join has begun. The connection is not woken any more.
func (h *hubs) leave(account string, c *netserve.Conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.of[account]
	if w == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.conns, c)
	if len(w.conns) == 0 {
		delete(h.of, account)
		w.end() // whoever is the last has started it, or waited for that
	}
}

// wake wakes all connections whenever changed says so. Those that have not
// looked since they were woken last are not woken twice.
func (w *hub) wake(changed <-chan struct{}) {
	for range changed {
		w.mu.Lock()
		for c := range w.conns {
			c.Wake()
		}
		w.mu.Unlock()
	}
}

// watches are the accounts whose changes wake a session.
type watches []string

// watch has the session woken by changes in an account, from now on. It reports
// whether it was not before.
func (s *session) watch(acc store.Account) bool {
	if slices.Contains(s.watches, acc.Name()) {
		return false
	}
	s.watches = append(s.watches, acc.Name())
	s.srv.hubs.join(acc, s.conn)
	return true
}

// unwatch ends that, but for some accounts.
func (s *session) unwatch(but ...string) {
	kept := s.watches[:0]
	for _, name := range s.watches {
		if slices.Contains(but, name) {
			kept = append(kept, name)
		} else {
			s.srv.hubs.leave(name, s.conn)
		}
	}
	if s.watches = kept; len(kept) == 0 {
		s.watches = nil
		s.conn.Woken() // who watches nothing is not woken
	}
}
