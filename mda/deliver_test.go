package mda

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// One result for each recipient, in order, and one copy for each mailbox.
func TestDeliver(t *testing.T) {
	st := testStore(t)
	out := &submitter{}
	a := &Agent{Store: st, Submitter: out, Aliases: map[string][]string{
		"both@example.org": {"anna@example.org", "otto@example.org"},
		"out@example.org":  {"x@else.test", "y@else.test"},
		"more@example.org": {"x@else.test", "eva@example.org"},
	}}
	date := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d := &Delivery{
		ID: "m1", From: path(t, "sender@else.test"), Prefix: []byte("Received: by us\r\n"), Body: stage(t, st, letter), Date: date,
	}
	to := paths(t, "anna@example.org", "nobody@example.org", "ANNA@example.org", "both@example.org", "anna+Lists@example.org", "out@example.org", "more@example.org")
	require.Equal(t, []string{"ok", "550 5.1.1", "ok", "ok", "ok", "ok", "ok"}, codes(a.Deliver(t.Context(), d, to)))
	require.Equal(t, map[string]int{"INBOX": 1, "Lists": 1}, boxes(t, st, "anna@example.org"))
	require.Equal(t, []string{"Return-Path: <sender@else.test>\r\nDelivered-To: anna@example.org\r\nReceived: by us\r\n" + letter},
		mail(t, st, "anna@example.org", store.Inbox))
	require.Equal(t, []string{"Return-Path: <sender@else.test>\r\nDelivered-To: anna+Lists@example.org\r\nReceived: by us\r\n" + letter},
		mail(t, st, "anna@example.org", "Lists"))
	require.Equal(t, []string{"Return-Path: <sender@else.test>\r\nDelivered-To: otto@example.org\r\nReceived: by us\r\n" + letter},
		mail(t, st, "otto@example.org", store.Inbox))
	require.Equal(t, map[string]int{"INBOX": 1}, boxes(t, st, "eva@example.org"))
	// Each address elsewhere gets one copy, of the same sender, without our
	// own marks.
	require.Equal(t, []submitted{{"m1", "<sender@else.test>", "<x@else.test> <y@else.test>", "Received: by us\r\n" + letter}}, out.sent)

	acc, err := st.Account(t.Context(), "otto@example.org", "otto@example.org")
	require.NoError(t, err)
	mb, err := acc.Mailbox(t.Context(), store.Inbox)
	require.NoError(t, err)
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	require.Equal(t, date, snap.At(0).InternalDate())
	require.Zero(t, snap.At(0).Flags)
}

// The same ID again files nothing again; what failed is filed.
func TestRetry(t *testing.T) {
	st := &failingStore{Store: testStore(t), place: map[string]error{"otto@example.org": store.ErrOverQuota}}
	a := &Agent{Store: st, Aliases: map[string][]string{"both@example.org": {"anna@example.org", "otto@example.org"}}}
	d := &Delivery{ID: strings.Repeat("m", 64), Body: stage(t, st, letter)}
	to := paths(t, "anna@example.org", "both@example.org", "otto@example.org", "anna+Lists@example.org")
	errs := a.Deliver(t.Context(), d, to)
	require.Equal(t, []string{"ok", "452 4.2.2", "452 4.2.2", "ok"}, codes(errs))
	require.ErrorIs(t, errs[1], ErrPartial)
	require.NotErrorIs(t, errs[2], ErrPartial)
	st.place = nil
	for range 3 {
		require.Equal(t, []string{"ok", "ok", "ok", "ok"}, codes(a.Deliver(t.Context(), d, to)))
	}
	require.Equal(t, map[string]int{"INBOX": 1, "Lists": 1}, boxes(t, st, "anna@example.org"))
	require.Equal(t, map[string]int{"INBOX": 1}, boxes(t, st, "otto@example.org"))
	// Another ID is another message, and none at all is always another.
	d.ID = "m2"
	require.Equal(t, []string{"ok"}, codes(a.Deliver(t.Context(), d, to[:1])))
	d.ID = ""
	require.Equal(t, []string{"ok"}, codes(a.Deliver(t.Context(), d, to[:1])))
	require.Equal(t, []string{"ok"}, codes(a.Deliver(t.Context(), d, to[:1])))
	require.Equal(t, map[string]int{"INBOX": 4, "Lists": 1}, boxes(t, st, "anna@example.org"))
}

