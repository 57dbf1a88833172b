package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// searchBox is a mailbox filled for a test.
type searchBox struct {
	t  testing.TB
	st *memory.Store
	a  store.Account
	mb store.Mailbox
}

func newSearchBox(t testing.TB) *searchBox {
	t.Helper()
	b := &searchBox{t: t, st: memory.New()}
	t.Cleanup(func() { b.st.Close() })
	require.NoError(t, b.st.CreateAccount(t.Context(), "anna"))
	var err error
	b.a, err = b.st.Account(t.Context(), "anna", "anna")
	require.NoError(t, err)
	b.mb, err = b.a.Mailbox(t.Context(), store.Inbox)
	require.NoError(t, err)
	return b
}

// add files a message; lines end in LF for brevity.
func (b *searchBox) add(text string, date time.Time, flags ...store.Flag) store.UID {
	b.t.Helper()
	s, err := b.st.Stage(b.t.Context(), strings.NewReader(strings.ReplaceAll(text, "\n", "\r\n")))
	require.NoError(b.t, err)
	defer s.Discard()
	p := b.st.Place(b.t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s, Date: date, Flags: flags}})
	require.NoError(b.t, p[0].Err)
	return p[0].UID
}

func rowsIn(s *store.Snapshot) (rows []store.Row) {
	for _, r := range s.All() {
		rows = append(rows, r)
	}
	return rows
}

func (b *searchBox) snap() *store.Snapshot {
	s, err := b.mb.Snapshot(b.t.Context())
	require.NoError(b.t, err)
	return s
}

func (b *searchBox) find(c store.Criteria) []store.UID {
	b.t.Helper()
	uids := []store.UID{}
	for r, err := range store.Search(b.t.Context(), b.mb, b.snap(), &c) {
		require.NoError(b.t, err)
		uids = append(uids, r.UID)
	}
	return uids
}

func on(y int, m time.Month, d int) time.Time { return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }

