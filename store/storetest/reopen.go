package storetest

import (
	"context"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var reopenChecks = []check{
	{"Reopen/mail", reopenMail},
	{"Reopen/numbers", reopenNumbers},
	{"Reopen/many-times", reopenManyTimes},
}

// reopen ends the store and starts it again.
func (k *kit) reopen() {
	k.Helper()
	k.st = k.cfg.Reopen(k, k.st)
}

func (k *kit) needsReopen() {
	k.Helper()
	if k.cfg.Reopen == nil {
		k.Skip("the engine keeps nothing beyond Close")
	}
}

func reopenMail(k *kit) {
	k.needsReopen()
	a := k.account("anna")
	require.NoError(k, k.st.CreateAccount(k.Context(), "bob"))
	mb := k.box(a, store.Inbox)
	past := []*store.Snapshot{k.snap(mb)}
	k.create(a, "Lists/deep")
	_, err := a.Create(k.Context(), "Sent", store.CreateOptions{SpecialUse: `\Sent`})
	require.NoError(k, err)
	require.NoError(k, a.Subscribe(k.Context(), "Sent", true))
	require.NoError(k, a.Subscribe(k.Context(), "other", true))
	for i, size := range []int64{0, 1, 70_000, 2 << 20} {
		s, err := k.st.Stage(k.Context(), &pattern{n: size})
		require.NoError(k, err)
		p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: s, Prefix: []byte("X: y\r\n"), Flags: []store.Flag{"Work"}, Date: time.Unix(int64(i), 0)})
		require.NoError(k, p[0].Err)
		require.NoError(k, s.Discard())
		past = append(past, k.snap(mb))
	}
	p := k.add(a, store.Inbox, 1, 5)
	k.flag(mb, store.FlagsAdd, store.UIDs(p[0].UID), store.FlagSeen, "$Junk")
	past = append(past, k.snap(mb))
	_, err = mb.Expunge(k.Context(), store.UIDs(p[1].UID))
	require.NoError(k, err)
	_, err = mb.Move(k.Context(), store.UIDs(p[2].UID), k.box(a, "Lists/deep").ID())
	require.NoError(k, err)
	token := store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(1)), Token: "t"}
	first := k.place(token)[0]
	require.NoError(k, first.Err)

	want := k.snap(mb)
	details := k.details(mb, want)
	names := k.names(a)
	infos, err := a.Mailboxes(k.Context())
	require.NoError(k, err)
	for range 2 {
		k.reopen()
		a = k.open("anna")
		mb = k.box(a, store.Inbox)
		require.Equal(k, names, k.names(a))
		now, err := a.Mailboxes(k.Context())
		require.NoError(k, err)
		require.Equal(k, infos, now)
		subscribed, err := a.Subscriptions(k.Context())
		require.NoError(k, err)
		require.Equal(k, []string{"Sent", "other"}, subscribed)
		s := k.snap(mb)
		require.Equal(k, want.UIDValidity(), s.UIDValidity())
		require.Equal(k, want.Len(), s.Len())
		for i, r := range s.All() {
			w := want.At(i)
			w.Ref = r.Ref // the engine's own business
			require.Equal(k, w, r)
			require.Equal(k, want.Flags(w.Flags), s.Flags(r.Flags))
		}
		for i, d := range k.details(mb, s) {
			require.Equal(k, details[i].EmailID, d.EmailID)
			require.Equal(k, details[i].Outline, d.Outline)
		}
		b, err := mb.Open(k.Context(), s.At(3))
		require.NoError(k, err)
		require.NoError(k, samePattern(b, 6, 2<<20))
		require.NoError(k, b.Close())
		require.Equal(k, mail(3), k.body(k.box(a, "Lists/deep"), k.snap(k.box(a, "Lists/deep")).At(0)))
		token.Body = k.stage(mail(1))
		again := k.place(token)[0]
		require.NoError(k, again.Err)
		require.True(k, again.Duplicate)
		require.Equal(k, first.UID, again.UID)
		for _, old := range past {
			c, err := mb.Changes(k.Context(), old.ModSeq())
			require.NoError(k, err)
			require.Equal(k, uids(s), uids(old.With(c)))
		}
	}
}

