package storetest

import (
	"encoding/base64"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

var searchChecks = []check{
	{"Search/same-answers", searchSame},
	{"Search/while-changing", searchWhileChanging},
}

// searchWords are what messages are made of and searched for.
var searchWords = []string{"straße", "STRASSE", "café", "Cafe\u0301", "Привет", "日本語", "größe", "İstanbul", "plain", "Report", "=?utf-8?Q?x?=", "a", "", "\xff\xfe", "x\x00y"}

func pickWord(rnd *rand.Rand) string { return searchWords[rnd.IntN(len(searchWords))] }

// searchMessage makes a message: plain or of parts, in several charsets and
// encodings, well-formed or not.
func searchMessage(rnd *rand.Rand, n int) string {
	var b strings.Builder
	word := func() string { return pickWord(rnd) }
	encode := func(s string) string {
		switch rnd.IntN(4) {
		case 0:
			return "=?utf-8?B?" + base64.StdEncoding.EncodeToString([]byte(s)) + "?="
		case 1:
			return "=?utf-8?Q?" + strings.NewReplacer(" ", "_", "?", "=3F").Replace(quoted(s, false)) + "?="
		case 2:
			return "=?iso-8859-1?Q?caf=E9?= " + s
		}
		return s // 8-bit as it is
	}
	fmt.Fprintf(&b, "From: %s <user%d@example.org>\r\n", encode(word()), n%7)
	if rnd.IntN(3) > 0 {
		fmt.Fprintf(&b, "Subject: %s %s\r\n\t%s\r\n", encode(word()), word(), encode(word()))
	}
	if rnd.IntN(8) == 0 {
		fmt.Fprintf(&b, "Subject: twice %s\r\n", word())
	}
	switch rnd.IntN(4) {
	case 0:
		b.WriteString("Date: not a date\r\n")
	case 1, 2:
		fmt.Fprintf(&b, "Date: %d Mar 2025 23:30:00 %+03d00\r\n", 1+n%28, rnd.IntN(25)-12)
	}
	fmt.Fprintf(&b, "Message-ID: <%d@example.org>\r\nX-Odd: %s\r\n", n, word())
	if rnd.IntN(6) == 0 {
		b.WriteString("no colon in this line\r\n")
	}
	searchPart(&b, rnd, 0)
	text := b.String()
	switch rnd.IntN(12) {
	case 0:
		return strings.ReplaceAll(text, "\r\n", "\n")
	case 1:
		return text[:rnd.IntN(len(text))] // cut off anywhere
	case 2:
		return strings.Replace(text, "\r\n\r\n", "\r\n", 1) // no end of the header
	}
	return text
}

// searchPart writes the MIME fields and the body of a part.
func searchPart(b *strings.Builder, rnd *rand.Rand, depth int) {
	body := fmt.Sprintf("%s and %s.\r\n%s\r\n", pickWord(rnd), pickWord(rnd), pickWord(rnd))
	switch k := rnd.IntN(9); {
	case k == 0 && depth < 4:
		fmt.Fprintf(b, "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=\"b%d\"\r\n\r\npreamble\r\n", depth)
		for range 1 + rnd.IntN(3) {
			fmt.Fprintf(b, "--b%d\r\n", depth)
			searchPart(b, rnd, depth+1)
		}
		if rnd.IntN(3) > 0 {
			fmt.Fprintf(b, "--b%d--\r\nepilogue\r\n", depth)
		}
	case k == 1 && depth < 4:
		fmt.Fprintf(b, "Content-Type: message/rfc822\r\n\r\nSubject: inner %s\r\n", pickWord(rnd))
		searchPart(b, rnd, depth+1)
	case k == 2:
		fmt.Fprintf(b, "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n\r\n%s\r\n", base64.StdEncoding.EncodeToString([]byte(body)))
	case k == 3:
		fmt.Fprintf(b, "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n%s\r\n", quoted(body, true))
	case k == 4:
		b.WriteString("Content-Type: text/html; charset=iso-8859-1\r\n\r\n<p>stra\xdfe caf\xe9 gr\xf6\xdfe</p>\r\n")
	case k == 5:
		fmt.Fprintf(b, "Content-Type: text/plain; charset=no-such-charset\r\nContent-Transfer-Encoding: x-unknown\r\n\r\n%s", body)
	case k == 6:
		b.WriteString("Content-Type: text/plain; charset=windows-1251\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xcf\xf0\xe8\xe2\xe5\xf2\r\n")
	case k == 7:
		fmt.Fprintf(b, "Content-Type: application/octet-stream; name=\"%s\"\r\nContent-Transfer-Encoding: base64\r\n\r\n@@@ not base64 %s\r\n", pickWord(rnd), body)
	default:
		fmt.Fprintf(b, "Content-Type: text/plain; charset=utf-8\r\n\r\n%s", body)
	}
}

// quoted encodes octets outside ASCII, with a soft line break now and then.
func quoted(s string, soft bool) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c >= 0x80 || c == '=' {
			fmt.Fprintf(&b, "=%02X", c)
		} else {
			b.WriteByte(c)
		}
		if soft && i%17 == 16 && s[i] != '\r' {
			b.WriteString("=\r\n")
		}
	}
	return b.String()
}

