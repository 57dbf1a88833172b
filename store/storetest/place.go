package storetest

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

var placeChecks = []check{
	{"Place/results", placeResults},
	{"Place/prefix", placePrefix},
	{"Place/properties", placeProperties},
	{"Place/atomic", placeAtomic},
	{"Place/not-found", placeNotFound},
	{"Place/limits", placeLimits},
	{"Place/foreign", placeForeign},
	{"Place/replace", placeReplace},
	{"Place/context", placeContext},
	{"Place/last-uid", placeLastUID},
}

// Results are in order, one per target, each account by itself.
func placeResults(k *kit) {
	a, b := k.account("anna"), k.account("bob")
	k.create(a, "Lists")
	s := k.stage(mail(1))
	t := func(account, mailbox string) store.Target {
		return store.Target{Account: account, Mailbox: mailbox, Body: s}
	}
	p := k.place(t("anna", "INBOX"), t("bob", "inbox"), t("anna", "Lists"), t("anna", "INBOX"), t("bob", "INBOX"))
	for i, want := range []struct {
		a   store.Account
		box string
	}{{a, "INBOX"}, {b, "INBOX"}, {a, "Lists"}, {a, "INBOX"}, {b, "INBOX"}} {
		require.NoError(k, p[i].Err)
		require.False(k, p[i].Duplicate)
		mb := k.box(want.a, want.box)
		snap := k.snap(mb)
		require.Equal(k, mb.ID(), p[i].Mailbox, "target %d", i)
		require.Equal(k, snap.UIDValidity(), p[i].UIDValidity)
		row := k.row(snap, p[i].UID)
		require.Equal(k, p[i].ModSeq, row.ModSeq)
		require.Equal(k, p[i].ModSeq, row.Created)
		require.Equal(k, mail(1), k.body(mb, row))
	}
	require.Less(k, p[0].UID, p[3].UID, "in the order of the targets")
	require.Empty(k, k.place(), "no targets, no results")
}

func placePrefix(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	s := k.stage(mail(1))
	prefixes := []string{"", "Return-Path: <x@example.org>\r\n", "Return-Path: <>\r\nReceived: from a\r\n\tby b\r\n"}
	var targets []store.Target
	for _, p := range prefixes {
		targets = append(targets, store.Target{Account: "anna", Mailbox: store.Inbox, Body: s, Prefix: []byte(p)})
	}
	placed := k.place(targets...)
	for _, t := range targets {
		clear(t.Prefix) // it is the caller's again
	}
	snap := k.snap(mb)
	for i, d := range k.details(mb, snap) {
		whole := prefixes[i] + mail(1)
		row := k.row(snap, placed[i].UID)
		require.EqualValues(k, len(whole), row.Size)
		require.Equal(k, whole, k.body(mb, row))
		require.Equal(k, row, d.Row)
		want := message.ParseBytes([]byte(whole), nil)
		require.Equal(k, want.Size, d.Outline.Size)
		require.Equal(k, want.Header, d.Outline.Header)
		require.Equal(k, want.Envelope, d.Outline.Envelope)
		require.Equal(k, want.Root.BodyOffset, d.Outline.Root.BodyOffset, "offsets cover the prefix")
		require.Equal(k, want.Root.BodySize, d.Outline.Root.BodySize)
	}
	require.EqualValues(k, len(mail(1)), s.Outline().Size, "the staged outline stays")
	for _, bad := range []string{"X: no line end", "\r\n", "X: a\r\n\r\n", "no field\r\n", "X: a\nY: b\r\n", " folded\r\n"} {
		p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: s, Prefix: []byte(bad)})
		require.Error(k, p[0].Err, "%q", bad)
	}
	require.Equal(k, 3, k.snap(mb).Len())
}

// details gives all of a snapshot and fails on any error.
func (k *kit) details(mb store.Mailbox, s *store.Snapshot) []store.Detail {
	k.Helper()
	rows := []store.Row{}
	for _, r := range s.All() {
		rows = append(rows, r)
	}
	var out []store.Detail
	for d, err := range mb.Details(k.Context(), rows) {
		require.NoError(k, err)
		require.NotNil(k, d.Outline)
		out = append(out, d)
	}
	require.Len(k, out, len(rows))
	return out
}