// Numbers grow on from where they were.
func reopenNumbers(k *kit) {
	k.needsReopen()
	a := k.account("anna")
	last := k.add(a, store.Inbox, 1, 3)[2]
	mb := k.create(a, "Lists")
	id, validity := mb.ID(), k.info(mb).UIDValidity
	_, err := k.box(a, store.Inbox).Expunge(k.Context(), store.AllUIDs())
	require.NoError(k, err)
	require.NoError(k, a.Delete(k.Context(), "Lists"))
	before, err := a.Changes(k.Context(), 1)
	require.NoError(k, err)
	k.reopen()
	a = k.open("anna")
	after, err := a.Changes(k.Context(), 1)
	require.NoError(k, err)
	require.Equal(k, before, after)
	p := k.add(a, store.Inbox, 4, 1)[0]
	require.Greater(k, p.UID, last.UID, "a UID is never given twice, though its message is gone")
	require.Greater(k, p.ModSeq, before.Through)
	mb = k.create(a, "Lists")
	require.NotEqual(k, id, mb.ID())
	require.Greater(k, k.info(mb).UIDValidity, validity)
	inbox := k.info(k.box(a, store.Inbox)).UIDValidity
	require.NoError(k, k.st.DeleteAccount(k.Context(), "anna"))
	k.reopen()
	a = k.account("anna")
	require.NotEqual(k, inbox, k.info(k.box(a, store.Inbox)).UIDValidity)
}

func reopenSpool(k *kit) {
	k.needsReopen()
	sp := k.spool()
	now := seconds()
	s := k.stage(mail(1))
	ids := k.enqueue(sp,
		store.SpoolItem{Body: s, Due: now.Add(-time.Hour), Site: "a", Envelope: []byte("e"), Prefix: []byte("X: y\r\n")},
		store.SpoolItem{Body: s, Due: now, Hold: true},
		store.SpoolItem{Body: s, Due: now.Add(time.Hour)})
	l := k.lease(sp, now, 1, time.Minute)
	require.Len(k, l, 1)
	want := k.list(sp)
	k.reopen()
	sp = k.spool()
	got := k.list(sp)
	require.Equal(k, ids, entryIDs(got))
	for i := range got {
		require.True(k, want[i].Due.Equal(got[i].Due))
		require.Equal(k, want[i].Site, got[i].Site)
		require.Equal(k, want[i].Hold, got[i].Hold)
		require.Equal(k, want[i].Size, got[i].Size)
		require.Equal(k, want[i].Attempts, got[i].Attempts)
		require.Equal(k, string(want[i].Envelope), string(got[i].Envelope))
		require.True(k, want[i].Created.Equal(got[i].Created))
	}
	b, err := sp.Open(k.Context(), ids[0])
	require.NoError(k, err)
	require.Equal(k, "X: y\r\n"+mail(1), k.drain(b))
	// The lessee may be another process that goes on; the fence stays good.
	again := k.lease(sp, now.Add(2*time.Minute), 1, time.Minute)
	require.Len(k, again, 1)
	require.Equal(k, ids[0], again[0].ID)
	require.Greater(k, again[0].Fence, l[0].Fence)
	_, err = sp.Settle(k.Context(), ids[0], l[0].Fence, nil, nil)
	require.ErrorIs(k, err, store.ErrConflict)
	for _, id := range ids[1:] {
		require.NoError(k, sp.Remove(k.Context(), id))
	}
	_, err = sp.Settle(k.Context(), ids[0], again[0].Fence, nil, nil)
	require.NoError(k, err)
	k.reopen()
	sp = k.spool()
	require.Empty(k, k.list(sp))
	require.Greater(k, k.enqueue(sp, store.SpoolItem{Body: k.stage(mail(2))})[0], ids[2], "ids are never reused")
}

func reopenManyTimes(k *kit) {
	k.needsReopen()
	k.account("anna")
	var last *store.Snapshot
	for i := range 8 {
		a := k.open("anna")
		mb := k.box(a, store.Inbox)
		if last != nil {
			now := k.snap(mb)
			require.Equal(k, uids(last), uids(now))
			require.Equal(k, last.ModSeq(), now.ModSeq())
		}
		k.add(a, store.Inbox, i, 2)
		if i%3 == 2 {
			_, err := mb.Expunge(context.Background(), store.UIDs(k.snap(mb).At(0).UID))
			require.NoError(k, err)
		}
		last = k.snap(mb)
		k.reopen()
	}
}
