package storetest

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var duringChecks = []check{
	{"Context/every-call", contextBefore},
	{"Context/during", contextDuring},
	{"Iterators/stopped", iteratorsStopped},
	{"SlowReader/blocks-nobody", slowReaderBlocksNobody},
	{"SlowReader/pins-its-snapshot", slowReaderPins},
}

// A context that has ended before a call, by cancellation or by time, is the
// error, unless the call has succeeded.
func contextBefore(k *kit) {
	late, cancel := context.WithDeadline(k.Context(), time.Unix(1, 0))
	defer cancel()
	for what, ctx := range map[string]context.Context{"cancelled": k.ended(), "late": late} {
		calls := k.callsOn(fmt.Sprint("user-", what))
		if _, ok := k.st.(store.Spooler); ok {
			maps.Copy(calls, k.spoolCalls())
		}
		for name, call := range calls {
			if err := call(ctx); err != nil {
				require.ErrorIs(k, err, ctx.Err(), "%s with a context that is %s", name, what)
			}
		}
	}
	k.snap(k.box(k.account("carol"), store.Inbox)) // all is well
}

// callsOn makes accounts and gives every call of Store, Account and Mailbox,
// which may be made again and again.
func (k *kit) callsOn(name string) map[string]func(ctx context.Context) error {
	k.Helper()
	a := k.account(name)
	mb, other := k.box(a, store.Inbox), k.create(a, "Other")
	k.create(a, "Lists")
	k.add(a, store.Inbox, 1, 40)
	row := k.snap(mb).At(0)
	s := k.stage(mail(9))
	calls := k.calls(a, mb, s, row)
	calls["Place"] = func(ctx context.Context) error {
		p := k.st.Place(ctx, []store.Target{{Account: name, Mailbox: store.Inbox, Body: s}, {Account: name, Mailbox: "Other", Body: s}})
		if (p[0].Err == nil) != (p[1].Err == nil) {
			return fmt.Errorf("one of two targets is filed: %v, %v", p[0].Err, p[1].Err)
		}
		return p[0].Err
	}
	calls["Account"] = func(ctx context.Context) error { _, err := k.st.Account(ctx, name, name); return err }
	calls["CreateAccount"] = func(ctx context.Context) error { return k.st.CreateAccount(ctx, name+"-new") }
	calls["DeleteAccount"] = func(ctx context.Context) error { return k.st.DeleteAccount(ctx, name+"-new") }
	calls["Copy"] = func(ctx context.Context) error {
		_, err := mb.Copy(ctx, store.UIDSet{{From: 1, To: 3}}, other.ID())
		return err
	}
	calls["Move"] = func(ctx context.Context) error {
		_, err := other.Move(ctx, store.AllUIDs(), mb.ID())
		return err
	}
	calls["Flag"] = func(ctx context.Context) error {
		_, err := mb.Flag(ctx, store.AllUIDs(), store.FlagUpdate{Op: store.FlagOp(rand.IntN(3)), Flags: []store.Flag{store.FlagSeen}})
		return err
	}
	calls["Expunge"] = func(ctx context.Context) error {
		_, err := mb.Expunge(ctx, store.UIDSet{{From: 50, To: 1 << 31}})
		return err
	}
	calls["Rename"] = func(ctx context.Context) error {
		if err := a.Rename(ctx, "Lists", "Renamed"); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		return a.Rename(ctx, "Renamed", "Lists")
	}
	calls["Delete"] = func(ctx context.Context) error { return a.Delete(ctx, "new") }
	calls["Stage"] = func(ctx context.Context) error {
		s, err := k.st.Stage(ctx, &pattern{n: 300_000})
		if err == nil {
			s.Discard()
		}
		return err
	}
	calls["Details"] = func(ctx context.Context) error {
		now, err := mb.Snapshot(ctx)
		if err != nil {
			return err
		}
		for _, err := range mb.Details(ctx, rowsIn(now)) {
			if err != nil && !errors.Is(err, store.ErrExpunged) {
				return err
			}
		}
		return nil
	}
	calls["Search"] = func(ctx context.Context) error {
		now, err := mb.Snapshot(ctx)
		if err != nil {
			return err
		}
		for _, err := range store.Search(ctx, mb, now, &store.Criteria{Text: []string{"message 7"}}) {
			if err != nil {
				return err
			}
		}
		return nil
	}
	return calls
}