func placeProperties(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	date := time.Date(1996, 7, 17, 2, 44, 25, 0, time.FixedZone("", -7*3600))
	before := time.Now().Add(-time.Second).Truncate(time.Second)
	p := k.place(
		store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(1)), Date: date, Flags: []store.Flag{`\seen`, "$Work", `\Draft`, "$work"}},
		store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(2))},
		store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(3)), Date: time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)},
	)
	s := k.snap(mb)
	r := k.row(s, p[0].UID)
	require.True(k, r.InternalDate().Equal(date), "%v", r.InternalDate())
	require.Equal(k, []store.Flag{store.FlagSeen, store.FlagDraft, "$Work"}, s.Flags(r.Flags))
	r = k.row(s, p[1].UID)
	require.Empty(k, s.Flags(r.Flags))
	require.False(k, r.InternalDate().Before(before), "no date means now: %v", r.InternalDate())
	require.False(k, r.InternalDate().After(time.Now().Add(time.Second)))
	require.Equal(k, 1960, k.row(s, p[2].UID).InternalDate().Year())
}

// All targets of one account or none; other accounts do not care.
func placeAtomic(k *kit) {
	a, b := k.account("anna"), k.account("bob")
	before := k.snap(k.box(a, store.Inbox))
	s := k.stage(mail(1))
	p := k.place(
		store.Target{Account: "anna", Mailbox: store.Inbox, Body: s, Token: "t1"},
		store.Target{Account: "bob", Mailbox: store.Inbox, Body: s},
		store.Target{Account: "anna", Mailbox: "Missing", Body: s},
		store.Target{Account: "anna", Mailbox: store.Inbox, Body: s},
	)
	for _, i := range []int{0, 2, 3} {
		require.ErrorIs(k, p[i].Err, store.ErrNotFound, "target %d: all fail with the error of one", i)
	}
	require.NoError(k, p[1].Err)
	require.Equal(k, 1, k.snap(k.box(b, store.Inbox)).Len())
	after := k.snap(k.box(a, store.Inbox))
	require.Zero(k, after.Len())
	require.Equal(k, before.ModSeq(), after.ModSeq())
	// The token of a placement that failed is free.
	p = k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: s, Token: "t1"})
	require.NoError(k, p[0].Err)
	require.False(k, p[0].Duplicate)
}

func placeNotFound(k *kit) {
	a := k.account("anna")
	s := k.stage(mail(1))
	p := k.place(store.Target{Account: "nobody", Mailbox: store.Inbox, Body: s})
	require.ErrorIs(k, p[0].Err, store.ErrNotFound)
	p = k.place(store.Target{Account: "anna", Mailbox: "Lists", Body: s})
	require.ErrorIs(k, p[0].Err, store.ErrNotFound)
	p = k.place(store.Target{Account: "anna", Mailbox: "a\x00b", Body: s})
	require.True(k, isAny(p[0].Err, store.ErrNotFound, store.ErrInvalidName), "%v", p[0].Err)
	boxes, err := a.Mailboxes(k.Context())
	require.NoError(k, err)
	require.Len(k, boxes, 1, "placing never creates a mailbox")
}

func placeLimits(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	s := k.stage(mail(1))
	target := store.Target{Account: "anna", Mailbox: store.Inbox, Body: s}
	long := target
	long.Token = strings.Repeat("x", 129)
	require.ErrorIs(k, k.place(long)[0].Err, store.ErrLimit)
	long.Token = long.Token[:128]
	require.NoError(k, k.place(long)[0].Err)
	for _, bad := range []store.Flag{"", `\Recent`, "a b", "(x", "a\r\nb"} {
		t := target
		t.Flags = []store.Flag{bad}
		require.Error(k, k.place(t)[0].Err, "%q", bad)
	}
	many := target
	for i := range store.MaxKeywords + 1 {
		many.Flags = append(many.Flags, store.Flag(fmt.Sprint("k", i)))
	}
	require.ErrorIs(k, k.place(many)[0].Err, store.ErrLimit)
	many.Flags = many.Flags[:store.MaxKeywords]
	require.NoError(k, k.place(many)[0].Err)
	require.Equal(k, 2, k.snap(mb).Len())
	one := target
	one.Flags = []store.Flag{"another"}
	require.ErrorIs(k, k.place(one, target)[0].Err, store.ErrLimit)
	require.Equal(k, 2, k.snap(mb).Len())
	require.Len(k, k.snap(mb).Keywords(), store.MaxKeywords)
}

