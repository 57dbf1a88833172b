package storetest

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// Sharing says what happens when a place that is open is opened once more, as
// by a second process.
type Sharing uint8

const (
	// Alone: the engine has no place that could be opened twice.
	Alone Sharing = iota
	// Exclusive: the second opener gets store.ErrInUse.
	Exclusive
	// Shared: both work, and each sees the other's changes in Changes, in
	// snapshots, and by Watch.
	Shared
)

var secondChecks = []check{
	{"Second/refused", secondRefused},
	{"Second/sees-changes", secondSeesChanges},
	{"Second/watch", secondWatch},
	{"Second/writers", secondWriters},
}

// needs reports whether a check is for an engine as it has been declared.
func (cfg *Config) needs(name string) bool {
	if strings.HasPrefix(name, "Reopen/") {
		return cfg.Reopen != nil
	}
	switch name {
	case "Large/2-GiB":
		return cfg.Huge
	case "Second/refused":
		return cfg.Second == Exclusive
	case "Second/sees-changes", "Second/watch", "Second/writers", "Second/spool", "Second/leases":
		return cfg.Second == Shared
	}
	return true
}

func (k *kit) needsSharing(s Sharing) {
	k.Helper()
	if k.cfg.Second != s {
		k.Skip("the engine is declared otherwise by Config.Second")
	}
}

// second opens the store's place once more.
func (k *kit) second() *kit {
	k.Helper()
	st, err := k.cfg.OpenAgain(k, k.st)
	require.NoError(k, err)
	other := &kit{TB: k.TB, cfg: k.cfg, st: st}
	k.Cleanup(func() {
		if err := st.Close(); err != nil && !errors.Is(err, store.ErrUnavailable) {
			k.Errorf("Close of the second: %v", err)
		}
	})
	return other
}

func secondRefused(k *kit) {
	k.needsSharing(Exclusive)
	a := k.account("anna")
	k.add(a, store.Inbox, 1, 2)
	for range 3 {
		st, err := k.cfg.OpenAgain(k, k.st)
		if err == nil {
			st.Close()
		}
		require.ErrorIs(k, err, store.ErrInUse)
		k.add(a, store.Inbox, 3, 1) // the first is not harmed
	}
	require.NoError(k, k.st.Close())
	st, err := k.cfg.OpenAgain(k, k.st)
	require.NoError(k, err, "it is free after Close")
	k.st = st
	require.Equal(k, 5, k.snap(k.box(k.open("anna"), store.Inbox)).Len())
}

// Whatever one does, the other can read at once.
func secondSeesChanges(k *kit) {
	k.needsSharing(Shared)
	o := k.second()
	a := k.account("anna")
	b := o.open("anna")
	mine, its := k.box(a, store.Inbox), o.box(b, store.Inbox)
	require.Equal(k, mine.ID(), its.ID())
	past := []*store.Snapshot{o.snap(its)}
	same := func(what string) {
		s, t := k.snap(mine), o.snap(its)
		require.NoError(k, sameContent(s, t), what)
		require.Equal(k, s.UIDValidity(), t.UIDValidity())
		require.NoError(k, follows(past[len(past)-1], t), what)
		past = append(past, t)
		require.Equal(k, k.names(a), o.names(b), what)
	}
	p := k.add(a, store.Inbox, 1, 4)
	same("placed by one")
	q := o.add(b, store.Inbox, 5, 4)
	same("placed by the other")
	require.Greater(k, q[0].UID, p[3].UID)
	require.Greater(k, q[0].ModSeq, p[3].ModSeq)
	require.Equal(k, mail(1), o.body(its, o.snap(its).At(0)))
	require.Equal(k, mail(8), k.body(mine, k.snap(mine).At(7)))
	k.flag(mine, store.FlagsAdd, store.UIDs(q[0].UID), store.FlagSeen, "one")
	same("flagged by one")
	o.flag(its, store.FlagsAdd, store.UIDs(p[0].UID), store.FlagFlagged, "other")
	same("flagged by the other")
	_, err := mine.Expunge(k.Context(), store.UIDs(q[1].UID))
	require.NoError(k, err)
	same("expunged")
	dst := o.create(b, "Archive/2026")
	_, err = mine.Move(k.Context(), store.UIDs(p[1].UID), dst.ID())
	require.NoError(k, err)
	same("moved to a mailbox of the other's")
	require.Equal(k, mail(2), k.body(k.box(a, "Archive/2026"), o.snap(dst).At(0)))
	require.NoError(k, a.Rename(k.Context(), "Archive", "Old"))
	same("renamed")
	require.NoError(k, b.Delete(k.Context(), "Old/2026"))
	same("deleted")
	k.replay(mine, past, k.snap(mine))
	o.replay(its, past, o.snap(its))
	token := store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(9)), Token: "t"}
	first := k.place(token)[0]
	require.NoError(k, first.Err)
	token.Body = o.stage(mail(9))
	again := o.place(token)[0]
	require.NoError(k, again.Err)
	require.True(k, again.Duplicate, "tokens are known to both")
	require.Equal(k, first.UID, again.UID)
	require.NoError(k, k.st.DeleteAccount(k.Context(), "anna"))
	_, err = o.st.Account(k.Context(), "anna", "anna")
	require.ErrorIs(k, err, store.ErrNotFound)
}