func rowsIn(s *store.Snapshot) (rows []store.Row) {
	for _, r := range s.All() {
		rows = append(rows, r)
	}
	return rows
}

// Calls whose context ends while they run succeed or say so, within a moment,
// and whatever they did, the history tells it.
func contextDuring(k *kit) {
	calls := k.callsOn("anna")
	a := k.open("anna")
	mb, other := k.box(a, store.Inbox), k.box(a, "Other")
	var past [2][]*store.Snapshot
	look := func() {
		past[0], past[1] = append(past[0], k.snap(mb)), append(past[1], k.snap(other))
	}
	look()
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		k.cancelled(name, calls[name])
		look()
	}
	k.replay(mb, past[0], k.snap(mb))
	k.replay(other, past[1], k.snap(other))
	for i := range past[0][1:] {
		require.NoError(k, follows(past[0][i], past[0][i+1]))
		require.NoError(k, follows(past[1][i], past[1][i+1]))
	}
	for i, d := range k.details(mb, past[0][len(past[0])-1]) {
		if i < 5 {
			k.body(mb, d.Row)
		}
	}
}

// cancelled makes a call a number of times with contexts that end while it
// runs.
func (k *kit) cancelled(name string, call func(context.Context) error) {
	k.Helper()
	start := time.Now()
	require.NoError(k, harmless(call(k.Context())), "%s, to see how long it takes", name)
	takes := min(time.Since(start), 50*time.Millisecond)
	var t team
	for i := range 12 {
		ctx, cancel := context.WithCancel(k.Context())
		timer := time.AfterFunc(takes*time.Duration(i)/10, cancel)
		t.run(func() error {
			defer cancel()
			defer timer.Stop()
			if err := call(ctx); harmless(err) != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("%s: %w", name, err)
			}
			return nil
		})
	}
	done := make(chan error, 1)
	go func() { done <- t.wait() }()
	select {
	case err := <-done:
		require.NoError(k, err)
	case <-time.After(k.cfg.Patience):
		k.Fatalf("%s does not end though its context has", name)
	}
}

// harmless leaves out errors of calls that get into each other's way.
func harmless(err error) error {
	if isAny(err, store.ErrExists, store.ErrNotFound, store.ErrExpunged) {
		return nil
	}
	return err
}

// spoolCalls is every call of the spool, which may be made again and again.
func (k *kit) spoolCalls() map[string]func(context.Context) error {
	sp := k.spool()
	s := k.stage(mail(1))
	id := k.enqueue(sp, store.SpoolItem{Body: s, Due: seconds().Add(-time.Hour)})[0]
	return map[string]func(context.Context) error{
		"Spool.Enqueue": func(ctx context.Context) error {
			_, err := sp.Enqueue(ctx, []store.SpoolItem{{Body: s, Site: "b"}, {Body: s, Site: "b"}})
			return err
		},
		"Spool.Lease": func(ctx context.Context) error {
			_, err := sp.Lease(ctx, time.Now(), 3, time.Millisecond)
			return err
		},
		"Spool.Extend": func(ctx context.Context) error {
			if err := sp.Extend(ctx, id, 1, time.Now(), time.Minute); !errors.Is(err, store.ErrConflict) {
				return err
			}
			return nil
		},
		"Spool.Settle": func(ctx context.Context) error {
			l, err := sp.Lease(ctx, time.Now(), 1, time.Hour)
			if err != nil || len(l) == 0 {
				return err
			}
			ids, err := sp.Settle(ctx, l[0].ID, l[0].Fence, nil, []store.SpoolItem{{Body: s, Site: "b"}})
			if err == nil && len(ids) != 1 {
				err = fmt.Errorf("settled, %d enqueued", len(ids))
			}
			return err
		},
		"Spool.NextDue": func(ctx context.Context) error { _, _, err := sp.NextDue(ctx); return err },
		"Spool.List":    func(ctx context.Context) error { _, err := sp.List(ctx, 0, 10); return err },
		"Spool.Open": func(ctx context.Context) error {
			b, err := sp.Open(ctx, id)
			if err == nil {
				b.Close()
			}
			return err
		},
		"Spool.Steer":  func(ctx context.Context) error { return sp.Steer(ctx, id, store.Steer{}) },
		"Spool.Remove": func(ctx context.Context) error { return sp.Remove(ctx, 1<<40) },
	}
}