// A body staged elsewhere is accepted; it is copied.
func placeForeign(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	for _, size := range []int64{0, 100, 300_000} {
		s, err := store.StageTemp(k.Context(), k.TempDir(), &pattern{n: size})
		require.NoError(k, err)
		p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: s}, store.Target{Account: "anna", Mailbox: store.Inbox, Body: s})
		require.NoError(k, s.Discard())
		for _, p := range p {
			require.NoError(k, p.Err)
			b, err := mb.Open(k.Context(), k.row(k.snap(mb), p.UID))
			require.NoError(k, err)
			require.Equal(k, size, b.Size())
			require.NoError(k, samePattern(b, 0, size))
			require.NoError(k, b.Close())
		}
	}
	broken := brokenStaged{k.stage(mail(1))}
	p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: broken})
	require.ErrorIs(k, p[0].Err, io.ErrClosedPipe, "its reader's error")
	require.Equal(k, 6, k.snap(mb).Len())
}

// brokenStaged is a foreign body that cannot be read any more.
type brokenStaged struct{ store.Staged }

func (brokenStaged) ReadAt([]byte, int64) (int, error) { return 0, io.ErrClosedPipe }

func placeReplace(k *kit) {
	a := k.account("anna")
	drafts, inbox := k.create(a, "Drafts"), k.box(a, store.Inbox)
	old := k.add(a, "Drafts", 1, 3)
	before := k.snap(drafts)
	t := store.Target{Account: "anna", Mailbox: "Drafts", Body: k.stage(mail(9)), Replaces: old[1].UID, ReplacesIn: drafts.ID()}
	p := k.place(t)
	require.NoError(k, p[0].Err)
	after := k.snap(drafts)
	require.NoError(k, follows(before, after))
	require.Equal(k, []store.UID{old[0].UID, old[2].UID, p[0].UID}, uids(after))
	c := k.changes(drafts, before.ModSeq())
	require.True(k, c.Vanished.Equal(store.UIDs(old[1].UID)), "%v", c.Vanished)
	// Across mailboxes.
	p = k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(10)), Replaces: old[2].UID, ReplacesIn: drafts.ID()})
	require.NoError(k, p[0].Err)
	require.Equal(k, 2, k.snap(drafts).Len())
	require.Equal(k, 1, k.snap(inbox).Len())
	// What is not there cannot be replaced, and nothing is filed.
	p = k.place(t)
	require.True(k, isAny(p[0].Err, store.ErrNotFound, store.ErrExpunged), "%v", p[0].Err)
	t.ReplacesIn = 1 << 40
	p = k.place(t)
	require.ErrorIs(k, p[0].Err, store.ErrNotFound)
	require.Equal(k, 2, k.snap(drafts).Len())
}

func placeContext(k *kit) {
	a := k.account("anna")
	s := k.stage(mail(1))
	p := k.st.Place(k.ended(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s, Token: "t"}})
	require.Len(k, p, 1)
	if p[0].Err != nil { // the engine may also have been faster
		require.ErrorIs(k, p[0].Err, context.Canceled)
	}
	q := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: s, Token: "t"})
	require.NoError(k, q[0].Err, "a retry files it")
	require.Equal(k, 1, k.snap(k.box(a, store.Inbox)).Len(), "at most once")
}

// UIDs end; they do not start again (RFC 9051 §2.3.1.1).
func placeLastUID(k *kit) {
	if k.cfg.SetUIDNext == nil {
		k.Skip("the engine's test has no way to set UIDNEXT")
	}
	a := k.account("anna")
	mb := k.create(a, "Lists")
	k.add(a, store.Inbox, 1, 3)
	k.cfg.SetUIDNext(k, k.st, "anna", store.Inbox, 1<<32-2)
	s := k.stage(mail(1))
	t := store.Target{Account: "anna", Mailbox: store.Inbox, Body: s}
	require.ErrorIs(k, k.place(t, t, t, t)[0].Err, store.ErrLimit)
	last := store.UID(0)
	for {
		p := k.place(t)
		if p[0].Err != nil {
			require.ErrorIs(k, p[0].Err, store.ErrLimit)
			break
		}
		require.Greater(k, p[0].UID, max(last, 3), "no wrap")
		last = p[0].UID
	}
	require.NotZero(k, last)
	k.add(a, "Lists", 1, 1)
	_, err := mb.Copy(k.Context(), store.AllUIDs(), k.box(a, store.Inbox).ID())
	require.ErrorIs(k, err, store.ErrLimit)
	k.snap(k.box(a, store.Inbox))
}
