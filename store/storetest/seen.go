package storetest

import (
	"fmt"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// Private \Seen, see Store.Account.
var seenChecks = []check{
	{"Seen/apart", seenApart},
	{"Seen/with-other-flags", seenWithOthers},
	{"Seen/unchanged-since", seenUnchangedSince},
	{"Seen/mod-sequence", seenModSeq},
	{"Seen/copy-move", seenCopyMove},
	{"Seen/mailboxes", seenMailboxes},
	{"Seen/many-actors", seenManyActors},
	{"Seen/concurrent", seenConcurrent},
	{"Model/actors", modelActors},
	{"Reopen/seen", reopenSeen},
}

// actors is one mailbox as three users see it; the first is the owner.
type actors struct {
	*kit
	names    []string
	accounts []store.Account
	boxes    []store.Mailbox
}

// actors opens a mailbox of anna's for her and two others.
func (k *kit) actors(mailbox string) *actors {
	k.Helper()
	return k.actorsOf(mailbox, "anna", "bob", "carol")
}

func (k *kit) actorsOf(mailbox string, names ...string) *actors {
	k.Helper()
	s := &actors{kit: k, names: names}
	for _, name := range names {
		a := k.actor("anna", name)
		s.accounts, s.boxes = append(s.accounts, a), append(s.boxes, k.box(a, mailbox))
	}
	return s
}

// seen checks who has seen which messages: "x" for seen, in UID order, by
// snapshot, by Info and by the list of mailboxes.
func (s *actors) seen(want ...string) {
	s.Helper()
	for i, mb := range s.boxes {
		got, unseen := "", 0
		for _, r := range s.snap(mb).All() {
			if r.Flags&store.BitSeen != 0 {
				got += "x"
			} else {
				got += "."
				unseen++
			}
		}
		require.Equal(s, want[i], got, "as %s sees it", s.names[i])
		infos, err := s.accounts[i].Mailboxes(s.Context())
		require.NoError(s, err)
		for _, info := range infos {
			if info.ID == mb.ID() {
				require.Equal(s, unseen, info.Unseen, "as it is listed to %s", s.names[i])
				require.Equal(s, s.info(mb), info)
			}
		}
	}
}

// Whoever is not the owner begins with nothing seen, and changes his own flags
// alone.
func seenApart(k *kit) {
	a := k.account("anna")
	for _, flags := range [][]store.Flag{{store.FlagSeen, "work"}, nil, {store.FlagSeen}, nil} {
		k.filed(store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(1)), Flags: flags})
	}
	s := k.actors(store.Inbox)
	s.seen("x.x.", "....", "....")
	u := uids(k.snap(s.boxes[0]))
	f := k.flag(s.boxes[1], store.FlagsAdd, store.UIDs(u[0], u[1]), store.FlagSeen)
	require.True(k, f.Changed.Equal(store.UIDs(u[0], u[1])), "%v", f.Changed)
	s.seen("x.x.", "xx..", "....")
	f = k.flag(s.boxes[2], store.FlagsAdd, store.AllUIDs(), store.FlagSeen)
	require.Equal(k, 4, f.Changed.Len())
	s.seen("x.x.", "xx..", "xxxx")
	k.flag(s.boxes[0], store.FlagsRemove, store.AllUIDs(), store.FlagSeen)
	s.seen("....", "xx..", "xxxx")
	k.flag(s.boxes[0], store.FlagsAdd, store.AllUIDs(), store.FlagSeen)
	s.seen("xxxx", "xx..", "xxxx")
	k.flag(s.boxes[1], store.FlagsRemove, store.UIDs(u[0], u[3]), store.FlagSeen)
	s.seen("xxxx", ".x..", "xxxx")
	k.filed(store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(1)), Flags: []store.Flag{store.FlagSeen}})
	s.seen("xxxxx", ".x...", "xxxx.")
	_, err := s.boxes[2].Expunge(k.Context(), store.UIDs(u[1]))
	require.NoError(k, err)
	s.seen("xxxx", "....", "xxx.")
	_, err = s.boxes[1].Expunge(k.Context(), store.AllUIDs(), store.FlagSeen)
	require.NoError(k, err)
	require.Len(k, uids(k.snap(s.boxes[0])), 4, "he has seen none of them")
	// His own account is another matter.
	k.account("bob")
	k.add(k.open("bob"), store.Inbox, 1, 1)
	require.Equal(k, 1, k.info(k.box(k.open("bob"), store.Inbox)).Unseen)
	for i, name := range s.names {
		require.Equal(k, name, s.accounts[i].Actor())
		require.Equal(k, a.Name(), s.accounts[i].Name())
	}
}

