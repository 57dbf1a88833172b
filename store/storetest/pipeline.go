package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var pipelineChecks = []check{
	{"Pipeline/order", pipelineOrder},
	{"Pipeline/results", pipelineResults},
	{"Pipeline/tokens", pipelineTokens},
	{"Pipeline/context", pipelineContext},
	{"Pipeline/writers", pipelineWriters},
	{"Pipeline/close", pipelineClose},
}

// later begins to place; what is staged is discarded once that is done.
func (k *kit) later(ctx context.Context, targets ...store.Target) func() []store.Placed {
	k.Helper()
	p, ok := k.st.(store.Pipeliner)
	require.True(k, ok, "the engine is no Pipeliner")
	wait := p.PlaceLater(ctx, targets)
	return func() []store.Placed {
		k.Helper()
		placed := wait()
		require.Len(k, placed, len(targets), "one result per target")
		return placed
	}
}

// Calls made one after another are filed in that order, in whatever order
// somebody asks for the outcome.
func pipelineOrder(k *kit) {
	a := k.account("anna")
	b := k.account("bob")
	mb := k.box(a, store.Inbox)
	before := k.snap(mb)
	const n = 30
	var waits []func() []store.Placed
	for i := range n {
		body := mail(i)
		if i%5 == 4 {
			body += string(make([]byte, 300_000)) // what is large must not fall behind
		}
		one := store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(body)}
		two := store.Target{Account: "bob", Mailbox: store.Inbox, Body: one.Body}
		waits = append(waits, k.later(k.Context(), one, two))
	}
	placed := make([][]store.Placed, n)
	for i := range slices.Backward(waits) {
		placed[i] = waits[i]()
		for j, p := range placed[i] {
			require.NoError(k, p.Err)
			s := k.snap(k.box([]store.Account{a, b}[j], store.Inbox))
			require.GreaterOrEqual(k, s.ModSeq(), p.ModSeq, "what is done is to be seen")
			require.Equal(k, p.ModSeq, k.row(s, p.UID).Created)
		}
	}
	after := k.snap(mb)
	require.NoError(k, follows(before, after))
	for i := range n {
		require.Equal(k, after.At(i).UID, placed[i][0].UID, "call %d", i)
		require.Equal(k, mail(i), k.body(mb, after.At(i))[:len(mail(i))])
		if i > 0 {
			require.Greater(k, placed[i][0].UID, placed[i-1][0].UID)
			require.Greater(k, placed[i][1].UID, placed[i-1][1].UID)
			require.GreaterOrEqual(k, placed[i][0].ModSeq, placed[i-1][0].ModSeq)
		}
	}
}

// Each call has its own outcome: what fails takes nothing with it.
func pipelineResults(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	k.create(a, "Lists")
	t := func(mailbox string, n int) store.Target {
		return store.Target{Account: "anna", Mailbox: mailbox, Body: k.stage(mail(n))}
	}
	old := k.add(a, store.Inbox, 0, 1)[0]
	replace := t(store.Inbox, 5)
	replace.Replaces, replace.ReplacesIn = old.UID, mb.ID()
	bad := t(store.Inbox, 6)
	bad.Flags = []store.Flag{`\Recent`}
	calls := []struct {
		targets []store.Target
		err     error
	}{
		{[]store.Target{t(store.Inbox, 1)}, nil},
		{[]store.Target{t(store.Inbox, 2), t("missing", 2)}, store.ErrNotFound},
		{[]store.Target{t("Lists", 3), t(store.Inbox, 3)}, nil},
		{nil, nil},
		{[]store.Target{replace}, nil},
		{[]store.Target{replace}, store.ErrNotFound}, // it is gone by then
		{[]store.Target{bad}, store.ErrInvalid},
		{[]store.Target{t(store.Inbox, 7)}, nil},
	}
	var waits []func() []store.Placed
	for _, c := range calls {
		waits = append(waits, k.later(k.Context(), c.targets...))
	}
	for i, wait := range waits {
		for _, p := range wait() {
			if calls[i].err == nil {
				require.NoError(k, p.Err, "call %d", i)
			} else {
				require.True(k, isAny(p.Err, calls[i].err, store.ErrExpunged), "call %d: %v", i, p.Err)
			}
		}
	}
	var got []string
	s := k.snap(mb)
	for _, r := range s.All() {
		got = append(got, k.body(mb, r))
	}
	require.Equal(k, []string{mail(1), mail(3), mail(5), mail(7)}, got)
	require.Equal(k, 1, k.snap(k.box(a, "Lists")).Len())
}

