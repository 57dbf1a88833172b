package storetest

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var spoolLeaseChecks = []check{
	{"Spool/lease-order", leaseOrder},
	{"Spool/lease-except", leaseExcept},
	{"Spool/lease-expiry", leaseExpiry},
	{"Spool/settle", leaseSettle},
	{"Spool/settle-enqueue", leaseSettleEnqueue},
	{"Spool/lost-lease", leaseLost},
	{"Spool/concurrent", leaseConcurrent},
	{"Spool/concurrent-work", leaseConcurrentWork},
}

// Oldest due first; what is not due yet stays.
func leaseOrder(k *kit) {
	sp := k.spool()
	s := k.stage(mail(1))
	now := seconds()
	var items []store.SpoolItem
	offsets := []int{3, -5, -1, -9, 0, -2, 1, -7}
	for _, o := range offsets {
		items = append(items, store.SpoolItem{Body: s, Due: now.Add(time.Duration(o) * time.Minute), Site: fmt.Sprint(o)})
	}
	k.enqueue(sp, items...)
	var got []string
	for range 4 {
		for _, l := range k.lease(sp, now, 2, time.Hour) {
			require.Equal(k, 1, l.Attempts)
			got = append(got, l.Site)
		}
	}
	require.Equal(k, []string{"-9", "-7", "-5", "-2", "-1", "0"}, got)
	require.Empty(k, k.lease(sp, now.Add(time.Minute-time.Second), 9, time.Hour))
	l := k.lease(sp, now.Add(time.Minute), 9, time.Hour)
	require.Len(k, l, 1)
	require.Equal(k, "1", l[0].Site)
}

// Sites can be left out, by Lease and by NextDue; a rescheduled item counts
// for its new site.
func leaseExcept(k *kit) {
	sp, s, now := k.spool(), k.stage(mail(1)), seconds()
	ctx := k.Context()
	var items []store.SpoolItem
	for i, site := range []string{"busy", "busy", "free", "busy", "other"} {
		items = append(items, store.SpoolItem{Body: s, Due: now.Add(time.Duration(i-9) * time.Minute), Site: site})
	}
	k.enqueue(sp, items...)
	due, ok, err := sp.NextDue(ctx, "busy", "nowhere")
	require.NoError(k, err)
	require.True(k, ok)
	require.WithinDuration(k, now.Add(-7*time.Minute), due, 0)
	_, ok, err = sp.NextDue(ctx, "busy", "free", "other")
	require.NoError(k, err)
	require.False(k, ok)
	l, err := sp.Lease(ctx, now, 9, time.Hour, "busy", "nowhere")
	require.NoError(k, err)
	require.Len(k, l, 2)
	require.Equal(k, "free", l[0].Site)
	require.Equal(k, "other", l[1].Site)
	_, err = sp.Settle(ctx, l[0].ID, l[0].Fence, &store.Reschedule{Due: now, Site: "busy"}, nil)
	require.NoError(k, err)
	l, err = sp.Lease(ctx, now, 9, time.Hour, "busy")
	require.NoError(k, err)
	require.Empty(k, l)
	require.Len(k, k.lease(sp, now, 9, time.Hour), 4)
}

func leaseExpiry(k *kit) {
	sp := k.spool()
	ctx := k.Context()
	now := seconds()
	id := k.enqueue(sp, store.SpoolItem{Body: k.stage(mail(1)), Due: now})[0]
	first := k.lease(sp, now, 1, time.Minute)
	require.Len(k, first, 1)
	require.Empty(k, k.lease(sp, now.Add(59*time.Second), 1, time.Minute))
	require.NoError(k, sp.Extend(ctx, id, first[0].Fence, now.Add(50*time.Second), time.Minute))
	require.Empty(k, k.lease(sp, now.Add(109*time.Second), 1, time.Minute))
	second := k.lease(sp, now.Add(111*time.Second), 1, time.Minute)
	require.Len(k, second, 1, "expired")
	require.Equal(k, id, second[0].ID)
	require.Greater(k, second[0].Fence, first[0].Fence)
	require.Equal(k, 2, second[0].Attempts)
	require.ErrorIs(k, sp.Extend(ctx, id, first[0].Fence, now.Add(111*time.Second), time.Hour), store.ErrConflict)
	require.NoError(k, sp.Extend(ctx, id, second[0].Fence, now.Add(112*time.Second), time.Hour))
	require.ErrorIs(k, sp.Extend(ctx, id, second[0].Fence+1, now, time.Hour), store.ErrConflict)
	require.True(k, isAny(sp.Extend(ctx, 1<<40, 1, now, time.Hour), store.ErrConflict, store.ErrNotFound))
}

