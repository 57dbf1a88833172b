package storetest

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var savedChecks = []check{
	{"Saved/place", savedPlace},
	{"Saved/copy-move", savedCopyMove},
	{"Mailbox/deleted-size", deletedSize},
}

// between checks that a message came into its mailbox since a moment.
func (k *kit) between(since time.Time, r store.Row) {
	k.Helper()
	require.False(k, r.SaveDate().Before(since.Truncate(time.Second)), "saved at %v, before %v", r.SaveDate(), since)
	require.False(k, r.SaveDate().After(time.Now()), "saved at %v, which is to come", r.SaveDate())
}

// The save date is when the message came into the mailbox, whatever its
// internal date (RFC 8514 §2).
func savedPlace(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	start := time.Now()
	var placed []store.UID
	for _, date := range []time.Time{{}, time.Unix(1e9, 0), time.Unix(-1e9, 0), start.AddDate(50, 0, 0)} {
		p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(1)), Date: date})
		require.NoError(k, p[0].Err)
		placed = append(placed, p[0].UID)
		r := k.row(k.snap(mb), p[0].UID)
		k.between(start, r)
		if !date.IsZero() {
			require.Equal(k, date.Unix(), r.Date)
		}
	}
	before := k.snap(mb)
	k.flag(mb, store.FlagsAdd, store.AllUIDs(), store.FlagSeen)
	for _, uid := range placed {
		require.Equal(k, k.row(before, uid).Saved, k.row(k.snap(mb), uid).Saved, "flags do not touch it")
	}
	for _, r := range k.changes(mb, before.ModSeq()).Rows {
		require.Equal(k, k.row(before, r.UID).Saved, r.Saved)
	}
}

// A copy has come into its mailbox when it was made; it keeps its internal
// date (RFC 9051 §6.4.7).
func savedCopyMove(k *kit) {
	a := k.account("anna")
	src, dst := k.box(a, store.Inbox), k.create(a, "Archive")
	k.add(a, store.Inbox, 1, 3)
	before := k.snap(src)
	// Save dates have seconds: the next one has to come.
	last := before.At(2).SaveDate()
	time.Sleep(time.Until(last.Add(time.Second)))
	copied, err := src.Copy(k.Context(), store.UIDs(before.At(0).UID), dst.ID())
	require.NoError(k, err)
	moved, err := src.Move(k.Context(), store.UIDs(before.At(1).UID), dst.ID())
	require.NoError(k, err)
	require.NoError(k, a.Rename(k.Context(), "Archive", "Renamed"))
	after := k.snap(dst)
	for i, uid := range []store.UID{copied.To[0], moved.To[0]} {
		r := k.row(after, uid)
		k.between(last.Add(time.Second), r)
		require.Equal(k, before.At(i).Date, r.Date)
	}
	require.Equal(k, before.At(0), k.row(k.snap(src), before.At(0).UID), "the source does not change")
	require.NoError(k, a.Rename(k.Context(), store.Inbox, "Old"))
	k.between(last.Add(time.Second), k.snap(k.box(a, "Old")).At(0))
}

// Info.DeletedSize is what an expunge would free (RFC 9208 §4.1.3).
func deletedSize(k *kit) {
	a := k.account("anna")
	mb, other := k.box(a, store.Inbox), k.create(a, "Other")
	check := func() {
		k.Helper()
		for _, mb := range []store.Mailbox{mb, other} {
			want := int64(0)
			for _, r := range k.snap(mb).All() {
				if r.Flags&store.BitDeleted != 0 {
					want += int64(r.Size)
				}
			}
			require.Equal(k, want, k.info(mb).DeletedSize)
		}
	}
	for i := range 6 {
		t := store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(i)), Prefix: []byte("X: y\r\n")[:6*(i%2)]}
		if i > 3 {
			t.Flags = []store.Flag{store.FlagDeleted, store.FlagSeen}
		}
		require.NoError(k, k.place(t)[0].Err)
		check()
	}
	at := uids(k.snap(mb))
	k.flag(mb, store.FlagsAdd, store.UIDs(at[0], at[1], at[4]), store.FlagDeleted)
	check()
	k.flag(mb, store.FlagsRemove, store.UIDs(at[4]), store.FlagDeleted)
	check()
	k.flag(mb, store.FlagsReplace, store.UIDs(at[5]), store.FlagFlagged)
	check()
	require.NotZero(k, k.info(mb).DeletedSize)
	_, err := mb.Copy(k.Context(), store.AllUIDs(), other.ID())
	require.NoError(k, err)
	check()
	_, err = mb.Move(k.Context(), store.UIDs(at[0], at[2]), other.ID())
	require.NoError(k, err)
	check()
	infos, err := a.Mailboxes(k.Context())
	require.NoError(k, err)
	for _, i := range infos {
		require.NotZero(k, i.DeletedSize, i.Name)
	}
	for _, mb := range []store.Mailbox{mb, other} {
		_, err = mb.Expunge(k.Context(), store.AllUIDs(), store.FlagDeleted)
		require.NoError(k, err)
		check()
		require.Zero(k, k.info(mb).DeletedSize)
		require.NotZero(k, k.info(mb).Size)
	}
}
