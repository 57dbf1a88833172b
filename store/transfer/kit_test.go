package transfer

import (
	"context"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// mail is a message as a source or a sink has it.
type mail struct {
	box   string
	flags []store.Flag
	date  int64 // seconds; 0: whatever
	uidl  string
	text  string
}

// anna is an account in a new store, which may be full of mail.
func anna(t testing.TB, mails ...mail) Account {
	t.Helper()
	st := memory.New()
	t.Cleanup(func() { st.Close() })
	a := Account{Store: st, Name: "anna", Create: true}
	require.NoError(t, st.CreateAccount(t.Context(), "anna"))
	fill(t, a, mails...)
	return a
}

func fill(t testing.TB, a Account, mails ...mail) {
	t.Helper()
	acct, err := a.open(t.Context())
	require.NoError(t, err)
	for _, m := range mails {
		if _, err := acct.Mailbox(t.Context(), m.box); err != nil {
			_, err = acct.Create(t.Context(), m.box, store.CreateOptions{})
			require.NoError(t, err)
		}
		body, err := a.Store.Stage(t.Context(), strings.NewReader(m.text))
		require.NoError(t, err)
		p := a.Store.Place(t.Context(), []store.Target{{Account: a.Name, Mailbox: m.box, Body: body, Flags: m.flags, Date: time.Unix(m.date, 0), UIDL: m.uidl}})
		require.NoError(t, p[0].Err)
		require.NoError(t, body.Discard())
	}
}

// contents reads a whole source.
func contents(t testing.TB, s Source) (all []mail) {
	t.Helper()
	folders, err := s.Folders(t.Context())
	require.NoError(t, err)
	for _, f := range folders {
		require.NoError(t, f.Err)
		for m, err := range s.Messages(t.Context(), f, "") {
			require.NoError(t, err)
			b, err := io.ReadAll(m.Body)
			require.NoError(t, err)
			slices.Sort(m.Flags)
			date := m.Date.Unix()
			if m.Date.IsZero() {
				date = 0
			}
			all = append(all, mail{f.Name, m.Flags, date, m.UIDL, string(b)})
		}
	}
	return all
}

func flags(f ...store.Flag) []store.Flag {
	slices.Sort(f)
	return f
}

// some are messages with everything that could get lost.
func some() []mail {
	return []mail{
		{"INBOX", nil, 1700000000, "", "Subject: one\r\n\r\nplain\r\n"},
		{"INBOX", flags(store.FlagSeen, store.FlagFlagged, "$Forwarded", "work"), 1700000001, "",
			"Return-Path: <eve@example.org>\r\nSubject: two\r\n\r\nFrom me to you\r\n\r\nFrom eve@example.org Thu Jan  1 00:00:00 1970\r\n>From x\r\n>>From y\r\n\r\n"},
		{"INBOX", flags(store.FlagAnswered, store.FlagDraft, store.FlagDeleted), 1700000002, "", "Subject: only a header\r\n"},
		{"INBOX", nil, 946684800, "", "Subject: long\r\n\r\n" + strings.Repeat("x", 200_000) + "\r\n\r\n\r\nend\r\n"},
		{"Work/Plans", flags(store.FlagSeen), 0x7fffffff, "", "Subject: ü\r\n\r\n8 bit \xff\xfe \x00 and CR \r in a line\r\n"},
		{"Entwürfe", nil, 1, "", "\r\nno header\r\n"},
		{"a.mbox", nil, 2, "", "Subject: dots\r\n\r\n"},
	}
}

func copyAll(t testing.TB, from Source, to Sink, opt Options) Report {
	t.Helper()
	r, err := Copy(t.Context(), from, to, opt)
	require.NoError(t, err)
	return r
}

// same compares two sources whatever the order of folders.
func same(t testing.TB, want, got Source) {
	t.Helper()
	sort := func(m []mail) []mail {
		slices.SortStableFunc(m, func(a, b mail) int { return strings.Compare(a.box, b.box) })
		return m
	}
	assert.Equal(t, sort(contents(t, want)), sort(contents(t, got)))
}

// cut is a source that ends with an error after some messages.
type cut struct {
	Source
	after int
	err   error
}

func (c *cut) Messages(ctx context.Context, f Folder, after string) iter.Seq2[*Message, error] {
	return func(yield func(*Message, error) bool) {
		for m, err := range c.Source.Messages(ctx, f, after) {
			if c.after == 0 {
				yield(nil, c.err)
				return
			}
			c.after--
			if !yield(m, err) {
				return
			}
		}
	}
}

// mboxFile writes an mbox file of n small messages.
func mboxFile(t testing.TB, n int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "many.mbox")
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "From a@example.org Thu Jan  1 00:00:00 2026\nSubject: %d\nMessage-ID: <%d@example.org>\n\nText %d\n\n", i, i, i)
	}
	require.NoError(t, os.WriteFile(name, []byte(b.String()), 0o600))
	return name
}
