package storetest

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var copyChecks = []check{
	{"Copy/properties", copyProperties},
	{"Copy/refused", copyRefused},
	{"Copy/same-mailbox", copySameMailbox},
	{"Move/properties", moveProperties},
	{"Move/same-mailbox", moveSameMailbox},
	{"Copy/content-outlives-source", copyOutlives},
}

func copyProperties(k *kit) {
	a := k.account("anna")
	src, dst := k.box(a, store.Inbox), k.create(a, "Archive")
	k.add(a, "Archive", 50, 2)
	k.flag(dst, store.FlagsAdd, store.AllUIDs(), "other", "work")
	date := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	var placed []store.UID
	for i := range 4 {
		p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(i)), Date: date.AddDate(0, i, 0),
			Prefix: []byte(fmt.Sprintf("X-N: %d\r\n", i)), Flags: []store.Flag{store.FlagSeen, "Work", "mine"}})
		require.NoError(k, p[0].Err)
		placed = append(placed, p[0].UID)
	}
	srcBefore, dstBefore := k.snap(src), k.snap(dst)
	c, err := src.Copy(k.Context(), store.UIDs(placed[3], placed[1], placed[0], placed[3]+5), dst.ID())
	require.NoError(k, err)
	require.Equal(k, []store.UID{placed[0], placed[1], placed[3]}, c.From)
	require.Equal(k, srcBefore.ModSeq(), k.snap(src).ModSeq(), "the source does not change")
	dstAfter := k.snap(dst)
	require.NoError(k, follows(dstBefore, dstAfter))
	require.Equal(k, dstAfter.UIDValidity(), c.UIDValidity)
	require.Equal(k, dstAfter.ModSeq(), c.ModSeq)
	require.Len(k, c.To, 3)
	details := map[store.UID]store.Detail{}
	for _, d := range k.details(src, srcBefore) {
		details[d.Row.UID] = d
	}
	for i, uid := range c.To {
		r, from := k.row(dstAfter, uid), k.row(srcBefore, c.From[i])
		require.Equal(k, c.ModSeq, r.ModSeq)
		require.Equal(k, c.ModSeq, r.Created)
		require.Equal(k, from.Date, r.Date, "the internal date is kept (RFC 9051 §6.4.7)")
		require.Equal(k, from.Size, r.Size)
		require.Equal(k, []store.Flag{store.FlagSeen, "mine", "work"}, sorted(dstAfter.Flags(r.Flags)), "by the destination's table")
		require.Equal(k, k.body(src, from), k.body(dst, r))
	}
	for _, d := range k.details(dst, dstAfter) {
		for i, uid := range c.To {
			if d.Row.UID == uid {
				require.Equal(k, details[c.From[i]].EmailID, d.EmailID, "a copy has the same EMAILID (RFC 8474 §5.1)")
				require.Equal(k, details[c.From[i]].Outline, d.Outline)
			}
		}
	}
	none, err := src.Copy(k.Context(), store.UIDs(placed[3]+1), dst.ID())
	require.NoError(k, err)
	require.Empty(k, none.To)
	require.Zero(k, none.ModSeq)
	require.Equal(k, dstAfter.ModSeq(), k.snap(dst).ModSeq())
}

func copyRefused(k *kit) {
	a := k.account("anna")
	src, dst := k.box(a, store.Inbox), k.create(a, "Archive")
	p := k.add(a, store.Inbox, 1, 3)
	_, err := src.Copy(k.Context(), store.AllUIDs(), 1<<40)
	require.ErrorIs(k, err, store.ErrNotFound)
	_, err = src.Move(k.Context(), store.AllUIDs(), 1<<40)
	require.ErrorIs(k, err, store.ErrNotFound)
	// One that does not fit keeps all away.
	k.add(a, "Archive", 9, 1)
	var full []store.Flag
	for i := range store.MaxKeywords {
		full = append(full, store.Flag(fmt.Sprint("k", i)))
	}
	k.flag(dst, store.FlagsAdd, store.AllUIDs(), full...)
	k.flag(src, store.FlagsAdd, store.UIDs(p[2].UID), "one-more")
	srcBefore, dstBefore := k.snap(src), k.snap(dst)
	_, err = src.Copy(k.Context(), store.AllUIDs(), dst.ID())
	require.ErrorIs(k, err, store.ErrLimit)
	_, err = src.Move(k.Context(), store.AllUIDs(), dst.ID())
	require.ErrorIs(k, err, store.ErrLimit)
	require.Equal(k, srcBefore.ModSeq(), k.snap(src).ModSeq())
	require.Equal(k, dstBefore.ModSeq(), k.snap(dst).ModSeq())
	require.Equal(k, 1, k.snap(dst).Len())
	require.Equal(k, 3, k.snap(src).Len())
}