// What an alias sends elsewhere waits until the rest is filed, and what fails
// for good does not make it wait.
func TestElsewhereLast(t *testing.T) {
	st := &failingStore{Store: testStore(t), place: map[string]error{"otto@example.org": store.ErrNoSpace}}
	out := &submitter{}
	a := &Agent{Store: st, Submitter: out, Aliases: map[string][]string{"all@example.org": {"otto@example.org", "x@else.test"}}}
	d := &Delivery{ID: "m", Body: stage(t, st, letter)}
	errs := a.Deliver(t.Context(), d, paths(t, "all@example.org"))
	require.Equal(t, []string{"452 4.3.1"}, codes(errs))
	require.NotErrorIs(t, errs[0], ErrPartial)
	require.Empty(t, out.sent)
	st.place = nil
	out.err = smtp.Errorf(550, smtp.EnhancedCode{5, 7, 1}, "Not by us")
	errs = a.Deliver(t.Context(), d, paths(t, "all@example.org"))
	require.Equal(t, []string{"550 5.7.1"}, codes(errs))
	require.ErrorIs(t, errs[0], ErrPartial)
	out.err = errors.New("dial /var/secret: no such file")
	errs = a.Deliver(t.Context(), d, paths(t, "all@example.org"))
	require.Equal(t, []string{"451 4.3.0"}, codes(errs))
	out.err = nil
	require.Equal(t, []string{"ok"}, codes(a.Deliver(t.Context(), d, paths(t, "all@example.org"))))
	require.Equal(t, []submitted{{"m", "<>", "<x@else.test>", letter}}, out.sent, "a null sender stays null")
	require.Equal(t, map[string]int{"INBOX": 1}, boxes(t, st, "otto@example.org"))
	// A loop is for good.
	d.Body = stage(t, st, "Delivered-To: otto@example.org\r\n"+letter)
	errs = a.Deliver(t.Context(), d, paths(t, "all@example.org"))
	require.Equal(t, []string{"554 5.4.6"}, codes(errs))
	require.ErrorIs(t, errs[0], ErrPartial)
	require.Len(t, out.sent, 2)
}

// Every kind of failure of the store has its reply, and none shows its text.
func TestStoreErrors(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want string
	}{
		{store.ErrOverQuota, "452 4.2.2"},
		{store.ErrNoSpace, "452 4.3.1"},
		{store.ErrNotFound, "450 4.2.1"},
		{store.ErrUnavailable, "451 4.3.0"},
		{store.ErrCorrupt, "451 4.3.0"},
		{store.ErrLimit, "451 4.3.0"},
		{context.DeadlineExceeded, "451 4.3.0"},
		{errors.New("input/output error"), "451 4.3.0"},
	} {
		st := &failingStore{Store: testStore(t), place: map[string]error{"anna@example.org": tt.err}}
		a := &Agent{Store: st}
		errs := a.Deliver(t.Context(), &Delivery{Body: stage(t, st, letter)}, paths(t, "otto@example.org", "anna@example.org"))
		require.Equal(t, []string{"ok", tt.want}, codes(errs))
		require.NotContains(t, errs[1].Error(), "secret")
		require.True(t, smtp.AsError(errs[1]).Temporary())

		st = &failingStore{Store: testStore(t), account: map[string]error{"anna@example.org": tt.err}}
		a = &Agent{Store: st, Directory: directory{"a@example.org": "anna@example.org"}}
		errs = a.Deliver(t.Context(), &Delivery{Junk: true, Body: stage(t, st, letter)}, paths(t, "a@example.org"))
		require.Equal(t, []string{tt.want}, codes(errs))
		errs = a.Deliver(t.Context(), &Delivery{Body: stage(t, st, letter)}, paths(t, "a+Lists@example.org"))
		require.Equal(t, []string{tt.want}, codes(errs))
	}
}