func contextDuringSpool(k *kit) {
	sp := k.spool()
	calls := k.spoolCalls()
	for _, name := range slices.Sorted(maps.Keys(calls)) {
		k.cancelled(name, calls[name])
	}
	b := 0
	for _, e := range k.list(sp) {
		if e.Site == "b" {
			b++
		}
		body, err := sp.Open(k.Context(), e.ID)
		require.NoError(k, err)
		require.Equal(k, mail(1), k.drain(body))
	}
	require.Positive(k, b)
}

// Iterators that are stopped at any point leave nothing behind: what they read
// can be deleted at once, and the store closes.
func iteratorsStopped(k *kit) {
	ctx := k.Context()
	for i := range 6 {
		require.NoError(k, k.st.CreateAccount(ctx, fmt.Sprint("user", i)))
	}
	a := k.open("user0")
	mb := k.box(a, store.Inbox)
	k.add(a, store.Inbox, 1, 30)
	s := k.snap(mb)
	stop := func(n int, seq iter.Seq[error]) {
		left := n
		for err := range seq {
			require.NoError(k, err)
			if left--; left <= 0 {
				break
			}
		}
	}
	second := func(accounts bool, c *store.Criteria) iter.Seq[error] {
		return func(yield func(error) bool) {
			if accounts {
				for _, err := range k.st.Accounts(ctx) {
					if !yield(err) {
						return
					}
				}
				return
			}
			if c == nil {
				for _, err := range mb.Details(ctx, rowsIn(s)) {
					if !yield(err) {
						return
					}
				}
				return
			}
			for _, err := range store.Search(ctx, mb, s, c) {
				if !yield(err) {
					return
				}
			}
		}
	}
	for n := range 8 {
		stop(n, second(true, nil))
		stop(n, second(false, nil))
		stop(n, second(false, &store.Criteria{}))
		stop(n, second(false, &store.Criteria{Text: []string{"message"}}))
	}
	next, end := iter.Pull2(mb.Details(ctx, rowsIn(s))) // pulled, and left
	_, err, ok := next()
	require.True(k, ok)
	require.NoError(k, err)
	end()
	require.NoError(k, k.st.DeleteAccount(ctx, "user0"))
	closed := make(chan error, 1)
	go func() { closed <- k.st.Close() }()
	select {
	case err := <-closed:
		require.NoError(k, err)
	case <-time.After(k.cfg.Patience):
		k.Fatal("Close waits for an iterator that was stopped")
	}
}

