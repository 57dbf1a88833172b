package storetest

import (
	"bytes"
	"context"
	"io"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var spoolChecks = []check{
	{"Spool/enqueue", spoolEnqueue},
	{"Spool/all-or-none", spoolAllOrNone},
	{"Spool/body", spoolBody},
	{"Spool/list", spoolList},
	{"Spool/remove", spoolRemove},
	{"Spool/hold-steer", spoolHoldSteer},
	{"Spool/next-due", spoolNextDue},
	{"Spool/limits", spoolLimits},
	{"Spool/context", spoolContext},
}

// spool gives the store's spool.
func (k *kit) spool() store.Spool {
	k.Helper()
	s, ok := k.st.(store.Spooler)
	require.True(k, ok, "the engine has no spool")
	return s.Spool()
}

func (k *kit) enqueue(sp store.Spool, items ...store.SpoolItem) []store.ItemID {
	k.Helper()
	ids, err := sp.Enqueue(k.Context(), items)
	require.NoError(k, err)
	require.Len(k, ids, len(items))
	return ids
}

func (k *kit) lease(sp store.Spool, now time.Time, most int, ttl time.Duration) []store.LeasedItem {
	k.Helper()
	l, err := sp.Lease(k.Context(), now, most, ttl)
	require.NoError(k, err)
	require.LessOrEqual(k, len(l), most)
	for _, i := range l {
		require.NotZero(k, i.Fence)
		require.WithinDuration(k, now.Add(ttl), i.Leased, time.Second, "end of the lease")
		require.False(k, i.Hold)
		require.False(k, i.Due.After(now))
	}
	return l
}

func (k *kit) list(sp store.Spool) []store.SpoolEntry {
	k.Helper()
	var all []store.SpoolEntry
	for after := store.ItemID(0); ; {
		page, err := sp.List(k.Context(), after, 3)
		require.NoError(k, err)
		require.LessOrEqual(k, len(page), 3)
		if len(page) == 0 {
			return all
		}
		for _, e := range page {
			require.Greater(k, e.ID, after, "in id order")
			after = e.ID
		}
		all = append(all, page...)
	}
}

func itemIDs[T any](items []T, id func(T) store.ItemID) []store.ItemID {
	out := []store.ItemID{}
	for _, i := range items {
		out = append(out, id(i))
	}
	return out
}

func leasedIDs(l []store.LeasedItem) []store.ItemID {
	return itemIDs(l, func(i store.LeasedItem) store.ItemID { return i.ID })
}

func entryIDs(l []store.SpoolEntry) []store.ItemID {
	return itemIDs(l, func(i store.SpoolEntry) store.ItemID { return i.ID })
}

// seconds is now with the precision every engine keeps.
func seconds() time.Time { return time.Now().Truncate(time.Second) }

func spoolEnqueue(k *kit) {
	sp := k.spool()
	require.Empty(k, k.list(sp))
	require.Empty(k, k.lease(sp, time.Now(), 10, time.Minute))
	now := seconds()
	body := k.stage(mail(1))
	item := store.SpoolItem{Due: now.Add(-time.Hour), Site: "example.org", Envelope: []byte{0, 1, 255}, Prefix: []byte("X: y\r\n"), Body: body}
	ids := k.enqueue(sp, item, store.SpoolItem{Body: body}, store.SpoolItem{Body: body, Hold: true})
	require.NotZero(k, ids[0])
	require.Less(k, ids[0], ids[1])
	require.Less(k, ids[1], ids[2])
	require.Greater(k, k.enqueue(sp, item)[0], ids[2])
	e := k.list(sp)
	require.Equal(k, ids, entryIDs(e[:3]))
	require.True(k, e[0].Due.Equal(item.Due))
	require.Equal(k, "example.org", e[0].Site)
	require.Equal(k, []byte{0, 1, 255}, e[0].Envelope)
	require.EqualValues(k, len(mail(1))+6, e[0].Size)
	require.Zero(k, e[0].Attempts)
	require.False(k, e[0].Leased.After(now))
	require.False(k, e[0].Hold)
	require.WithinDuration(k, time.Now(), e[0].Created, time.Minute)
	require.False(k, e[1].Due.After(time.Now()), "no due time means at once")
	require.Empty(k, e[1].Envelope)
	require.Empty(k, e[1].Site)
	require.True(k, e[2].Hold)
	none, err := sp.Enqueue(k.Context(), nil)
	require.NoError(k, err)
	require.Empty(k, none)
}

func spoolAllOrNone(k *kit) {
	sp := k.spool()
	good := store.SpoolItem{Body: k.stage(mail(1))}
	for _, bad := range []store.SpoolItem{
		{Body: good.Body, Site: strings.Repeat("x", 256)},
		{Body: good.Body, Envelope: make([]byte, 1<<20+1)},
		{Body: brokenStaged{good.Body}},
	} {
		_, err := sp.Enqueue(k.Context(), []store.SpoolItem{good, bad, good})
		require.Error(k, err)
		require.Empty(k, k.list(sp))
	}
	k.enqueue(sp, good, good)
	require.Len(k, k.list(sp), 2)
}

func spoolBody(k *kit) {
	sp := k.spool()
	a := k.account("anna")
	for _, size := range []int64{0, 1, 5000, 2 << 20} {
		s, err := k.st.Stage(k.Context(), &pattern{n: size})
		require.NoError(k, err)
		prefix := "Received: by us\r\n"
		ids := k.enqueue(sp, store.SpoolItem{Body: s, Prefix: []byte(prefix)}, store.SpoolItem{Body: s})
		p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: s})
		require.NoError(k, p[0].Err)
		require.NoError(k, s.Discard())
		for i, skip := range []int64{int64(len(prefix)), 0} {
			b, err := sp.Open(k.Context(), ids[i])
			require.NoError(k, err)
			require.Equal(k, size+skip, b.Size())
			head := make([]byte, skip)
			if skip > 0 {
				_, err = b.ReadAt(head, 0)
				require.True(k, err == nil || err == io.EOF, "%v", err)
				require.Equal(k, prefix, string(head))
			}
			require.NoError(k, samePattern(b, skip, size))
			// Settled meanwhile, it reads on.
			require.NoError(k, sp.Remove(k.Context(), ids[i]))
			require.NoError(k, samePattern(b, skip, size))
			require.NoError(k, b.Close())
			_, err = sp.Open(k.Context(), ids[i])
			require.ErrorIs(k, err, store.ErrNotFound)
		}
		mb := k.box(a, store.Inbox)
		b, err := mb.Open(k.Context(), k.row(k.snap(mb), p[0].UID))
		require.NoError(k, err)
		require.NoError(k, samePattern(b, 0, size), "the mailbox's copy stays")
		require.NoError(k, b.Close())
	}
	foreign, err := store.StageTemp(k.Context(), k.TempDir(), bytes.NewReader([]byte(mail(3))))
	require.NoError(k, err)
	ids := k.enqueue(sp, store.SpoolItem{Body: foreign})
	require.NoError(k, foreign.Discard())
	b, err := sp.Open(k.Context(), ids[0])
	require.NoError(k, err)
	require.Equal(k, mail(3), k.drain(b))
	_, err = sp.Open(k.Context(), 1<<40)
	require.ErrorIs(k, err, store.ErrNotFound)
}