// searchSide is a mailbox of one engine with what criteria may name. The same
// message has the same number in each.
type searchSide struct {
	mb   store.Mailbox
	snap *store.Snapshot
	ids  []string
}

// fillSearch files the messages and looks at them.
func (k *kit) fillSearch(seed uint64, n int) *searchSide {
	rnd := rand.New(rand.NewPCG(seed, 1))
	a := k.account("anna")
	side := &searchSide{mb: k.box(a, store.Inbox)}
	for i := range n {
		t := store.Target{Account: "anna", Mailbox: store.Inbox, Body: k.stage(searchMessage(rnd, i)), Flags: flagsOf(uint8(rnd.Uint32() & rnd.Uint32() & 0x7f)),
			Date: time.Date(2025, 3, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(rnd.IntN(40*86400)) * time.Second)}
		if rnd.IntN(2) == 0 {
			t.Prefix = fmt.Appendf(nil, "Received: from relay%d\r\n\tby mx; now\r\nX-Odd: %d\r\n", i%3, i)
		}
		require.NoError(k, k.place(t)[0].Err)
	}
	side.look(k)
	return side
}

func (s *searchSide) look(k *kit) {
	s.snap, s.ids = k.snap(s.mb), nil
	for _, d := range k.details(s.mb, s.snap) {
		s.ids = append(s.ids, d.EmailID)
	}
}

// criterion adds one condition to c.
type criterion func(c *store.Criteria, rnd *rand.Rand, s *searchSide, depth int)

// searchDay is a day near those of the messages.
func searchDay(rnd *rand.Rand) time.Time {
	return time.Date(2025, 3, rnd.IntN(45), rnd.IntN(24), rnd.IntN(60), rnd.IntN(60), 0, time.FixedZone("", (rnd.IntN(25)-12)*3600))
}

func (s *searchSide) row(rnd *rand.Rand) store.Row { return s.snap.At(rnd.IntN(s.snap.Len())) }

