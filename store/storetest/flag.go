package storetest

import (
	"context"
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var flagChecks = []check{
	{"Flag/operations", flagOperations},
	{"Flag/unchanged-since", flagUnchangedSince},
	{"Flag/keywords", flagKeywords},
	{"Flag/keyword-limit", flagKeywordLimit},
	{"Flag/huge-sets", flagHugeSets},
	{"Flag/later", flagLater},
}

// Changes begun one after another are made in that order, each with its own
// outcome, in whatever order somebody asks for it; what the caller passed is his.
func flagLater(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 2)
	before := k.snap(mb).ModSeq()
	const n = 20
	waits := make([]func() (store.Flagged, error), n)
	for i := range waits {
		set, flags := store.UIDs(p[i%2].UID), []store.Flag{store.Flag(fmt.Sprint("k", i))}
		if i == 7 {
			flags[0] = `\\Other`
		}
		waits[i] = store.FlagLater(k.Context(), mb, set, store.FlagUpdate{Op: store.FlagsReplace, Flags: flags})
		set[0], flags[0] = store.UIDRange{From: 1 << 30, To: 1 << 30}, store.FlagSeen
	}
	last := store.ModSeq(0)
	for i := range slices.Backward(waits) {
		done, err := waits[i]()
		if i == 7 {
			require.Error(k, err)
			continue
		}
		require.NoError(k, err)
		require.True(k, done.Changed.Equal(store.UIDs(p[i%2].UID)), "call %d: %v", i, done.Changed)
		require.GreaterOrEqual(k, k.snap(mb).ModSeq(), done.ModSeq, "what is done is to be seen")
		require.Greater(k, done.ModSeq, before)
		require.True(k, last == 0 || done.ModSeq <= last, "in the order of the calls")
		last = done.ModSeq
	}
	for i := range 2 {
		require.Equal(k, []store.Flag{store.Flag(fmt.Sprint("k", n-2+i))}, k.flags(mb, p[i].UID))
	}
	ended, cancel := context.WithCancel(k.Context())
	cancel()
	_, err := store.FlagLater(ended, mb, store.AllUIDs(), store.FlagUpdate{Op: store.FlagsReplace})()
	require.ErrorIs(k, err, context.Canceled)
}

func flagOperations(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 5)
	all := store.AllUIDs()
	last := k.snap(mb)
	step := func(op store.FlagOp, set store.UIDSet, changed []store.UID, flags ...store.Flag) {
		k.Helper()
		f := k.flag(mb, op, set, flags...)
		now := k.snap(mb)
		require.NoError(k, follows(last, now))
		require.True(k, f.Changed.Equal(store.UIDs(changed...)), "changed %v, want %v", f.Changed, changed)
		require.Empty(k, f.Failed)
		if len(changed) == 0 {
			require.Zero(k, f.ModSeq, "no change, no mod-sequence")
			require.Equal(k, last.ModSeq(), now.ModSeq())
			last = now
			return
		}
		require.Greater(k, f.ModSeq, last.ModSeq())
		require.Equal(k, f.ModSeq, now.ModSeq())
		for _, r := range now.All() {
			was := k.row(last, r.UID)
			require.Equal(k, was.Created, r.Created)
			if f.Changed.Contains(r.UID) {
				require.Equal(k, f.ModSeq, r.ModSeq)
				was.Flags, was.ModSeq = r.Flags, r.ModSeq
			}
			require.Equal(k, was, r, "nothing else changes")
		}
		last = now
	}
	u := func(i int) store.UID { return p[i].UID }
	step(store.FlagsAdd, store.UIDs(u(0), u(2)), []store.UID{u(0), u(2)}, store.FlagSeen, `\FLAGGED`)
	require.Equal(k, []store.Flag{store.FlagFlagged, store.FlagSeen}, sorted(k.flags(mb, u(0))))
	step(store.FlagsAdd, all, []store.UID{u(1), u(3), u(4)}, store.FlagSeen)
	step(store.FlagsAdd, all, nil, store.FlagSeen)
	step(store.FlagsRemove, all, nil, store.FlagDraft)
	step(store.FlagsRemove, all, []store.UID{u(0), u(2)}, store.FlagFlagged, "never-seen")
	step(store.FlagsReplace, store.UIDs(u(4)), []store.UID{u(4)}, store.FlagDeleted, "work")
	require.Equal(k, []store.Flag{store.FlagDeleted, "work"}, sorted(k.flags(mb, u(4))))
	step(store.FlagsReplace, store.UIDs(u(4)), nil, "WORK", store.FlagDeleted)
	step(store.FlagsReplace, store.UIDs(u(3), u(4)), []store.UID{u(3), u(4)})
	require.Empty(k, k.flags(mb, u(3)))
	step(store.FlagsAdd, store.UIDSet{{From: u(4) + 1, To: 1<<32 - 1}}, nil, store.FlagSeen)
	step(store.FlagsAdd, nil, nil, store.FlagSeen)
	step(store.FlagsAdd, all, nil)
	step(store.FlagsAdd, store.UIDSet{{From: u(1), To: 1 << 31}}, []store.UID{u(1), u(2), u(3), u(4)}, store.FlagAnswered)
	for _, bad := range []store.Flag{`\Recent`, `\Other`, "", "a b", "x\r\n"} {
		_, err := mb.Flag(k.Context(), all, store.FlagUpdate{Flags: []store.Flag{store.FlagDraft, bad}})
		require.Error(k, err, "%q", bad)
	}
	require.Equal(k, last.ModSeq(), k.snap(mb).ModSeq())
}

