package storetest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var changesChecks = []check{
	{"Changes/replay", changesReplay},
	{"Changes/every-mod-sequence", changesEvery},
	{"Changes/vanished", changesVanished},
	{"Changes/account", changesAccount},
	{"Changes/account-replay", changesAccountReplay},
}

// withoutRefs is a snapshot without what is the engine's own business.
func withoutRefs(s *store.Snapshot) *store.Snapshot {
	rows := make([]store.Row, 0, s.Len())
	for _, r := range s.All() {
		r.Ref = 0
		rows = append(rows, r)
	}
	return store.NewSnapshot(s.Mailbox(), s.UIDValidity(), s.UIDNext(), s.ModSeq(), s.Keywords(), rows)
}

// sameContent compares what two snapshots of one mailbox show.
func sameContent(want, got *store.Snapshot) error {
	d := store.Diff(withoutRefs(want), withoutRefs(got))
	if len(d.Rows) > 0 || len(d.Vanished) > 0 {
		return fmt.Errorf("differs in %v, lacks %v", d.Rows, d.Vanished)
	}
	if want.UIDNext() != got.UIDNext() || want.ModSeq() != got.ModSeq() {
		return fmt.Errorf("UIDNEXT %d, want %d; mod-sequence %d, want %d", got.UIDNext(), want.UIDNext(), got.ModSeq(), want.ModSeq())
	}
	for _, r := range got.All() {
		if !slices.Equal(want.Flags(r.Flags), got.Flags(r.Flags)) {
			return fmt.Errorf("flags of UID %d: %v, want %v", r.UID, got.Flags(r.Flags), want.Flags(r.Flags))
		}
	}
	return nil
}

// replay checks that Changes leads from every earlier snapshot to now, as
// QRESYNC needs it (RFC 7162 §3.2).
func (k *kit) replay(mb store.Mailbox, past []*store.Snapshot, now *store.Snapshot) {
	k.Helper()
	for _, s := range past {
		c, err := mb.Changes(k.Context(), s.ModSeq())
		if errors.Is(err, store.ErrHistoryGone) {
			continue
		}
		require.NoError(k, err)
		require.Equal(k, s.ModSeq(), c.Since)
		require.GreaterOrEqual(k, c.Through, now.ModSeq())
		require.Equal(k, now.UIDNext(), c.UIDNext)
		last := store.UID(0)
		for _, r := range c.Rows {
			require.Greater(k, r.UID, last, "ascending")
			require.Greater(k, r.ModSeq, s.ModSeq(), "only what changed")
			require.False(k, c.Vanished.Contains(r.UID), "UID %d both there and vanished", r.UID)
			last = r.UID
		}
		for u := range c.Vanished.All() {
			_, there := now.Find(u)
			require.False(k, there, "UID %d vanished, but is there", u)
			require.Less(k, u, now.UIDNext())
		}
		got := s.With(c)
		if got.ModSeq() > now.ModSeq() && got.ModSeq() == c.Through {
			// An engine may answer with the account's mod-sequence.
			got = s.With(store.Changes{Since: c.Since, Through: now.ModSeq(), Rows: c.Rows, Vanished: c.Vanished, UIDNext: c.UIDNext, Keywords: c.Keywords})
		}
		require.NoError(k, sameContent(now, got), "from %d to %d", s.ModSeq(), now.ModSeq())
	}
}

func changesReplay(k *kit) {
	a := k.account("anna")
	mb, other := k.box(a, store.Inbox), k.create(a, "Other")
	past := []*store.Snapshot{k.snap(mb)}
	for i := range 12 {
		k.add(a, store.Inbox, i, 2)
		past = append(past, k.snap(mb))
		now := k.snap(mb)
		k.flag(mb, store.FlagsAdd, store.UIDs(now.At(i%now.Len()).UID), store.FlagSeen, store.Flag(fmt.Sprint("k", i%5)))
		past = append(past, k.snap(mb))
		if i%3 == 1 {
			_, err := mb.Expunge(k.Context(), store.UIDs(now.At(0).UID, now.At(now.Len()-1).UID))
			require.NoError(k, err)
			past = append(past, k.snap(mb))
		}
		k.add(a, "Other", i, 1) // other mailboxes share the mod-sequence
		if i%4 == 2 {
			_, err := mb.Move(k.Context(), store.UIDs(now.At(1).UID), other.ID())
			require.NoError(k, err)
			past = append(past, k.snap(mb))
			_, err = other.Copy(k.Context(), store.AllUIDs(), mb.ID())
			require.NoError(k, err)
			past = append(past, k.snap(mb))
		}
	}
	k.replay(mb, past, k.snap(mb))
	now := k.snap(mb)
	c := k.changes(mb, now.ModSeq())
	require.Empty(k, c.Rows)
	require.Empty(k, c.Vanished)
	c = k.changes(mb, past[0].ModSeq())
	require.Len(k, c.Rows, now.Len(), "everything is new")
}