func spoolList(k *kit) {
	sp := k.spool()
	s := k.stage(mail(1))
	now := seconds()
	var want []store.ItemID
	for i := range 10 {
		want = append(want, k.enqueue(sp, store.SpoolItem{Body: s, Due: now.Add(time.Duration(-i) * time.Hour), Hold: i%3 == 1})...)
	}
	require.Len(k, k.lease(sp, now, 2, time.Minute), 2)
	require.Equal(k, want, entryIDs(k.list(sp)), "leased and held ones too")
	part, err := sp.List(k.Context(), want[3], 4)
	require.NoError(k, err)
	require.Equal(k, want[4:8], entryIDs(part))
	part, err = sp.List(k.Context(), want[9], 4)
	require.NoError(k, err)
	require.Empty(k, part)
}

func spoolRemove(k *kit) {
	sp := k.spool()
	s := k.stage(mail(1))
	now := seconds()
	ids := k.enqueue(sp, store.SpoolItem{Body: s, Due: seconds().Add(-time.Hour)}, store.SpoolItem{Body: s, Hold: true}, store.SpoolItem{Body: s})
	l := k.lease(sp, now, 1, time.Hour)
	require.Equal(k, ids[:1], leasedIDs(l))
	require.ErrorIs(k, sp.Remove(k.Context(), ids[0]), store.ErrInUse)
	require.NoError(k, sp.Remove(k.Context(), ids[1]))
	require.ErrorIs(k, sp.Remove(k.Context(), ids[1]), store.ErrNotFound)
	_, err := sp.Settle(k.Context(), l[0].ID, l[0].Fence, &store.Reschedule{Due: now.Add(time.Hour)}, nil)
	require.NoError(k, err)
	require.NoError(k, sp.Remove(k.Context(), ids[0]), "not leased any more")
	require.Equal(k, ids[2:], entryIDs(k.list(sp)))
	require.Greater(k, k.enqueue(sp, store.SpoolItem{Body: s})[0], ids[2])
	for _, id := range entryIDs(k.list(sp)) {
		require.NoError(k, sp.Remove(k.Context(), id))
	}
	require.Greater(k, k.enqueue(sp, store.SpoolItem{Body: s})[0], ids[2]+1, "ids are never reused")
}

