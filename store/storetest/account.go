package storetest

import (
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var accountChecks = []check{
	{"Account/create-delete", accountCreateDelete},
	{"Account/list", accountList},
	{"Account/recreate", accountRecreate},
	{"Account/apart", accountsApart},
}

func accountCreateDelete(k *kit) {
	ctx := k.Context()
	_, err := k.st.Account(ctx, "anna", "anna")
	require.ErrorIs(k, err, store.ErrNotFound)
	require.ErrorIs(k, k.st.DeleteAccount(ctx, "anna"), store.ErrNotFound)
	a := k.account("anna")
	require.ErrorIs(k, k.st.CreateAccount(ctx, "anna"), store.ErrExists)
	require.Equal(k, "anna", a.Name())
	require.Equal(k, "anna", a.Actor())
	boxes, err := a.Mailboxes(ctx)
	require.NoError(k, err)
	require.Len(k, boxes, 1)
	require.Equal(k, store.Inbox, boxes[0].Name)
	require.Zero(k, k.snap(k.box(a, store.Inbox)).Len())
	for _, bad := range []string{"", "a\x00b", "\xff", string(make([]byte, 300))} {
		require.Error(k, k.st.CreateAccount(ctx, bad), "%q", bad)
	}
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 1)
	row := k.row(k.snap(mb), p[0].UID)
	require.NoError(k, k.st.DeleteAccount(ctx, "anna"))
	_, err = k.st.Account(ctx, "anna", "anna")
	require.ErrorIs(k, err, store.ErrNotFound)
	_, err = a.Mailboxes(ctx)
	require.ErrorIs(k, err, store.ErrNotFound)
	_, err = mb.Snapshot(ctx)
	require.ErrorIs(k, err, store.ErrNotFound)
	_, err = mb.Open(ctx, row)
	require.True(k, isAny(err, store.ErrNotFound, store.ErrExpunged), "%v", err)
}

func accountList(k *kit) {
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("user%02d@example.org", (i*7)%25)
		require.NoError(k, k.st.CreateAccount(k.Context(), name))
		want = append(want, name)
	}
	slices.Sort(want)
	var got []string
	for name, err := range k.st.Accounts(k.Context()) {
		require.NoError(k, err)
		got = append(got, name)
	}
	require.Equal(k, want, got)
	n := 0
	for name, err := range k.st.Accounts(k.Context()) {
		require.NoError(k, err)
		k.add(k.open(name), store.Inbox, n, 1) // nothing is locked meanwhile
		require.NoError(k, k.st.DeleteAccount(k.Context(), name))
		if n++; n == 5 {
			break
		}
	}
	require.NoError(k, k.st.CreateAccount(k.Context(), "zoe"))
}

// The name of a mailbox never gets the same UIDVALIDITY twice, be it in
// another life of its account.
func accountRecreate(k *kit) {
	seen := map[uint32]bool{}
	for range 5 {
		a := k.account("anna")
		k.add(a, store.Inbox, 1, 1)
		v := k.info(k.box(a, store.Inbox)).UIDValidity
		require.False(k, seen[v], "UIDVALIDITY %d again", v)
		seen[v] = true
		require.NoError(k, k.st.DeleteAccount(k.Context(), "anna"))
	}
}

func accountsApart(k *kit) {
	a, b := k.account("anna"), k.account("bob")
	k.add(a, store.Inbox, 1, 3)
	k.create(a, "Private")
	require.Zero(k, k.snap(k.box(b, store.Inbox)).Len())
	_, err := b.Mailbox(k.Context(), "Private")
	require.ErrorIs(k, err, store.ErrNotFound)
	// A row of one account opens nothing in another.
	row := k.snap(k.box(a, store.Inbox)).At(0)
	_, err = k.box(b, store.Inbox).Open(k.Context(), row)
	require.Error(k, err)
	require.NoError(k, k.st.DeleteAccount(k.Context(), "bob"))
	require.Equal(k, 3, k.snap(k.box(a, store.Inbox)).Len())
	require.Equal(k, mail(1), k.body(k.box(a, store.Inbox), row))
}