// Changes leads to now from every mod-sequence there ever was, also such at
// which other mailboxes changed, and from 0 (RFC 7162 §3.2.5).
func changesEvery(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	mb, other := k.box(a, store.Inbox), k.create(a, "Other")
	past := []*store.Snapshot{store.NewSnapshot(mb.ID(), k.info(mb).UIDValidity, 1, 0, nil, nil)}
	look := func() {
		s := k.snap(mb)
		require.NoError(k, soundSnapshot(s))
		past = append(past, s)
	}
	look()
	for i := range 15 {
		k.add(a, store.Inbox, i, 1)
		look()
		k.add(a, "Other", i, 1)
		now := k.snap(mb)
		k.flag(mb, store.FlagOp(i%3), store.UIDs(now.At(i%now.Len()).UID, now.At(i/2%now.Len()).UID), store.FlagSeen, store.Flag(fmt.Sprint("k", i%7)))
		look()
		if i%2 == 1 {
			_, err := other.Copy(ctx, store.UIDs(k.snap(other).At(0).UID), mb.ID())
			require.NoError(k, err)
			look()
		}
		if i%3 == 2 {
			_, err := mb.Move(ctx, store.UIDs(now.At(0).UID), other.ID())
			require.NoError(k, err)
			look()
		}
		if i%5 == 4 {
			_, err := mb.Expunge(ctx, store.UIDs(now.At(now.Len()-1).UID))
			require.NoError(k, err)
			look()
			_, err = mb.Move(ctx, store.UIDs(now.At(1).UID), mb.ID())
			require.NoError(k, err)
			look()
		}
	}
	now := k.snap(mb)
	for since, at := store.ModSeq(0), 0; since <= now.ModSeq(); since++ {
		for at+1 < len(past) && past[at+1].ModSeq() <= since {
			at++
		}
		c := k.changes(mb, since)
		require.Equal(k, since, c.Since)
		for _, r := range c.Rows {
			require.Greater(k, r.ModSeq, since, "only what changed")
		}
		c.Through = now.ModSeq()
		require.NoError(k, sameContent(now, past[at].With(c)), "from %d", since)
		changed := store.Diff(withoutRefs(past[at]), withoutRefs(now))
		require.Len(k, c.Rows, len(changed.Rows), "all that changed since %d, and no more", since)
		for _, r := range past[at].All() {
			_, there := now.Find(r.UID)
			require.Equal(k, !there, c.Vanished.Contains(r.UID), "UID %d, since %d", r.UID, since)
		}
	}
}

// A message that came and went since then has vanished too.
func changesVanished(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 2)
	since := k.snap(mb).ModSeq()
	q := k.add(a, store.Inbox, 3, 2)
	_, err := mb.Expunge(k.Context(), store.UIDs(p[1].UID, q[0].UID))
	require.NoError(k, err)
	c := k.changes(mb, since)
	require.True(k, c.Vanished.Equal(store.UIDs(p[1].UID, q[0].UID)), "%v", c.Vanished)
	require.Len(k, c.Rows, 1)
	require.Equal(k, q[1].UID, c.Rows[0].UID)
	e, err := mb.Expunge(k.Context(), store.UIDs(q[1].UID))
	require.NoError(k, err)
	c = k.changes(mb, e.ModSeq-1)
	require.True(k, c.Vanished.Equal(store.UIDs(q[1].UID)), "only what went after: %v", c.Vanished)
	c = k.changes(mb, e.ModSeq)
	require.Empty(k, c.Vanished)
}

func (k *kit) accountChanges(a store.Account, since store.ModSeq) store.AccountChanges {
	k.Helper()
	c, err := a.Changes(k.Context(), since)
	require.NoError(k, err)
	require.Equal(k, since, c.Since)
	last := since
	for _, e := range c.Events {
		require.GreaterOrEqual(k, e.ModSeq, last, "in mod-sequence order")
		require.Greater(k, e.ModSeq, since)
		require.LessOrEqual(k, e.ModSeq, c.Through)
		last = e.ModSeq
	}
	return c
}