func spoolHoldSteer(k *kit) {
	sp := k.spool()
	ctx := k.Context()
	s := k.stage(mail(1))
	now := seconds()
	yes, no := true, false
	ids := k.enqueue(sp, store.SpoolItem{Body: s, Hold: true}, store.SpoolItem{Body: s, Due: now.Add(time.Hour)}, store.SpoolItem{Body: s, Due: now.Add(-time.Minute)})
	require.Equal(k, ids[2:], leasedIDs(k.lease(sp, now, 9, time.Minute)))
	require.NoError(k, sp.Steer(ctx, ids[0], store.Steer{Hold: &no}))
	due := now.Add(-time.Hour)
	require.NoError(k, sp.Steer(ctx, ids[1], store.Steer{Due: &due}))
	e := k.list(sp)
	require.False(k, e[0].Hold)
	require.True(k, e[1].Due.Equal(due))
	later := now.Add(time.Second)
	require.ElementsMatch(k, ids[:2], leasedIDs(k.lease(sp, later, 9, time.Minute)))
	// A leased one, for when it comes back.
	require.NoError(k, sp.Steer(ctx, ids[2], store.Steer{Hold: &yes}))
	require.NotContains(k, leasedIDs(k.lease(sp, now.Add(2*time.Hour), 9, time.Minute)), ids[2])
	require.NoError(k, sp.Steer(ctx, ids[2], store.Steer{}), "nothing to change")
	require.True(k, k.list(sp)[2].Hold)
	require.ErrorIs(k, sp.Steer(ctx, 1<<40, store.Steer{Hold: &yes}), store.ErrNotFound)
}

