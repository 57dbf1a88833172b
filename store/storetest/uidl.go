package storetest

import (
	"context"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var uidlChecks = []check{
	{"UIDL/place", uidlPlace},
	{"UIDL/not-inherited", uidlNotInherited},
	{"UIDL/limits", uidlLimits},
	{"UIDL/calls", uidlCalls},
	{"Reopen/uidl", reopenUIDL},
}

func (k *kit) uidls(mb store.Mailbox) map[store.UID]string {
	k.Helper()
	u, ok := mb.(store.UIDLs)
	require.True(k, ok, "the engine has no UIDLs")
	m, err := u.UIDLs(k.Context())
	require.NoError(k, err)
	if m == nil {
		m = map[store.UID]string{}
	}
	return m
}

// withUIDL files a message that had a unique-id elsewhere.
func (k *kit) withUIDL(mailbox, uidl string) store.UID {
	k.Helper()
	return k.filed(store.Target{Account: "anna", Mailbox: mailbox, Body: k.stage(mail(1)), UIDL: uidl})[0]
}

func uidlPlace(k *kit) {
	a := k.account("anna")
	mb, other := k.box(a, store.Inbox), k.create(a, "Other")
	require.Empty(k, k.uidls(mb))
	k.add(a, store.Inbox, 1, 2)
	one := k.withUIDL(store.Inbox, "one")
	k.add(a, store.Inbox, 3, 1)
	two := k.withUIDL(store.Inbox, "!~two")
	k.withUIDL("Other", "one")
	want := map[store.UID]string{one: "one", two: "!~two"}
	got := k.uidls(mb)
	require.Equal(k, want, got)
	require.Len(k, k.uidls(other), 1)
	got[one] = "changed" // it is the caller's
	delete(got, two)
	require.Equal(k, want, k.uidls(mb))
	k.flag(mb, store.FlagsAdd, store.AllUIDs(), store.FlagSeen)
	require.NoError(k, a.Rename(k.Context(), "Other", "Another"))
	require.Equal(k, want, k.uidls(mb))
	require.Len(k, k.uidls(other), 1)
	// A token that is used again files nothing.
	t := store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(2)), Token: "t", UIDL: "three"}
	want[k.filed(t)[0]] = "three"
	t.UIDL = "four"
	k.filed(t)
	require.Equal(k, want, k.uidls(mb))
	t.Mailbox, t.Token = "missing", ""
	require.Error(k, k.place(t)[0].Err)
	require.Equal(k, want, k.uidls(mb))
}

// A unique-id is one message's alone: it goes with it, and no copy has it.
func uidlNotInherited(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	mb, other := k.box(a, store.Inbox), k.create(a, "Other")
	var u []store.UID
	for _, id := range []string{"a", "b", "c", "d"} {
		u = append(u, k.withUIDL(store.Inbox, id))
	}
	_, err := mb.Copy(ctx, store.AllUIDs(), other.ID())
	require.NoError(k, err)
	_, err = mb.Copy(ctx, store.UIDs(u[0]), mb.ID())
	require.NoError(k, err)
	require.Empty(k, k.uidls(other))
	require.Len(k, k.uidls(mb), 4)
	_, err = mb.Move(ctx, store.UIDs(u[0]), other.ID())
	require.NoError(k, err)
	_, err = mb.Expunge(ctx, store.UIDs(u[1]))
	require.NoError(k, err)
	k.filed(store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(9)), Replaces: u[2], ReplacesIn: mb.ID()})
	require.Equal(k, map[store.UID]string{u[3]: "d"}, k.uidls(mb))
	require.Empty(k, k.uidls(other))
	require.NoError(k, a.Rename(ctx, store.Inbox, "Old"))
	require.Empty(k, k.uidls(mb))
	require.Empty(k, k.uidls(k.box(a, "Old")), "it moved")
}

// 1 to 70 characters from 0x21 to 0x7E (RFC 1939 §7).
func uidlLimits(k *kit) {
	a := k.account("anna")
	long := strings.Repeat("x", store.MaxUIDLOctets)
	u := k.withUIDL(store.Inbox, long)
	t := store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(1)), UIDL: long + "x"}
	require.ErrorIs(k, k.place(t)[0].Err, store.ErrLimit)
	for _, bad := range []string{"a b", "a\r\nb", "\x7f", "é", "\x00"} {
		t.UIDL = bad
		require.ErrorIs(k, k.place(t)[0].Err, store.ErrInvalid, "%q", bad)
	}
	require.Equal(k, map[store.UID]string{u: long}, k.uidls(k.box(a, store.Inbox)))
}

func uidlCalls(k *kit) {
	a := k.account("anna")
	gone := k.create(a, "Gone").(store.UIDLs)
	k.withUIDL("Gone", "x")
	require.NoError(k, a.Delete(k.Context(), "Gone"))
	_, err := gone.UIDLs(k.Context())
	require.ErrorIs(k, err, store.ErrNotFound)
	require.Empty(k, k.uidls(k.create(a, "Gone")))
	mb := k.box(a, store.Inbox).(store.UIDLs)
	if _, err := mb.UIDLs(k.ended()); err != nil {
		require.ErrorIs(k, err, context.Canceled)
	}
	require.NoError(k, k.st.Close())
	_, err = mb.UIDLs(context.Background())
	require.ErrorIs(k, err, store.ErrUnavailable)
}

func reopenUIDL(k *kit) {
	k.needsReopen()
	k.account("anna")
	want := map[store.UID]string{}
	for _, id := range []string{"a", "b", "c"} {
		want[k.withUIDL(store.Inbox, id)] = id
	}
	gone := k.withUIDL(store.Inbox, "gone")
	_, err := k.box(k.open("anna"), store.Inbox).Expunge(k.Context(), store.UIDs(gone))
	require.NoError(k, err)
	for range 2 {
		k.reopen()
		require.Equal(k, want, k.uidls(k.box(k.open("anna"), store.Inbox)))
	}
}
