package imap

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// searched is a message of FuzzSearch, and what there is to find in it, in upper
// case and without marks.
type searchedMessage struct {
	text   string
	flags  []store.Flag
	date   time.Time
	sent   string            // day of the Date field
	fields map[string]string // by name
	body   string
}

var searchedMessages = []searchedMessage{
	{
		text:  "From: Anna <anna@posta.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= one\r\nDate: Mon, 02 Nov 2026 23:59:00 -0800\r\n\r\nFirst body\r\n",
		flags: []store.Flag{store.FlagSeen, "$work"}, date: time.Date(2026, 11, 3, 1, 2, 3, 0, time.UTC), sent: "2026-11-02",
		fields: map[string]string{"FROM": "ANNA <ANNA@POSTA.TEST>", "SUBJECT": "GRUSSE ONE", "DATE": "MON, 02 NOV 2026 23:59:00 -0800"},
		body:   "FIRST BODY\r\n",
	},
	{
		text: "To: bob\r\nX-A:\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\ncaf=E9 au l=\r\nait\r\n",
		date: time.Date(2025, 1, 31, 0, 0, 0, 0, time.UTC), sent: "2025-01-31",
		fields: map[string]string{"TO": "BOB", "X-A": "", "CONTENT-TYPE": "TEXT/PLAIN; CHARSET=ISO-8859-1", "CONTENT-TRANSFER-ENCODING": "QUOTED-PRINTABLE"},
		body:   "CAFE AU LAIT\r\n",
	},
	{
		text: "Subject: folded\r\n line\r\nDate: yesterday\r\n\r\n", flags: []store.Flag{store.FlagDeleted, store.FlagFlagged},
		date: time.Date(2026, 11, 3, 23, 59, 59, 0, time.UTC), sent: "2026-11-03",
		fields: map[string]string{"SUBJECT": "FOLDED LINE", "DATE": "YESTERDAY"},
	},
}

// plain is a text as the searched messages have it.
var plain = strings.NewReplacer("ü", "U", "Ü", "U", "é", "E", "É", "E", "ß", "SS")

func plainText(s string) string { return strings.ToUpper(plain.Replace(s)) }

// matches evaluates a key by the letter of RFC 9051 §6.4.4.
func (m *searchedMessage) matches(k *wire.SearchKey, n int, row store.Row, now time.Time) bool {
	day := func(t time.Time) string { return t.UTC().Format(time.DateOnly) }
	in := func(set wire.NumSet, x uint32) bool {
		for _, r := range set.Ranges {
			from, to := r.From, r.To
			if from == 0 {
				from = uint32(len(searchedMessages))
			}
			if to == 0 {
				to = uint32(len(searchedMessages))
			}
			if min(from, to) <= x && x <= max(from, to) {
				return true
			}
		}
		return false
	}
	all := func(keys []wire.SearchKey) bool {
		for i := range keys {
			if !m.matches(&keys[i], n, row, now) {
				return false
			}
		}
		return true
	}
	date, arrived := k.Date.Format(time.DateOnly), day(m.date)
	needle := plainText(k.Value)
	header := ""
	for name, v := range m.fields {
		header += name + ": " + v + "\x00"
	}
	switch k.Op {
	case wire.SearchAll:
		return true
	case wire.SearchNone:
		return false
	case wire.SearchSet, wire.SearchUID: // UIDs are the numbers here
		return in(k.Set, uint32(n))
	case wire.SearchFlag, wire.SearchNotFlag:
		has := slices.ContainsFunc(m.flags, func(f store.Flag) bool { return strings.EqualFold(string(f), k.Text) })
		return has == (k.Op == wire.SearchFlag)
	case wire.SearchHeader:
		v, there := m.fields[strings.ToUpper(k.Text)]
		return there && strings.Contains(v, needle)
	case wire.SearchBody:
		return strings.Contains(m.body, needle)
	case wire.SearchText:
		return needle == "" || strings.Contains(m.body, needle) || slices.ContainsFunc(strings.Split(header, "\x00"), func(f string) bool { return strings.Contains(f, needle) })
	case wire.SearchBefore:
		return arrived < date
	case wire.SearchOn:
		return arrived == date
	case wire.SearchSince:
		return arrived >= date
	case wire.SearchSentBefore:
		return m.sent < date
	case wire.SearchSentOn:
		return m.sent == date
	case wire.SearchSentSince:
		return m.sent >= date
	case wire.SearchSavedBefore:
		return day(now) < date
	case wire.SearchSavedOn:
		return day(now) == date
	case wire.SearchSavedSince:
		return day(now) >= date
	case wire.SearchLarger:
		return uint64(len(m.text)) > k.Number
	case wire.SearchSmaller:
		return uint64(len(m.text)) < k.Number
	case wire.SearchModSeq:
		return uint64(row.ModSeq) >= k.Number
	case wire.SearchOlder:
		return !m.date.After(now.Add(-time.Duration(k.Number) * time.Second))
	case wire.SearchYounger:
		return !m.date.Before(now.Add(-time.Duration(k.Number) * time.Second))
	case wire.SearchNot:
		return !m.matches(&k.Keys[0], n, row, now)
	case wire.SearchOr:
		return m.matches(&k.Keys[0], n, row, now) || m.matches(&k.Keys[1], n, row, now)
	case wire.SearchAnd:
		return all(k.Keys)
	}
	return false // ids, which no input can know
}