func spoolNextDue(k *kit) {
	sp := k.spool()
	ctx := k.Context()
	next := func() (time.Time, bool) {
		due, ok, err := sp.NextDue(ctx)
		require.NoError(k, err)
		return due, ok
	}
	is := func(want time.Time, why string) {
		k.Helper()
		due, ok := next()
		require.True(k, ok, why)
		require.True(k, due.Equal(want), "%s: %v, want %v", why, due, want)
	}
	_, ok := next()
	require.False(k, ok)
	now := seconds()
	s := k.stage(mail(1))
	k.enqueue(sp, store.SpoolItem{Body: s, Due: now.Add(-3 * time.Hour), Hold: true})
	_, ok = next()
	require.False(k, ok, "held ones do not count")
	ids := k.enqueue(sp, store.SpoolItem{Body: s, Due: now.Add(2 * time.Hour)}, store.SpoolItem{Body: s, Due: now.Add(time.Hour)})
	is(now.Add(time.Hour), "the earliest")
	l := k.lease(sp, now.Add(time.Hour), 9, 90*time.Minute)
	require.Equal(k, ids[1:], leasedIDs(l))
	is(now.Add(2*time.Hour), "the other; the lease ends later")
	require.NoError(k, sp.Extend(ctx, l[0].ID, l[0].Fence, now, 30*time.Minute))
	is(now.Add(time.Hour), "no sooner than due, though the lease ends before")
	require.NoError(k, sp.Extend(ctx, l[0].ID, l[0].Fence, now, 100*time.Minute))
	is(now.Add(100*time.Minute), "the end of the lease")
	due := now.Add(10 * time.Minute)
	require.NoError(k, sp.Steer(ctx, ids[0], store.Steer{Due: &due}))
	is(due, "steered")
	_, err := sp.Settle(ctx, l[0].ID, l[0].Fence, &store.Reschedule{Due: now.Add(5 * time.Minute)}, nil)
	require.NoError(k, err)
	is(now.Add(5*time.Minute), "settled")
	require.NoError(k, sp.Remove(ctx, ids[1]))
	is(due, "removed")
	require.NoError(k, sp.Remove(ctx, ids[0]))
	_, ok = next()
	require.False(k, ok)
	k.enqueue(sp, store.SpoolItem{Body: s})
	at, ok := next()
	require.True(k, ok)
	require.False(k, at.After(time.Now()), "at once")
}

func spoolLimits(k *kit) {
	sp := k.spool()
	s := k.stage(mail(1))
	_, err := sp.Enqueue(k.Context(), []store.SpoolItem{{Body: s, Site: strings.Repeat("x", 256)}})
	require.ErrorIs(k, err, store.ErrLimit)
	_, err = sp.Enqueue(k.Context(), []store.SpoolItem{{Body: s, Envelope: make([]byte, 1<<20+1)}})
	require.ErrorIs(k, err, store.ErrLimit)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	k.enqueue(sp, store.SpoolItem{Body: s, Site: strings.Repeat("x", 255), Envelope: big})
	l := k.lease(sp, time.Now().Add(time.Second), 1, time.Minute)
	require.Len(k, l, 1)
	require.Equal(k, big, l[0].Envelope)
	_, err = sp.Settle(k.Context(), l[0].ID, l[0].Fence, &store.Reschedule{Site: strings.Repeat("x", 256)}, nil)
	require.ErrorIs(k, err, store.ErrLimit)
	_, err = sp.Settle(k.Context(), l[0].ID, l[0].Fence, nil, nil)
	require.NoError(k, err, "the lease was kept")
}

func spoolContext(k *kit) {
	sp := k.spool()
	item := store.SpoolItem{Body: k.stage(mail(1))}
	if _, err := sp.Enqueue(k.ended(), []store.SpoolItem{item}); err != nil {
		require.ErrorIs(k, err, context.Canceled)
	}
	_, err := sp.Lease(k.ended(), time.Now(), 1, time.Minute)
	if err != nil {
		require.ErrorIs(k, err, context.Canceled)
	}
	_, err = sp.List(k.ended(), 0, 10)
	if err != nil {
		require.ErrorIs(k, err, context.Canceled)
	}
	k.enqueue(sp, item)
	require.NotEmpty(k, k.list(sp), "the spool still works")
}
