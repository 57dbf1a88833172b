package imap_test

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
)

// sortable is a message that knows what it is sorted by.
type sortable struct {
	number                int
	arrival, sent         time.Time
	from, name, to, cc    string
	label, subject, field string
	size                  int
}

func (m *sortable) text() string {
	var b strings.Builder
	if m.from != "" {
		fmt.Fprintf(&b, "From: %s <%s@x.test>\r\n", m.name, m.from)
	}
	if m.to != "" {
		fmt.Fprintf(&b, "To: %s@x.test, zz@x.test\r\n", m.to)
	}
	if m.cc != "" {
		fmt.Fprintf(&b, "Cc: %s@x.test\r\n", m.cc)
	}
	if m.field != "" {
		fmt.Fprintf(&b, "Date: %s\r\n", m.field)
	}
	fmt.Fprintf(&b, "Subject: %s%s\r\n\r\n%s", m.label, m.subject, strings.Repeat("x", m.size))
	return b.String()
}

// SORT gives the order that a plain sort by the same rules gives, whatever the
// criteria.
func TestSortOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 256))
	w := newWorld(t, nil)
	letters := func() string { return []string{"", "a", "B", "ab", "Ab", "b", "c"}[r.IntN(7)] }
	var all []*sortable
	for i := range 60 {
		m := &sortable{number: i + 1, from: letters(), to: letters(), cc: letters(), subject: letters(), size: r.IntN(3)}
		m.arrival = w.since.Add(time.Duration(r.IntN(5)) * time.Hour)
		m.label = []string{"", "Re: ", "[list] ", "Fwd: re: "}[r.IntN(4)]
		m.name = []string{"", `"Zoe"`, "Abe"}[r.IntN(3)]
		m.sent = w.since.Add(time.Duration(r.IntN(5)) * time.Hour)
		switch r.IntN(4) {
		case 0:
			m.sent = m.arrival // no date that could be read
			m.field = []string{"", "yesterday"}[r.IntN(2)]
		case 1:
			m.field = m.sent.In(time.FixedZone("", 3600*(r.IntN(20)-10))).Format("2 Jan 2006 15:04 -0700")
		default:
			m.field = m.sent.Format(time.RFC1123Z)
		}
		w.deliver("anna", store.Inbox, m.text(), m.arrival)
		all = append(all, m)
	}
	keys := map[string]func(a, b *sortable) int{
		"ARRIVAL": func(a, b *sortable) int { return a.arrival.Compare(b.arrival) },
		"DATE":    func(a, b *sortable) int { return a.sent.Compare(b.sent) },
		"SIZE":    func(a, b *sortable) int { return cmp.Compare(len(a.text()), len(b.text())) },
		"FROM":    byText(func(m *sortable) string { return m.from }),
		"TO":      byText(func(m *sortable) string { return m.to }),
		"CC":      byText(func(m *sortable) string { return m.cc }),
		"SUBJECT": byText(func(m *sortable) string { return m.subject }),
		"DISPLAYFROM": byText(func(m *sortable) string {
			if m.from != "" && m.name != "" {
				return strings.Trim(m.name, `"`)
			}
			return address(m.from)
		}),
		"DISPLAYTO": byText(func(m *sortable) string { return address(m.to) }),
	}
	names := slices.Sorted(func(yield func(string) bool) {
		for k := range keys {
			if !yield(k) {
				return
			}
		}
	})
	c := w.login("anna")
	c.ok("SELECT INBOX")
	for range 200 {
		var by []string
		want := slices.Clone(all)
		var steps []func(a, b *sortable) int
		for range 1 + r.IntN(4) {
			name, sign := names[r.IntN(len(names))], 1
			word := name
			if r.IntN(2) == 0 {
				word, sign = "REVERSE "+name, -1
			}
			by = append(by, word)
			steps = append(steps, func(a, b *sortable) int { return sign * keys[name](a, b) })
		}
		slices.SortStableFunc(want, func(a, b *sortable) int {
			for _, s := range steps {
				if d := s(a, b); d != 0 {
					return d
				}
			}
			return 0
		})
		line := "* SORT"
		for _, m := range want {
			line += fmt.Sprint(" ", m.number)
		}
		require.Equal(t, []string{line}, c.ok("SORT ("+strings.Join(by, " ")+") UTF-8 ALL"), "%s", by)
	}
}

func byText(f func(*sortable) string) func(a, b *sortable) int {
	return func(a, b *sortable) int { return strings.Compare(strings.ToUpper(f(a)), strings.ToUpper(f(b))) }
}

func address(local string) string {
	if local == "" {
		return ""
	}
	return local + "@x.test"
}

// broken is a store of which some messages have no details.
type broken struct {
	store.Store
	err error
}

type brokenAccount struct {
	store.Account
	err error
}

type brokenMailbox struct {
	store.Mailbox
	err error
}

func (s broken) Account(ctx context.Context, name, actor string) (store.Account, error) {
	a, err := s.Store.Account(ctx, name, actor)
	return brokenAccount{a, s.err}, err
}