func TestSearchColumns(t *testing.T) {
	b := newSearchBox(t)
	b.add("Subject: a\n\nx\n", time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), store.FlagSeen)
	b.add("Subject: b\n\nxx\n", time.Date(2020, 1, 1, 23, 59, 59, 0, time.UTC), store.FlagSeen, "$Work")
	b.add("Subject: c\n\nxxx\n", time.Date(2020, 1, 2, 0, 30, 0, 0, time.FixedZone("", 3600)), "$Work")
	b.add("Subject: d\n\nxxxx\n", time.Date(2021, 5, 5, 12, 0, 0, 0, time.UTC), store.FlagDeleted)
	s := b.snap()
	size := func(i int) *int64 { n := int64(s.At(i).Size); return &n }
	saved := s.At(0).SaveDate()
	var ids []string
	for d, err := range b.mb.Details(t.Context(), rowsIn(s)) {
		require.NoError(t, err)
		ids = append(ids, d.EmailID)
	}
	for name, c := range map[string]struct {
		store.Criteria
		want []store.UID
	}{
		"everything":         {store.Criteria{}, []store.UID{1, 2, 3, 4}},
		"flag":               {store.Criteria{Flags: []store.Flag{`\SEEN`}}, []store.UID{1, 2}},
		"two flags":          {store.Criteria{Flags: []store.Flag{store.FlagSeen, "$work"}}, []store.UID{2}},
		"not flag":           {store.Criteria{NotFlags: []store.Flag{store.FlagSeen, store.FlagDeleted}}, []store.UID{3}},
		"unknown keyword":    {store.Criteria{Flags: []store.Flag{"none"}}, []store.UID{}},
		"no unknown keyword": {store.Criteria{NotFlags: []store.Flag{"none", "$Work"}}, []store.UID{1, 4}},
		"larger":             {store.Criteria{Larger: size(1)}, []store.UID{3, 4}},
		"smaller":            {store.Criteria{Smaller: size(1)}, []store.UID{1}},
		"between":            {store.Criteria{Larger: size(0), Smaller: size(3)}, []store.UID{2, 3}},
		"since":              {store.Criteria{Since: on(2020, 1, 2)}, []store.UID{4}},
		"since, any hour":    {store.Criteria{Since: time.Date(2020, 1, 1, 22, 0, 0, 0, time.FixedZone("", -11*3600))}, []store.UID{1, 2, 3, 4}},
		"before":             {store.Criteria{Before: on(2020, 1, 2)}, []store.UID{1, 2, 3}},
		"on":                 {store.Criteria{Since: on(2021, 5, 5), Before: on(2021, 5, 6)}, []store.UID{4}},
		"not before":         {store.Criteria{NotBefore: time.Date(2020, 1, 1, 23, 59, 59, 0, time.UTC)}, []store.UID{2, 4}},
		"not before, half":   {store.Criteria{NotBefore: time.Date(2020, 1, 1, 23, 59, 59, 1, time.UTC)}, []store.UID{4}},
		"not after":          {store.Criteria{NotAfter: time.Date(2020, 1, 1, 23, 30, 0, 999, time.UTC)}, []store.UID{1, 3}},
		"saved since":        {store.Criteria{SavedSince: saved}, []store.UID{1, 2, 3, 4}},
		"saved later":        {store.Criteria{SavedSince: saved.AddDate(0, 0, 2)}, []store.UID{}},
		"saved before":       {store.Criteria{SavedBefore: saved}, []store.UID{}},
		"saved on":           {store.Criteria{SavedSince: saved, SavedBefore: saved.AddDate(0, 0, 2)}, []store.UID{1, 2, 3, 4}},
		"email id":           {store.Criteria{EmailIDs: []string{"no-such", ids[2]}}, []store.UID{3}},
		"email ids":          {store.Criteria{EmailIDs: []string{ids[3], ids[0]}, Flags: []store.Flag{store.FlagSeen}}, []store.UID{1}},
		"not email id":       {store.Criteria{Not: []store.Criteria{{EmailIDs: []string{ids[1]}}}}, []store.UID{1, 3, 4}},
		"no email id":        {store.Criteria{EmailIDs: []string{}}, []store.UID{}},
		"thread id":          {store.Criteria{ThreadIDs: []string{"no-such", ""}}, []store.UID{}},
		"email id or flag": {store.Criteria{Or: [][2]store.Criteria{{{EmailIDs: []string{ids[3]}}, {Flags: []store.Flag{store.FlagSeen}}}}},
			[]store.UID{1, 2, 4}},
		"mod-sequence": {store.Criteria{ModSeq: s.At(2).ModSeq}, []store.UID{3, 4}},
		"uids":         {store.Criteria{UIDs: []store.UIDSet{{{From: 2, To: 1<<32 - 1}}}}, []store.UID{2, 3, 4}},
		"uids twice":   {store.Criteria{UIDs: []store.UIDSet{{{From: 2, To: 1<<32 - 1}}, store.UIDs(1, 2, 4)}}, []store.UID{2, 4}},
		"no uids":      {store.Criteria{UIDs: []store.UIDSet{nil}}, []store.UID{}},
		"not":          {store.Criteria{Not: []store.Criteria{{Flags: []store.Flag{store.FlagSeen}}, {Flags: []store.Flag{store.FlagDeleted}}}}, []store.UID{3}},
		"or": {store.Criteria{Or: [][2]store.Criteria{{{Flags: []store.Flag{store.FlagDeleted}}, {UIDs: []store.UIDSet{store.UIDs(1)}}}}},
			[]store.UID{1, 4}},
		"not nothing": {store.Criteria{Not: []store.Criteria{{}}}, []store.UID{}},
		"not uids":    {store.Criteria{Not: []store.Criteria{{UIDs: []store.UIDSet{store.UIDs(2, 3)}}}}, []store.UID{1, 4}},
	} {
		assert.Equal(t, c.want, b.find(c.Criteria), name)
	}
	n := 0
	for _, err := range store.Search(t.Context(), b.mb, s, nil) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, 4, n, "nil matches everything")
}

