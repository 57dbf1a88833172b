package storetest

import (
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var mailboxChecks = []check{
	{"Mailbox/create", mailboxCreate},
	{"Mailbox/names", mailboxNames},
	{"Mailbox/delete", mailboxDelete},
	{"Mailbox/uidvalidity", mailboxUIDValidity},
	{"Mailbox/subscribe", mailboxSubscribe},
}

func (k *kit) names(a store.Account) []string {
	k.Helper()
	boxes, err := a.Mailboxes(k.Context())
	require.NoError(k, err)
	var names []string
	for _, b := range boxes {
		names = append(names, b.Name)
		require.NotZero(k, b.ID)
		require.Equal(k, b, k.info(k.box(a, b.Name)), "Mailboxes and Info agree")
	}
	return names
}

func mailboxCreate(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	info, err := a.Create(ctx, "Sent", store.CreateOptions{SpecialUse: `\Sent`})
	require.NoError(k, err)
	require.Equal(k, "Sent", info.Name)
	require.Equal(k, `\Sent`, info.SpecialUse)
	require.False(k, info.Subscribed)
	require.NotZero(k, info.UIDNext)
	require.NotZero(k, info.UIDValidity)
	require.NotZero(k, info.ModSeq)
	require.Zero(k, info.Messages)
	require.Equal(k, info, k.info(k.box(a, "Sent")))
	_, err = a.Create(ctx, "Sent", store.CreateOptions{})
	require.ErrorIs(k, err, store.ErrExists)
	_, err = a.Create(ctx, "inbox", store.CreateOptions{})
	require.ErrorIs(k, err, store.ErrExists)

	_, err = a.Create(ctx, "a/b/c", store.CreateOptions{})
	require.NoError(k, err)
	require.Equal(k, []string{"INBOX", "Sent", "a", "a/b", "a/b/c"}, k.names(a), "with missing parents, in name order")
	_, err = a.Create(ctx, "a/b/d", store.CreateOptions{})
	require.NoError(k, err)
	_, err = a.Create(ctx, "a-", store.CreateOptions{})
	require.NoError(k, err)
	require.Equal(k, []string{"INBOX", "Sent", "a", "a-", "a/b", "a/b/c", "a/b/d"}, k.names(a))
	ids := map[store.MailboxID]bool{}
	boxes, err := a.Mailboxes(ctx)
	require.NoError(k, err)
	for _, b := range boxes {
		require.False(k, ids[b.ID], "ids are unique")
		ids[b.ID] = true
	}
	_, err = a.Mailbox(ctx, "a/x")
	require.ErrorIs(k, err, store.ErrNotFound)
}

// Names that are the same are one mailbox; names that cannot be are refused.
func mailboxNames(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	info, err := a.Create(ctx, "e\u0301te\u0301", store.CreateOptions{})
	require.NoError(k, err)
	require.Equal(k, "\u00e9t\u00e9", info.Name, "NFC")
	require.Equal(k, info.ID, k.box(a, "e\u0301t\u00e9").ID())
	_, err = a.Create(ctx, "\u00e9te\u0301", store.CreateOptions{})
	require.ErrorIs(k, err, store.ErrExists)
	require.Equal(k, k.box(a, "INBOX").ID(), k.box(a, "inBox").ID())
	_, err = a.Create(ctx, "Inbox/Lists", store.CreateOptions{})
	require.NoError(k, err)
	require.Equal(k, "INBOX/Lists", k.info(k.box(a, "INBOX/Lists")).Name)
	_, err = a.Create(ctx, "sent", store.CreateOptions{})
	require.NoError(k, err)
	_, err = a.Create(ctx, "Sent", store.CreateOptions{})
	require.NoError(k, err, "others differ by case")
	want := k.names(a)
	for _, bad := range []string{"", "/", "a/", "/a", "a//b", ".", "..", "../x", "a/../b", "a\x00", "a\nb", "\xff", "a*", "%",
		strings.Repeat("x", 256), strings.Repeat("a/", 500) + "a"} {
		_, err := a.Create(ctx, bad, store.CreateOptions{})
		require.ErrorIs(k, err, store.ErrInvalidName, "create %.40q", bad)
		require.ErrorIs(k, a.Rename(ctx, "sent", bad), store.ErrInvalidName, "rename to %.40q", bad)
		_, err = a.Mailbox(ctx, bad)
		require.True(k, isAny(err, store.ErrNotFound, store.ErrInvalidName), "%.40q: %v", bad, err)
		require.Error(k, a.Delete(ctx, bad), "%.40q", bad)
	}
	require.Equal(k, want, k.names(a))
}

func mailboxDelete(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	mb, child := k.create(a, "a"), k.create(a, "a/b")
	p := k.add(a, "a", 1, 2)
	k.add(a, "a/b", 3, 1)
	snap := k.snap(mb)
	require.NoError(k, a.Delete(ctx, "a"))
	require.Equal(k, []string{"INBOX", "a/b"}, k.names(a), "not what is below")
	require.Equal(k, 1, k.snap(child).Len())
	require.ErrorIs(k, a.Delete(ctx, "a"), store.ErrNotFound)
	require.ErrorIs(k, a.Delete(ctx, "inbox"), store.ErrReadOnly)

	_, err := mb.Info(ctx)
	require.ErrorIs(k, err, store.ErrNotFound)
	_, err = mb.Snapshot(ctx)
	require.ErrorIs(k, err, store.ErrNotFound)
	_, err = mb.Changes(ctx, 1)
	require.ErrorIs(k, err, store.ErrNotFound)
	_, err = mb.Open(ctx, snap.At(0))
	require.ErrorIs(k, err, store.ErrNotFound)
	_, err = mb.Flag(ctx, store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{store.FlagSeen}})
	require.ErrorIs(k, err, store.ErrNotFound)
	_, err = mb.Expunge(ctx, store.AllUIDs())
	require.ErrorIs(k, err, store.ErrNotFound)
	_, err = mb.Copy(ctx, store.AllUIDs(), child.ID())
	require.ErrorIs(k, err, store.ErrNotFound)
	_, err = mb.Move(ctx, store.AllUIDs(), child.ID())
	require.ErrorIs(k, err, store.ErrNotFound)
	for _, err := range mb.Details(ctx, []store.Row{snap.At(0)}) {
		require.ErrorIs(k, err, store.ErrNotFound)
	}
	require.Equal(k, 2, snap.Len(), "the snapshot stays")
	require.Equal(k, p[1].UID, snap.At(1).UID)
	_, err = child.Copy(ctx, store.AllUIDs(), mb.ID())
	require.ErrorIs(k, err, store.ErrNotFound, "no such destination")
	again := k.create(a, "a")
	require.NotEqual(k, mb.ID(), again.ID(), "ids are never reused")
	require.Zero(k, k.snap(again).Len())
}