// comparable reports whether the letters of a program are such that plainText does
// what the store does.
func comparable(keys []wire.SearchKey) bool {
	for i := range keys {
		k := &keys[i]
		for _, r := range k.Value + k.Text {
			if (r < ' ' || r > '~') && !strings.ContainsRune("üÜéÉß", r) {
				return false
			}
		}
		if k.Op == wire.SearchFilter || k.Set.Saved || !comparable(k.Keys) {
			return false
		}
	}
	return true
}

// FuzzSearch compares what search programs find with a naive evaluation.
func FuzzSearch(f *testing.F) {
	for _, s := range []string{
		"ALL", "SEEN NOT DELETED", "OR SUBJECT grüsse BODY \"CAFÉ au lait\"", "TEXT line HEADER x-a \"\"", "SINCE 3-Nov-2026 BEFORE 4-Nov-2026", "SENTON 2-Nov-2026",
		"(OR (1:2 KEYWORD $work) UID 3:*) LARGER 10 SMALLER 100000", "MODSEQ 2 OLDER 10 YOUNGER 4294967295", "NOT (OR NOT SEEN NOT FLAGGED)", "TEXT \"subject: f\"", "SAVEDSINCE 1-Jan-2020",
		"OR OR OR SEEN 1 2 3", "TEXT \"\" BODY \"\"", "CHARSET UTF-8 FROM anna", "EMAILID x", "1,1:3,*:2", "SENTBEFORE 1-Feb-2025 UNKEYWORD $work",
	} {
		f.Add(s)
	}
	ctx := context.Background()
	st := memory.New()
	if err := st.CreateAccount(ctx, "anna"); err != nil {
		f.Fatal(err)
	}
	acc, err := st.Account(ctx, "anna", "anna")
	if err != nil {
		f.Fatal(err)
	}
	for i := range searchedMessages {
		m := &searchedMessages[i]
		staged, err := st.Stage(ctx, strings.NewReader(m.text))
		if err != nil {
			f.Fatal(err)
		}
		if p := st.Place(ctx, []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: staged, Flags: m.flags, Date: m.date}}); p[0].Err != nil {
			f.Fatal(p[0].Err)
		}
	}
	mb, err := acc.Mailbox(ctx, store.Inbox)
	if err != nil {
		f.Fatal(err)
	}
	snap, err := mb.Snapshot(ctx)
	if err != nil {
		f.Fatal(err)
	}
	srv := &Server{Store: st, Logger: slog.New(slog.DiscardHandler)}
	srv.setup()
	f.Fuzz(func(t *testing.T, program string) {
		p := wire.NewParser([]byte(" "+program), srv.lim.parse)
		c := p.Search()
		if p.End() != nil || c.Fuzzy {
			return
		}
		s := &session{srv: srv, ctx: ctx, acc: acc, began: time.Now(), state: stateSelected, sel: &view{box: box{mb: mb}, told: snap}}
		var crit store.Criteria
		if fault := s.program(s.sel, &crit, c.Keys); fault != (reply{}) {
			return
		}
		var found []int
		for row, err := range s.searched(mb, snap, &crit, false) {
			if err != nil {
				return // too deep, say
			}
			found = append(found, int(row.UID))
		}
		if !comparable(c.Keys) {
			return
		}
		var want []int
		for n, row := range snap.All() {
			if searchedMessages[n].matches(&wire.SearchKey{Op: wire.SearchAnd, Keys: c.Keys}, n+1, row, s.began) {
				want = append(want, n+1)
			}
		}
		if !slices.Equal(found, want) {
			t.Fatalf("found %v, not %v", found, want)
		}
	})
}