const searchMultipart = `From: =?iso-8859-1?Q?J=FCrgen?= <j@example.org>
To: undisclosed
Subject: =?utf-8?B?R3LDvMOfZSBhdXMgS8O2bG4=?=
Subject: second subject
Date: Fri, 31 Dec 2021 23:30:00 -0500
MIME-Version: 1.0
Content-Type: multipart/mixed; boundary=outer

preamble
--outer
Content-Type: text/plain; charset=iso-8859-1
Content-Transfer-Encoding: quoted-printable

Die Stra=DFe ist ge=
sperrt, Caf=E9 zu.
--outer
Content-Type: text/html; charset=utf-8
Content-Transfer-Encoding: base64

PHA+UMWZw61saSDFvmx1xaVvdcSNa8O9IGvFr8WIPC9wPg==
--outer
Content-Type: application/octet-stream
Content-Disposition: attachment; filename=report.bin
Content-Transfer-Encoding: base64

aGlkZGVuIGJpbmFyeQ==
--outer
Content-Type: message/rfc822

From: inner@example.net
Subject: =?utf-8?Q?inner_s=C3=BCbject?=

inner body text
--outer--
epilogue
`

func TestSearchTexts(t *testing.T) {
	b := newSearchBox(t)
	b.add(searchMultipart, on(2022, 3, 3))
	b.add("From: plain@example.com\nMessage-ID: <ABC@host>\nSubject:\nX-Empty:\nDate: nonsense\n\nplain \xff body with na\u00efve \ufb01ne words\n", on(2022, 4, 4))
	b.add("From: Plain <plain@example.com>\nIn-Reply-To: <abc@host>\nReferences: <1@h>\n <abc@host>\n\n", on(2022, 5, 5))
	header := func(name, text string) store.Criteria {
		return store.Criteria{Header: []store.HeaderCriterion{{Name: name, Text: text}}}
	}
	body := func(s ...string) store.Criteria { return store.Criteria{Body: s} }
	text := func(s ...string) store.Criteria { return store.Criteria{Text: s} }
	for _, c := range []struct {
		what string
		store.Criteria
		want []store.UID
	}{
		{"subject decoded", header("subject", "grüsse aus"), []store.UID{}},
		{"subject decoded", header("SUBJECT", "GRÜßE AUS KÖLN"), []store.UID{1}},
		{"subject, decomposed", header("subject", "Ko\u0308ln"), []store.UID{1}},
		{"subject, base letter", header("subject", "gru"), []store.UID{1}},
		{"second subject", header("Subject", "second"), []store.UID{1}},
		{"field is there", header("Subject", ""), []store.UID{1, 2}},
		{"empty field", header("x-empty", ""), []store.UID{2}},
		{"no such field", header("X-None", ""), []store.UID{}},
		{"from name", header("From", "jürgen"), []store.UID{1}},
		{"from address", header("from", "PLAIN@EXAMPLE"), []store.UID{2, 3}},
		{"message-id", header("message-id", "<abc@HOST>"), []store.UID{2}},
		{"in-reply-to", header("in-reply-to", "abc"), []store.UID{3}},
		{"folded field", header("References", "<1@h> <abc"), []store.UID{3}},
		{"field of a part is not the message's", header("Content-Disposition", ""), []store.UID{}},
		{"inner header is not the message's", header("From", "inner"), []store.UID{}},
		{"two fields", store.Criteria{Header: []store.HeaderCriterion{{"from", "plain"}, {"subject", ""}}}, []store.UID{2}},
		{"raw encoded word", header("Subject", "=?utf-8"), []store.UID{}},
		{"name with a long s is another", header("\u017fubject", ""), []store.UID{}},

		{"quoted-printable, charset", body("STRASSE"), []store.UID{}},
		{"quoted-printable, charset", body("straße ist gesperrt"), []store.UID{1}},
		{"accents", body("café"), []store.UID{1}},
		{"accents left out", body("CAFE"), []store.UID{1}},
		{"base64, html", body("příliš", "x"), []store.UID{}},
		{"base64, html", body("příli žluťoučký KŮŇ"), []store.UID{1}},
		{"in two parts", body("Straße", "KŮŇ"), []store.UID{1}},
		{"across parts", body("zu.\r\n<p>"), []store.UID{}},
		{"attachment", body("hidden binary"), []store.UID{}},
		{"raw base64", body("aGlkZGVu"), []store.UID{}},
		{"preamble", body("preamble"), []store.UID{}},
		{"inner body", body("inner body"), []store.UID{1}},
		{"inner header", body("inner sübject"), []store.UID{1}},
		{"own header", body("example.com"), []store.UID{}},
		{"ligature", body("FINE WORDS"), []store.UID{2}},
		{"broken octets", body("plain \ufffd body"), []store.UID{2}},
		{"empty text", body(""), []store.UID{1, 2, 3}},
		{"empty body", store.Criteria{Not: []store.Criteria{body("plain")}}, []store.UID{1, 3}},

		{"text in header", text("example.com"), []store.UID{2, 3}},
		{"text in field name", text("x-empty:"), []store.UID{2}},
		{"text in body", text("gesperrt"), []store.UID{1}},
		{"text in part header", text("report.bin"), []store.UID{1}},
		{"body is not in part header", body("report.bin"), []store.UID{}},
		{"text in decoded header", text("Grüße"), []store.UID{1}},
		{"text in header and body", text("jürgen", "straße"), []store.UID{1}},
		{"not text", store.Criteria{Not: []store.Criteria{text("plain")}}, []store.UID{}},
		{"or over kinds", store.Criteria{Or: [][2]store.Criteria{{header("in-reply-to", "abc"), body("straße")}}}, []store.UID{1, 3}},
		{"or in not", store.Criteria{Not: []store.Criteria{{Or: [][2]store.Criteria{{body("straße"), text("plain@")}}}}}, []store.UID{}},

		{"sent day as written", store.Criteria{SentSince: on(2021, 12, 31), SentBefore: on(2022, 1, 1)}, []store.UID{1}},
		{"bad date is the internal one", store.Criteria{SentSince: on(2022, 4, 4), SentBefore: on(2022, 4, 5)}, []store.UID{2}},
		{"missing date is the internal one", store.Criteria{SentSince: on(2022, 5, 5)}, []store.UID{3}},
		{"not sent", store.Criteria{Not: []store.Criteria{{SentBefore: on(2022, 1, 1)}}}, []store.UID{2, 3}},
	} {
		assert.Equal(t, c.want, b.find(c.Criteria), "%s: %v", c.what, c.Criteria)
	}
}

