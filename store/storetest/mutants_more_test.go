package storetest

import (
	"context"
	"iter"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// moreMutants are wrong in races, half-way through a call, or at the ends of
// what numbers and names can be.
var moreMutants = map[string]seenMutant{
	"copied one by one": {"Atomic/copy", mutant{
		copy: func(mb store.Mailbox, ctx context.Context, set store.UIDSet, to store.MailboxID) (all store.Copied, err error) {
			s, err := mb.Snapshot(ctx)
			if err != nil {
				return all, err
			}
			for _, r := range s.Select(set) {
				c, err := mb.Copy(ctx, store.UIDs(r.UID), to)
				if err != nil {
					return all, err
				}
				all = store.Copied{UIDValidity: c.UIDValidity, From: append(all.From, c.From...), To: append(all.To, c.To...), ModSeq: c.ModSeq}
				runtime.Gosched()
			}
			return all, nil
		}}},
	"move that is for a moment in both": {"Atomic/move", mutant{
		move: func(mb store.Mailbox, ctx context.Context, set store.UIDSet, to store.MailboxID) (store.Copied, error) {
			c, err := mb.Copy(ctx, set, to)
			runtime.Gosched()
			if err == nil {
				_, err = mb.Expunge(ctx, store.UIDs(c.From...))
			}
			return c, err
		}}},
	"replacement in two commits": {"Atomic/replace", mutant{
		place: func(s store.Store, ctx context.Context, t []store.Target) []store.Placed {
			if t[0].Replaces == 0 {
				return s.Place(ctx, t)
			}
			with := t[0].Replaces
			t = slices.Clone(t)
			t[0].Replaces, t[0].ReplacesIn = 0, 0
			p := s.Place(ctx, t)
			runtime.Gosched()
			a, _ := s.Account(ctx, t[0].Account, t[0].Account)
			mb, _ := a.Mailbox(ctx, t[0].Mailbox)
			mb.Expunge(ctx, store.UIDs(with))
			return p
		}}},
	"UnchangedSince looked at before": {"Atomic/unchanged-since", mutant{
		flag: func(mb store.Mailbox, ctx context.Context, set store.UIDSet, u store.FlagUpdate) (store.Flagged, error) {
			if u.UnchangedSince == nil {
				return mb.Flag(ctx, set, u)
			}
			s, err := mb.Snapshot(ctx)
			if err != nil {
				return store.Flagged{}, err
			}
			var fit, failed store.UIDSet
			for _, r := range s.Select(set) {
				if r.ModSeq > *u.UnchangedSince {
					failed.Add(r.UID)
				} else {
					fit.Add(r.UID)
				}
			}
			runtime.Gosched()
			u.UnchangedSince = nil
			f, err := mb.Flag(ctx, fit, u)
			f.Failed = failed
			return f, err
		}}},
	"UIDVALIDITY of a name again": {"Atomic/recreate", mutant{
		create: func(a store.Account, ctx context.Context, name string, opt store.CreateOptions) (store.MailboxInfo, error) {
			i, err := a.Create(ctx, name, opt)
			i.UIDValidity = 7
			return i, err
		}}},
	"changes from one too late": {"Changes/every-mod-sequence", mutant{
		changes: func(c store.Changes) store.Changes {
			c.Rows = slices.DeleteFunc(c.Rows, func(r store.Row) bool { return r.ModSeq == c.Since+1 })
			return c
		}}},
	"own error for an ended context": {"Context/every-call", mutant{
		place: func(s store.Store, ctx context.Context, t []store.Target) []store.Placed {
			p := s.Place(ctx, t)
			for i := range p {
				if ctx.Err() != nil && p[i].Err != nil {
					p[i].Err = store.ErrUnavailable
				}
			}
			return p
		}}},
	"half a commit when the context ends": {"Context/during", mutant{
		place: func(s store.Store, ctx context.Context, t []store.Target) []store.Placed {
			var all []store.Placed
			for i := range t {
				all = append(all, s.Place(ctx, t[i:i+1])...)
				if i == 0 {
					select {
					case <-ctx.Done():
					case <-time.After(100 * time.Microsecond):
					}
				}
			}
			return all
		}}},
	"waits when the context ends": {"Context/during-spool", mutant{
		enqueue: func(sp store.Spool, ctx context.Context, items []store.SpoolItem) ([]store.ItemID, error) {
			ids, err := sp.Enqueue(ctx, items)
			if err != nil {
				select {} // its lock is held by nobody
			}
			return ids, err
		}}},
	"a lock for as long as one reads": {"SlowReader/blocks-nobody", mutant{
		details: func(l *sync.RWMutex, mb store.Mailbox, ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
			return func(yield func(store.Detail, error) bool) {
				l.RLock()
				defer l.RUnlock()
				mb.Details(ctx, rows)(yield)
			}
		},
		lock: true}},
	"stopped iterators are for ever": {"Iterators/stopped", mutant{
		details: func(l *sync.RWMutex, mb store.Mailbox, ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
			return func(yield func(store.Detail, error) bool) {
				l.RLock()
				for d, err := range mb.Details(ctx, rows) {
					if !yield(d, err) {
						return
					}
				}
				l.RUnlock()
			}
		},
		lock: true}},
	"outline of another message": {"Search/same-answers", mutant{
		details: func(_ *sync.RWMutex, mb store.Mailbox, ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
			return func(yield func(store.Detail, error) bool) {
				var last store.Detail
				for d, err := range mb.Details(ctx, rows) {
					if err == nil && last.Outline != nil && d.Row.UID%16 == 0 {
						d.Outline = last.Outline
					}
					last = d
					if !yield(d, err) {
						return
					}
				}
			}
		}}},
	"seconds of the internal date lost": {"Search/same-answers", mutant{
		snapshot: func(_ *boxState, s *store.Snapshot) *store.Snapshot {
			rows := rowsIn(s)
			for i := range rows {
				rows[i].Date -= rows[i].Date % 3600
			}
			return store.NewSnapshot(s.Mailbox(), s.UIDValidity(), s.UIDNext(), s.ModSeq(), s.Keywords(), rows)
		}}},
	"every snapshot kept": {"SlowReader/pins-its-snapshot", mutant{
		snapshot: func(b *boxState, s *store.Snapshot) *store.Snapshot {
			b.all = append(b.all, s)
			return s
		}}},
	"another error for names": {"Hostile/names", mutant{
		create: func(a store.Account, ctx context.Context, name string, opt store.CreateOptions) (store.MailboxInfo, error) {
			if len(name) > 5000 {
				return store.MailboxInfo{}, store.ErrLimit
			}
			return a.Create(ctx, name, opt)
		}}},
	"flags cut off": {"Hostile/flags", mutant{
		flag: func(mb store.Mailbox, ctx context.Context, set store.UIDSet, u store.FlagUpdate) (store.Flagged, error) {
			u.Flags = u.Flags[:min(len(u.Flags), store.MaxKeywords)]
			return mb.Flag(ctx, set, u)
		}}},
	"dates of 32 bits": {"Hostile/dates", mutant{
		place: func(s store.Store, ctx context.Context, t []store.Target) []store.Placed {
			t = slices.Clone(t)
			for i := range t {
				if !t[i].Date.IsZero() {
					t[i].Date = time.Unix(int64(int32(t[i].Date.Unix())), 0)
				}
			}
			return s.Place(ctx, t)
		}}},
	"all of a set from a peer": {"Hostile/sets", mutant{
		expunge: func(mb store.Mailbox, ctx context.Context, set store.UIDSet, with []store.Flag) (store.Expunged, error) {
			return mb.Expunge(ctx, set)
		}}},
	"history from the future": {"Hostile/since", mutant{
		changes: func(c store.Changes) store.Changes {
			if int64(c.Since) < 0 {
				c.Vanished = store.UIDs(1)
			}
			return c
		}}},
	"reads what it cannot keep": {"Large/above-the-limit", mutant{
		place: func(s store.Store, ctx context.Context, t []store.Target) []store.Placed {
			buf := make([]byte, 4<<20)
			t[0].Body.ReadAt(buf, 0)
			return s.Place(ctx, t)
		}}},
}

// lockedStore takes a lock for each change, and to close.
func (s *mutantStore) hold() func() {
	if !s.m.lock {
		return func() {}
	}
	s.lock.Lock()
	return s.lock.Unlock
}

// An engine that keeps bodies in memory is not one that does not.
func TestLargeNotices(t *testing.T) {
	cfg := Config{New: func(testing.TB) store.Store { return memory.New() }}
	require.NotEmpty(t, (&recorder{t}).run(check{"", largeBody}, cfg))
	cfg.InMemory = true
	require.Empty(t, (&recorder{t}).run(check{"", largeBody}, cfg))
}

// again is another handle on a store in memory, as a second process has it.
type again struct {
	store.Store
	deaf, blind bool
	spool       store.Spool
}

type againAccount struct {
	store.Account
	s *again
}

type againMailbox struct {
	store.Mailbox
	mu   *sync.Mutex
	seen **store.Snapshot
}

func (s *again) Close() error { return nil }
func (s *again) Spool() store.Spool {
	if s.spool != nil {
		return s.spool
	}
	return s.Store.(store.Spooler).Spool()
}
func (s *again) Lease(ctx context.Context, account, name string, ttl time.Duration) (store.Lease, error) {
	return s.Store.(store.Leaser).Lease(ctx, account, name, ttl)
}
func (s *again) Account(ctx context.Context, name, actor string) (store.Account, error) {
	a, err := s.Store.Account(ctx, name, actor)
	return againAccount{a, s}, err
}
func (a againAccount) Watch(ctx context.Context) <-chan struct{} {
	if a.s.deaf {
		var w store.Waker
		return w.Watch(ctx)
	}
	return a.Account.Watch(ctx)
}
func (a againAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	if a.s.blind && err == nil {
		return againMailbox{mb, new(sync.Mutex), new(*store.Snapshot)}, nil
	}
	return mb, err
}
func (m againMailbox) Snapshot(ctx context.Context) (*store.Snapshot, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if *m.seen == nil {
		s, err := m.Mailbox.Snapshot(ctx)
		*m.seen = s
		return s, err
	}
	return *m.seen, nil
}

func sharedConfig(open func(store.Store) *again) Config {
	return Config{New: func(testing.TB) store.Store { return memory.New() }, InMemory: true, Second: Shared, Patience: 2 * time.Second,
		OpenAgain: func(_ testing.TB, st store.Store) (store.Store, error) { return open(st), nil }}
}

func TestSecond(t *testing.T) {
	right := sharedConfig(func(st store.Store) *again { return &again{Store: st} })
	for _, c := range append(secondChecks, check{"Second/spool", secondSpool}, check{"Second/leases", secondLeases}) {
		if right.needs(c.name) {
			t.Run(c.name, func(t *testing.T) { c.run(newKit(t, right)) })
		}
	}
	for name, c := range map[string]struct {
		seenBy func(*kit)
		open   func(store.Store) *again
	}{
		"deaf":         {secondWatch, func(st store.Store) *again { return &again{Store: st, deaf: true} }},
		"blind":        {secondSeesChanges, func(st store.Store) *again { return &again{Store: st, blind: true} }},
		"blind writer": {secondWriters, func(st store.Store) *again { return &again{Store: st, blind: true} }},
		"own spool":    {secondSpool, func(st store.Store) *again { return &again{Store: st, spool: memory.New().Spool()} }},
		"other place":  {secondSeesChanges, func(st store.Store) *again { return &again{Store: memory.New()} }},
	} {
		t.Run(name, func(t *testing.T) {
			require.NotEmpty(t, (&recorder{t}).run(check{"", c.seenBy}, sharedConfig(c.open)))
		})
	}
	open := sharedConfig(func(st store.Store) *again { return &again{Store: st} })
	open.Second = Exclusive
	require.NotEmpty(t, (&recorder{t}).run(check{"", secondRefused}, open), "one that is not refused")
}
