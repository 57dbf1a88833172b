package storetest

import (
	"context"
	"fmt"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var quotaChecks = []check{
	{"Quota/used", quotaUsed},
	{"Quota/place", quotaPlace},
	{"Quota/group", quotaGroup},
	{"Quota/replace", quotaReplace},
	{"Quota/copy-move", quotaCopyMove},
	{"Quota/mailboxes", quotaMailboxes},
	{"Quota/above", quotaAbove},
	{"Quota/later", quotaLater},
	{"Quota/writers", quotaWriters},
	{"Quota/mixed-writers", quotaMixedWriters},
	{"Quota/calls", quotaCalls},
	{"Reopen/quota", reopenQuota},
}

func (k *kit) quotas() store.Quotas {
	k.Helper()
	q, ok := k.st.(store.Quotas)
	require.True(k, ok, "the engine has no quotas")
	return q
}

// quota gives an account's quota; what is used must be what there is.
func (k *kit) quota(a store.Account) store.Quota {
	k.Helper()
	q, err := k.quotas().Quota(k.Context(), a.Name())
	require.NoError(k, err)
	infos, err := a.Mailboxes(k.Context())
	require.NoError(k, err)
	want := store.Usage{Mailboxes: int64(len(infos))}
	for _, i := range infos {
		want.Octets += i.Size
		want.Messages += int64(i.Messages)
	}
	require.Equal(k, want, q.Used)
	return q
}

func (k *kit) limit(a store.Account, limit store.Usage) {
	k.Helper()
	require.NoError(k, k.quotas().SetQuota(k.Context(), a.Name(), limit))
	require.Equal(k, limit, k.quota(a).Limit)
}

// sized is a target of exactly n octets, prefix included, for n ≥ 10.
func (k *kit) sized(a store.Account, mailbox string, n int) store.Target {
	k.Helper()
	s, err := k.st.Stage(k.Context(), &pattern{n: int64(n - 6)})
	require.NoError(k, err)
	k.Cleanup(func() { s.Discard() })
	return store.Target{Account: a.Name(), Mailbox: mailbox, Body: s, Prefix: []byte("X: y\r\n")}
}

// refused checks that placing fails for the quota and changes nothing.
func (k *kit) refused(a store.Account, targets ...store.Target) {
	k.Helper()
	before, at := k.quota(a), k.through(a)
	for _, p := range k.place(targets...) {
		require.ErrorIs(k, p.Err, store.ErrOverQuota)
	}
	require.Equal(k, before, k.quota(a))
	require.Equal(k, at, k.through(a), "no mod-sequence")
}

// filed checks that placing succeeds, and gives the UIDs.
func (k *kit) filed(targets ...store.Target) []store.UID {
	k.Helper()
	var out []store.UID
	for i, p := range k.place(targets...) {
		require.NoError(k, p.Err, "target %d", i)
		out = append(out, p.UID)
	}
	return out
}

// through is the account's mod-sequence.
func (k *kit) through(a store.Account) store.ModSeq {
	k.Helper()
	c, err := a.Changes(k.Context(), 0)
	require.NoError(k, err)
	return c.Through
}

func quotaUsed(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	k.account("bob")
	q := k.quota(a)
	require.Equal(k, store.Quota{Used: store.Usage{Mailboxes: 1}}, q, "no limits at first")
	mb, other := k.box(a, store.Inbox), k.create(a, "x/y")
	k.filed(k.sized(a, store.Inbox, 100), k.sized(a, "x/y", 50))
	require.Equal(k, store.Usage{Octets: 150, Messages: 2, Mailboxes: 3}, k.quota(a).Used)
	_, err := mb.Copy(ctx, store.AllUIDs(), other.ID())
	require.NoError(k, err)
	require.Equal(k, store.Usage{Octets: 250, Messages: 3, Mailboxes: 3}, k.quota(a).Used, "each copy counts")
	_, err = mb.Move(ctx, store.AllUIDs(), other.ID())
	require.NoError(k, err)
	require.Equal(k, store.Usage{Octets: 250, Messages: 3, Mailboxes: 3}, k.quota(a).Used)
	_, err = other.Expunge(ctx, store.UIDs(k.snap(other).At(0).UID))
	require.NoError(k, err)
	require.Equal(k, store.Usage{Octets: 200, Messages: 2, Mailboxes: 3}, k.quota(a).Used)
	require.NoError(k, a.Rename(ctx, "x", "p/q"))
	require.EqualValues(k, 4, k.quota(a).Used.Mailboxes)
	k.filed(k.sized(a, store.Inbox, 10))
	require.NoError(k, a.Rename(ctx, store.Inbox, "old"))
	require.Equal(k, store.Usage{Octets: 210, Messages: 3, Mailboxes: 5}, k.quota(a).Used)
	require.NoError(k, a.Delete(ctx, "p/q/y"))
	require.Equal(k, store.Usage{Octets: 10, Messages: 1, Mailboxes: 4}, k.quota(a).Used)
	b := k.open("bob")
	require.Equal(k, store.Usage{Mailboxes: 1}, k.quota(b).Used)
	k.limit(a, store.Usage{Octets: 1, Messages: 2, Mailboxes: 3})
	require.Zero(k, k.quota(b).Limit, "each account has its own")
	require.NoError(k, k.st.DeleteAccount(ctx, "anna"))
	require.Zero(k, k.quota(k.account("anna")).Limit, "a new life, no limits")
}

func quotaPlace(k *kit) {
	a := k.account("anna")
	k.limit(a, store.Usage{Octets: 1000})
	k.filed(k.sized(a, store.Inbox, 600))
	t := k.sized(a, store.Inbox, 401)
	t.Token = "t"
	k.refused(a, t)
	t = k.sized(a, store.Inbox, 400)
	t.Token = "t"
	k.filed(t) // exactly full; and the token was free
	k.refused(a, k.sized(a, store.Inbox, 10))
	p := k.place(t)[0]
	require.NoError(k, p.Err, "a duplicate adds nothing")
	require.True(k, p.Duplicate)

	k.limit(a, store.Usage{Messages: 3})
	k.filed(k.sized(a, store.Inbox, 5000))
	k.refused(a, k.sized(a, store.Inbox, 10))
	k.limit(a, store.Usage{Octets: -1})
	k.refused(a, k.sized(a, store.Inbox, 10))
	k.limit(a, store.Usage{Messages: -1})
	k.refused(a, k.sized(a, store.Inbox, 10))
	k.limit(a, store.Usage{Mailboxes: -1})
	k.filed(k.sized(a, store.Inbox, 10))
	k.limit(a, store.Usage{})
	k.filed(k.sized(a, store.Inbox, 10))
}

// An atomic group is over its quota as a whole; other accounts do not care.
func quotaGroup(k *kit) {
	a, b := k.account("anna"), k.account("bob")
	k.create(a, "Lists")
	k.limit(a, store.Usage{Octets: 100})
	p := k.place(k.sized(a, store.Inbox, 60), k.sized(b, store.Inbox, 60), k.sized(a, "Lists", 41))
	require.ErrorIs(k, p[0].Err, store.ErrOverQuota)
	require.NoError(k, p[1].Err)
	require.ErrorIs(k, p[2].Err, store.ErrOverQuota)
	require.Zero(k, k.quota(a).Used.Octets)
	require.EqualValues(k, 60, k.quota(b).Used.Octets)
	k.filed(k.sized(a, store.Inbox, 60), k.sized(a, "Lists", 40))
	k.limit(a, store.Usage{Messages: 4})
	k.refused(a, k.sized(a, store.Inbox, 60), k.sized(a, "Lists", 40), k.sized(a, "Lists", 40))
	k.filed(k.sized(a, store.Inbox, 60), k.sized(a, "Lists", 40))
}

// A replacement counts by its difference (RFC 8508 §3.4).
func quotaReplace(k *kit) {
	a := k.account("anna")
	drafts := k.create(a, "Drafts")
	k.limit(a, store.Usage{Octets: 1000, Messages: 2})
	uid := k.filed(k.sized(a, "Drafts", 500))[0]
	k.filed(k.sized(a, store.Inbox, 500))
	replace := func(mailbox string, n int) store.Target {
		t := k.sized(a, mailbox, n)
		t.Replaces, t.ReplacesIn = uid, drafts.ID()
		return t
	}
	k.refused(a, replace("Drafts", 501))
	require.Equal(k, []store.UID{uid}, uids(k.snap(drafts)), "the old one stays")
	uid = k.filed(replace("Drafts", 500))[0]
	uid = k.filed(replace("Drafts", 300))[0]
	uid = k.filed(replace("Drafts", 500))[0]
	// The whole commit counts.
	k.refused(a, replace("Drafts", 200), k.sized(a, store.Inbox, 300))
	k.limit(a, store.Usage{Octets: 1000})
	uid = k.filed(replace("Drafts", 200), k.sized(a, store.Inbox, 300))[0]
	k.refused(a, k.sized(a, store.Inbox, 101), replace("Drafts", 100))
	// Above the limit a smaller one is still welcome.
	k.limit(a, store.Usage{Octets: 10})
	k.refused(a, replace("Drafts", 201))
	uid = k.filed(replace("Drafts", 200))[0]
	k.filed(replace(store.Inbox, 150))
	require.Zero(k, k.snap(drafts).Len())
}

func quotaCopyMove(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	src, dst := k.box(a, store.Inbox), k.create(a, "Archive")
	u := k.filed(k.sized(a, store.Inbox, 100), k.sized(a, store.Inbox, 200), k.sized(a, store.Inbox, 300))
	refused := func(set store.UIDSet, to store.Mailbox) {
		k.Helper()
		before, at := k.quota(a), k.through(a)
		_, err := src.Copy(ctx, set, to.ID())
		require.ErrorIs(k, err, store.ErrOverQuota)
		require.Equal(k, before, k.quota(a), "all or none")
		require.Equal(k, at, k.through(a))
	}
	k.limit(a, store.Usage{Octets: 899})
	refused(store.UIDs(u[0], u[1]), dst)
	refused(store.UIDs(u[2]), src)
	_, err := src.Copy(ctx, store.UIDs(u[1], u[2]+9), dst.ID())
	require.NoError(k, err)
	k.limit(a, store.Usage{Messages: 4})
	refused(store.UIDs(u[0]), dst)
	_, err = src.Copy(ctx, store.UIDs(u[2]+9), dst.ID())
	require.NoError(k, err, "nothing to copy, nothing added")
	// A move adds nothing, so that it is possible at and above the limit.
	k.limit(a, store.Usage{Octets: 10, Messages: -1})
	c, err := src.Move(ctx, store.UIDs(u[0]), dst.ID())
	require.NoError(k, err)
	require.Len(k, c.To, 1)
	_, err = src.Move(ctx, store.UIDs(u[1]), src.ID())
	require.NoError(k, err)
	require.EqualValues(k, 800, k.quota(a).Used.Octets)
}

func quotaMailboxes(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	k.limit(a, store.Usage{Mailboxes: 3})
	refused := func(do func() error) {
		k.Helper()
		names, at := k.names(a), k.through(a)
		require.ErrorIs(k, do(), store.ErrOverQuota)
		require.Equal(k, names, k.names(a), "not even the parents")
		require.Equal(k, at, k.through(a))
		k.quota(a)
	}
	create := func(name string) func() error {
		return func() error { _, err := a.Create(ctx, name, store.CreateOptions{}); return err }
	}
	refused(create("a/b/c"))
	require.NoError(k, create("a/b")())
	refused(create("c"))
	require.ErrorIs(k, create("a")(), store.ErrExists)
	require.NoError(k, a.Rename(ctx, "a/b", "a/c"))
	require.NoError(k, a.Rename(ctx, "a", "d"))
	refused(func() error { return a.Rename(ctx, "d/c", "new/c") })
	refused(func() error { return a.Rename(ctx, store.Inbox, "old") })
	require.NoError(k, a.Delete(ctx, "d/c"))
	require.NoError(k, create("c")())
	k.limit(a, store.Usage{Mailboxes: -1})
	require.NoError(k, a.Delete(ctx, "c"))
	refused(create("c"))
	k.filed(k.sized(a, store.Inbox, 100))
	k.limit(a, store.Usage{Octets: 1, Messages: 1})
	require.NoError(k, create("c")())
}

// A limit set below what there is takes nothing away, and tidying up works.
func quotaAbove(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	mb, other := k.box(a, store.Inbox), k.create(a, "Other")
	u := k.filed(k.sized(a, store.Inbox, 100), k.sized(a, store.Inbox, 100), k.sized(a, "Other", 100))
	k.limit(a, store.Usage{Octets: 150, Messages: 1, Mailboxes: 1})
	require.Equal(k, 2, k.snap(mb).Len())
	k.refused(a, k.sized(a, store.Inbox, 10))
	f := k.flag(mb, store.FlagsAdd, store.AllUIDs(), store.FlagDeleted, "later")
	require.Equal(k, 2, f.Changed.Len())
	require.NoError(k, a.Rename(ctx, "Other", "Another"))
	require.NoError(k, a.Subscribe(ctx, "x", true))
	_, err := mb.Expunge(ctx, store.UIDs(u[0]), store.FlagDeleted)
	require.NoError(k, err)
	_, err = mb.Move(ctx, store.AllUIDs(), other.ID())
	require.NoError(k, err)
	k.refused(a, k.sized(a, store.Inbox, 10))
	require.NoError(k, a.Delete(ctx, "Another"))
	require.Zero(k, k.quota(a).Used.Octets)
	k.filed(k.sized(a, store.Inbox, 150))
}

// Placements that wait for none before them are held to the limit as well.
func quotaLater(k *kit) {
	a := k.account("anna")
	k.limit(a, store.Usage{Octets: 799})
	var waits []func() []store.Placed
	for range 20 {
		waits = append(waits, store.PlaceLater(k.Context(), k.st, []store.Target{k.sized(a, store.Inbox, 100)}))
	}
	for i, wait := range waits {
		p := wait()
		require.Len(k, p, 1)
		if i < 7 {
			require.NoError(k, p[0].Err, "%d of 7", i)
		} else {
			require.ErrorIs(k, p[0].Err, store.ErrOverQuota)
		}
	}
	require.EqualValues(k, 700, k.quota(a).Used.Octets)
}

func quotaCalls(k *kit) {
	ctx := k.Context()
	q := k.quotas()
	_, err := q.Quota(ctx, "nobody")
	require.ErrorIs(k, err, store.ErrNotFound)
	require.ErrorIs(k, q.SetQuota(ctx, "nobody", store.Usage{}), store.ErrNotFound)
	a := k.account("anna")
	if _, err = q.Quota(k.ended(), "anna"); err != nil {
		require.ErrorIs(k, err, context.Canceled)
	}
	k.limit(a, store.Usage{Octets: 1 << 62, Messages: 1 << 62, Mailboxes: 1 << 62})
	k.filed(k.sized(a, store.Inbox, 100))
	k.limit(a, store.Usage{Octets: -1 << 63, Messages: -1 << 63, Mailboxes: -1 << 63})
	k.refused(a, k.sized(a, store.Inbox, 100))
	if err := q.SetQuota(k.ended(), "anna", store.Usage{}); err != nil {
		require.ErrorIs(k, err, context.Canceled)
	}
	require.NoError(k, k.st.Close())
	_, err = q.Quota(ctx, "anna")
	require.ErrorIs(k, err, store.ErrUnavailable)
	require.ErrorIs(k, q.SetQuota(ctx, "anna", store.Usage{}), store.ErrUnavailable)
}

func reopenQuota(k *kit) {
	k.needsReopen()
	a := k.account("anna")
	for i := range 3 {
		k.limit(a, store.Usage{Octets: int64(1000 + i), Messages: 4, Mailboxes: 3})
		k.filed(k.sized(a, store.Inbox, 300))
		k.create(a, fmt.Sprint("box", i))
		if i == 1 {
			_, err := k.box(a, "box0").Expunge(k.Context(), store.AllUIDs())
			require.NoError(k, err)
			require.NoError(k, a.Delete(k.Context(), "box0"))
		}
		want := k.quota(a)
		k.reopen()
		a = k.open("anna")
		require.Equal(k, want, k.quota(a))
	}
	k.refused(a, k.sized(a, store.Inbox, 103))
	k.filed(k.sized(a, store.Inbox, 102))
}
