package storetest

import (
	"fmt"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var hostileChecks = []check{
	{"Hostile/names", hostileNames},
	{"Hostile/flags", hostileFlags},
	{"Hostile/dates", hostileDates},
	{"Hostile/sets", hostileSets},
	{"Hostile/since", hostileSince},
}

// Names that no mailbox can have are refused by name, whatever is done with
// them, and those at the limits work.
func hostileNames(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	k.create(a, "box")
	before, err := a.Changes(ctx, 0)
	require.NoError(k, err)
	bad := map[string]string{
		"parent":                "../etc/passwd",
		"parent inside":         "a/../../b",
		"dot":                   "a/./b",
		"NUL":                   "a\x00b",
		"NUL at the end":        "INBOX\x00",
		"1,000 levels":          strings.Repeat("a/", 999) + "a",
		"33 levels":             strings.Repeat("a/", store.MaxNameLevels) + "a",
		"10 KB":                 strings.Repeat("x", 10<<10),
		"10 KB of levels":       strings.Repeat(strings.Repeat("x", 200)+"/", 50) + "x",
		"10 MB":                 strings.Repeat("y", 10<<20),
		"10 KB that NFC joins":  strings.Repeat("e\u0301", 3500),
		"combining marks":       "a" + strings.Repeat("\u0300", 5000),
		"level of 256 octets":   strings.Repeat("z", store.MaxLevelOctets+1),
		"grows by NFC":          strings.Repeat("\U0001D160", 64), // 4 octets become 12
		"not UTF-8":             "a\xc3\x28",
		"surrogate":             "a\xed\xa0\x80",
		"overlong slash":        "a\xc0\xafb",
		"line end":              "a\r\nb",
		"C1 control":            "a\u0085b",
		"line separator":        "a\u2028b",
		"DEL":                   "a\x7f",
		"wildcard":              "a%",
		"absolute":              "/etc/passwd",
		"empty level":           "a//b",
		"only separators":       "///",
		"trailing separator":    "box/",
		"INBOX with empty part": "inbox//a",
	}
	for what, name := range bad {
		_, err := a.Create(ctx, name, store.CreateOptions{})
		require.ErrorIs(k, err, store.ErrInvalidName, "create: %s", what)
		require.ErrorIs(k, a.Rename(ctx, "box", name), store.ErrInvalidName, "rename to: %s", what)
		require.ErrorIs(k, a.Subscribe(ctx, name, true), store.ErrInvalidName, "subscribe: %s", what)
		for call, err := range map[string]error{
			"rename from": a.Rename(ctx, name, "other"), "delete": a.Delete(ctx, name), "unsubscribe": a.Subscribe(ctx, name, false),
			"place": k.place(store.Target{Account: "anna", Mailbox: name, Body: k.stage(mail(1))})[0].Err,
		} {
			require.True(k, isAny(err, store.ErrNotFound, store.ErrInvalidName), "%s: %s: %v", call, what, err)
		}
		_, err = a.Mailbox(ctx, name)
		require.True(k, isAny(err, store.ErrNotFound, store.ErrInvalidName), "open: %s: %v", what, err)
	}
	after, err := a.Changes(ctx, 0)
	require.NoError(k, err)
	require.Equal(k, before, after, "nothing has happened")
	require.Equal(k, []string{store.Inbox, "box"}, k.names(a))

	// Those at the limits of CanonicalName work, but for an engine with limits
	// of its own.
	longest := strings.Repeat("l", store.MaxLevelOctets)
	whole := strings.Join([]string{longest[:249], longest[:249], longest[:249], longest[:250]}, "/")
	require.Len(k, whole, store.MaxNameOctets)
	for _, name := range []string{longest, whole} {
		if _, err := a.Create(ctx, name, store.CreateOptions{}); err != nil {
			require.True(k, isAny(err, store.ErrInvalidName, store.ErrLimit), "%v", err)
			continue
		}
		require.Equal(k, name, k.info(k.box(a, name)).Name)
	}
	deepest := strings.Repeat("d/", store.MaxNameLevels-1) + "d"
	for _, name := range []string{deepest, "a b", "a.b", "...", ".hidden", "C:\\x", "\"'`$(x)", "日本語/メール", "&Jjo-", "~", "-rf", "con", "a\u00a0b"} {
		k.create(a, name)
		require.Equal(k, name, k.info(k.box(a, name)).Name)
	}
	k.add(a, deepest, 1, 1)
	require.NoError(k, a.Rename(ctx, deepest, "x"))
	require.ErrorIs(k, a.Rename(ctx, "d", "y/z/d"), store.ErrInvalidName, "what lies below would be too deep")
	require.Equal(k, mail(1), k.body(k.box(a, "x"), k.snap(k.box(a, "x")).At(0)))
}

// Flags by the thousand are ErrLimit, malformed ones ErrInvalid, and neither
// changes anything.
func hostileFlags(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 2)
	var many []store.Flag
	for i := range 5000 {
		many = append(many, store.Flag(fmt.Sprint("keyword-", i)))
	}
	before := k.snap(mb)
	lists := map[error][][]store.Flag{
		store.ErrLimit:   {many, append([]store.Flag{store.FlagSeen}, many[:store.MaxKeywords+1]...)},
		store.ErrInvalid: {{"a b"}, {"a\x00"}, {""}, {`\Unknown`}, {`\`}, {"a\r\nb"}, {"(x)"}, {"é"}, {store.Flag(strings.Repeat("x", 256))}, {store.Flag(strings.Repeat("x", 10<<20))}},
	}
	for want, all := range lists {
		for _, flags := range all {
			for op := range store.FlagOp(3) {
				_, err := mb.Flag(ctx, store.AllUIDs(), store.FlagUpdate{Op: op, Flags: flags})
				if op == store.FlagsRemove && want == store.ErrLimit && err == nil {
					continue // none of them is there
				}
				require.ErrorIs(k, err, want, "%d flags, op %d", len(flags), op)
			}
			require.ErrorIs(k, k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(3)), Flags: flags})[0].Err, want, "%d flags", len(flags))
		}
	}
	after := k.snap(mb)
	require.Equal(k, before.ModSeq(), after.ModSeq())
	require.NoError(k, sameContent(before, after))
	require.Empty(k, after.Keywords(), "no keyword was kept of what was refused")
	// The same flag a thousand times is one; so is one in other cases.
	same := make([]store.Flag, 5000)
	for i := range same {
		same[i] = []store.Flag{"Work", "work", "WORK"}[i%3]
	}
	k.flag(mb, store.FlagsAdd, store.UIDs(p[0].UID), same...)
	require.Len(k, k.flags(mb, p[0].UID), 1)
	// One by one, to the last that fits.
	for i := range store.MaxKeywords - 1 {
		k.flag(mb, store.FlagsAdd, store.UIDs(p[1].UID), many[i])
	}
	_, err := mb.Flag(ctx, store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{"one-more"}})
	require.ErrorIs(k, err, store.ErrLimit)
	require.Len(k, k.flags(mb, p[1].UID), store.MaxKeywords-1)
	_, err = mb.Expunge(ctx, store.AllUIDs(), "one-more")
	require.NoError(k, err, "an unknown keyword matches nothing")
	require.Equal(k, 2, k.snap(mb).Len())
}

// Any date is kept to the second, or refused by name.
func hostileDates(k *kit) {
	a := k.account("anna")
	mb, copies := k.box(a, store.Inbox), k.create(a, "Copies")
	s := k.stage(mail(1))
	dates := map[store.UID]time.Time{}
	for _, d := range []time.Time{
		time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(0, 12, 31, 23, 59, 59, 0, time.FixedZone("", 14*3600)),
		time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC), time.Date(-1, 6, 1, 0, 0, 0, 0, time.UTC), time.Date(-9999, 1, 1, 0, 0, 0, 0, time.UTC),
		time.Unix(-1, 0), time.Unix(-1, 999_999_999), time.Unix(0, 0), time.Unix(1<<31, 0), time.Unix(1<<32, 0),
		time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -12*3600)),
		time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC), time.Unix(1<<40, 0), time.Unix(1<<55, 0), time.Unix(-1<<55, 0),
	} {
		p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: s, Date: d})[0]
		if y := d.UTC().Year(); p.Err != nil && (y < 0 || y > 9999) { // what no date of mail can say (RFC 5322 §3.3)
			require.True(k, isAny(p.Err, store.ErrLimit, store.ErrInvalid), "%v: %v", d, p.Err)
			continue
		}
		require.NoError(k, p.Err, "%v", d)
		dates[p.UID] = d
	}
	_, err := mb.Copy(k.Context(), store.AllUIDs(), copies.ID())
	require.NoError(k, err)
	look := func() {
		now := k.snap(mb)
		require.Equal(k, len(dates), now.Len())
		for i, r := range now.All() {
			require.Equal(k, dates[r.UID].Unix(), r.Date, "%v", dates[r.UID])
			require.Equal(k, dates[r.UID].Unix(), r.InternalDate().Unix())
			require.Equal(k, r.Date, k.snap(copies).At(i).Date)
		}
		from := time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
		for r, err := range store.Search(k.Context(), mb, now, &store.Criteria{Since: from, Before: from.AddDate(0, 0, 1)}) {
			require.NoError(k, err)
			require.Equal(k, 9999, r.InternalDate().Year())
		}
	}
	look()
	if k.cfg.Reopen != nil {
		k.reopen()
		a = k.open("anna")
		mb, copies = k.box(a, store.Inbox), k.box(a, "Copies")
		look()
	}
	p := k.place(store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(mail(2)), Date: time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)})[0]
	require.NoError(k, p.Err)
	require.WithinDuration(k, time.Now(), k.row(k.snap(mb), p.UID).InternalDate(), time.Minute, "the zero time means now")
}

// Sets of UIDs that came from a peer cost what is there, not what they name.
func hostileSets(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	mb, other := k.box(a, store.Inbox), k.create(a, "Other")
	k.add(a, store.Inbox, 1, 5)
	var many store.UIDSet
	for i := range store.UID(20_000) {
		many = append(many, store.UIDRange{From: 1000 + i*100_000, To: 1000 + i*100_000 + 50_000})
	}
	sets := []store.UIDSet{nil, {}, store.AllUIDs(), {{From: 1<<32 - 1, To: 1<<32 - 1}}, many}
	for i, set := range sets {
		start := time.Now()
		f, err := mb.Flag(ctx, set, store.FlagUpdate{Op: store.FlagsReplace, Flags: []store.Flag{store.Flag(fmt.Sprint("k", i))}})
		require.NoError(k, err)
		want := 0
		if i == 2 {
			want = 5
		}
		require.Equal(k, want, f.Changed.Len())
		c, err := mb.Copy(ctx, set, other.ID())
		require.NoError(k, err)
		require.Len(k, c.To, want)
		c, err = other.Move(ctx, set, mb.ID())
		require.NoError(k, err)
		require.Len(k, c.To, want)
		e, err := mb.Expunge(ctx, set, "never-seen")
		require.NoError(k, err)
		require.Empty(k, e.UIDs)
		require.Less(k, time.Since(start), k.cfg.Patience)
	}
	require.Equal(k, 10, k.snap(mb).Len())
}

// Mod-sequences of a peer that are ahead of ours, or very large, tell nothing.
func hostileSince(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	p := k.add(a, store.Inbox, 1, 3)
	now := k.snap(mb)
	for _, since := range []store.ModSeq{now.ModSeq(), now.ModSeq() + 1, 1<<63 - 1, 1 << 63, 1<<64 - 1} {
		c, err := mb.Changes(ctx, since)
		require.NoError(k, err, "%d", since)
		require.Empty(k, c.Rows)
		require.Empty(k, c.Vanished)
		ac, err := a.Changes(ctx, since)
		require.NoError(k, err, "%d", since)
		require.Empty(k, ac.Events)
		f, err := mb.Flag(ctx, store.UIDs(p[0].UID), store.FlagUpdate{Op: store.FlagOp(since % 2), Flags: []store.Flag{store.FlagSeen}, UnchangedSince: &since})
		require.NoError(k, err)
		require.Empty(k, f.Failed, "nothing changed after %d", since)
		now = k.snap(mb)
	}
	zero := store.ModSeq(0)
	f, err := mb.Flag(ctx, store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{store.FlagDraft}, UnchangedSince: &zero})
	require.NoError(k, err)
	require.Empty(k, f.Changed)
	require.Equal(k, 3, f.Failed.Len(), "0 is less than every mod-sequence (RFC 7162 §3.1.3)")
	require.Equal(k, now.ModSeq(), k.snap(mb).ModSeq())
}