// What is folded at a tab is found with a space, and with the tab.
func TestSearchFoldedAtTab(t *testing.T) {
	b := newSearchBox(t)
	b.add("Subject: the quarterly\n\treport\nX-Note: one\n\ttwo\n\nthe\tbody\n", on(2022, 3, 3))
	for _, name := range []string{"Subject", "X-Note"} {
		for text, n := range map[string]int{"y report": 1, "y\treport": 1, "one two": 1, "one\ttwo": 1, "yreport": 0, "onetwo": 0} {
			want := n
			if strings.HasPrefix(text, "y") != (name == "Subject") {
				want = 0
			}
			assert.Len(t, b.find(store.Criteria{Header: []store.HeaderCriterion{{name, text}}}), want, "%s: %q", name, text)
			assert.Len(t, b.find(store.Criteria{Text: []string{text}}), n, "%q", text)
		}
	}
	assert.Len(t, b.find(store.Criteria{Body: []string{"the\tbody"}}), 1)
	assert.Empty(t, b.find(store.Criteria{Body: []string{"the body"}}), "white space of a body is as it is")
}

func TestSearchPrefix(t *testing.T) {
	b := newSearchBox(t)
	s, err := b.st.Stage(t.Context(), strings.NewReader("Subject: body's\r\n\r\ntext\r\n"))
	require.NoError(t, err)
	p := b.st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s, Prefix: []byte("Subject: prefix\r\nX-Rule: y\r\n")}})
	require.NoError(t, p[0].Err)
	for name, text := range map[string]string{"subject": "prefix", "Subject": "body's", "x-rule": "y"} {
		require.Len(t, b.find(store.Criteria{Header: []store.HeaderCriterion{{name, text}}}), 1, text)
	}
	require.Len(t, b.find(store.Criteria{Body: []string{"text"}, Text: []string{"prefix", "body's"}}), 1)
}

// failing is a mailbox some of whose messages cannot be read.
type failing struct {
	store.Mailbox
	details, open map[store.UID]error
	reads         *int
}