// criterions is every field of store.Criteria.
func criterions() map[string]criterion {
	return map[string]criterion{
		"UIDs": func(c *store.Criteria, rnd *rand.Rand, s *searchSide, _ int) {
			c.UIDs = append(c.UIDs, store.UIDRanges(store.UIDRange{From: s.row(rnd).UID, To: s.row(rnd).UID}, store.UIDRange{From: s.row(rnd).UID, To: s.snap.UIDNext() + 9}))
		},
		"Flags": func(c *store.Criteria, rnd *rand.Rand, _ *searchSide, _ int) {
			c.Flags = append(c.Flags, append(modelFlags, "never")[rnd.IntN(len(modelFlags)+1)])
		},
		"NotFlags": func(c *store.Criteria, rnd *rand.Rand, _ *searchSide, _ int) {
			c.NotFlags = append(c.NotFlags, append(modelFlags, "never")[rnd.IntN(len(modelFlags)+1)])
		},
		"Larger": func(c *store.Criteria, rnd *rand.Rand, s *searchSide, _ int) {
			n := int64(s.row(rnd).Size)
			c.Larger = &n
		},
		"Smaller": func(c *store.Criteria, rnd *rand.Rand, s *searchSide, _ int) {
			n := int64(s.row(rnd).Size)
			c.Smaller = &n
		},
		"Since":      func(c *store.Criteria, rnd *rand.Rand, _ *searchSide, _ int) { c.Since = searchDay(rnd) },
		"Before":     func(c *store.Criteria, rnd *rand.Rand, _ *searchSide, _ int) { c.Before = searchDay(rnd) },
		"SentSince":  func(c *store.Criteria, rnd *rand.Rand, _ *searchSide, _ int) { c.SentSince = searchDay(rnd) },
		"SentBefore": func(c *store.Criteria, rnd *rand.Rand, _ *searchSide, _ int) { c.SentBefore = searchDay(rnd) },
		"NotBefore": func(c *store.Criteria, rnd *rand.Rand, s *searchSide, _ int) {
			c.NotBefore = s.row(rnd).InternalDate()
		},
		"NotAfter": func(c *store.Criteria, rnd *rand.Rand, s *searchSide, _ int) {
			c.NotAfter = s.row(rnd).InternalDate()
		},
		"SavedSince": func(c *store.Criteria, rnd *rand.Rand, s *searchSide, _ int) {
			c.SavedSince = s.snap.At(0).SaveDate().AddDate(0, 0, 3*rnd.IntN(3)-3)
		},
		"SavedBefore": func(c *store.Criteria, rnd *rand.Rand, s *searchSide, _ int) {
			c.SavedBefore = s.snap.At(0).SaveDate().AddDate(0, 0, 3*rnd.IntN(3)-3)
		},
		"EmailIDs": func(c *store.Criteria, rnd *rand.Rand, s *searchSide, _ int) {
			c.EmailIDs = []string{s.ids[rnd.IntN(len(s.ids))], "none", s.ids[rnd.IntN(len(s.ids))]}[rnd.IntN(2):]
		},
		"ThreadIDs": func(c *store.Criteria, rnd *rand.Rand, _ *searchSide, _ int) {
			c.ThreadIDs = []string{"none"}
		},
		"ModSeq": func(c *store.Criteria, rnd *rand.Rand, s *searchSide, _ int) { c.ModSeq = s.row(rnd).ModSeq },
		"Header": func(c *store.Criteria, rnd *rand.Rand, _ *searchSide, _ int) {
			c.Header = append(c.Header, store.HeaderCriterion{Name: []string{"Subject", "from", "X-ODD", "Message-ID", "Received", "Date", "none"}[rnd.IntN(7)], Text: pickWord(rnd)})
		},
		"Body": func(c *store.Criteria, rnd *rand.Rand, _ *searchSide, _ int) { c.Body = append(c.Body, pickWord(rnd)) },
		"Text": func(c *store.Criteria, rnd *rand.Rand, _ *searchSide, _ int) { c.Text = append(c.Text, pickWord(rnd)) },
		"Not": func(c *store.Criteria, rnd *rand.Rand, s *searchSide, depth int) {
			c.Not = append(c.Not, makeCriteria(rnd, s, depth+1))
		},
		"Or": func(c *store.Criteria, rnd *rand.Rand, s *searchSide, depth int) {
			c.Or = append(c.Or, [2]store.Criteria{makeCriteria(rnd, s, depth+1), makeCriteria(rnd, s, depth+1)})
		},
	}
}