// A token counts from the call on that used it first.
func pipelineTokens(k *kit) {
	a := k.account("anna")
	s := k.stage(mail(1))
	var waits []func() []store.Placed
	for i := range 12 {
		waits = append(waits, k.later(k.Context(), store.Target{Account: "anna", Mailbox: store.Inbox, Body: s, Token: fmt.Sprint("t", i%3)}))
	}
	var first [3]store.Placed
	for i, wait := range waits {
		p := wait()[0]
		require.NoError(k, p.Err)
		require.Equal(k, i >= 3, p.Duplicate, "call %d", i)
		if p.Duplicate = false; i < 3 {
			first[i] = p
		}
		require.Equal(k, first[i%3], p)
	}
	require.Equal(k, 3, k.snap(k.box(a, store.Inbox)).Len())
}

// ctx governs both halves; whatever it ends, nothing is filed twice.
func pipelineContext(k *kit) {
	a := k.account("anna")
	t := store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(1))}
	outcome := func(p store.Placed) {
		k.Helper()
		if p.Err != nil {
			require.ErrorIs(k, p.Err, context.Canceled)
		}
	}
	t.Token = "ended"
	outcome(k.later(k.ended(), t)()[0])
	var waits []func() []store.Placed
	for i := range 10 {
		ctx, cancel := context.WithCancel(k.Context())
		t.Token = fmt.Sprint("t", i)
		waits = append(waits, k.later(ctx, t))
		if i%2 == 0 {
			cancel()
		}
		k.Cleanup(cancel)
	}
	for i, wait := range waits {
		p := wait()[0]
		if outcome(p); i%2 == 1 {
			require.NoError(k, p.Err, "one call's context is not another's")
		}
	}
	for i := range 10 {
		t.Token = fmt.Sprint("t", i)
		p := k.place(t)[0]
		require.NoError(k, p.Err)
		require.True(k, p.Duplicate || i%2 == 0)
	}
	t.Token = "ended"
	require.NoError(k, k.place(t)[0].Err)
	require.Equal(k, 11, k.snap(k.box(a, store.Inbox)).Len(), "at most once, and with the retry once")
}

// Writers that each keep several placements under way.
func pipelineWriters(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p, ok := k.st.(store.Pipeliner)
	require.True(k, ok)
	s := k.stage(mail(1))
	const writers, each, deep = 6, 24, 8
	var t team
	placed := make([][]store.Placed, writers)
	for w := range writers {
		t.run(func() error {
			var waits []func() []store.Placed
			for i := range each {
				if i >= deep {
					placed[w] = append(placed[w], waits[i-deep]()...)
				}
				waits = append(waits, p.PlaceLater(k.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s}}))
			}
			for _, wait := range waits[each-deep:] {
				placed[w] = append(placed[w], wait()...)
			}
			return nil
		})
	}
	var seen *store.Snapshot
	t.until(func() error {
		now, err := mb.Snapshot(k.Context())
		if err == nil && seen != nil {
			err = follows(seen, now)
		}
		seen = now
		return err
	})
	require.NoError(k, t.wait())
	all := map[store.UID]bool{}
	for w := range placed {
		require.Len(k, placed[w], each)
		for i, p := range placed[w] {
			require.NoError(k, p.Err)
			require.False(k, all[p.UID], "UID %d given twice", p.UID)
			all[p.UID] = true
			if i > 0 {
				require.Greater(k, p.UID, placed[w][i-1].UID, "each writer's in its order")
			}
		}
	}
	require.Equal(k, writers*each, k.snap(mb).Len())
}

// Whatever is under way when the store closes has an outcome, and what was
// filed is there afterwards.
func pipelineClose(k *kit) {
	k.account("anna")
	s := k.stage(mail(1))
	var waits []func() []store.Placed
	for range 20 {
		waits = append(waits, k.later(k.Context(), store.Target{Account: "anna", Mailbox: store.Inbox, Body: s}))
	}
	require.NoError(k, k.st.Close())
	filed, refused := 0, false
	for _, wait := range waits {
		err := wait()[0].Err
		switch {
		case err == nil:
			require.False(k, refused, "in order")
			filed++
		case errors.Is(err, store.ErrUnavailable):
			refused = true
		default:
			require.NoError(k, err)
		}
	}
	err := k.later(context.Background(), store.Target{Account: "anna", Mailbox: store.Inbox, Body: s})()[0].Err
	require.ErrorIs(k, err, store.ErrUnavailable)
	if k.cfg.Reopen != nil {
		k.reopen()
		require.Equal(k, filed, k.snap(k.box(k.open("anna"), store.Inbox)).Len())
	}
}