// A change through one wakes those who watch through the other, and none is
// lost.
func secondWatch(k *kit) {
	k.needsSharing(Shared)
	o := k.second()
	k.account("anna")
	b := o.open("anna")
	its := o.box(b, store.Inbox)
	const n = 20
	ch := b.Watch(k.Context())
	now, err := its.Snapshot(k.Context())
	require.NoError(k, err)
	failed := make(chan error, 1)
	s := k.stage(mail(1))
	go func() {
		for range n {
			if p := k.st.Place(k.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s}}); p[0].Err != nil {
				failed <- p[0].Err
				return
			}
		}
		failed <- nil
	}()
	deadline := time.After(k.cfg.Patience)
	for now.Len() < n {
		select {
		case _, ok := <-ch:
			require.True(k, ok)
		case <-deadline:
			k.Fatalf("no wake-up after message %d of %d", now.Len(), n)
		}
		now, err = its.Snapshot(k.Context())
		require.NoError(k, err)
	}
	require.NoError(k, <-failed)
}

// Writers on both sides: no UID twice, none out of order, no flag lost.
func secondWriters(k *kit) {
	k.needsSharing(Shared)
	o := k.second()
	a := k.account("anna")
	b := o.open("anna")
	sides := []struct {
		*kit
		mb   store.Mailbox
		body store.Staged
	}{{k, k.box(a, store.Inbox), k.stage(mail(1))}, {o, o.box(b, store.Inbox), o.stage(mail(2))}}
	first := k.add(a, store.Inbox, 1, 1)[0]
	for _, side := range sides { // what is seen now must not be all that is ever seen
		require.Equal(k, 1, side.snap(side.mb).Len())
	}
	var mu sync.Mutex
	given := map[store.UID]bool{first.UID: true}
	var want []store.Flag
	var t team
	for w := range 6 {
		side := sides[w%2]
		flag := store.Flag(fmt.Sprint("writer-", w))
		want = append(want, flag)
		t.run(func() error {
			for range 12 {
				p := side.st.Place(k.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: side.body}})[0]
				if p.Err != nil {
					return p.Err
				}
				mu.Lock()
				if given[p.UID] {
					p.Err = fmt.Errorf("UID %d given twice", p.UID)
				}
				given[p.UID] = true
				mu.Unlock()
				if p.Err != nil {
					return p.Err
				}
				if _, err := side.mb.Flag(k.Context(), store.UIDs(first.UID), store.FlagUpdate{Flags: []store.Flag{flag}}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	for _, side := range sides {
		var seen *store.Snapshot
		t.until(func() error {
			now, err := side.mb.Snapshot(k.Context())
			if err == nil && seen != nil {
				err = follows(seen, now)
			}
			seen = now
			return err
		})
	}
	require.NoError(k, t.wait())
	require.Equal(k, len(given), k.snap(sides[0].mb).Len())
	require.NoError(k, sameContent(k.snap(sides[0].mb), o.snap(sides[1].mb)))
	require.Equal(k, want, sorted(k.flags(sides[0].mb, first.UID)))
}

// Items are leased to one of them only, and fences hold across both.
func secondSpool(k *kit) {
	k.needsSharing(Shared)
	sp, o := k.spool(), k.second()
	other := o.spool()
	s := k.stage(mail(1))
	now := seconds()
	const n = 60
	items := make([]store.SpoolItem, n)
	for i := range items {
		items[i] = store.SpoolItem{Body: s, Due: now.Add(time.Duration(-i) * time.Second)}
	}
	k.enqueue(sp, items...)
	require.Len(k, o.list(other), n)
	var mu sync.Mutex
	taken := map[store.ItemID]bool{}
	var t team
	for w := range 6 {
		side := []store.Spool{sp, other}[w%2]
		t.run(func() error {
			for {
				l, err := side.Lease(k.Context(), now, 1+w, time.Minute)
				if err != nil || len(l) == 0 {
					return err
				}
				mu.Lock()
				for _, i := range l {
					if taken[i.ID] {
						err = fmt.Errorf("item %d leased twice", i.ID)
					}
					taken[i.ID] = true
				}
				mu.Unlock()
				if err != nil {
					return err
				}
			}
		})
	}
	require.NoError(k, t.wait())
	require.Len(k, taken, n)
	l := o.lease(other, now.Add(2*time.Minute), 1, time.Minute) // the leases have expired
	require.Len(k, l, 1)
	_, err := sp.Settle(k.Context(), l[0].ID, l[0].Fence-1, nil, nil)
	require.ErrorIs(k, err, store.ErrConflict)
	_, err = sp.Settle(k.Context(), l[0].ID, l[0].Fence, nil, nil)
	require.NoError(k, err, "who has the fence has the lease")
	require.Len(k, o.list(other), n-1)
}

func secondLeases(k *kit) {
	k.needsSharing(Shared)
	l, o := k.leaser(), k.second()
	other := o.st.(store.Leaser)
	mine, err := l.Lease(k.Context(), "anna", "pop", time.Hour)
	require.NoError(k, err)
	_, err = other.Lease(k.Context(), "anna", "pop", time.Hour)
	require.ErrorIs(k, err, store.ErrInUse)
	require.NoError(k, mine.Release(k.Context()))
	its, err := other.Lease(k.Context(), "anna", "pop", time.Hour)
	require.NoError(k, err)
	require.Greater(k, its.Fence(), mine.Fence())
	require.ErrorIs(k, mine.Extend(k.Context(), time.Hour), store.ErrConflict)
	require.NoError(k, its.Release(k.Context()))
}