func (a brokenAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	if err != nil {
		return nil, err
	}
	return brokenMailbox{mb, a.err}, nil
}

func (m brokenMailbox) Details(ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
	return func(yield func(store.Detail, error) bool) {
		for d, err := range m.Mailbox.Details(ctx, rows) {
			if d.Row.UID == 2 {
				d, err = store.Detail{Row: d.Row}, m.err
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

func (m brokenMailbox) Open(ctx context.Context, row store.Row) (store.Body, error) {
	if row.UID == 2 {
		return nil, m.err
	}
	return m.Mailbox.Open(ctx, row)
}

// A message that cannot be read is sorted as if it had no header; a store that
// is down is told.
func TestSortBroken(t *testing.T) {
	for _, damage := range []error{store.ErrCorrupt, store.ErrExpunged, store.ErrUnavailable} {
		w := newWorld(t, func(s *imap.Server) { s.Store = broken{s.Store, damage} })
		w.fill("anna", store.Inbox, 3)
		c := w.login("anna")
		c.ok("SELECT INBOX")
		require.Equal(t, []string{"* SORT 1 2 3"}, c.ok("SORT (ARRIVAL) UTF-8 ALL"))
		for cmd, want := range map[string]string{
			"SORT (REVERSE SUBJECT) UTF-8 ALL": "* SORT 3 1 2",
			"UID SORT (DATE) UTF-8 ALL":        "* SORT 2 1 3", // it arrived before the others were sent
			"THREAD REFERENCES UTF-8 ALL":      "* THREAD (2)(1)(3)",
			"THREAD ORDEREDSUBJECT UTF-8 ALL":  "* THREAD (2)(1)(3)",
			"THREAD REFS UTF-8 ALL":            "* THREAD (2)(1)(3)",
		} {
			if damage == store.ErrUnavailable {
				lines, end := c.do(cmd)
				require.Empty(t, lines, cmd)
				require.Equal(t, "NO [UNAVAILABLE] Temporarily unavailable", end, cmd)
				continue
			}
			require.Equal(t, []string{want}, c.ok(cmd), cmd)
		}
	}
}

// What SORT and THREAD hold is of the memory of all, and given back.
func TestSortMemory(t *testing.T) {
	w := newWorld(t, func(s *imap.Server) { s.MemoryBudget = 100 << 10 })
	for range 20 {
		w.fill("anna", store.Inbox, 50)
	}
	c := w.login("anna")
	c.ok("SELECT INBOX")
	for _, cmd := range []string{
		"SORT (SUBJECT DATE) UTF-8 ", "SORT (ARRIVAL) UTF-8 ", "UID SORT RETURN (COUNT) (SIZE) UTF-8 ", "THREAD REFERENCES UTF-8 ", "UID THREAD REFS UTF-8 ", "THREAD ORDEREDSUBJECT UTF-8 ",
	} {
		lines, end := c.do(cmd + "ALL")
		assert.Empty(t, lines, cmd)
		assert.Equal(t, "NO [UNAVAILABLE] Too much to do, try again later", end, cmd)
		c.ok(cmd + "1:100")
	}
}

// Of References without end as many count as are allowed, the last ones.
func TestThreadReferences(t *testing.T) {
	w := newWorld(t, func(s *imap.Server) { s.MaxReferences, s.MemoryBudget = 3, 1<<20 })
	var refs strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&refs, "\r\n <r%d@x.test>", i)
	}
	put := func(fields string) { w.deliver("anna", store.Inbox, fields+"\r\n\r\n", w.since) }
	put("Message-ID: <r0@x.test>")    // too far up
	put("Message-ID: <r2997@x.test>") // the first that counts
	put("References:" + refs.String() + "\r\nMessage-ID: <3@x.test>")
	put("X-Long: " + strings.Repeat(strings.Repeat("y", 900)+"\r\n ", 9) + "\r\nReferences: <3@x.test>\r\nMessage-ID: <4@x.test>")  // behind the first 8 KiB
	put("X-Long: " + strings.Repeat(strings.Repeat("y", 900)+"\r\n ", 99) + "\r\nReferences: <3@x.test>\r\nMessage-ID: <5@x.test>") // too far down
	put("Subject: x\r\nMessage-ID: <6@x.test>\r\n\r\nReferences: <3@x.test>\r\n\r\n" + strings.Repeat("long body\r\n", 20_000))     // not a field
	put("References: nothing <that> is one\r\nIn-Reply-To: (see) <4@x.test> <3@x.test>\r\nMessage-ID: <7@x.test> <2@x.test>")       // only the first
	for range 300 {
		put("References:" + refs.String())
	}
	c := w.login("anna")
	c.ok("SELECT INBOX")
	require.Equal(t, []string{"* THREAD (1)(2 3 4 7)(5)(6)"}, c.ok("THREAD REFERENCES UTF-8 1:7"))
	require.Contains(t, c.ok("THREAD REFERENCES UTF-8 ALL")[0], "* THREAD (1)(2 (3 4 7)(8)(9)(10)")
}
