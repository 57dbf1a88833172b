package storetest

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var lifecycleChecks = []check{
	{"Close/later-calls", closeLater},
	{"Close/under-way", closeUnderWay},
	{"Context/ended", contextEnded},
}

// calls is every call of the contract that can fail with the store's state.
func (k *kit) calls(a store.Account, mb store.Mailbox, s store.Staged, row store.Row) map[string]func(ctx context.Context) error {
	return map[string]func(ctx context.Context) error{
		"Stage": func(ctx context.Context) error { _, err := k.st.Stage(ctx, strings.NewReader("x")); return err },
		"Place": func(ctx context.Context) error {
			return k.st.Place(ctx, []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s}})[0].Err
		},
		"Account":       func(ctx context.Context) error { _, err := k.st.Account(ctx, "anna", "anna"); return err },
		"CreateAccount": func(ctx context.Context) error { return k.st.CreateAccount(ctx, "zoe") },
		"DeleteAccount": func(ctx context.Context) error { return k.st.DeleteAccount(ctx, "bob") },
		"Accounts": func(ctx context.Context) error {
			for _, err := range k.st.Accounts(ctx) {
				return err
			}
			return nil
		},
		"Mailboxes": func(ctx context.Context) error { _, err := a.Mailboxes(ctx); return err },
		"Mailbox":   func(ctx context.Context) error { _, err := a.Mailbox(ctx, store.Inbox); return err },
		"Create": func(ctx context.Context) error {
			_, err := a.Create(ctx, "new", store.CreateOptions{})
			return err
		},
		"Rename":          func(ctx context.Context) error { return a.Rename(ctx, "Lists", "New") },
		"Delete":          func(ctx context.Context) error { return a.Delete(ctx, "Gone") },
		"Subscribe":       func(ctx context.Context) error { return a.Subscribe(ctx, "x", true) },
		"Subscriptions":   func(ctx context.Context) error { _, err := a.Subscriptions(ctx); return err },
		"Account.Changes": func(ctx context.Context) error { _, err := a.Changes(ctx, 1); return err },
		"Info":            func(ctx context.Context) error { _, err := mb.Info(ctx); return err },
		"Snapshot":        func(ctx context.Context) error { _, err := mb.Snapshot(ctx); return err },
		"Changes":         func(ctx context.Context) error { _, err := mb.Changes(ctx, 1); return err },
		"Open": func(ctx context.Context) error {
			b, err := mb.Open(ctx, row)
			if err == nil {
				b.Close()
			}
			return err
		},
		"Details": func(ctx context.Context) error {
			for _, err := range mb.Details(ctx, []store.Row{row}) {
				return err
			}
			return nil
		},
		"Flag": func(ctx context.Context) error {
			_, err := mb.Flag(ctx, store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{store.FlagSeen}})
			return err
		},
		"Expunge": func(ctx context.Context) error {
			_, err := mb.Expunge(ctx, store.AllUIDs(), store.FlagDeleted)
			return err
		},
		"Copy": func(ctx context.Context) error { _, err := mb.Copy(ctx, store.AllUIDs(), mb.ID()); return err },
		"Move": func(ctx context.Context) error { _, err := mb.Move(ctx, store.AllUIDs(), mb.ID()); return err },
	}
}

func (k *kit) allCalls() map[string]func(ctx context.Context) error {
	a := k.account("anna")
	k.account("bob")
	k.create(a, "Lists")
	k.create(a, "Gone")
	mb := k.box(a, store.Inbox)
	k.add(a, store.Inbox, 1, 2)
	return k.calls(a, mb, k.stage(mail(9)), k.snap(mb).At(0))
}

func closeLater(k *kit) {
	calls := k.allCalls()
	require.NoError(k, k.st.Close())
	for name, call := range calls {
		require.ErrorIs(k, call(context.Background()), store.ErrUnavailable, name)
	}
}

func closeSpool(k *kit) {
	sp := k.spool()
	ctx := context.Background()
	s := k.stage(mail(1))
	id := k.enqueue(sp, store.SpoolItem{Body: s})[0]
	require.NoError(k, k.st.Close())
	_, err := sp.Enqueue(ctx, []store.SpoolItem{{Body: s}})
	require.ErrorIs(k, err, store.ErrUnavailable)
	_, err = sp.Lease(ctx, time.Now(), 1, time.Minute)
	require.ErrorIs(k, err, store.ErrUnavailable)
	require.ErrorIs(k, sp.Extend(ctx, id, 1, time.Now(), time.Minute), store.ErrUnavailable)
	_, err = sp.Settle(ctx, id, 1, nil, nil)
	require.ErrorIs(k, err, store.ErrUnavailable)
	_, _, err = sp.NextDue(ctx)
	require.ErrorIs(k, err, store.ErrUnavailable)
	_, err = sp.Open(ctx, id)
	require.ErrorIs(k, err, store.ErrUnavailable)
	_, err = sp.List(ctx, 0, 1)
	require.ErrorIs(k, err, store.ErrUnavailable)
	require.ErrorIs(k, sp.Steer(ctx, id, store.Steer{}), store.ErrUnavailable)
	require.ErrorIs(k, sp.Remove(ctx, id), store.ErrUnavailable)
}

// Calls that run while the store closes succeed or say that they did not.
func closeUnderWay(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	s := k.stage(mail(1))
	var t team
	var filed atomic.Int32
	for range 8 {
		t.run(func() error {
			for {
				p := k.st.Place(context.Background(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s}})
				if errors.Is(p[0].Err, store.ErrUnavailable) {
					return nil
				}
				if p[0].Err != nil {
					return p[0].Err
				}
				filed.Add(1)
				if _, err := mb.Snapshot(context.Background()); err != nil && !errors.Is(err, store.ErrUnavailable) {
					return err
				}
			}
		})
	}
	for filed.Load() < 20 {
		select {
		case <-k.Context().Done():
			k.Fatal("the test ends")
		case <-time.After(time.Millisecond):
		}
		t.mu.Lock()
		n := len(t.errs)
		t.mu.Unlock()
		if n > 0 {
			break
		}
	}
	require.NoError(k, k.st.Close())
	require.NoError(k, t.wait())
	if k.cfg.Reopen != nil {
		k.st = k.cfg.Reopen(k, k.st)
		got := k.snap(k.box(k.open("anna"), store.Inbox)).Len()
		require.EqualValues(k, filed.Load(), got, "what was acknowledged is there")
	}
}

// A call whose context has ended fails with its error or has succeeded.
func contextEnded(k *kit) {
	for name, call := range k.allCalls() {
		if err := call(k.ended()); err != nil {
			require.ErrorIs(k, err, context.Canceled, name)
		}
	}
	for range k.st.Accounts(k.ended()) { // ends, with or without an error
	}
	a := k.open("anna")
	k.add(a, store.Inbox, 5, 1)
	k.snap(k.box(a, store.Inbox))
	require.Contains(k, k.names(a), store.Inbox)
}