// find gives the one event of a kind about a name.
func (k *kit) find(c store.AccountChanges, kind store.EventKind, name string) store.MailboxEvent {
	k.Helper()
	var found []store.MailboxEvent
	for _, e := range c.Events {
		if e.Kind == kind && e.Name == name {
			found = append(found, e)
		}
	}
	require.Len(k, found, 1, "kind %d of %s in %v", kind, name, c.Events)
	return found[0]
}

func changesAccount(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	at := func() store.ModSeq {
		c, err := a.Changes(ctx, 0)
		require.NoError(k, err)
		return c.Through
	}
	start := at()
	mb := k.create(a, "Lists")
	c := k.accountChanges(a, start)
	e := k.find(c, store.MailboxCreated, "Lists")
	require.Equal(k, mb.ID(), e.Mailbox)

	since := at()
	require.Greater(k, since, start)
	k.add(a, "Lists", 1, 3)
	k.add(a, store.Inbox, 1, 1)
	k.flag(mb, store.FlagsAdd, store.AllUIDs(), store.FlagSeen)
	c = k.accountChanges(a, since)
	e = k.find(c, store.MailboxChanged, "Lists")
	require.Equal(k, mb.ID(), e.Mailbox)
	require.Equal(k, k.info(mb).ModSeq, e.ModSeq, "coalesced to the last")
	k.find(c, store.MailboxChanged, store.Inbox)
	require.Len(k, c.Events, 2)

	since = at()
	require.NoError(k, a.Rename(ctx, "Lists", "Old/Lists"))
	c = k.accountChanges(a, since)
	e = k.find(c, store.MailboxRenamed, "Old/Lists")
	require.Equal(k, "Lists", e.OldName)
	require.Equal(k, mb.ID(), e.Mailbox)
	k.find(c, store.MailboxCreated, "Old")

	since = at()
	require.NoError(k, a.Subscribe(ctx, "Old", true))
	c = k.accountChanges(a, since)
	k.find(c, store.MailboxSubscribed, "Old")

	since = at()
	require.NoError(k, a.Delete(ctx, "Old/Lists"))
	c = k.accountChanges(a, since)
	e = k.find(c, store.MailboxDeleted, "Old/Lists")
	require.Equal(k, mb.ID(), e.Mailbox)
	require.Empty(k, k.accountChanges(a, at()).Events)
}

// From any moment on, the events lead to the mailboxes there are now.
func changesAccountReplay(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	type moment struct {
		at    store.ModSeq
		boxes map[store.MailboxID]string
	}
	look := func() moment {
		c, err := a.Changes(ctx, 0)
		require.NoError(k, err)
		m := moment{c.Through, map[store.MailboxID]string{}}
		boxes, err := a.Mailboxes(ctx)
		require.NoError(k, err)
		for _, b := range boxes {
			m.boxes[b.ID] = b.Name
		}
		return m
	}
	past := []moment{look()}
	for _, step := range []func() error{
		func() error { _, err := a.Create(ctx, "a/b/c", store.CreateOptions{}); return err },
		func() error { return a.Rename(ctx, "a", "x") },
		func() error { _, err := a.Create(ctx, "a", store.CreateOptions{}); return err },
		func() error { return a.Delete(ctx, "x/b") },
		func() error { return a.Rename(ctx, "x", "a/y/z") },
		func() error { return a.Rename(ctx, "INBOX", "old") },
		func() error { return a.Delete(ctx, "old") },
		func() error { _, err := a.Create(ctx, "old", store.CreateOptions{}); return err },
	} {
		require.NoError(k, step())
		past = append(past, look())
	}
	now := look()
	for _, m := range past {
		for _, e := range k.accountChanges(a, m.at).Events {
			switch e.Kind {
			case store.MailboxCreated:
				m.boxes[e.Mailbox] = e.Name
			case store.MailboxRenamed:
				require.Equal(k, m.boxes[e.Mailbox], e.OldName)
				m.boxes[e.Mailbox] = e.Name
			case store.MailboxDeleted:
				require.Equal(k, m.boxes[e.Mailbox], e.Name)
				delete(m.boxes, e.Mailbox)
			}
		}
		require.Equal(k, now.boxes, m.boxes, "from %d", m.at)
	}
}
