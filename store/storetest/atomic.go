package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var atomicChecks = []check{
	{"Atomic/move", atomicMove},
	{"Atomic/copy", atomicCopy},
	{"Atomic/replace", atomicReplace},
	{"Atomic/unchanged-since", atomicUnchangedSince},
	{"Atomic/recreate", atomicRecreate},
}

// Messages that move from one mailbox to another are in one of them at every
// moment: who does not find one in the source finds it in the destination, and
// who finds it in the destination does not find it in the source any more.
func atomicMove(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	from, to := k.box(a, store.Inbox), k.create(a, "To")
	const messages = 60
	s := k.stage(mail(1))
	targets := make([]store.Target, messages)
	for i := range targets {
		targets[i] = store.Target{Account: "anna", Mailbox: store.Inbox, Body: s, Flags: []store.Flag{store.Flag(fmt.Sprint("k", i%50))}, Date: seconds().AddDate(0, 0, -i)}
	}
	for _, p := range k.place(targets...) {
		require.NoError(k, p.Err)
	}
	all := uids(k.snap(from))
	dates := func(mb store.Mailbox) (map[int64]bool, error) { // each message has its own
		now, err := mb.Snapshot(ctx)
		if err != nil {
			return nil, err
		}
		m := map[int64]bool{}
		for _, r := range now.All() {
			if m[r.Date] {
				return nil, fmt.Errorf("a message twice in mailbox %d", mb.ID())
			}
			m[r.Date] = true
		}
		return m, nil
	}
	var t team
	for w := range 4 {
		t.run(func() error {
			for i := w; i < messages; i += 4 {
				pair := store.UIDs(all[i], all[(i+1)%messages]) // two fight for each
				if _, err := from.Move(ctx, pair, to.ID()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	t.until(func() error {
		src, err := dates(from)
		if err != nil {
			return err
		}
		dst, err := dates(to)
		for _, target := range targets {
			if d := target.Date.Unix(); err == nil && !src[d] && !dst[d] {
				err = errors.New("a message is in neither mailbox")
			}
		}
		return err
	})
	t.until(func() error {
		dst, err := dates(to)
		if err != nil {
			return err
		}
		src, err := dates(from)
		for d := range dst {
			if err == nil && src[d] {
				err = errors.New("a message is in both mailboxes")
			}
		}
		return err
	})
	require.NoError(k, t.wait())
	require.Zero(k, k.snap(from).Len())
	require.Equal(k, messages, k.snap(to).Len())
}

// All messages of one copy appear together, each whole.
func atomicCopy(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	from, to := k.box(a, store.Inbox), k.create(a, "To")
	const messages = 9
	s := k.stage(mail(1))
	for i := range messages {
		p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: s, Flags: []store.Flag{store.Flag(fmt.Sprint("k", i))}})
		require.NoError(k, p[0].Err)
	}
	var t team
	for range 4 {
		t.run(func() error {
			for range 12 {
				c, err := from.Copy(ctx, store.AllUIDs(), to.ID())
				if err == nil && len(c.To) != messages {
					err = fmt.Errorf("%d of %d copied", len(c.To), messages)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	for range 2 {
		t.until(func() error {
			now, err := to.Snapshot(ctx)
			if err != nil {
				return err
			}
			if now.Len()%messages != 0 {
				return fmt.Errorf("%d messages, not a multiple of %d", now.Len(), messages)
			}
			for i, r := range now.All() {
				if f := now.Flags(r.Flags); len(f) != 1 || f[0] != store.Flag(fmt.Sprint("k", i%messages)) {
					return fmt.Errorf("copy %d has flags %v", i, f)
				}
			}
			return nil
		})
	}
	require.NoError(k, t.wait())
	require.Equal(k, 4*12*messages, k.snap(to).Len())
}

// A draft that is replaced again and again is there exactly once at every
// moment (RFC 8508).
func atomicReplace(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	k.add(a, store.Inbox, 1, 1)
	s := k.stage(mail(2))
	var t team
	var replaced atomic.Int32
	for range 4 {
		t.run(func() error {
			for range 15 {
				now, err := mb.Snapshot(ctx)
				if err != nil {
					return err
				}
				p := k.st.Place(ctx, []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s, Replaces: now.At(0).UID, ReplacesIn: mb.ID()}})
				if p[0].Err == nil {
					replaced.Add(1)
				} else if !errors.Is(p[0].Err, store.ErrNotFound) { // another was faster
					return p[0].Err
				}
			}
			return nil
		})
	}
	var seen *store.Snapshot
	t.until(func() error {
		now, err := mb.Snapshot(ctx)
		if err != nil {
			return err
		}
		if now.Len() != 1 {
			return fmt.Errorf("%d messages, not one", now.Len())
		}
		if seen != nil {
			err = follows(seen, now)
		}
		seen = now
		return err
	})
	require.NoError(k, t.wait())
	require.Positive(k, replaced.Load())
	now := k.snap(mb)
	require.Equal(k, 1, now.Len())
	require.EqualValues(k, replaced.Load(), k.changes(mb, 0).Vanished.Len(), "each replacement removes one")
}

// A counter kept in a flag, changed by 8 at once only where it is unchanged
// since it was read, loses no step: the changes that succeeded are a chain.
func atomicUnchangedSince(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	const values = 20
	value := func(n int) store.Flag { return store.Flag(fmt.Sprint("n", n%values)) }
	p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(1)), Flags: []store.Flag{value(0)}})[0]
	require.NoError(k, p.Err)
	type change struct {
		at   store.ModSeq
		from int
	}
	var mu sync.Mutex
	var done []change
	var t team
	for range 8 {
		t.run(func() error {
			for range 25 {
				now, err := mb.Snapshot(ctx)
				if err != nil {
					return err
				}
				row := now.At(0)
				from := -1
				for n := range values {
					if slices.Contains(now.Flags(row.Flags), value(n)) {
						from = n
					}
				}
				f, err := mb.Flag(ctx, store.UIDs(p.UID), store.FlagUpdate{Op: store.FlagsReplace, Flags: []store.Flag{value(from + 1)}, UnchangedSince: &row.ModSeq})
				if err != nil {
					return err
				}
				if f.Changed.Len()+f.Failed.Len() != 1 {
					return fmt.Errorf("changed %v, failed %v: one of them", f.Changed, f.Failed)
				}
				if f.Changed.Len() == 1 {
					mu.Lock()
					done = append(done, change{f.ModSeq, from})
					mu.Unlock()
				}
			}
			return nil
		})
	}
	require.NoError(k, t.wait())
	slices.SortFunc(done, func(a, b change) int { return cmp.Compare(a.at, b.at) })
	for i, c := range done {
		require.Equal(k, i%values, c.from, "change %d of %d began from what the one before it had made", i, len(done))
		require.True(k, i == 0 || c.at > done[i-1].at, "two changes with mod-sequence %d", c.at)
	}
	require.Equal(k, []store.Flag{value(len(done))}, k.flags(mb, p.UID))
}

// Names that come and go under several hands: ids are never reused, and no
// name has the same UIDVALIDITY twice.
func atomicRecreate(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	s := k.stage(mail(1))
	var mu sync.Mutex
	ids, lives := map[store.MailboxID]string{}, map[string]store.MailboxID{}
	born := func(i store.MailboxInfo) error {
		mu.Lock()
		defer mu.Unlock()
		life := fmt.Sprint(i.Name, " ", i.UIDValidity)
		if other, ok := ids[i.ID]; ok {
			return fmt.Errorf("id %d of %s was that of %s", i.ID, life, other)
		}
		if other, ok := lives[life]; ok {
			return fmt.Errorf("UIDVALIDITY of %s, id %d, was that of id %d", life, i.ID, other)
		}
		ids[i.ID], lives[life] = life, i.ID
		return nil
	}
	harmless := func(err error) error { // others were faster
		if isAny(err, store.ErrExists, store.ErrNotFound) {
			return nil
		}
		return err
	}
	var t team
	for w := range 6 {
		t.run(func() error {
			for i := range 20 {
				name, other := fmt.Sprint("box", (w+i)%3), fmt.Sprint("box", (w+i+1)%3)
				info, err := a.Create(ctx, name, store.CreateOptions{})
				if err == nil {
					err = born(info)
				}
				if harmless(err) != nil {
					return err
				}
				if err := harmless(k.st.Place(ctx, []store.Target{{Account: "anna", Mailbox: name, Body: s}})[0].Err); err != nil {
					return err
				}
				switch i % 3 {
				case 0:
					err = a.Rename(ctx, name, other)
				case 1:
					err = a.Delete(ctx, other)
				default:
					err = a.Delete(ctx, name)
				}
				if harmless(err) != nil {
					return err
				}
			}
			return nil
		})
	}
	t.until(func() error { // a mailbox keeps its UIDVALIDITY for life
		infos, err := a.Mailboxes(ctx)
		for _, i := range infos {
			mu.Lock()
			life, ok := ids[i.ID]
			mu.Unlock()
			if v := fmt.Sprint(" ", i.UIDValidity); err == nil && ok && !strings.HasSuffix(life, v) {
				err = fmt.Errorf("id %d was %s, is%s", i.ID, life, v)
			}
		}
		return err
	})
	require.NoError(k, t.wait())
	require.NotEmpty(k, ids)
	for _, name := range k.names(a) {
		k.snap(k.box(a, name))
	}
}
