package storetest

import (
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func sorted(flags []store.Flag) []store.Flag {
	slices.Sort(flags)
	return flags
}

var expungeChecks = []check{
	{"Expunge/named", expungeNamed},
	{"Expunge/with-flags", expungeWithFlags},
	{"Expunge/no-uid-twice", expungeNoUIDTwice},
}

func expungeNamed(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 6)
	before := k.snap(mb)
	e, err := mb.Expunge(k.Context(), store.UIDs(p[1].UID, p[2].UID, p[5].UID+7))
	require.NoError(k, err)
	require.True(k, e.UIDs.Equal(store.UIDs(p[1].UID, p[2].UID)), "%v", e.UIDs)
	after := k.snap(mb)
	require.Equal(k, e.ModSeq, after.ModSeq())
	require.NoError(k, follows(before, after))
	require.Equal(k, []store.UID{p[0].UID, p[3].UID, p[4].UID, p[5].UID}, uids(after), "nothing is renumbered")
	for _, r := range after.All() {
		require.Equal(k, k.row(before, r.UID), r, "nothing else changes")
	}
	e, err = mb.Expunge(k.Context(), store.UIDs(p[1].UID, p[5].UID+9))
	require.NoError(k, err)
	require.Empty(k, e.UIDs)
	require.Zero(k, e.ModSeq)
	require.Equal(k, after.ModSeq(), k.snap(mb).ModSeq())
	e, err = mb.Expunge(k.Context(), store.AllUIDs())
	require.NoError(k, err)
	require.Equal(k, 4, e.UIDs.Len())
	require.Zero(k, k.snap(mb).Len())
	require.Equal(k, after.UIDNext(), k.snap(mb).UIDNext())
}

func expungeWithFlags(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 4)
	k.flag(mb, store.FlagsAdd, store.UIDs(p[0].UID, p[1].UID, p[2].UID), store.FlagDeleted)
	k.flag(mb, store.FlagsAdd, store.UIDs(p[1].UID, p[3].UID), "$Junk")
	ctx := k.Context()
	e, err := mb.Expunge(ctx, store.AllUIDs(), store.FlagDeleted, "no-such-keyword")
	require.NoError(k, err)
	require.Empty(k, e.UIDs)
	e, err = mb.Expunge(ctx, store.AllUIDs(), `\DELETED`, "$junk")
	require.NoError(k, err)
	require.True(k, e.UIDs.Equal(store.UIDs(p[1].UID)), "every flag, in any case: %v", e.UIDs)
	e, err = mb.Expunge(ctx, store.UIDs(p[2].UID, p[3].UID), store.FlagDeleted)
	require.NoError(k, err)
	require.True(k, e.UIDs.Equal(store.UIDs(p[2].UID)), "%v", e.UIDs)
	e, err = mb.Expunge(ctx, store.AllUIDs(), store.FlagDeleted)
	require.NoError(k, err)
	require.True(k, e.UIDs.Equal(store.UIDs(p[0].UID)), "%v", e.UIDs)
	require.Equal(k, []store.UID{p[3].UID}, uids(k.snap(mb)))
}

func expungeNoUIDTwice(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	last := store.UID(0)
	for i := range 10 {
		p := k.add(a, store.Inbox, i, 2)
		require.Greater(k, p[0].UID, last)
		require.Greater(k, p[1].UID, p[0].UID)
		last = p[1].UID
		_, err := mb.Expunge(k.Context(), store.AllUIDs())
		require.NoError(k, err)
		require.Greater(k, k.snap(mb).UIDNext(), last)
	}
}
