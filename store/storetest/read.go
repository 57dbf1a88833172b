package storetest

import (
	"context"
	"io"
	"regexp"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

var readChecks = []check{
	{"Read/body", readBody},
	{"Read/expunged", readExpunged},
	{"Read/unknown", readUnknown},
	{"Read/bodies", readBodies},
	{"Read/bodies-mixed", readBodiesMixed},
	{"Read/details", readDetails},
	{"Read/details-stopped", readDetailsStopped},
	{"Read/ids", readIDs},
	{"Snapshot/immutable", snapshotImmutable},
	{"Snapshot/large", snapshotLarge},
}

func readBody(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	odd := "Subject: odd\n\nbare LF, \x00NUL, \rbare CR, \xff8-bit, no end of line"
	prefix := "Received: x\r\n"
	p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(odd), Prefix: []byte(prefix)})
	require.NoError(k, p[0].Err)
	row := k.snap(mb).At(0)
	require.Equal(k, prefix+odd, k.body(mb, row), "octets are kept as they are")
	b, err := mb.Open(k.Context(), row)
	require.NoError(k, err)
	whole := prefix + odd
	for _, off := range []int{0, 5, len(prefix) - 1, len(prefix), len(prefix) + 1, len(whole) - 1} {
		for _, n := range []int{1, 2, len(prefix), len(whole)} {
			buf := make([]byte, n)
			got, err := b.ReadAt(buf, int64(off))
			want := min(n, len(whole)-off)
			require.Equal(k, want, got, "%d at %d", n, off)
			require.Equal(k, whole[off:off+want], string(buf[:got]))
			if want < n {
				require.ErrorIs(k, err, io.EOF)
			} else if err != nil {
				require.ErrorIs(k, err, io.EOF)
			}
		}
	}
	n, err := b.ReadAt(make([]byte, 3), int64(len(whole)))
	require.Zero(k, n)
	require.ErrorIs(k, err, io.EOF)
	n, err = b.ReadAt(make([]byte, 3), 1<<40)
	require.Zero(k, n)
	require.ErrorIs(k, err, io.EOF)
	require.NoError(k, b.Close())
}

// What a session still shows stays readable for a while.
func readExpunged(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 3)
	old := k.snap(mb)
	open, err := mb.Open(k.Context(), old.At(1))
	require.NoError(k, err)
	_, err = mb.Expunge(k.Context(), store.UIDs(p[0].UID, p[1].UID))
	require.NoError(k, err)
	require.Equal(k, mail(2), k.drain(open), "opened before")
	require.Equal(k, mail(1), k.body(mb, old.At(0)), "opened within the grace time")
	n := 0
	for d, err := range mb.Details(k.Context(), []store.Row{old.At(0), old.At(2)}) {
		require.NoError(k, err)
		require.EqualValues(k, len(mail(1)), d.Outline.Size)
		n++
	}
	require.Equal(k, 2, n)
	k.add(a, store.Inbox, 8, 3)
	require.Equal(k, mail(1), k.body(mb, old.At(0)), "what comes later does not take its place")
}

func readUnknown(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	k.add(a, store.Inbox, 1, 2)
	s := k.snap(mb)
	for _, row := range []store.Row{{}, {UID: 99}, {UID: 99, Ref: 1 << 60, Size: 5}, {UID: 1 << 31, Ref: 1 << 63}} {
		_, err := mb.Open(k.Context(), row)
		require.True(k, isAny(err, store.ErrExpunged, store.ErrNotFound), "%v: %v", row, err)
	}
	// One that cannot be read does not end the iteration.
	bad := s.At(0)
	bad.UID, bad.Ref = 77, 1<<60
	var got []store.UID
	for d, err := range mb.Details(k.Context(), []store.Row{s.At(1), bad, s.At(0)}) {
		if d.Row.UID == 77 {
			require.True(k, isAny(err, store.ErrExpunged, store.ErrNotFound), "%v", err)
		} else {
			require.NoError(k, err)
		}
		got = append(got, d.Row.UID)
	}
	require.Equal(k, []store.UID{s.At(1).UID, 77, s.At(0).UID}, got, "in the order asked for")
}