func (f failing) Details(ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
	return func(yield func(store.Detail, error) bool) {
		for d, err := range f.Mailbox.Details(ctx, rows) {
			if e := f.details[d.Row.UID]; e != nil {
				d, err = store.Detail{Row: d.Row}, e
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

func (f failing) Open(ctx context.Context, row store.Row) (store.Body, error) {
	if f.reads != nil {
		*f.reads++
	}
	if err := f.open[row.UID]; err != nil {
		return nil, err
	}
	return f.Mailbox.Open(ctx, row)
}

func TestSearchErrors(t *testing.T) {
	b := newSearchBox(t)
	for i := range 600 {
		b.add(fmt.Sprintf("Subject: %d\n\nbody %d\n", i, i), on(2022, 1, 1))
	}
	snap := b.snap()
	boom := errors.New("boom")
	mb := failing{Mailbox: b.mb, details: map[store.UID]error{7: boom, 300: store.ErrExpunged}, open: map[store.UID]error{8: boom, 400: store.ErrExpunged}}
	c := &store.Criteria{Body: []string{"body"}}
	var failed, found []store.UID
	last := store.UID(0)
	for r, err := range store.Search(t.Context(), mb, snap, c) {
		require.Greater(t, r.UID, last, "ascending, errors too")
		last = r.UID
		if err != nil {
			require.ErrorIs(t, err, boom)
			failed = append(failed, r.UID)
			continue
		}
		found = append(found, r.UID)
	}
	require.Equal(t, []store.UID{7, 8}, failed)
	require.Len(t, found, 596)
	for range store.Search(t.Context(), mb, snap, c) { // may be left at any time
		break
	}
	for _, err := range store.Search(t.Context(), mb, snap, c) {
		if err != nil {
			break
		}
	}
	for _, fatal := range []error{store.ErrUnavailable, store.ErrNotFound} {
		mb.open[50] = fatal
		n := 0
		for _, err := range store.Search(t.Context(), mb, snap, c) {
			if n++; n == 50 {
				require.ErrorIs(t, err, fatal)
			}
		}
		require.Equal(t, 50, n, "the end")
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := 0
	var end error
	for _, err := range store.Search(ctx, b.mb, snap, c) {
		if n++; n == 10 {
			cancel()
		}
		end = err
	}
	require.ErrorIs(t, end, context.Canceled)
	require.Less(t, n, 300)
	n = 0
	for _, err := range store.Search(ctx, b.mb, snap, &store.Criteria{}) {
		require.ErrorIs(t, err, context.Canceled)
		n++
	}
	require.Equal(t, 1, n)
}

// What columns, envelopes and headers decide is not read any further.
func TestSearchReadsNoMoreThanNeeded(t *testing.T) {
	b := newSearchBox(t)
	for i := range 100 {
		b.add(fmt.Sprintf("Subject: s%d\nMessage-ID: <%d@h>\n\nbody\n", i, i), on(2022, 1, 1))
	}
	reads := 0
	mb := failing{Mailbox: b.mb, reads: &reads}
	count := func(c store.Criteria) int {
		reads = 0
		n := 0
		for _, err := range store.Search(t.Context(), mb, b.snap(), &c) {
			require.NoError(t, err)
			n++
		}
		return n
	}
	require.Equal(t, 1, count(store.Criteria{Header: []store.HeaderCriterion{{"Message-ID", "<7@h>"}}}))
	require.Zero(t, reads, "the envelope has it")
	require.Equal(t, 1, count(store.Criteria{UIDs: []store.UIDSet{store.UIDs(9)}, Body: []string{"body"}}))
	require.Equal(t, 1, reads)
	require.Equal(t, 0, count(store.Criteria{SentSince: on(2023, 1, 1), Body: []string{"body"}}))
	require.Zero(t, reads)
	require.Equal(t, 100, count(store.Criteria{Or: [][2]store.Criteria{{{Flags: []store.Flag{}}, {Body: []string{"body"}}}}}))
	require.Zero(t, reads)
}

func TestSearchLimits(t *testing.T) {
	b := newSearchBox(t)
	b.add("Subject: x\n\n", on(2022, 1, 1))
	run := func(c store.Criteria) (err error) {
		for _, e := range store.Search(t.Context(), b.mb, b.snap(), &c) {
			err = e
		}
		return err
	}
	deep := store.Criteria{}
	for range store.MaxSearchDepth {
		deep = store.Criteria{Not: []store.Criteria{deep}}
	}
	require.NoError(t, run(deep))
	require.ErrorIs(t, run(store.Criteria{Not: []store.Criteria{deep}}), store.ErrLimit)
	require.ErrorIs(t, run(store.Criteria{Or: [][2]store.Criteria{{deep, {}}}}), store.ErrLimit)
	require.ErrorIs(t, run(store.Criteria{Body: make([]string, store.MaxSearchTerms)}), store.ErrLimit)
	require.NoError(t, run(store.Criteria{Body: make([]string, store.MaxSearchTerms-1)}))
}

// A body is read in constant memory, and what crosses a chunk is found.
func TestSearchLongBodies(t *testing.T) {
	b := newSearchBox(t)
	line := strings.Repeat("é", 38) + "\n"
	long := "Subject: x\nContent-Type: text/plain; charset=utf-8\n\n" + strings.Repeat(line, 300_000) + "nee\u0301dle\n" // 23 MiB
	b.add(long, on(2022, 1, 1))
	require.Len(t, b.find(store.Criteria{Body: []string{"ÉÉ\r\nNEÉDLE"}}), 1)
	require.Empty(t, b.find(store.Criteria{Body: []string{"ee\r\nneedle"}}))
	var before, after runtime.MemStats
	snap := b.snap()
	runtime.ReadMemStats(&before)
	for range store.Search(t.Context(), b.mb, snap, &store.Criteria{Body: []string{"absent"}}) {
		t.Fatal("found")
	}
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(2<<20))
}

func FuzzScanText(f *testing.F) {
	f.Add("Hello, World", "LO, W", uint16(16380))
	f.Add("\u00e9t\u00e9 \ufb01n", "E\u0301T", uint16(16383))
	f.Add("aab", "ab", uint16(16382))
	f.Add("\xff\xc3", "\ufffd", uint16(16383))
	f.Add("\ufdfa", "\u0645", uint16(16381))
	f.Fuzz(func(t *testing.T, text, needle string, pad uint16) {
		if store.FoldString(needle) == "" || len(needle) > 500 || len(text) > 1000 {
			return
		}
		whole := strings.Repeat("x", int(pad)%40_000) + text
		want := strings.Contains(store.FoldString(whole), store.FoldString(needle))
		require.Equal(t, want, store.ScanText(strings.NewReader(whole), needle))
		require.Equal(t, want, store.ScanText(iotest.OneByteReader(strings.NewReader(whole)), needle))
	})
}

// naive judges a message the simple way, for messages of one text part.
func naive(c *store.Criteria, s *store.Snapshot, r store.Row, text string) bool {
	h := message.ParseHeader([]byte(text))
	head, body, _ := strings.Cut(text, "\r\n\r\n")
	has := func(where, what string) bool {
		return strings.Contains(store.FoldString(where), store.FoldString(what))
	}
	flags := map[string]bool{}
	for _, f := range s.Flags(r.Flags) {
		flags[strings.ToLower(string(f))] = true
	}
	for _, f := range c.Flags {
		if !flags[strings.ToLower(string(f))] {
			return false
		}
	}
	for _, f := range c.NotFlags {
		if flags[strings.ToLower(string(f))] {
			return false
		}
	}
	for _, u := range c.UIDs {
		if !u.Contains(r.UID) {
			return false
		}
	}
	for _, x := range c.Header {
		if !h.Has(x.Name) || !has(h.Get(x.Name), x.Text) {
			return false
		}
	}
	for _, x := range c.Body {
		if !has(body, x) {
			return false
		}
	}
	for _, x := range c.Text {
		if !has(body, x) && !has(head, x) {
			return false
		}
	}
	for i := range c.Not {
		if naive(&c.Not[i], s, r, text) {
			return false
		}
	}
	for i := range c.Or {
		if !naive(&c.Or[i][0], s, r, text) && !naive(&c.Or[i][1], s, r, text) {
			return false
		}
	}
	return c.ModSeq <= r.ModSeq
}

func randomCriteria(rnd *rand.Rand, depth int) (c store.Criteria) {
	words := []string{"a", "B", "c", "bb", "é", "x", ""}
	word := func() string { return words[rnd.IntN(len(words))] }
	for range rnd.IntN(3) {
		switch k := rnd.IntN(9); {
		case k == 0:
			c.Flags = append(c.Flags, []store.Flag{store.FlagSeen, "kw", "none"}[rnd.IntN(3)])
		case k == 1:
			c.NotFlags = append(c.NotFlags, []store.Flag{store.FlagSeen, "kw", "none"}[rnd.IntN(3)])
		case k == 2:
			c.UIDs = append(c.UIDs, store.UIDSet{{From: 1, To: store.UID(1 + rnd.IntN(40))}})
		case k == 3:
			c.Header = append(c.Header, store.HeaderCriterion{Name: []string{"Subject", "X-Other", "From"}[rnd.IntN(3)], Text: word()})
		case k == 4:
			c.Body = append(c.Body, word())
		case k == 5:
			c.Text = append(c.Text, word())
		case k == 6 && depth < 4:
			c.Not = append(c.Not, randomCriteria(rnd, depth+1))
		case k == 7 && depth < 4:
			c.Or = append(c.Or, [2]store.Criteria{randomCriteria(rnd, depth+1), randomCriteria(rnd, depth+1)})
		case k == 8:
			c.ModSeq = store.ModSeq(rnd.IntN(40))
		}
	}
	return c
}

func TestSearchAgainstNaive(t *testing.T) {
	seed := rand.Uint64()
	rnd := rand.New(rand.NewPCG(seed, 0))
	b := newSearchBox(t)
	for range 40 {
		var m strings.Builder
		for _, name := range []string{"Subject", "X-Other", "From"} {
			if rnd.IntN(3) > 0 {
				fmt.Fprintf(&m, "%s: %s\n", name, []string{"a", "ab c", "BB", "É", ""}[rnd.IntN(5)])
			}
		}
		m.WriteString("Content-Type: text/plain; charset=utf-8\n\n" + []string{"", "a b\n", "bbé", "C", "e\u0301x"}[rnd.IntN(5)])
		var flags []store.Flag
		for _, f := range []store.Flag{store.FlagSeen, "kw"} {
			if rnd.IntN(2) == 0 {
				flags = append(flags, f)
			}
		}
		b.add(m.String(), on(2022, 1, 1), flags...)
	}
	snap := b.snap()
	texts := map[store.UID]string{}
	for _, r := range snap.All() {
		body, err := b.mb.Open(t.Context(), r)
		require.NoError(t, err)
		data, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
		require.NoError(t, err)
		texts[r.UID] = string(data)
		body.Close()
	}
	matches := 0
	for range 3000 {
		c := randomCriteria(rnd, 0)
		want := []store.UID{}
		for _, r := range snap.All() {
			if naive(&c, snap, r, texts[r.UID]) {
				want = append(want, r.UID)
			}
		}
		matches += len(want)
		require.Equal(t, want, b.find(c), "seed %d: %+v", seed, c)
	}
	require.Positive(t, matches)
}

func BenchmarkSearch(b *testing.B) {
	box := newSearchBox(b)
	text := "From: a@example.org\nSubject: something\nMessage-ID: <1@x>\n\n" + strings.Repeat("A line of text as it is found in mail, of a common length.\n", 70)
	for range 2000 {
		box.add(text, on(2022, 1, 1))
	}
	snap := box.snap()
	for name, c := range map[string]store.Criteria{
		"flags":      {NotFlags: []store.Flag{store.FlagDeleted}},
		"message-id": {Header: []store.HeaderCriterion{{"Message-ID", "<2@x>"}}},
		"from":       {Header: []store.HeaderCriterion{{"From", "nobody"}}},
		"body":       {Body: []string{"not to be found"}},
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(snap.Len()) * int64(snap.At(0).Size))
			for b.Loop() {
				for _, err := range store.Search(b.Context(), box.mb, snap, &c) {
					if err != nil {
						b.Fatal(err)
					}
				}
			}
		})
	}
}

func BenchmarkFold(b *testing.B) {
	for name, text := range map[string]string{"ascii": "The quick brown fox. ", "latin": "é à ü ß ö ", "cjk": "日本語のテキスト"} {
		text = strings.Repeat(text, 1000)
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				store.ScanText(strings.NewReader(text), "absent")
			}
		})
	}
}
