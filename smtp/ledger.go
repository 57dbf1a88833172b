package smtp

import (
	"net/netip"
	"sync"
	"time"

	"github.com/posta-mail/posta/internal/netserve"
)

// maxSources is how many sources of one kind a ledger remembers, at about 150
// octets each. When there are more, some are forgotten.
const maxSources = 1 << 16

// ledger counts by source what Quotas bound. Nil counts nothing.
type ledger struct {
	exempt []netip.Prefix

	mu     sync.Mutex
	whole  tally
	scopes [scopeKinds]scope
}

// scopes, by what a source is.
const (
	scopeServer = iota
	scopeAddr
	scopeNetwork
	scopeKinds
)

type scope struct {
	bounds
	sources map[netip.Prefix]*tally
	swept   time.Time
}

// newLedger is nil if there is nothing to count.
func newLedger(s *Server) *ledger {
	l := &ledger{exempt: s.Exempt}
	any := false
	for i, q := range [scopeKinds]Quota{s.PerServer, s.PerAddr, s.PerNetwork} {
		l.scopes[i] = scope{bounds: q.bounds()}
		any = any || l.scopes[i].any
	}
	if !any {
		return nil
	}
	return l
}

// source is who a ledger charges. The zero value is charged for the server
// alone.
type source struct {
	host, network netip.Prefix
	exempt        bool
}

func (l *ledger) source(a netip.Addr) *source {
	if l == nil {
		return nil
	}
	return &source{netserve.HostOf(a), netserve.NetworkOf(a), netserve.Contains(l.exempt, a)}
}

// left reports whether a source has something left of all the kinds.
func (l *ledger) left(from *source, kinds ...counted) bool {
	if l == nil || from.exempt {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	for i := range l.scopes {
		t := l.tally(i, from, now)
		for _, kind := range kinds {
			if t != nil && t.used(&l.scopes[i].bounds, kind) {
				return false
			}
		}
	}
	return true
}

// spend counts n more of a kind, and reports whether they were to be had.
func (l *ledger) spend(from *source, kind counted, n int64) bool {
	return l.charge(from, kind, n, scopeServer)
}

// moved counts a connection that goes on as another client's.
func (l *ledger) moved(to *source) bool { return l.charge(to, countConn, 1, scopeAddr) }

// charge is spend by the scopes from one on.
func (l *ledger) charge(from *source, kind counted, n int64, first int) bool {
	if l == nil || from.exempt {
		return true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	ok := true
	for i := first; i < len(l.scopes); i++ {
		if t := l.tally(i, from, now); t != nil {
			ok = ok && !t.used(&l.scopes[i].bounds, kind)
			t.add(kind, n)
		}
	}
	return ok
}

// tally finds a source's, in its present window; nil if it has none. Its
// caller holds the lock.
func (l *ledger) tally(i int, from *source, now time.Time) *tally {
	sc := &l.scopes[i]
	if !sc.any {
		return nil
	}
	t := &l.whole
	if i != scopeServer {
		key := from.host
		if i == scopeNetwork {
			key = from.network
		}
		if !key.IsValid() {
			return nil
		}
		t = sc.source(key, now)
	}
	if now.Sub(t.began) >= sc.window {
		*t = tally{began: now}
	}
	return t
}

func (s *scope) source(key netip.Prefix, now time.Time) *tally {
	t := s.sources[key]
	if t != nil {
		return t
	}
	if s.sources == nil {
		s.sources = make(map[netip.Prefix]*tally)
	}
	s.sweep(now)
	t = &tally{began: now}
	s.sources[key] = t
	return t
}

// sweep forgets, once a window, whose window is over, and a few of the others
// when there are very many: a map begins its walk anywhere.
func (s *scope) sweep(now time.Time) {
	if now.Sub(s.swept) >= s.window {
		s.swept = now
		for key, t := range s.sources {
			if now.Sub(t.began) >= s.window {
				delete(s.sources, key)
			}
		}
	}
	for key := range s.sources {
		if len(s.sources) < maxSources {
			return
		}
		delete(s.sources, key)
	}
}