// A reader that stops half-way through whatever can be read blocks no writer,
// and goes on with what its snapshot showed.
func slowReaderBlocksNobody(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	other := k.create(a, "Other")
	k.add(a, store.Inbox, 0, 300)
	big, err := k.st.Stage(ctx, &pattern{n: 3 << 20})
	require.NoError(k, err)
	require.NoError(k, k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: big})[0].Err)
	require.NoError(k, big.Discard())
	require.NoError(k, k.st.CreateAccount(ctx, "bob"))
	snap := k.snap(mb)
	rows := rowsIn(snap)
	details, endDetails := iter.Pull2(mb.Details(ctx, rows))
	defer endDetails()
	accounts, endAccounts := iter.Pull2(k.st.Accounts(ctx))
	defer endAccounts()
	found, endSearch := iter.Pull2(store.Search(ctx, mb, snap, &store.Criteria{Text: []string{"This is message"}}))
	defer endSearch()
	_, err, _ = details()
	require.NoError(k, err)
	_, err, _ = accounts()
	require.NoError(k, err)
	_, err, _ = found()
	require.NoError(k, err)
	body, err := mb.Open(ctx, snap.At(300))
	require.NoError(k, err)
	defer body.Close()
	_, err = body.ReadAt(make([]byte, 10), 0)
	require.NoError(k, err)

	done := make(chan error, 1)
	go func() { done <- k.writeEverything(a, mb, other) }()
	select {
	case err := <-done:
		require.NoError(k, err)
	case <-time.After(k.cfg.Patience):
		k.Fatal("a writer waits for readers that have stopped half-way")
	}

	require.NoError(k, samePattern(body, 0, 3<<20))
	n := 1
	for d, err, ok := details(); ok; d, err, ok = details() {
		if err != nil { // expunged meanwhile; within the grace time it may be there still
			require.ErrorIs(k, err, store.ErrExpunged)
		} else {
			require.Equal(k, rows[n], d.Row)
		}
		n++
	}
	require.Equal(k, len(rows), n)
	for _, err, ok := found(); ok; _, err, ok = found() {
		require.NoError(k, err)
	}
	for _, err, ok := accounts(); ok; _, err, ok = accounts() {
		require.NoError(k, err)
	}
}

// writeEverything makes each change there is.
func (k *kit) writeEverything(a store.Account, mb, other store.Mailbox) error {
	ctx := k.Context()
	s, err := k.st.Stage(ctx, strings.NewReader(mail(9)))
	if err != nil {
		return err
	}
	defer s.Discard()
	for _, p := range k.st.Place(ctx, []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s}, {Account: "bob", Mailbox: store.Inbox, Body: s}}) {
		if p.Err != nil {
			return p.Err
		}
	}
	if _, err := mb.Flag(ctx, store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{store.FlagSeen, "kw"}}); err != nil {
		return err
	}
	if _, err := mb.Expunge(ctx, store.UIDSet{{From: 100, To: 110}}); err != nil {
		return err
	}
	if _, err := mb.Copy(ctx, store.UIDSet{{From: 1, To: 50}}, other.ID()); err != nil {
		return err
	}
	if _, err := mb.Move(ctx, store.UIDSet{{From: 120, To: 130}}, other.ID()); err != nil {
		return err
	}
	if _, err := a.Create(ctx, "New/deep", store.CreateOptions{}); err != nil {
		return err
	}
	return errors.Join(a.Rename(ctx, "New", "Newer"), a.Delete(ctx, "Newer/deep"), a.Subscribe(ctx, "Newer", true), k.st.DeleteAccount(ctx, "bob"))
}

// One old snapshot that is held keeps alive no more than itself, whatever
// happens to the mailbox meanwhile.
func slowReaderPins(k *kit) {
	a := k.account("anna")
	mb := k.fillBox(a, 2000, 0)
	change := func(i int) { // every page becomes a new one
		var some store.UIDSet
		for uid := range store.UID(2000) {
			if rand.IntN(2) == 0 {
				some.Add(uid + 1)
			}
		}
		k.flag(mb, store.FlagOp(i%2), some, store.Flag(fmt.Sprint("k", i/2%40)))
		_, err := mb.Snapshot(k.Context())
		require.NoError(k, err)
	}
	for i := range 8 { // caches fill
		change(i)
	}
	held := k.snap(mb)
	want := rowsIn(held)
	before := heap()
	for i := range 80 {
		change(i)
	}
	grown := heap() - before
	require.Less(k, grown, int64(1<<20), "octets kept by 80 changes of 2,000 messages while one snapshot is held: several times that snapshot")
	require.Equal(k, want, rowsIn(held))
}