func leaseSettle(k *kit) {
	sp := k.spool()
	ctx := k.Context()
	now := seconds()
	s := k.stage(mail(1))
	ids := k.enqueue(sp, store.SpoolItem{Body: s, Due: now, Site: "a", Envelope: []byte("one")}, store.SpoolItem{Body: s, Due: now})
	l := k.lease(sp, now, 2, time.Minute)
	require.Len(k, l, 2)
	next := store.Reschedule{Due: now.Add(time.Hour), Site: "b", Envelope: []byte("two")}
	none, err := sp.Settle(ctx, ids[0], l[0].Fence, &next, nil)
	require.NoError(k, err)
	require.Empty(k, none)
	copy(next.Envelope, "xxx") // it is the caller's again
	_, err = sp.Settle(ctx, ids[1], l[1].Fence, nil, nil)
	require.NoError(k, err)
	e := k.list(sp)
	require.Equal(k, ids[:1], entryIDs(e))
	require.True(k, e[0].Due.Equal(now.Add(time.Hour)))
	require.Equal(k, "b", e[0].Site)
	require.Equal(k, "two", string(e[0].Envelope))
	require.Equal(k, 1, e[0].Attempts)
	require.False(k, e[0].Leased.After(now), "not leased any more: %v", e[0].Leased)
	require.Empty(k, k.lease(sp, now.Add(59*time.Minute), 2, time.Minute))
	again := k.lease(sp, now.Add(time.Hour), 2, time.Minute)
	require.Len(k, again, 1)
	require.Equal(k, 2, again[0].Attempts)
	require.Greater(k, again[0].Fence, l[0].Fence)
	_, err = sp.Settle(ctx, again[0].ID, again[0].Fence, &store.Reschedule{Due: now, Hold: true}, nil)
	require.NoError(k, err)
	require.Empty(k, k.lease(sp, now.Add(9*time.Hour), 2, time.Minute), "held")
	require.True(k, k.list(sp)[0].Hold)
}

// The next state and what is added are one commit.
func leaseSettleEnqueue(k *kit) {
	sp := k.spool()
	ctx := k.Context()
	now := seconds()
	s := k.stage(mail(1))
	id := k.enqueue(sp, store.SpoolItem{Body: s, Due: now})[0]
	l := k.lease(sp, now, 1, time.Minute)
	bounce := store.SpoolItem{Body: k.stage(mail(2)), Due: now, Site: "bounce"}
	_, err := sp.Settle(ctx, id, l[0].Fence, nil, []store.SpoolItem{bounce, {Body: s, Site: string(make([]byte, 256))}})
	require.ErrorIs(k, err, store.ErrLimit)
	_, err = sp.Settle(ctx, id, l[0].Fence, nil, []store.SpoolItem{bounce, {Body: brokenStaged{s}}})
	require.Error(k, err)
	require.Equal(k, []store.ItemID{id}, entryIDs(k.list(sp)), "nothing done")
	_, err = sp.Settle(ctx, id, l[0].Fence+1, nil, []store.SpoolItem{bounce})
	require.ErrorIs(k, err, store.ErrConflict)
	require.Equal(k, []store.ItemID{id}, entryIDs(k.list(sp)), "nothing done")
	ids, err := sp.Settle(ctx, id, l[0].Fence, nil, []store.SpoolItem{bounce, bounce})
	require.NoError(k, err)
	require.Len(k, ids, 2)
	require.Greater(k, ids[0], id)
	require.Equal(k, ids, entryIDs(k.list(sp)))
	b, err := sp.Open(ctx, ids[1])
	require.NoError(k, err)
	require.Equal(k, mail(2), k.drain(b))
}