// makeCriteria makes a search of up to four conditions, nested up to five
// levels deep.
func makeCriteria(rnd *rand.Rand, s *searchSide, depth int) (c store.Criteria) {
	all := criterions()
	names := slices.Sorted(maps.Keys(all))
	for range rnd.IntN(4) {
		if name := names[rnd.IntN(len(names))]; depth < 5 || name != "Not" && name != "Or" {
			all[name](&c, rnd, s, depth)
		}
	}
	return c
}

// answer is the numbers of the messages found.
func (s *searchSide) answer(k *kit, c *store.Criteria) []int {
	found := []int{}
	for r, err := range store.Search(k.Context(), s.mb, s.snap, c) {
		require.NoError(k, err)
		n, ok := s.snap.Find(r.UID)
		require.True(k, ok)
		require.Equal(k, s.snap.At(n), r)
		found = append(found, n)
	}
	require.True(k, slices.IsSorted(found), "ascending")
	return found
}

// Engines differ in speed, never in answers: for generated messages every
// criterion, alone and nested in others, finds the same with this engine as
// with the memory engine.
func searchSame(k *kit) {
	seed := k.cfg.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	messages, searches := 120, 250
	if testing.Short() {
		messages, searches = 60, 100
	}
	other := newKit(k.TB, Config{New: func(testing.TB) store.Store { return memory.New() }, Patience: k.cfg.Patience})
	mine, theirs := k.fillSearch(seed, messages), other.fillSearch(seed, messages)
	found := map[string]int{}
	compare := func(what string, n uint64, make func(*rand.Rand, *searchSide) store.Criteria) {
		c := make(rand.New(rand.NewPCG(seed, n)), mine)
		d := make(rand.New(rand.NewPCG(seed, n)), theirs)
		want, got := theirs.answer(other, &d), mine.answer(k, &c)
		require.Equal(k, want, got, "Config.Seed %d, %s %d: messages found by the memory engine and here: %+v", seed, what, n, c)
		if len(got) > 0 && len(got) < messages {
			found[what]++
		}
	}
	run := func() {
		for name, add := range criterions() {
			for n := range uint64(16) {
				compare(name, n, func(rnd *rand.Rand, s *searchSide) (c store.Criteria) { add(&c, rnd, s, 3); return c })
			}
		}
		for n := range uint64(searches) {
			compare("nested", 1000+n, func(rnd *rand.Rand, s *searchSide) store.Criteria { return makeCriteria(rnd, s, 0) })
		}
	}
	run()
	for name := range criterions() {
		switch name {
		case "ThreadIDs", "SavedSince", "SavedBefore": // all or none
		case "Not", "Or": // may be of anything; nested has many
		default:
			require.Positive(k, found[name], "no search for %s has found some messages and not others: seed %d", name, seed)
		}
	}
	require.Positive(k, found["nested"])
	if k.cfg.Reopen != nil {
		k.reopen()
		mine.mb = k.box(k.open("anna"), store.Inbox)
		mine.look(k)
		run()
	}
}

// A search of an old snapshot finds what was there, whatever becomes of the
// mailbox while the caller has the word.
func searchWhileChanging(k *kit) {
	a := k.account("anna")
	mb, other := k.box(a, store.Inbox), k.create(a, "Other")
	k.add(a, store.Inbox, 0, 60)
	snap := k.snap(mb)
	n := 0
	for r, err := range store.Search(k.Context(), mb, snap, &store.Criteria{Text: []string{"this is message"}, NotFlags: []store.Flag{store.FlagSeen}}) {
		require.NoError(k, err)
		require.Equal(k, snap.At(n), r, "as in the snapshot")
		switch n % 4 {
		case 0:
			k.flag(mb, store.FlagsAdd, store.AllUIDs(), store.FlagSeen)
		case 1:
			k.add(a, store.Inbox, 100+n, 1)
		case 2:
			_, err := mb.Copy(k.Context(), store.UIDs(r.UID), other.ID())
			require.NoError(k, err)
		}
		n++
	}
	require.Equal(k, 60, n)
}