// Of the mailboxes behind an alias, what passes counts before what does not.
func TestWorse(t *testing.T) {
	st := &failingStore{Store: testStore(t), place: map[string]error{"otto@example.org": store.ErrOverQuota}}
	a := &Agent{Store: st, Aliases: map[string][]string{"x@example.org": {"anna@example.org", "otto@example.org", "eva@example.org"}}}
	d := &Delivery{Body: stage(t, st, "Delivered-To: anna@example.org\r\n"+letter)}
	errs := a.Deliver(t.Context(), d, paths(t, "x@example.org"))
	require.Equal(t, []string{"452 4.2.2"}, codes(errs))
	require.ErrorIs(t, errs[0], ErrPartial) // eva has it
	require.Equal(t, map[string]int{"INBOX": 1}, boxes(t, st, "eva@example.org"))
}

func TestDetailMailbox(t *testing.T) {
	for detail, want := range map[string]string{
		"":                       "INBOX",
		"Lists":                  "Lists",
		"Lists/Go":               "Lists/Go",
		"lists":                  "INBOX", // names are exact
		"inbox":                  "INBOX",
		"New":                    "INBOX",
		"Lists/New":              "INBOX",
		"Archive":                "Archive",
		"Sent":                   "INBOX",
		"Drafts":                 "INBOX",
		"../x":                   "INBOX",
		"../otto@example.org":    "INBOX",
		"/etc/passwd":            "INBOX",
		"Lists/../Sent":          "INBOX",
		"Lists/":                 "INBOX",
		"*":                      "INBOX",
		"%":                      "INBOX",
		"a\u2028b":               "INBOX",
		strings.Repeat("x", 200): "INBOX",
	} {
		st := testStore(t)
		a := &Agent{Store: st}
		to := smtp.Path{Local: "anna+" + detail, Domain: "example.org"}
		require.Equal(t, []string{"ok"}, codes(a.Deliver(t.Context(), &Delivery{Body: stage(t, st, letter)}, []smtp.Path{to})), detail)
		require.Equal(t, map[string]int{want: 1}, boxes(t, st, "anna@example.org"), detail)
		acc, err := st.Account(t.Context(), "anna@example.org", "anna@example.org")
		require.NoError(t, err)
		infos, err := acc.Mailboxes(t.Context())
		require.NoError(t, err)
		require.Len(t, infos, 6, "a sender makes no mailboxes")
	}
}

func TestJunk(t *testing.T) {
	st := testStore(t)
	a := &Agent{Store: st}
	deliver := func(to ...string) {
		t.Helper()
		for _, c := range codes(a.Deliver(t.Context(), &Delivery{Junk: true, Body: stage(t, st, letter)}, paths(t, to...))) {
			require.Equal(t, "ok", c)
		}
	}
	account := func(name string) store.Account {
		acc, err := st.Account(t.Context(), name, name)
		require.NoError(t, err)
		return acc
	}
	// Made for the first message, whatever the detail says.
	deliver("anna@example.org", "anna+Lists@example.org")
	deliver("anna@example.org")
	require.Equal(t, map[string]int{"Junk": 2}, boxes(t, st, "anna@example.org"))
	mb, err := account("anna@example.org").Mailbox(t.Context(), "Junk")
	require.NoError(t, err)
	info, err := mb.Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, `\Junk`, info.SpecialUse)
	require.True(t, info.Subscribed)
	// The attribute counts, not the name (RFC 6154 §2).
	_, err = account("otto@example.org").Create(t.Context(), "Spam", store.CreateOptions{SpecialUse: `\Junk`})
	require.NoError(t, err)
	deliver("otto@example.org")
	require.Equal(t, map[string]int{"Spam": 1}, boxes(t, st, "otto@example.org"))
	// A mailbox of that name without the attribute does.
	_, err = account("eva@example.org").Create(t.Context(), "Junk", store.CreateOptions{})
	require.NoError(t, err)
	deliver("eva@example.org")
	require.Equal(t, map[string]int{"Junk": 1}, boxes(t, st, "eva@example.org"))
}