// A lessee that comes too late changes nothing.
func leaseLost(k *kit) {
	sp := k.spool()
	ctx := k.Context()
	now := seconds()
	id := k.enqueue(sp, store.SpoolItem{Body: k.stage(mail(1)), Due: now, Site: "a"})[0]
	late := k.lease(sp, now, 1, time.Minute)[0]
	holder := k.lease(sp, now.Add(2*time.Minute), 1, time.Minute)[0]
	_, err := sp.Settle(ctx, id, late.Fence, nil, nil)
	require.ErrorIs(k, err, store.ErrConflict)
	_, err = sp.Settle(ctx, id, late.Fence, &store.Reschedule{Due: now, Site: "late"}, []store.SpoolItem{{Body: k.stage(mail(2))}})
	require.ErrorIs(k, err, store.ErrConflict)
	e := k.list(sp)
	require.Equal(k, []store.ItemID{id}, entryIDs(e))
	require.Equal(k, "a", e[0].Site)
	_, err = sp.Settle(ctx, id, holder.Fence, nil, nil)
	require.NoError(k, err)
	_, err = sp.Settle(ctx, id, holder.Fence, nil, nil)
	require.True(k, isAny(err, store.ErrConflict, store.ErrNotFound), "twice: %v", err)
}

// 16 lessees never share an item.
func leaseConcurrent(k *kit) {
	sp := k.spool()
	now := seconds()
	s := k.stage(mail(1))
	items := make([]store.SpoolItem, 200)
	for i := range items {
		items[i] = store.SpoolItem{Body: s, Due: now.Add(time.Duration(-i) * time.Second)}
	}
	k.enqueue(sp, items...)
	var t team
	var mu sync.Mutex
	taken := map[store.ItemID]bool{}
	for w := range 16 {
		t.run(func() error {
			for {
				l, err := sp.Lease(k.Context(), now, 1+w%5, time.Hour)
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
	require.Len(k, taken, len(items))
}

// Lessees that settle, fail and are overtaken: each item ends exactly once.
func leaseConcurrentWork(k *kit) {
	sp := k.spool()
	ctx := k.Context()
	s := k.stage(mail(1))
	const n = 60
	items := make([]store.SpoolItem, n)
	for i := range items {
		items[i] = store.SpoolItem{Body: s, Due: seconds().Add(-time.Hour)}
	}
	k.enqueue(sp, items...)
	var mu sync.Mutex
	done, clock := map[store.ItemID]int{}, seconds()
	tick := func() time.Time { // leases of a second expire now and then
		mu.Lock()
		defer mu.Unlock()
		clock = clock.Add(200 * time.Millisecond)
		return clock
	}
	var t team
	for w := range 8 {
		t.run(func() error {
			for step := 0; ; step++ {
				l, err := sp.Lease(ctx, tick(), 3, time.Second)
				if err != nil {
					return err
				}
				if len(l) == 0 {
					mu.Lock()
					ready := len(done) == n
					mu.Unlock()
					if ready {
						return nil
					}
					continue
				}
				for _, i := range l {
					var next *store.Reschedule
					switch (step + w + int(i.ID)) % 4 {
					case 0:
						continue // dies with its lease
					case 1:
						next = &store.Reschedule{Due: i.Due}
					}
					_, err := sp.Settle(ctx, i.ID, i.Fence, next, nil)
					if err != nil && !errors.Is(err, store.ErrConflict) && !errors.Is(err, store.ErrNotFound) {
						return err
					}
					if err == nil && next == nil {
						mu.Lock()
						done[i.ID]++
						mu.Unlock()
					}
				}
			}
		})
	}
	require.NoError(k, t.wait())
	require.Len(k, done, n)
	for id, times := range done {
		require.Equal(k, 1, times, "item %d", id)
	}
	require.Empty(k, k.list(sp))
}