// All other flags are shared, also when they change together with \Seen.
func seenWithOthers(k *kit) {
	k.account("anna")
	u := k.filed(store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(1)), Flags: []store.Flag{store.FlagSeen, "old"}})[0]
	s := k.actors(store.Inbox)
	flags := func(want ...string) {
		k.Helper()
		for i, mb := range s.boxes {
			require.Equal(k, want[i], flagString(k.flags(mb, u)), "as %s sees it", s.names[i])
		}
	}
	flags(`\seen old`, "old", "old")
	k.flag(s.boxes[1], store.FlagsAdd, store.AllUIDs(), store.FlagSeen, store.FlagFlagged, "New")
	flags(`\flagged \seen new old`, `\flagged \seen new old`, `\flagged new old`)
	f := k.flag(s.boxes[2], store.FlagsReplace, store.AllUIDs(), store.FlagDeleted)
	require.Equal(k, 1, f.Changed.Len())
	flags(`\deleted \seen`, `\deleted \seen`, `\deleted`)
	require.Equal(k, 1, k.info(s.boxes[1]).Deleted)
	f = k.flag(s.boxes[1], store.FlagsReplace, store.AllUIDs(), store.FlagDeleted)
	require.Equal(k, 1, f.Changed.Len(), "his \\Seen goes")
	flags(`\deleted \seen`, `\deleted`, `\deleted`)
	f = k.flag(s.boxes[1], store.FlagsReplace, store.AllUIDs(), store.FlagDeleted)
	require.Zero(k, f.ModSeq, "nothing changed")
	require.Empty(k, f.Changed)
	f = k.flag(s.boxes[2], store.FlagsReplace, store.AllUIDs(), store.FlagSeen, "third")
	require.Equal(k, 1, f.Changed.Len())
	flags(`\seen third`, `third`, `\seen third`)
	k.flag(s.boxes[0], store.FlagsReplace, store.AllUIDs())
	flags("", "", `\seen`)
}

// UnchangedSince compares with the rows the actor sees.
func seenUnchangedSince(k *kit) {
	k.account("anna")
	k.add(k.open("anna"), store.Inbox, 1, 2)
	s := k.actors(store.Inbox)
	since := k.snap(s.boxes[0]).ModSeq()
	u := uids(k.snap(s.boxes[0]))
	try := func(i int, since store.ModSeq, flag store.Flag) store.Flagged {
		k.Helper()
		f, err := s.boxes[i].Flag(k.Context(), store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{flag}, UnchangedSince: &since})
		require.NoError(k, err)
		return f
	}
	own := k.flag(s.boxes[1], store.FlagsAdd, store.UIDs(u[0]), store.FlagSeen)
	f := try(1, since, store.FlagFlagged)
	require.True(k, f.Failed.Equal(store.UIDs(u[0])), "%v", f.Failed)
	require.True(k, f.Changed.Equal(store.UIDs(u[1])), "%v", f.Changed)
	f = try(0, since, store.FlagDraft)
	require.True(k, f.Failed.Equal(store.UIDs(u[1])), "to others the first has not changed: %v", f.Failed)
	require.True(k, f.Changed.Equal(store.UIDs(u[0])), "%v", f.Changed)
	require.Greater(k, f.ModSeq, own.ModSeq)
	f = try(2, since, store.FlagSeen)
	require.Equal(k, 2, f.Failed.Len(), "what is shared has changed for all")
	f = try(1, k.snap(s.boxes[1]).ModSeq(), store.FlagAnswered)
	require.Equal(k, 2, f.Changed.Len())
}

// A private change has a mod-sequence like any other, for its actor alone; it
// wakes his other sessions and is told to them.
func seenModSeq(k *kit) {
	k.account("anna")
	k.add(k.open("anna"), store.Inbox, 1, 3)
	s := k.actors(store.Inbox)
	before, at := make([]*store.Snapshot, 3), k.through(s.accounts[0])
	for i := range before {
		before[i] = k.snap(s.boxes[i])
	}
	u := uids(before[0])
	wake := s.accounts[1].Watch(k.Context())
	f := k.flag(s.boxes[1], store.FlagsAdd, store.UIDs(u[1]), store.FlagSeen)
	require.Greater(k, f.ModSeq, at)
	require.Equal(k, f.ModSeq, k.through(s.accounts[0]), "it is the account's")
	require.True(k, k.receive(wake))
	e := k.find(k.accountChanges(s.accounts[1], at), store.MailboxChanged, store.Inbox)
	require.Equal(k, f.ModSeq, e.ModSeq)
	now := k.snap(s.boxes[1])
	require.NoError(k, follows(before[1], now))
	require.Equal(k, f.ModSeq, now.ModSeq())
	require.Equal(k, f.ModSeq, k.row(now, u[1]).ModSeq)
	c := k.changes(s.boxes[1], at)
	require.Equal(k, []store.Row{k.row(now, u[1])}, c.Rows)
	for _, i := range []int{0, 2} {
		d := store.Diff(before[i], k.snap(s.boxes[i]))
		require.Empty(k, d.Rows, "to %s nothing has changed", s.names[i])
		require.Empty(k, k.changes(s.boxes[i], at).Rows)
	}
	none := k.flag(s.boxes[1], store.FlagsAdd, store.UIDs(u[1]), store.FlagSeen)
	require.Zero(k, none.ModSeq)
	require.Equal(k, f.ModSeq, k.through(s.accounts[1]), "no change, no mod-sequence")
	// With other flags in one commit.
	g := k.flag(s.boxes[1], store.FlagsAdd, store.AllUIDs(), store.FlagSeen, "work")
	require.Equal(k, 3, g.Changed.Len())
	for i := range s.boxes {
		rows := k.changes(s.boxes[i], f.ModSeq).Rows
		require.Len(k, rows, 3)
		for _, r := range rows {
			require.Equal(k, g.ModSeq, r.ModSeq)
		}
	}
}