// A message that has been here before goes no further (RFC 9228 §4).
func TestLoop(t *testing.T) {
	st := testStore(t)
	out := &submitter{}
	a := &Agent{Store: st, Submitter: out, Aliases: map[string][]string{"out@example.org": {`"x y"@else.test`}}}
	for _, tt := range []struct {
		prefix, header, to, want string
	}{
		{"", "Delivered-To: anna@example.org\r\n", "anna@example.org", "554 5.4.6"},
		{"", "X: y\r\ndelivered-to:\r\n <Anna@EXAMPLE.org> \r\n", "anna@example.org", "554 5.4.6"},
		{"", "Delivered-To: a@b\r\nDelivered-To: c@d\r\nDelivered-To: anna@example.org\r\n", "anna@example.org", "554 5.4.6"},
		{"Delivered-To: anna@example.org\r\n", "", "anna@example.org", "554 5.4.6"},
		{"", "Delivered-To: anna+a@example.org\r\n", "anna+a@example.org", "554 5.4.6"},
		{"", "Delivered-To: \"x y\"@else.test\r\n", "out@example.org", "554 5.4.6"},
		{"", "Delivered-To: otto@example.org\r\n", "anna@example.org", "ok"},
		{"", "X-Delivered-To: anna@example.org\r\n", "anna@example.org", "ok"},
		{"", "Subject: x\r\n\r\nDelivered-To: anna@example.org\r\n", "anna@example.org", "ok"},
		{"", "no header at all", "anna@example.org", "ok"},
		{"", "", "anna@example.org", "ok"},
	} {
		d := &Delivery{Prefix: []byte(tt.prefix), Body: stage(t, st, tt.header)}
		require.Equal(t, []string{tt.want}, codes(a.Deliver(t.Context(), d, paths(t, tt.to))), "%q", tt.header)
	}
	require.Empty(t, out.sent)
	// Others still get it.
	d := &Delivery{Body: stage(t, st, "Delivered-To: anna@example.org\r\n\r\n")}
	require.Equal(t, []string{"554 5.4.6", "ok"}, codes(a.Deliver(t.Context(), d, paths(t, "anna@example.org", "otto@example.org"))))
	// The mark of the first delivery is what the second one finds.
	first := mail(t, st, "otto@example.org", store.Inbox)[0]
	d = &Delivery{Body: stage(t, st, first)}
	require.Equal(t, []string{"554 5.4.6"}, codes(a.Deliver(t.Context(), d, paths(t, "otto@example.org"))))
	// A header of any length is looked at, up to the limit of message.
	d = &Delivery{Body: stage(t, st, strings.Repeat("X: "+strings.Repeat("x", 900)+"\r\n", 100)+"Delivered-To: anna@example.org\r\n\r\n")}
	require.Equal(t, []string{"554 5.4.6"}, codes(a.Deliver(t.Context(), d, paths(t, "anna@example.org"))))
}