func flagUnchangedSince(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 4)
	before := k.snap(mb)
	update := func(since store.ModSeq, flag store.Flag) store.Flagged {
		f, err := mb.Flag(k.Context(), store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{flag}, UnchangedSince: &since})
		require.NoError(k, err)
		return f
	}
	first := k.flag(mb, store.FlagsAdd, store.UIDs(p[1].UID, p[2].UID), store.FlagSeen)
	f := update(before.ModSeq(), store.FlagDraft)
	require.True(k, f.Failed.Equal(store.UIDs(p[1].UID, p[2].UID)), "%v", f.Failed)
	require.True(k, f.Changed.Equal(store.UIDs(p[0].UID, p[3].UID)), "%v", f.Changed)
	require.Equal(k, []store.Flag{store.FlagSeen}, k.flags(mb, p[1].UID))
	f = update(first.ModSeq, store.FlagFlagged)
	require.True(k, f.Failed.Equal(store.UIDs(p[0].UID, p[3].UID)), "%v", f.Failed)
	require.True(k, f.Changed.Equal(store.UIDs(p[1].UID, p[2].UID)), "equal is not greater: %v", f.Changed)
	now := k.snap(mb)
	f = update(0, store.FlagDeleted)
	require.Equal(k, 4, f.Failed.Len())
	require.Empty(k, f.Changed)
	require.Zero(k, f.ModSeq)
	require.Equal(k, now.ModSeq(), k.snap(mb).ModSeq())
	f = update(now.ModSeq(), store.FlagAnswered)
	require.Equal(k, 4, f.Changed.Len())
	require.Empty(k, f.Failed)
	f = update(1<<63-1, store.FlagAnswered)
	require.Empty(k, f.Changed)
	require.Empty(k, f.Failed)
}

// Keywords are compared without case; the spelling first seen stays.
func flagKeywords(k *kit) {
	a := k.account("anna")
	mb, other := k.box(a, store.Inbox), k.create(a, "Other")
	p := k.add(a, store.Inbox, 1, 2)
	k.flag(mb, store.FlagsAdd, store.UIDs(p[0].UID), "$Forwarded", "Work")
	k.flag(mb, store.FlagsAdd, store.UIDs(p[1].UID), "$FORWARDED", "wORK", "later")
	require.Equal(k, []store.Flag{"$Forwarded", "Work", "later"}, sorted(k.flags(mb, p[1].UID)))
	require.Len(k, k.snap(mb).Keywords(), 3)
	old := k.snap(mb)
	k.flag(mb, store.FlagsAdd, store.UIDs(p[0].UID), "fourth")
	require.Equal(k, old.Keywords(), k.snap(mb).Keywords()[:3], "a keyword keeps its bit")
	c := k.changes(mb, old.ModSeq())
	require.Len(k, c.Rows, 1)
	require.Equal(k, []store.Flag{"$Forwarded", "Work", "fourth"}, sorted(store.FlagNames(c.Rows[0].Flags, c.Keywords)))
	k.flag(mb, store.FlagsReplace, store.AllUIDs())
	require.Len(k, k.snap(mb).Keywords(), 4, "the table only grows")
	require.Empty(k, k.snap(other).Keywords(), "each mailbox has its own")
}

func flagKeywordLimit(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 2)
	var all []store.Flag
	for i := range store.MaxKeywords {
		all = append(all, store.Flag(fmt.Sprintf("keyword-%02d", i)))
		k.flag(mb, store.FlagsAdd, store.UIDs(p[0].UID), all[i])
	}
	require.Equal(k, all, sorted(k.flags(mb, p[0].UID)))
	before := k.snap(mb)
	_, err := mb.Flag(k.Context(), store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{store.FlagSeen, "one-more"}})
	require.ErrorIs(k, err, store.ErrLimit)
	require.Equal(k, before.ModSeq(), k.snap(mb).ModSeq())
	require.Empty(k, k.flags(mb, p[1].UID), "all or none")
	k.flag(mb, store.FlagsRemove, store.AllUIDs(), "one-more", all[7])
	k.flag(mb, store.FlagsAdd, store.UIDs(p[1].UID), all...)
	require.Equal(k, all, sorted(k.flags(mb, p[1].UID)), "known ones still fit")
}

// Work is bounded by the mailbox, whatever the set names.
func flagHugeSets(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 2)
	var ranges []store.UIDRange
	for i := range store.UID(20_000) {
		ranges = append(ranges, store.UIDRange{From: i * 200_000, To: i*200_000 + 150_000})
	}
	f := k.flag(mb, store.FlagsAdd, store.UIDRanges(ranges...), store.FlagSeen)
	require.True(k, f.Changed.Equal(store.UIDs(p[0].UID, p[1].UID)))
	e, err := mb.Expunge(k.Context(), store.AllUIDs(), store.FlagDeleted)
	require.NoError(k, err)
	require.Empty(k, e.UIDs)
}