// Many bodies at once are what they are one by one.
func readBodies(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	k.add(a, store.Inbox, 0, 300)
	s := k.snap(mb)
	var rows []store.Row
	for i := range s.Len() {
		rows = append(rows, s.At(i))
	}
	for i := range s.Len() { // and in another order
		rows = append(rows, s.At((i*7)%s.Len()))
	}
	rows = append(rows, rows[0], rows[0])
	i := 0
	for b, err := range store.Bodies(k.Context(), mb, rows) {
		require.NoError(k, err)
		require.EqualValues(k, rows[i].Size, b.Size())
		require.Equal(k, k.body(mb, rows[i]), read(k, b))
		i++
	}
	require.Equal(k, len(rows), i)
	for range store.Bodies(k.Context(), mb, rows) {
		break // one that is not read to its end leaves nothing behind
	}
}

// Prefixes, bodies of all sizes, those that are gone and those that never were.
func readBodiesMixed(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	var want []string
	for i := range 40 {
		text := mail(i)
		switch i % 8 {
		case 3:
			text = ""
		case 5:
			text += strings.Repeat("x", i*2000)
		}
		prefix := ""
		if i%3 == 0 {
			prefix = "Received: number " + strings.Repeat("y", i*40) + "\r\n"
		}
		p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(text), Prefix: []byte(prefix)})
		require.NoError(k, p[0].Err)
		want = append(want, prefix+text)
	}
	s := k.snap(mb)
	_, err := mb.Expunge(k.Context(), store.UIDs(s.At(10).UID, s.At(11).UID))
	require.NoError(k, err)
	var rows []store.Row
	for i := range s.Len() {
		rows = append(rows, s.At(i))
	}
	bad := s.At(0)
	bad.UID, bad.Ref = 77, 1<<60
	rows = append(rows[:20:20], append([]store.Row{bad}, rows[20:]...)...)
	want = append(want[:20:20], append([]string{""}, want[20:]...)...)
	i := 0
	for b, err := range store.Bodies(k.Context(), mb, rows) {
		if i == 20 {
			require.True(k, isAny(err, store.ErrExpunged, store.ErrNotFound), "%v", err)
		} else {
			require.NoError(k, err)
			require.Equal(k, want[i], read(k, b), "message %d", i)
			buf := make([]byte, 7)
			n, _ := b.ReadAt(buf, int64(len(want[i])/2))
			half := want[i][len(want[i])/2:]
			require.Equal(k, half[:min(7, len(half))], string(buf[:n]))
		}
		i++
	}
	require.Equal(k, len(rows), i)
	// An end that comes in between is told, and is the last.
	ctx, cancel := context.WithCancel(k.Context())
	defer cancel()
	i = 0
	var last error
	for _, err := range store.Bodies(ctx, mb, rows) {
		if i++; i == 1 {
			cancel()
		}
		last = err
	}
	if i < len(rows) {
		require.ErrorIs(k, last, context.Canceled)
	}
}

// read is all that a body holds; it is left open.
func read(k *kit, b store.Body) string {
	text, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	require.NoError(k, err)
	return string(text)
}

func readDetails(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	k.add(a, store.Inbox, 0, 300)
	s := k.snap(mb)
	var rows []store.Row
	for i := range s.Len() {
		rows = append(rows, s.At((i*7)%s.Len()))
	}
	rows = append(rows, rows[0]) // twice the same
	i := 0
	for d, err := range mb.Details(k.Context(), rows) {
		require.NoError(k, err)
		require.Equal(k, rows[i], d.Row)
		n, _ := s.Find(d.Row.UID)
		text := mail(n)
		require.Equal(k, message.ParseBytes([]byte(text), nil), d.Outline)
		i++
	}
	require.Equal(k, len(rows), i)
	for range mb.Details(k.Context(), nil) {
		k.Fatal("details of no rows")
	}
}