// Paths that no parser has seen cannot put anything into the header.
func TestNoHeaderInjection(t *testing.T) {
	st := testStore(t)
	a := &Agent{Store: st, Directory: anybody{}, Aliases: map[string][]string{"evil@example.org": {"x@else.test\r\nBcc: y@else.test"}}}
	for from, want := range map[smtp.Path]string{
		{}:                             "Return-Path: <>",
		{Local: "a", Domain: "b.test"}: "Return-Path: <a@b.test>",
		{Local: "a\r\nX-Evil: 1\r\n\r\n", Domain: "b.test"}:   `Return-Path: <"aX-Evil: 1"@b.test>`,
		{Local: "a", Domain: "b.test\r\n\r\nX-Evil: 1\x00\t"}: "Return-Path: <a@b.testX-Evil: 1>",
		{Local: "a> <b", Domain: "b.test"}:                    `Return-Path: <"a> <b"@b.test>`,
		{Local: `a"\b`, Domain: "b.test"}:                     `Return-Path: <"a\"\\b"@b.test>`,
		{Local: "j\u00fcrgen", Domain: "b.test"}:              "Return-Path: <j\u00fcrgen@b.test>",
	} {
		to := smtp.Path{Local: "o\r\nX-Evil: 2", Domain: "example.org\n"}
		require.Equal(t, []string{"ok"}, codes(a.Deliver(t.Context(), &Delivery{From: from, Body: stage(t, st, letter)}, []smtp.Path{to})))
		got := mail(t, st, "otto@example.org", store.Inbox)
		require.Equal(t, want+"\r\nDelivered-To: \"oX-Evil: 2\"@example.org\r\n"+letter, got[len(got)-1])
	}
	require.Equal(t, "451 4.3.0", code(a.Check(t.Context(), path(t, "evil@example.org"))))
	// A prefix that would end the header is the caller's mistake, and refused.
	for _, prefix := range []string{"X: y", "X: y\r\n\r\n", "X: y\nZ: z\r\n", "\tfolded\r\n", "Content-Type: text/html\r\n"} {
		before := len(mail(t, st, "otto@example.org", store.Inbox))
		errs := a.Deliver(t.Context(), &Delivery{Prefix: []byte(prefix), Body: stage(t, st, letter)}, paths(t, "o@example.org"))
		if prefix != "\tfolded\r\n" { // that continues Delivered-To
			require.Equal(t, []string{"451 4.3.0"}, codes(errs), "%q", prefix)
			require.Len(t, mail(t, st, "otto@example.org", store.Inbox), before)
		}
	}
}

// anybody has one account for all.
type anybody struct{}

func (anybody) AccountOf(context.Context, string) (string, bool, error) {
	return "otto@example.org", true, nil
}

func FuzzPrefix(f *testing.F) {
	f.Add("a", "b.test", "anna+x", "example.org")
	f.Add("", "", "\r\n", "\x00")
	f.Add("a\r\nX: y", "\"\\", "\u2028>", "\r")
	f.Fuzz(func(t *testing.T, fl, fd, tl, td string) {
		d := &Delivery{From: smtp.Path{Local: fl, Domain: fd}}
		p := plan{delivery: d}
		prefix := p.prefix(destination{to: smtp.Path{Local: tl, Domain: td}})
		lines := strings.Split(string(prefix), "\r\n")
		require.Len(t, lines, 3)
		require.True(t, strings.HasPrefix(lines[0], "Return-Path: <") && strings.HasSuffix(lines[0], ">"))
		require.True(t, strings.HasPrefix(lines[1], "Delivered-To: "))
		require.Empty(t, lines[2])
		require.False(t, strings.ContainsAny(lines[0]+lines[1], "\r\n\x00"))
	})
}

// What was delivered to whom can be read in the log.
func TestLog(t *testing.T) {
	var b bytes.Buffer
	st := testStore(t)
	a := &Agent{Store: st, Logger: slog.New(slog.NewJSONHandler(&b, nil))}
	a.Deliver(t.Context(), &Delivery{ID: "m1", Body: stage(t, st, letter)}, paths(t, "anna@example.org", "nobody@example.org"))
	require.Contains(t, b.String(), `"id":"m1","from":"<>","to":"<anna@example.org>"`)
	require.Contains(t, b.String(), `"to":"<nobody@example.org>","err":"smtp: 550 5.1.1 No such user here"`)
}