// Copy carries the \Seen of whoever copies, for him alone; Move carries
// everybody's.
func seenCopyMove(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	dest := []store.Mailbox{k.create(a, "one"), k.create(a, "two"), k.create(a, "three"), k.create(a, "four")}
	k.add(a, store.Inbox, 1, 4)
	s := k.actors(store.Inbox)
	u := uids(k.snap(s.boxes[0]))
	k.flag(s.boxes[0], store.FlagsAdd, store.UIDs(u[0], u[1]), store.FlagSeen, "work")
	k.flag(s.boxes[1], store.FlagsAdd, store.UIDs(u[1], u[2]), store.FlagSeen)
	k.flag(s.boxes[2], store.FlagsAdd, store.UIDs(u[2], u[3]), store.FlagSeen)
	k.flag(s.boxes[2], store.FlagsRemove, store.UIDs(u[3]), store.FlagSeen)
	for i, want := range [][]string{{"xx..", "....", "...."}, {"....", ".xx.", "...."}, {"....", "....", "..x."}} {
		at := k.through(a)
		c, err := s.boxes[i].Copy(ctx, store.AllUIDs(), dest[i].ID())
		require.NoError(k, err)
		there := k.actors([]string{"one", "two", "three"}[i])
		there.seen(want...)
		for _, mb := range there.boxes {
			require.Equal(k, "work", flagString(k.flags(mb, c.To[0]))[max(len(flagString(k.flags(mb, c.To[0])))-4, 0):])
			for _, r := range k.changes(mb, at).Rows {
				require.Equal(k, c.ModSeq, r.ModSeq)
			}
			require.Len(k, k.changes(mb, at).Rows, 4)
		}
		s.seen("xx..", ".xx.", "..x.")
	}
	c, err := s.boxes[1].Copy(ctx, store.UIDs(u[2]), s.boxes[1].ID())
	require.NoError(k, err)
	s.seen("xx...", ".xx.x", "..x..")
	_, err = s.boxes[0].Expunge(ctx, store.UIDs(c.To...))
	require.NoError(k, err)
	_, err = s.boxes[1].Move(ctx, store.AllUIDs(), dest[3].ID())
	require.NoError(k, err)
	four := k.actors("four")
	four.seen("xx..", ".xx.", "..x.")
	s.seen("", "", "")
	_, err = four.boxes[2].Move(ctx, store.UIDs(uids(k.snap(dest[3]))[0]), four.boxes[2].ID())
	require.NoError(k, err)
	four.seen("x..x", "xx..", ".x..")
}

// Private flags belong to the mailbox, not to its name.
func seenMailboxes(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	k.create(a, "Box")
	k.add(a, "Box", 1, 2)
	s := k.actors("Box")
	u := uids(k.snap(s.boxes[0]))
	k.flag(s.boxes[1], store.FlagsAdd, store.UIDs(u[1]), store.FlagSeen)
	require.NoError(k, s.accounts[2].Rename(ctx, "Box", "Moved"))
	k.actors("Moved").seen("..", ".x", "..")
	s.seen("..", ".x", "..")
	require.NoError(k, a.Delete(ctx, "Moved"))
	for _, mb := range s.boxes {
		_, err := mb.Snapshot(ctx)
		require.ErrorIs(k, err, store.ErrNotFound)
	}
	info, err := s.accounts[1].Create(ctx, "Box", store.CreateOptions{})
	require.NoError(k, err)
	require.Zero(k, info.Unseen)
	k.add(a, "Box", 1, 2)
	k.actors("Box").seen("..", "..", "..")
	k.add(a, store.Inbox, 1, 2)
	in := k.actors(store.Inbox)
	k.flag(in.boxes[1], store.FlagsAdd, store.AllUIDs(), store.FlagSeen)
	require.NoError(k, a.Rename(ctx, store.Inbox, "Old"))
	k.actors("Old").seen("..", "xx", "..")
	in.seen("", "", "")
	require.NoError(k, k.st.DeleteAccount(ctx, "anna"))
	k.add(k.account("anna"), store.Inbox, 1, 2)
	k.actors(store.Inbox).seen("..", "..", "..")
}