func readDetailsStopped(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	k.add(a, store.Inbox, 0, 50)
	s := k.snap(mb)
	var rows []store.Row
	for _, r := range s.All() {
		rows = append(rows, r)
	}
	for stop := range 5 {
		n := 0
		for d, err := range mb.Details(k.Context(), rows) {
			require.NoError(k, err)
			// Nothing is locked while the caller has the word.
			require.Equal(k, mail(n), k.body(mb, d.Row))
			k.add(a, store.Inbox, 90, 1)
			if n == stop {
				break
			}
			n++
		}
	}
	failed := false
	for _, err := range mb.Details(k.ended(), rows) {
		if err != nil {
			require.ErrorIs(k, err, context.Canceled)
			failed = true
		}
	}
	require.True(k, failed, "an ended context shows")
	ctx, cancel := context.WithCancel(k.Context())
	defer cancel()
	n, failed := 0, false
	for _, err := range mb.Details(ctx, rows) {
		if n++; n == 3 {
			cancel()
		}
		failed = failed || err != nil
	}
	require.True(k, failed || n == len(rows), "one that ends on the way too: %d of %d details and no error", n, len(rows))
	k.snap(mb)
}

var objectID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,255}$`) // RFC 8474 §7

func readIDs(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	k.add(a, store.Inbox, 0, 20)
	seen := map[string]bool{}
	for _, d := range k.details(mb, k.snap(mb)) {
		require.Regexp(k, objectID, d.EmailID)
		require.False(k, seen[d.EmailID], "other content, other EMAILID")
		seen[d.EmailID] = true
		if d.ThreadID != "" {
			require.Regexp(k, objectID, d.ThreadID)
		}
	}
	again := k.details(mb, k.snap(mb))
	for _, d := range again {
		require.True(k, seen[d.EmailID], "it stays")
	}
}

// A snapshot does not change, whatever happens to the mailbox.
func snapshotImmutable(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	type kept struct {
		s    *store.Snapshot
		rows []store.Row
		tab  []store.Flag
	}
	var all []kept
	keep := func() {
		s := k.snap(mb)
		c := kept{s: s, tab: append([]store.Flag(nil), s.Keywords()...)}
		for _, r := range s.All() {
			c.rows = append(c.rows, r)
		}
		all = append(all, c)
	}
	keep()
	for i := range 20 {
		k.add(a, store.Inbox, i, 1+i%3)
		keep()
		k.flag(mb, store.FlagsAdd, store.AllUIDs(), store.Flag("kw"+strings.Repeat("x", i)))
		keep()
		if i%4 == 3 {
			_, err := mb.Expunge(k.Context(), store.UIDSet{{From: 1, To: store.UID(i)}})
			require.NoError(k, err)
			keep()
		}
	}
	for i, c := range all {
		require.Equal(k, len(c.rows), c.s.Len())
		for j, r := range c.s.All() {
			require.Equal(k, c.rows[j], r)
		}
		require.Equal(k, len(c.tab), len(c.s.Keywords()))
		if i > 0 {
			require.NoError(k, follows(all[i-1].s, c.s))
		}
	}
}

// More messages than any page holds, filed in large commits.
func snapshotLarge(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	s := k.stage(mail(1))
	targets := make([]store.Target, 700)
	for i := range targets {
		targets[i] = store.Target{Account: "anna", Mailbox: store.Inbox, Body: s}
	}
	last := k.snap(mb)
	for range 3 {
		for _, p := range k.place(targets...) {
			require.NoError(k, p.Err)
		}
		now := k.snap(mb)
		require.NoError(k, follows(last, now))
		last = now
	}
	require.Equal(k, 2100, last.Len())
	var odd store.UIDSet
	for i, r := range last.All() {
		if i%2 == 1 {
			odd.Add(r.UID)
		}
	}
	f := k.flag(mb, store.FlagsAdd, odd, store.FlagDeleted)
	require.True(k, f.Changed.Equal(odd))
	e, err := mb.Expunge(k.Context(), store.AllUIDs(), store.FlagDeleted)
	require.NoError(k, err)
	require.True(k, e.UIDs.Equal(odd))
	now := k.snap(mb)
	require.NoError(k, follows(last, now))
	require.Equal(k, 1050, now.Len())
	dst := k.create(a, "Archive")
	c, err := mb.Move(k.Context(), store.AllUIDs(), dst.ID())
	require.NoError(k, err)
	require.Len(k, c.To, 1050)
	require.Zero(k, k.snap(mb).Len())
	require.Equal(k, 1050, k.snap(dst).Len())
}
