package storetest

import (
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var renameChecks = []check{
	{"Rename/tree", renameTree},
	{"Rename/one-level-up", renameUp},
	{"Rename/refused", renameRefused},
	{"Rename/inbox", renameInbox},
}

// Ids, UIDs and UIDVALIDITY stay, of the mailbox and of all below it.
func renameTree(k *kit) {
	a := k.account("anna")
	boxes := map[string]store.Mailbox{}
	for i, name := range []string{"a", "a/b", "a/b/c", "ab", "a-b"} {
		boxes[name] = k.create(a, name)
		k.add(a, name, i, i+1)
	}
	before := map[string]*store.Snapshot{}
	for name, mb := range boxes {
		before[name] = k.snap(mb)
	}
	require.NoError(k, a.Rename(k.Context(), "a", "x/y"))
	require.Equal(k, []string{"INBOX", "a-b", "ab", "x", "x/y", "x/y/b", "x/y/b/c"}, k.names(a), "missing parents are made")
	for old, now := range map[string]string{"a": "x/y", "a/b": "x/y/b", "a/b/c": "x/y/b/c", "ab": "ab", "a-b": "a-b"} {
		mb := boxes[old] // it stays valid
		require.Equal(k, now, k.info(mb).Name)
		require.Equal(k, mb.ID(), k.box(a, now).ID())
		s := k.snap(mb)
		require.Equal(k, before[old].UIDValidity(), s.UIDValidity())
		require.Equal(k, uids(before[old]), uids(s))
		require.Equal(k, before[old].UIDNext(), s.UIDNext())
	}
	_, err := a.Mailbox(k.Context(), "a/b")
	require.ErrorIs(k, err, store.ErrNotFound)
	k.add(a, "x/y/b", 9, 1)
	require.Equal(k, 3, k.snap(boxes["a/b"]).Len())
}

func renameRefused(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	for _, name := range []string{"a", "a/b", "z", "y/b"} {
		k.create(a, name)
	}
	want := k.names(a)
	require.ErrorIs(k, a.Rename(ctx, "missing", "x"), store.ErrNotFound)
	require.ErrorIs(k, a.Rename(ctx, "a", "z"), store.ErrExists)
	require.ErrorIs(k, a.Rename(ctx, "a", "inbox"), store.ErrExists)
	require.ErrorIs(k, a.Rename(ctx, "inbox", "z"), store.ErrExists)
	require.Error(k, a.Rename(ctx, "a", "a/c"), "below itself")
	require.NoError(k, a.Delete(ctx, "y"))
	require.ErrorIs(k, a.Rename(ctx, "a", "y"), store.ErrExists, "y/b is taken")
	_, err := a.Create(ctx, "y", store.CreateOptions{})
	require.NoError(k, err)
	// The names of what is below count too.
	deep := strings.Repeat("d/", store.MaxNameLevels-2) + "d"
	require.ErrorIs(k, a.Rename(ctx, "a", deep+"/a"), store.ErrInvalidName, "a/b would be too deep")
	require.Equal(k, want, k.names(a))
}

// A name that is given up in the same call is free, whichever comes first.
func renameUp(k *kit) {
	a := k.account("anna")
	k.create(a, "p/c/c/d")
	k.create(a, "p/c/d")
	ids := map[string]store.MailboxID{}
	for _, name := range k.names(a) {
		ids[name] = k.box(a, name).ID()
	}
	require.NoError(k, a.Delete(k.Context(), "p"))
	require.NoError(k, a.Rename(k.Context(), "p/c", "p"))
	require.Equal(k, []string{"INBOX", "p", "p/c", "p/c/d", "p/d"}, k.names(a))
	for old, now := range map[string]string{"p/c": "p", "p/c/c": "p/c", "p/c/c/d": "p/c/d", "p/c/d": "p/d"} {
		require.Equal(k, ids[old], k.box(a, now).ID(), "%s is now %s", old, now)
	}
}

// Renaming INBOX moves its messages, not the mailbox (RFC 9051 §6.3.6).
func renameInbox(k *kit) {
	a := k.account("anna")
	inbox := k.box(a, store.Inbox)
	k.create(a, "INBOX/below")
	p := k.add(a, store.Inbox, 1, 3)
	k.flag(inbox, store.FlagsAdd, store.UIDs(p[1].UID), store.FlagSeen, "$Work")
	before := k.snap(inbox)
	require.NoError(k, a.Rename(k.Context(), "inbox", "Archive/2026"))
	require.Equal(k, []string{"Archive", "Archive/2026", "INBOX", "INBOX/below"}, k.names(a), "what is below INBOX stays")
	require.Equal(k, inbox.ID(), k.box(a, store.Inbox).ID())
	after := k.snap(inbox)
	require.Zero(k, after.Len())
	require.NoError(k, follows(before, after))
	require.Equal(k, before.UIDNext(), after.UIDNext())
	require.Equal(k, before.UIDValidity(), after.UIDValidity())
	c := k.changes(inbox, before.ModSeq())
	require.True(k, c.Vanished.Equal(store.UIDs(uids(before)...)), "%v", c.Vanished)
	moved := k.box(a, "Archive/2026")
	require.NotEqual(k, inbox.ID(), moved.ID())
	s := k.snap(moved)
	require.Equal(k, 3, s.Len())
	for i, r := range s.All() {
		require.Equal(k, mail(i+1), k.body(moved, r))
		require.Equal(k, before.At(i).Date, r.Date)
	}
	require.Equal(k, []store.Flag{store.FlagSeen, "$Work"}, s.Flags(s.At(1).Flags))
	q := k.add(a, store.Inbox, 4, 1)
	require.Greater(k, q[0].UID, p[2].UID)
}