func copySameMailbox(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 2)
	before := k.snap(mb)
	c, err := mb.Copy(k.Context(), store.AllUIDs(), mb.ID())
	require.NoError(k, err)
	after := k.snap(mb)
	require.NoError(k, follows(before, after))
	require.Equal(k, 4, after.Len())
	require.Equal(k, []store.UID{p[0].UID, p[1].UID}, c.From)
	require.Equal(k, uids(after)[2:], c.To)
}

func moveProperties(k *kit) {
	a := k.account("anna")
	src, dst := k.box(a, store.Inbox), k.create(a, "Archive")
	p := k.add(a, store.Inbox, 1, 4)
	k.flag(src, store.FlagsAdd, store.UIDs(p[1].UID), store.FlagFlagged, "work")
	srcBefore, dstBefore := k.snap(src), k.snap(dst)
	c, err := src.Move(k.Context(), store.UIDs(p[1].UID, p[2].UID), dst.ID())
	require.NoError(k, err)
	require.Equal(k, []store.UID{p[1].UID, p[2].UID}, c.From)
	srcAfter, dstAfter := k.snap(src), k.snap(dst)
	require.NoError(k, follows(srcBefore, srcAfter))
	require.NoError(k, follows(dstBefore, dstAfter))
	require.Equal(k, []store.UID{p[0].UID, p[3].UID}, uids(srcAfter))
	require.Equal(k, c.To, uids(dstAfter))
	require.Equal(k, c.ModSeq, srcAfter.ModSeq(), "one commit")
	require.Equal(k, c.ModSeq, dstAfter.ModSeq(), "one commit")
	require.Equal(k, []store.Flag{store.FlagFlagged, "work"}, sorted(dstAfter.Flags(dstAfter.At(0).Flags)))
	require.Equal(k, mail(2), k.body(dst, dstAfter.At(0)))
	ch := k.changes(src, srcBefore.ModSeq())
	require.True(k, ch.Vanished.Equal(store.UIDs(p[1].UID, p[2].UID)))
	none, err := src.Move(k.Context(), store.UIDs(p[1].UID), dst.ID())
	require.NoError(k, err)
	require.Empty(k, none.To)
	require.Zero(k, none.ModSeq)
}

func moveSameMailbox(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 3)
	before := k.snap(mb)
	c, err := mb.Move(k.Context(), store.UIDs(p[0].UID, p[1].UID), mb.ID())
	require.NoError(k, err)
	after := k.snap(mb)
	require.NoError(k, follows(before, after))
	require.Equal(k, append([]store.UID{p[2].UID}, c.To...), uids(after))
	require.Equal(k, mail(1), k.body(mb, after.At(1)))
	ch := k.changes(mb, before.ModSeq())
	require.True(k, ch.Vanished.Equal(store.UIDs(p[0].UID, p[1].UID)))
	require.Len(k, ch.Rows, 2)
}

// A body lives as long as one of its copies.
func copyOutlives(k *kit) {
	a := k.account("anna")
	k.account("bob")
	src, dst := k.create(a, "a"), k.create(a, "b")
	s, err := k.st.Stage(k.Context(), &pattern{n: 200_000})
	require.NoError(k, err)
	p := k.place(store.Target{Account: "anna", Mailbox: "a", Body: s}, store.Target{Account: "bob", Mailbox: store.Inbox, Body: s})
	require.NoError(k, p[0].Err)
	require.NoError(k, p[1].Err)
	require.NoError(k, s.Discard())
	_, err = src.Copy(k.Context(), store.AllUIDs(), dst.ID())
	require.NoError(k, err)
	_, err = src.Expunge(k.Context(), store.AllUIDs())
	require.NoError(k, err)
	require.NoError(k, a.Delete(k.Context(), "a"))
	require.NoError(k, k.st.DeleteAccount(k.Context(), "bob"))
	b, err := dst.Open(k.Context(), k.snap(dst).At(0))
	require.NoError(k, err)
	require.NoError(k, samePattern(b, 0, 200_000))
	require.NoError(k, b.Close())
}
