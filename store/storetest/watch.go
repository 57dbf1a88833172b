package storetest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var watchChecks = []check{
	{"Watch/every-mutation", watchMutations},
	{"Watch/no-lost-wake-up", watchLosesNothing},
	{"Watch/ends", watchEnds},
}

func watchMutations(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	ch, other := a.Watch(ctx), k.open("anna").Watch(ctx)
	p := k.add(a, store.Inbox, 1, 3)
	for what, mutate := range map[string]func() error{
		"place": func() error {
			return k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(4))})[0].Err
		},
		"flag": func() error {
			_, err := mb.Flag(ctx, store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{store.FlagSeen}})
			return err
		},
		"copy":      func() error { _, err := mb.Copy(ctx, store.UIDs(p[0].UID), mb.ID()); return err },
		"move":      func() error { _, err := mb.Move(ctx, store.UIDs(p[1].UID), mb.ID()); return err },
		"expunge":   func() error { _, err := mb.Expunge(ctx, store.UIDs(p[2].UID)); return err },
		"create":    func() error { _, err := a.Create(ctx, "new", store.CreateOptions{}); return err },
		"subscribe": func() error { return a.Subscribe(ctx, "x", true) },
	} {
		for len(ch) > 0 {
			<-ch
		}
		require.NoError(k, mutate(), what)
		require.True(k, k.receive(ch), what)
	}
	require.True(k, k.receive(other), "each watcher by itself")
}

// Whoever looks after Watch and after each wake-up sees the last commit.
func watchLosesNothing(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	const n = 60
	s := k.stage(mail(1))
	failed := make(chan error, 1)
	go func() {
		for range n {
			if p := k.st.Place(k.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s}}); p[0].Err != nil {
				failed <- p[0].Err
				return
			}
		}
		failed <- nil
	}()
	ch := a.Watch(k.Context())
	deadline := time.After(k.cfg.Patience)
	for {
		now, err := mb.Snapshot(k.Context())
		require.NoError(k, err)
		if now.Len() == n {
			break
		}
		select {
		case _, ok := <-ch:
			require.True(k, ok)
		case <-deadline:
			k.Fatalf("no wake-up after message %d of %d", now.Len(), n)
		}
	}
	require.NoError(k, <-failed)
}

func watchEnds(k *kit) {
	a := k.account("anna")
	ctx, cancel := context.WithCancel(k.Context())
	one, two := a.Watch(ctx), a.Watch(k.Context())
	cancel()
	k.closed(one)
	k.closed(a.Watch(k.ended()))
	k.add(a, store.Inbox, 1, 1)
	require.True(k, k.receive(two))
	for i := range 50 { // come and go
		ctx, cancel := context.WithCancel(k.Context())
		ch := a.Watch(ctx)
		if i%2 == 0 {
			k.add(a, store.Inbox, i, 1)
		}
		cancel()
		k.closed(ch)
	}
	require.NoError(k, k.st.Close())
	k.closed(two)
	k.closed(a.Watch(context.Background()))
}

func watchSpool(k *kit) {
	sp := k.spool()
	ctx, cancel := context.WithCancel(k.Context())
	defer cancel()
	ch := sp.Watch(ctx)
	empty := func() {
		for len(ch) > 0 {
			<-ch
		}
	}
	now := seconds().Add(time.Second)
	ids := k.enqueue(sp, store.SpoolItem{Body: k.stage(mail(1))}, store.SpoolItem{Body: k.stage(mail(2))})
	require.True(k, k.receive(ch), "enqueued")
	empty()
	l := k.lease(sp, now, 1, time.Minute)
	require.Len(k, l, 1)
	empty()
	_, err := sp.Settle(ctx, l[0].ID, l[0].Fence, &store.Reschedule{Due: now.Add(time.Hour)}, nil)
	require.NoError(k, err)
	require.True(k, k.receive(ch), "settled")
	empty()
	hold := true
	require.NoError(k, sp.Steer(ctx, ids[1], store.Steer{Hold: &hold}))
	require.True(k, k.receive(ch), "steered")
	cancel()
	k.closed(ch)
	rest := sp.Watch(context.Background())
	require.NoError(k, k.st.Close())
	k.closed(rest)
	k.closed(sp.Watch(context.Background()))
}

// A queue that leases all there is, and sleeps until it is woken, sees the
// last item.
func watchSpoolLosesNothing(k *kit) {
	sp := k.spool()
	s := k.stage(mail(1))
	const writers, each = 4, 15
	var t team
	for range writers {
		t.run(func() error {
			for range each {
				if _, err := sp.Enqueue(k.Context(), []store.SpoolItem{{Body: s}}); err != nil {
					return err
				}
			}
			return nil
		})
	}
	ch := sp.Watch(k.Context())
	deadline := time.After(k.cfg.Patience)
	for seen := 0; seen < writers*each; {
		l, err := sp.Lease(k.Context(), time.Now().Add(time.Second), 7, time.Hour)
		require.NoError(k, err)
		if seen += len(l); len(l) > 0 {
			continue
		}
		select {
		case _, ok := <-ch:
			require.True(k, ok)
		case <-deadline:
			k.Fatalf("no wake-up after item %d of %d", seen, writers*each)
		}
	}
	require.NoError(k, t.wait())
}
