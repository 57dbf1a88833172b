// Package memory keeps mail in memory: a complete engine for tests, examples
// and mail that need not outlive the process. It claims no durability, and
// nothing else is left out: it passes storetest like any other engine.
//
//	st := memory.New()
//	err := st.CreateAccount(ctx, "anna@example.org")
package memory

import (
	"context"
	"iter"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posta-mail/posta/internal/gate"
	"github.com/posta-mail/posta/store"
)

// Options bound what a Store keeps. The zero value has the defaults.
type Options struct {
	// MaxBytes bounds the octets of all bodies, staged ones included, and of
	// prefixes, envelopes and annotations; beyond it calls fail with ErrNoSpace. Default 1 GiB;
	// negative: no bound.
	MaxBytes int64
	// Grace is how long an expunged message stays readable. Default 5
	// minutes; negative: not at all.
	Grace time.Duration
	// History is how many expunged ranges of UIDs each mailbox, and how many
	// mailbox events each account, remembers for Changes. Older ones are
	// answered with ErrHistoryGone. Default 10,000; negative: none.
	History int
}

// Store is a store.Store and store.Spooler in memory. Make it with New.
type Store struct {
	opt      Options
	gate     gate.Gate
	budget   budget
	validity atomic.Uint32 // the UIDVALIDITY given last
	refs     atomic.Uint64 // the Row.Ref given last
	leases   store.Leases
	spool    *spool

	mu       sync.RWMutex // before account.mu
	accounts map[string]*account
	// wakers has one for every name that ever was an account, so that a
	// watcher lives as long as the contract says.
	wakers map[string]*store.Waker
}

var (
	_ store.Store            = (*Store)(nil)
	_ store.Spooler          = (*Store)(nil)
	_ store.Leaser           = (*Store)(nil)
	_ store.Quotas           = (*Store)(nil)
	_ store.Pipeliner        = (*Store)(nil)
	_ store.AnnotationFinder = (*Store)(nil)
)

// New makes an empty store with default options.
func New() *Store { return Options{}.New() }

// New makes an empty store with these options.
func (o Options) New() *Store {
	if o.MaxBytes == 0 {
		o.MaxBytes = 1 << 30
	}
	if o.Grace == 0 {
		o.Grace = 5 * time.Minute
	}
	if o.History == 0 {
		o.History = 10_000
	}
	s := &Store{gate: gate.Gate{Refusal: store.ErrUnavailable}, opt: o, accounts: map[string]*account{}, wakers: map[string]*store.Waker{}}
	s.budget.limit = o.MaxBytes
	s.spool = newSpool(s)
	return s
}

// nextValidity gives a UIDVALIDITY that no mailbox of this store had, and no
// store of an earlier process but by a clock set back.
func (s *Store) nextValidity() uint32 {
	for {
		last := s.validity.Load()
		next := max(last+1, uint32(time.Now().Unix()))
		if s.validity.CompareAndSwap(last, next) {
			return next
		}
	}
}

// find gives an account by its name.
func (s *Store) find(name string) (*account, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	a := s.accounts[name]
	if a == nil {
		return nil, store.ErrNotFound
	}
	return a, nil
}

// Account implements store.Store.
func (s *Store) Account(ctx context.Context, name, actor string) (store.Account, error) {
	a, err := s.open(ctx, name)
	if err != nil {
		return nil, err
	}
	return openAccount{a, actor}, nil
}

// open is find as a call by itself.
func (s *Store) open(ctx context.Context, name string) (*account, error) {
	if err := s.gate.Enter(ctx); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	return s.find(name)
}

// CreateAccount implements store.Store. ErrInvalidName: see
// store.CheckAccountName.
func (s *Store) CreateAccount(ctx context.Context, name string) error {
	if err := store.CheckAccountName(name); err != nil {
		return err
	}
	if err := s.gate.Enter(ctx); err != nil {
		return err
	}
	defer s.gate.Leave()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.accounts[name] != nil {
		return store.ErrExists
	}
	if s.wakers[name] == nil {
		s.wakers[name] = new(store.Waker)
	}
	s.accounts[name] = newAccount(s, name, s.wakers[name])
	return nil
}

// DeleteAccount implements store.Store.
func (s *Store) DeleteAccount(ctx context.Context, name string) error {
	if err := s.gate.Enter(ctx); err != nil {
		return err
	}
	defer s.gate.Leave()
	s.mu.Lock()
	a := s.accounts[name]
	delete(s.accounts, name)
	s.mu.Unlock()
	if a == nil {
		return store.ErrNotFound
	}
	a.drop()
	return nil
}

// Accounts implements store.Store.
func (s *Store) Accounts(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := s.gate.Enter(ctx); err != nil {
			yield("", err)
			return
		}
		s.mu.RLock()
		names := slices.Sorted(maps.Keys(s.accounts))
		s.mu.RUnlock()
		s.gate.Leave()
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				yield("", err)
				return
			}
			if !yield(name, nil) {
				return
			}
		}
	}
}

// Spool implements store.Spooler.
func (s *Store) Spool() store.Spool { return s.spool }

// Lease implements store.Leaser.
func (s *Store) Lease(ctx context.Context, account, name string, ttl time.Duration) (store.Lease, error) {
	if err := s.gate.Enter(ctx); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	if _, err := s.find(account); err != nil {
		return nil, err
	}
	return s.leases.Lease(ctx, account, name, ttl)
}

// Close implements store.Store. A second call returns ErrUnavailable.
func (s *Store) Close() error {
	if !s.gate.Close() {
		return store.ErrUnavailable
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, w := range s.wakers {
		w.Close()
	}
	s.spool.waker.Close()
	return nil
}

// purge lets go of expunged bodies whose grace time is over.
func (s *Store) purge() {
	s.mu.RLock()
	accounts := slices.Collect(maps.Values(s.accounts))
	s.mu.RUnlock()
	for _, a := range accounts {
		a.mu.Lock()
		a.purge(time.Now())
		a.mu.Unlock()
	}
}

// reserve takes octets out of the budget. No lock may be held.
func (s *Store) reserve(n int64) error {
	if s.budget.reserve(n) {
		return nil
	}
	s.purge()
	if s.budget.reserve(n) {
		return nil
	}
	return store.ErrNoSpace
}
