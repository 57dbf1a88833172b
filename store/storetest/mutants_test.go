package storetest

import (
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testfail"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// recorder runs checks that may fail without the test failing.
type recorder struct{ testing.TB }

func (r *recorder) run(c check, cfg Config) string {
	return testfail.Run(r.TB, func(t testing.TB) { c.run(newKit(t, cfg)) })
}

// mutant is one way of being wrong: hooks around a right engine. A nil hook
// passes the call on.
type mutant struct {
	place    func(store.Store, context.Context, []store.Target) []store.Placed
	stage    func(store.Store, context.Context, io.Reader) (store.Staged, error)
	close    func(store.Store) error
	delete   func(store.Account, context.Context, string) error
	watch    func(store.Account, context.Context) <-chan struct{}
	events   func(store.AccountChanges) store.AccountChanges
	info     func(*boxState, store.MailboxInfo) store.MailboxInfo
	snapshot func(*boxState, *store.Snapshot) *store.Snapshot
	changes  func(store.Changes) store.Changes
	flag     func(store.Mailbox, context.Context, store.UIDSet, store.FlagUpdate) (store.Flagged, error)
	expunge  func(store.Mailbox, context.Context, store.UIDSet, []store.Flag) (store.Expunged, error)
	create   func(store.Account, context.Context, string, store.CreateOptions) (store.MailboxInfo, error)
	copy     func(store.Mailbox, context.Context, store.UIDSet, store.MailboxID) (store.Copied, error)
	details  func(*sync.RWMutex, store.Mailbox, context.Context, []store.Row) iter.Seq2[store.Detail, error]
	lock     bool // each change takes the lock that details is given
	move     func(store.Mailbox, context.Context, store.UIDSet, store.MailboxID) (store.Copied, error)
	open     func(store.Body) store.Body
	lease    func(*spoolState, []store.LeasedItem) []store.LeasedItem
	enqueue  func(store.Spool, context.Context, []store.SpoolItem) ([]store.ItemID, error)
	settle   func(store.Spool, context.Context, store.ItemID, *store.Reschedule, []store.SpoolItem) ([]store.ItemID, error, bool)
	nextDue  func(time.Time, bool) (time.Time, bool)
}

// boxState is what a hook remembers of a mailbox.
type boxState struct {
	mu   sync.Mutex
	last *store.Snapshot
	all  []*store.Snapshot
	n    int
}

type spoolState struct {
	mu   sync.Mutex
	past []store.LeasedItem
}

type mutantStore struct {
	store.Store
	lock  sync.RWMutex
	m     *mutant
	mu    sync.Mutex
	boxes map[string]*boxState
	spool spoolState
}

func (s *mutantStore) Place(ctx context.Context, t []store.Target) []store.Placed {
	defer s.hold()()
	if s.m.place != nil {
		return s.m.place(s.Store, ctx, t)
	}
	return s.Store.Place(ctx, t)
}

func (s *mutantStore) Stage(ctx context.Context, r io.Reader) (store.Staged, error) {
	if s.m.stage != nil {
		return s.m.stage(s.Store, ctx, r)
	}
	return s.Store.Stage(ctx, r)
}

func (s *mutantStore) Close() error {
	defer s.hold()()
	if s.m.close != nil {
		return s.m.close(s.Store)
	}
	return s.Store.Close()
}

func (s *mutantStore) Account(ctx context.Context, name, actor string) (store.Account, error) {
	a, err := s.Store.Account(ctx, name, actor)
	if err != nil {
		return nil, err
	}
	return mutantAccount{a, s}, nil
}

func (s *mutantStore) Spool() store.Spool { return mutantSpool{s.Store.(store.Spooler).Spool(), s} }

type mutantAccount struct {
	store.Account
	s *mutantStore
}

func (a mutantAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	if err != nil {
		return nil, err
	}
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	key := fmt.Sprint(a.Name(), "/", mb.ID())
	if a.s.boxes[key] == nil {
		a.s.boxes[key] = new(boxState)
	}
	return mutantMailbox{mb, a.s.m, a.s.boxes[key], &a.s.lock}, nil
}

func (a mutantAccount) Create(ctx context.Context, name string, opt store.CreateOptions) (store.MailboxInfo, error) {
	if a.s.m.create != nil {
		return a.s.m.create(a.Account, ctx, name, opt)
	}
	return a.Account.Create(ctx, name, opt)
}

func (a mutantAccount) Delete(ctx context.Context, name string) error {
	if a.s.m.delete != nil {
		return a.s.m.delete(a.Account, ctx, name)
	}
	return a.Account.Delete(ctx, name)
}

func (a mutantAccount) Watch(ctx context.Context) <-chan struct{} {
	if a.s.m.watch != nil {
		return a.s.m.watch(a.Account, ctx)
	}
	return a.Account.Watch(ctx)
}

func (a mutantAccount) Changes(ctx context.Context, since store.ModSeq) (store.AccountChanges, error) {
	c, err := a.Account.Changes(ctx, since)
	if a.s.m.events != nil && err == nil {
		c = a.s.m.events(c)
	}
	return c, err
}

type mutantMailbox struct {
	store.Mailbox
	m     *mutant
	state *boxState
	lock  *sync.RWMutex
}

func (b mutantMailbox) Copy(ctx context.Context, set store.UIDSet, to store.MailboxID) (store.Copied, error) {
	if b.m.copy != nil {
		return b.m.copy(b.Mailbox, ctx, set, to)
	}
	return b.Mailbox.Copy(ctx, set, to)
}

func (b mutantMailbox) Details(ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
	if b.m.details != nil {
		return b.m.details(b.lock, b.Mailbox, ctx, rows)
	}
	return b.Mailbox.Details(ctx, rows)
}

func (b mutantMailbox) Info(ctx context.Context) (store.MailboxInfo, error) {
	i, err := b.Mailbox.Info(ctx)
	if b.m.info != nil && err == nil {
		i = b.m.info(b.state, i)
	}
	return i, err
}

func (b mutantMailbox) Snapshot(ctx context.Context) (*store.Snapshot, error) {
	s, err := b.Mailbox.Snapshot(ctx)
	if b.m.snapshot != nil && err == nil {
		b.state.mu.Lock()
		defer b.state.mu.Unlock()
		s = b.m.snapshot(b.state, s)
	}
	return s, err
}

func (b mutantMailbox) Changes(ctx context.Context, since store.ModSeq) (store.Changes, error) {
	c, err := b.Mailbox.Changes(ctx, since)
	if b.m.changes != nil && err == nil {
		c = b.m.changes(c)
	}
	return c, err
}

func (b mutantMailbox) Flag(ctx context.Context, set store.UIDSet, u store.FlagUpdate) (store.Flagged, error) {
	if b.m.flag != nil {
		return b.m.flag(b.Mailbox, ctx, set, u)
	}
	return b.Mailbox.Flag(ctx, set, u)
}

func (b mutantMailbox) Expunge(ctx context.Context, set store.UIDSet, with ...store.Flag) (store.Expunged, error) {
	if b.m.expunge != nil {
		return b.m.expunge(b.Mailbox, ctx, set, with)
	}
	return b.Mailbox.Expunge(ctx, set, with...)
}

func (b mutantMailbox) Move(ctx context.Context, set store.UIDSet, to store.MailboxID) (store.Copied, error) {
	if b.m.move != nil {
		return b.m.move(b.Mailbox, ctx, set, to)
	}
	return b.Mailbox.Move(ctx, set, to)
}

func (b mutantMailbox) Open(ctx context.Context, row store.Row) (store.Body, error) {
	body, err := b.Mailbox.Open(ctx, row)
	if b.m.open != nil && err == nil {
		body = b.m.open(body)
	}
	return body, err
}

type mutantSpool struct {
	store.Spool
	s *mutantStore
}

func (p mutantSpool) Lease(ctx context.Context, now time.Time, most int, ttl time.Duration, except ...string) ([]store.LeasedItem, error) {
	l, err := p.Spool.Lease(ctx, now, most, ttl, except...)
	if p.s.m.lease != nil && err == nil {
		p.s.spool.mu.Lock()
		defer p.s.spool.mu.Unlock()
		l = p.s.m.lease(&p.s.spool, l)
	}
	return l, err
}

func (p mutantSpool) Enqueue(ctx context.Context, items []store.SpoolItem) ([]store.ItemID, error) {
	if p.s.m.enqueue != nil {
		return p.s.m.enqueue(p.Spool, ctx, items)
	}
	return p.Spool.Enqueue(ctx, items)
}

func (p mutantSpool) Settle(ctx context.Context, id store.ItemID, fence uint64, next *store.Reschedule, add []store.SpoolItem) ([]store.ItemID, error) {
	if p.s.m.settle != nil {
		if ids, err, done := p.s.m.settle(p.Spool, ctx, id, next, add); done {
			return ids, err
		}
	}
	return p.Spool.Settle(ctx, id, fence, next, add)
}

func (p mutantSpool) NextDue(ctx context.Context, except ...string) (time.Time, bool, error) {
	due, ok, err := p.Spool.NextDue(ctx, except...)
	if p.s.m.nextDue != nil && err == nil {
		due, ok = p.s.m.nextDue(due, ok)
	}
	return due, ok, err
}

// brokenBody cuts the last octet off.
type shortBody struct{ store.Body }

func (b shortBody) Size() int64 { return max(b.Body.Size()-1, 0) }

// seenMutant is a wrong engine and the check that must see it.
type seenMutant struct {
	seenBy string
	mutant
}

// mutants are wrong engines, each with one check that must see it.
var mutants = map[string]seenMutant{
	"flag change lost": {"Concurrent/flags", mutant{
		flag: func(mb store.Mailbox, ctx context.Context, set store.UIDSet, u store.FlagUpdate) (store.Flagged, error) {
			if u.Op == store.FlagsAdd { // read, then write back what was read
				var f store.Flagged
				s, err := mb.Snapshot(ctx)
				for _, r := range s.Select(set) {
					runtime.Gosched()
					one, e := mb.Flag(ctx, store.UIDs(r.UID), store.FlagUpdate{Op: store.FlagsReplace, Flags: append(s.Flags(r.Flags), u.Flags...)})
					f.ModSeq, f.Changed, err = max(f.ModSeq, one.ModSeq), f.Changed.Union(one.Changed), e
				}
				return f, err
			}
			return mb.Flag(ctx, set, u)
		}}},
	"UnchangedSince ignored": {"Flag/unchanged-since", mutant{
		flag: func(mb store.Mailbox, ctx context.Context, set store.UIDSet, u store.FlagUpdate) (store.Flagged, error) {
			u.UnchangedSince = nil
			return mb.Flag(ctx, set, u)
		}}},
	"UIDs used again": {"Expunge/no-uid-twice", mutant{
		snapshot: func(_ *boxState, s *store.Snapshot) *store.Snapshot {
			var rows []store.Row
			for i, r := range s.All() {
				r.UID = store.UID(i + 1)
				rows = append(rows, r)
			}
			return store.NewSnapshot(s.Mailbox(), s.UIDValidity(), store.UID(len(rows)+1), s.ModSeq(), s.Keywords(), rows)
		},
		info: func(_ *boxState, i store.MailboxInfo) store.MailboxInfo {
			i.UIDNext = store.UID(i.Messages + 1)
			return i
		}}},
	"UIDVALIDITY used again": {"Mailbox/uidvalidity", mutant{
		snapshot: func(_ *boxState, s *store.Snapshot) *store.Snapshot {
			return store.NewSnapshot(s.Mailbox(), 1, s.UIDNext(), s.ModSeq(), s.Keywords(), rowsOf(s))
		},
		info: func(_ *boxState, i store.MailboxInfo) store.MailboxInfo { i.UIDValidity = 1; return i }}},
	"tombstone dropped": {"Changes/replay", mutant{
		changes: func(c store.Changes) store.Changes {
			if n := len(c.Vanished); n > 1 {
				c.Vanished = c.Vanished[1:]
			}
			return c
		}}},
	"change without its row": {"Changes/replay", mutant{
		changes: func(c store.Changes) store.Changes {
			if n := len(c.Rows); n > 1 {
				c.Rows = c.Rows[:n-1]
			}
			return c
		}}},
	"token ignored": {"Token/retry", mutant{
		place: func(s store.Store, ctx context.Context, t []store.Target) []store.Placed {
			t = slices.Clone(t)
			for i := range t {
				t[i].Token = ""
			}
			return s.Place(ctx, t)
		}}},
	"placed one by one": {"Place/atomic", mutant{place: oneByOne}},
	"placed one by one, nothing fails": {"Concurrent/atomic-place", mutant{
		place: func(s store.Store, ctx context.Context, t []store.Target) []store.Placed {
			for i := range t { // what may fail goes in one
				if t[i].Mailbox != store.Inbox || t[i].Token != "" || t[i].Flags != nil {
					return s.Place(ctx, t)
				}
			}
			return oneByOne(s, ctx, t)
		}}},
	"prefix dropped": {"Place/prefix", mutant{
		place: func(s store.Store, ctx context.Context, t []store.Target) []store.Placed {
			t = slices.Clone(t)
			for i := range t {
				t[i].Prefix = nil
			}
			return s.Place(ctx, t)
		}}},
	"cut body taken for whole": {"Stage/reader-errors", mutant{
		stage: func(s store.Store, ctx context.Context, r io.Reader) (store.Staged, error) {
			data, _ := io.ReadAll(r)
			return s.Stage(ctx, &readerOf{data})
		}}},
	"last octet lost": {"Read/body", mutant{open: func(b store.Body) store.Body { return shortBody{b} }}},
	"snapshot one step behind": {"Concurrent/visibility", mutant{
		snapshot: func(b *boxState, s *store.Snapshot) *store.Snapshot {
			old := b.last
			if b.last = s; old != nil && b.n%3 == 0 {
				s = old
			}
			b.n++
			return s
		}}},
	"gap that fills later": {"Concurrent/visibility", mutant{
		snapshot: func(b *boxState, s *store.Snapshot) *store.Snapshot {
			rows := rowsOf(s)
			if b.n++; b.n%4 == 0 && len(rows) > 3 {
				rows = slices.Delete(rows, len(rows)-2, len(rows)-1)
			}
			return store.NewSnapshot(s.Mailbox(), s.UIDValidity(), s.UIDNext(), s.ModSeq(), s.Keywords(), rows)
		}}},
	"expunge without looking at flags": {"Expunge/with-flags", mutant{
		expunge: func(mb store.Mailbox, ctx context.Context, set store.UIDSet, with []store.Flag) (store.Expunged, error) {
			return mb.Expunge(ctx, set)
		}}},
	"move in two commits": {"Move/properties", mutant{
		move: func(mb store.Mailbox, ctx context.Context, set store.UIDSet, to store.MailboxID) (store.Copied, error) {
			c, err := mb.Copy(ctx, set, to)
			if err == nil {
				_, err = mb.Expunge(ctx, store.UIDs(c.From...))
			}
			return c, err
		}}},
	"deletion unsubscribes": {"Mailbox/subscribe", mutant{
		delete: func(a store.Account, ctx context.Context, name string) error {
			err := a.Delete(ctx, name)
			if err == nil {
				err = a.Subscribe(ctx, name, false)
			}
			return err
		}}},
	"only the first wake-up": {"Watch/every-mutation", mutant{
		watch: func(a store.Account, ctx context.Context) <-chan struct{} {
			ch := make(chan struct{}, 1)
			in := a.Watch(ctx)
			go func() {
				defer close(ch)
				if _, ok := <-in; ok {
					ch <- struct{}{}
				}
				for range in {
				}
			}()
			return ch
		}}},
	"rename not told": {"Changes/account-replay", mutant{
		events: func(c store.AccountChanges) store.AccountChanges {
			c.Events = slices.DeleteFunc(slices.Clone(c.Events), func(e store.MailboxEvent) bool { return e.Kind == store.MailboxRenamed })
			return c
		}}},
	"open after Close": {"Close/later-calls", mutant{close: func(store.Store) error { return nil }}},
	"lease given twice": {"Spool/concurrent", mutant{
		lease: func(st *spoolState, l []store.LeasedItem) []store.LeasedItem {
			if len(l) == 1 && len(st.past) > 5 {
				l = append(l[:0:0], st.past[0])
			}
			st.past = append(st.past, l...)
			return l
		}}},
	"fence ignored": {"Spool/lost-lease", mutant{
		settle: func(sp store.Spool, ctx context.Context, id store.ItemID, next *store.Reschedule, add []store.SpoolItem) ([]store.ItemID, error, bool) {
			for fence := uint64(1); fence < 50; fence++ {
				if ids, err := sp.Settle(ctx, id, fence, next, add); err == nil {
					return ids, nil, true
				}
			}
			return nil, nil, false
		}}},
	"settled, then enqueued": {"Spool/settle-enqueue", mutant{
		settle: func(sp store.Spool, ctx context.Context, id store.ItemID, next *store.Reschedule, add []store.SpoolItem) ([]store.ItemID, error, bool) {
			if len(add) == 0 {
				return nil, nil, false
			}
			ids, err := sp.Enqueue(ctx, add)
			if err == nil {
				_, err = sp.Settle(ctx, id, 1, next, nil)
			}
			return ids, err, true
		}}},
	"enqueued one by one": {"Spool/all-or-none", mutant{
		enqueue: func(sp store.Spool, ctx context.Context, items []store.SpoolItem) (ids []store.ItemID, err error) {
			for i := range items {
				id, e := sp.Enqueue(ctx, items[i:i+1])
				if e != nil {
					err = e
					continue
				}
				ids = append(ids, id...)
			}
			return ids, err
		}}},
	"never due": {"Spool/next-due", mutant{nextDue: func(t time.Time, _ bool) (time.Time, bool) { return t, false }}},
}

func rowsOf(s *store.Snapshot) (rows []store.Row) {
	for _, r := range s.All() {
		rows = append(rows, r)
	}
	return rows
}

type readerOf struct{ left []byte }

func (r *readerOf) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

func oneByOne(s store.Store, ctx context.Context, t []store.Target) []store.Placed {
	var all []store.Placed
	for i := range t {
		all = append(all, s.Place(ctx, t[i:i+1])...)
		runtime.Gosched()
	}
	return all
}

// TestMutants proves that the suite can fail, and fails for the right reason.
func TestMutants(t *testing.T) {
	all := map[string]check{}
	for _, c := range checks() {
		require.NotContains(t, all, c.name)
		all[c.name] = c
	}
	type wrong struct {
		seenBy string
		open   func() store.Store
	}
	engines := map[string]wrong{}
	every := maps.Clone(mutants)
	for name, m := range moreMutants {
		require.NotContains(t, every, name)
		every[name] = m
	}
	for name, m := range every {
		engines[name] = wrong{m.seenBy, func() store.Store {
			return &mutantStore{Store: memory.New(), m: &m.mutant, boxes: map[string]*boxState{}}
		}}
	}
	for name, m := range faulty {
		require.NotContains(t, engines, name)
		engines[name] = wrong{m.seenBy, func() store.Store { return newFaulty(&m.faults) }}
	}
	for name, m := range engines {
		t.Run(name, func(t *testing.T) {
			c, ok := all[m.seenBy]
			require.True(t, ok, "no check %s", m.seenBy)
			cfg := Config{Patience: time.Second, InMemory: true, Abilities: AllAbilities(), New: func(testing.TB) store.Store { return m.open() }}
			// A race may need more than one attempt.
			for range 20 {
				if first := (&recorder{TB: t}).run(c, cfg); first != "" {
					t.Log(firstLines(first))
					return
				}
			}
			t.Fatalf("%s did not notice", c.name)
		})
	}
}

// TestNoMutant proves that the wrapper without a hook, and the recorder, are
// not what makes checks fail.
func TestNoMutant(t *testing.T) {
	for name, open := range map[string]func() store.Store{
		"mutant": func() store.Store {
			return &mutantStore{Store: memory.New(), m: &mutant{}, boxes: map[string]*boxState{}}
		},
		"faulty": func() store.Store { return newFaulty(&faults{}) },
	} {
		cfg := Config{InMemory: true, Abilities: AllAbilities(), New: func(testing.TB) store.Store { return open() }}
		for _, c := range checks() {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				require.Empty(t, (&recorder{TB: t}).run(c, cfg))
			})
		}
	}
}

// firstLines is what a failure says, without its trace.
func firstLines(msg string) string {
	_, msg, _ = strings.Cut(msg, "Error:")
	return strings.Join(strings.Fields(msg[:min(len(msg), 300)]), " ")
}