func mailboxUIDValidity(k *kit) {
	a := k.account("anna")
	last := uint32(0)
	for i := range 5 {
		mb := k.create(a, "Lists")
		k.add(a, "Lists", i, 1)
		v := k.info(mb).UIDValidity
		require.Greater(k, v, last, "UIDVALIDITY grows when a name is used again (RFC 9051 §2.3.1.1)")
		last = v
		require.NoError(k, a.Delete(k.Context(), "Lists"))
	}
	// A name freed by a rename, and one that is taken by it.
	mb := k.create(a, "Lists")
	first := k.info(mb).UIDValidity
	require.Greater(k, first, last)
	require.NoError(k, a.Rename(k.Context(), "Lists", "Old"))
	require.NotEqual(k, first, k.info(k.create(a, "Lists")).UIDValidity)
	require.NoError(k, a.Delete(k.Context(), "Lists"))
	require.NoError(k, a.Rename(k.Context(), "Old", "Lists"))
	require.Equal(k, first, k.info(k.box(a, "Lists")).UIDValidity, "a rename keeps UIDVALIDITY")
}

func mailboxSubscribe(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	k.create(a, "Lists")
	subscriptions := func() []string {
		s, err := a.Subscriptions(ctx)
		require.NoError(k, err)
		return append([]string{}, s...)
	}
	require.Empty(k, subscriptions())
	for _, name := range []string{"Lists", "inbox", "gone/away"} {
		require.NoError(k, a.Subscribe(ctx, name, true))
	}
	require.NoError(k, a.Subscribe(ctx, "Lists", true), "twice is no error")
	require.Equal(k, []string{"INBOX", "Lists", "gone/away"}, subscriptions())
	require.True(k, k.info(k.box(a, "Lists")).Subscribed)
	require.NoError(k, a.Delete(ctx, "Lists"))
	require.Contains(k, subscriptions(), "Lists", "deletion does not clear it (RFC 9051 §6.3.7)")
	require.True(k, k.info(k.create(a, "Lists")).Subscribed)
	require.NoError(k, a.Subscribe(ctx, "Lists", false))
	require.NoError(k, a.Subscribe(ctx, "never", false))
	require.NoError(k, a.Subscribe(ctx, "gone/away", false))
	require.Equal(k, []string{"INBOX"}, subscriptions())
	require.False(k, k.info(k.box(a, "Lists")).Subscribed)
	require.ErrorIs(k, a.Subscribe(ctx, "a//b", true), store.ErrInvalidName)
	b := k.account("bob")
	s, err := b.Subscriptions(ctx)
	require.NoError(k, err)
	require.Empty(k, s)
}