func seenManyActors(k *kit) {
	a := k.account("anna")
	k.add(a, store.Inbox, 1, 7)
	u := uids(k.snap(k.box(a, store.Inbox)))
	names := make([]string, 100)
	for i := range names {
		names[i] = fmt.Sprintf("user%02d@example.org", i)
	}
	s := k.actorsOf(store.Inbox, names...)
	want := make([]string, len(names))
	for i, mb := range s.boxes {
		want[i] = "......."[:i%7] + "x" + "......."[i%7+1:]
		k.flag(mb, store.FlagsAdd, store.UIDs(u[i%7]), store.FlagSeen)
	}
	s.seen(want...)
	require.Equal(k, 7, k.info(k.box(a, store.Inbox)).Unseen)
}

// Actors at work at once: none sees another's flag, and nothing is lost.
func seenConcurrent(k *kit) {
	ctx := k.Context()
	k.account("anna")
	k.add(k.open("anna"), store.Inbox, 1, 6)
	s := k.actors(store.Inbox)
	u := uids(k.snap(s.boxes[0]))
	var t team
	var done atomic.Int32
	for i, mb := range s.boxes {
		t.run(func() error {
			defer done.Add(1)
			for n := range 30 {
				op := []store.FlagOp{store.FlagsAdd, store.FlagsRemove}[n%2]
				flags := []store.Flag{store.FlagSeen}
				if n%5 == 0 {
					flags = append(flags, store.Flag(s.names[i]))
				}
				f, err := mb.Flag(ctx, store.UIDs(u[i], u[i+3]), store.FlagUpdate{Op: op, Flags: flags})
				if err != nil {
					return err
				}
				if f.Changed.Len() != 2 {
					return fmt.Errorf("%s changed %v in step %d", s.names[i], f.Changed, n)
				}
			}
			_, err := mb.Flag(ctx, store.UIDs(u[i], u[i+3]), store.FlagUpdate{Flags: []store.Flag{store.FlagSeen, store.Flag(s.names[i])}})
			return err
		})
		var seen *store.Snapshot
		t.until(func() error {
			now, err := mb.Snapshot(ctx)
			if err != nil {
				return err
			}
			for _, r := range now.All() {
				if mine := r.UID == u[i] || r.UID == u[i+3]; !mine && r.Flags&store.BitSeen != 0 {
					return fmt.Errorf("%s sees that another has seen UID %d", s.names[i], r.UID)
				}
			}
			if seen != nil {
				err = follows(seen, now)
			}
			seen = now
			return err
		})
	}
	require.NoError(k, t.wait())
	s.seen("x..x..", ".x..x.", "..x..x")
	for i, uid := range u {
		require.Contains(k, flagString(k.flags(s.boxes[0], uid)), s.names[i%3])
	}
}

func reopenSeen(k *kit) {
	k.needsReopen()
	a := k.account("anna")
	k.add(a, store.Inbox, 1, 3)
	k.create(a, "Box")
	s := k.actors(store.Inbox)
	u := uids(k.snap(s.boxes[0]))
	k.flag(s.boxes[0], store.FlagsAdd, store.UIDs(u[0]), store.FlagSeen)
	k.flag(s.boxes[1], store.FlagsAdd, store.AllUIDs(), store.FlagSeen)
	k.flag(s.boxes[1], store.FlagsRemove, store.UIDs(u[2]), store.FlagSeen)
	_, err := s.boxes[1].Move(k.Context(), store.UIDs(u[1]), k.box(a, "Box").ID())
	require.NoError(k, err)
	var past []*store.Snapshot
	for _, mb := range s.boxes {
		past = append(past, k.snap(mb))
	}
	for range 2 {
		k.reopen()
		s = k.actors(store.Inbox)
		s.seen("x.", "x.", "..")
		k.actors("Box").seen(".", "x", ".")
		for i, mb := range s.boxes {
			now := k.snap(mb)
			require.Equal(k, past[i].ModSeq(), now.ModSeq())
			for j, r := range now.All() {
				require.Equal(k, past[i].At(j).ModSeq, r.ModSeq)
			}
			require.Empty(k, k.changes(mb, now.ModSeq()).Rows)
		}
	}
	k.flag(s.boxes[2], store.FlagsAdd, store.AllUIDs(), store.FlagSeen)
	s.seen("x.", "x.", "xx")
}
