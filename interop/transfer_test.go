package interop

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/sqlite"
	"github.com/posta-mail/posta/store/transfer"
)

// moved is a message that goes from one program to another.
type moved struct {
	box, flags string // of IMAP, in order
	date       int64
	text       string
}

// account is an account with messages, in a store of its own.
func account(t *testing.T, mails ...moved) transfer.Account {
	t.Helper()
	st, err := sqlite.Open(t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, st.Close()) })
	require.NoError(t, st.CreateAccount(t.Context(), "anna"))
	a, err := st.Account(t.Context(), "anna", "anna")
	require.NoError(t, err)
	for _, m := range mails {
		if _, err := a.Mailbox(t.Context(), m.box); err != nil {
			_, err = a.Create(t.Context(), m.box, store.CreateOptions{})
			require.NoError(t, err)
			require.NoError(t, a.Subscribe(t.Context(), m.box, true))
		}
		body, err := st.Stage(t.Context(), strings.NewReader(m.text))
		require.NoError(t, err)
		var flags []store.Flag
		for f := range strings.FieldsSeq(m.flags) {
			flags = append(flags, store.Flag(f))
		}
		p := st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: m.box, Body: body, Flags: flags, Date: time.Unix(m.date, 0)}})
		require.NoError(t, p[0].Err)
		require.NoError(t, body.Discard())
	}
	return transfer.Account{Store: st, Name: "anna", Create: true}
}

// short is a text, or what tells a long one from others.
func short(text []byte) string {
	if len(text) < 2000 {
		return string(text)
	}
	return fmt.Sprintf("%d octets, %x", len(text), sha256.Sum256(text))
}

// contents reads a source, its mailboxes in order.
func contents(t *testing.T, s transfer.Source) (all []moved) {
	t.Helper()
	folders, err := s.Folders(t.Context())
	require.NoError(t, err)
	slices.SortFunc(folders, func(a, b transfer.Folder) int { return strings.Compare(a.Name, b.Name) })
	for _, f := range folders {
		for m, err := range s.Messages(t.Context(), f, "") {
			require.NoError(t, err)
			b, err := io.ReadAll(m.Body)
			require.NoError(t, err)
			var flags []string
			for _, f := range m.Flags {
				flags = append(flags, string(f))
			}
			slices.Sort(flags)
			all = append(all, moved{f.Name, strings.Join(flags, " "), m.Date.Unix(), short(b)})
		}
	}
	return all
}

func copyMail(t *testing.T, from transfer.Source, to transfer.Sink, opt transfer.Options) transfer.Report {
	t.Helper()
	r, err := transfer.Copy(t.Context(), from, to, opt)
	require.NoError(t, err)
	assert.Zero(t, r.Skipped, "%v", r.Skips)
	return r
}

// pythonMail is what testdata/mailboxes.py shows of a message.
type pythonMail struct {
	Box, Kind, Subject, Flags, Body string
	Date                            int64
}

func pythonReads(t *testing.T, mode, dir string) (all []pythonMail) {
	t.Helper()
	out := run(t, "", "python3", filepath.Join("testdata", "mailboxes.py"), mode, dir)
	require.Contains(t, out, "all done")
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "{") {
			var m pythonMail
			require.NoError(t, json.Unmarshal([]byte(line), &m))
			all = append(all, m)
		}
	}
	return all
}

// TestPythonMailbox has Python's module mailbox read what is exported, and
// imports what it writes.
func TestPythonMailbox(t *testing.T) {
	t.Parallel()
	peer(t, "python3")
	text := func(i int, body string) string {
		return crlf(fmt.Sprintf("From: a@example.org\nSubject: %d\n\n%s", i, body))
	}
	quoted := "From me\n\nFrom eve@example.org Thu Jan  1 00:00:00 1970\n>From x\n>>From y\n\n\n"
	from := account(t,
		moved{"INBOX", "", 1700000000, text(0, "plain\n")},
		moved{"INBOX", `\Flagged \Seen work`, 1700000001, text(1, quoted)},
		moved{"INBOX", `\Answered \Deleted \Draft`, 1700000002, text(2, "")},
		moved{"Work/Plans", `\Seen`, 1700000003, text(3, "umlaut ü\n.\n")})

	t.Run("reads mbox", func(t *testing.T) {
		dir := t.TempDir()
		copyMail(t, from, transfer.Mbox{Path: dir}, transfer.Options{})
		// Python takes a ">" for what it is.
		q := strings.NewReplacer(">>From", ">>>From", ">From", ">>From", "From ", ">From ").Replace(quoted)
		assert.Equal(t, []pythonMail{
			{"INBOX", "mbox", "0", "O", "plain\n", 1700000000}, {"INBOX", "mbox", "1", "FOR", q, 1700000001},
			{"INBOX", "mbox", "2", "ADOT", "", 1700000002}, {"Work/Plans", "mbox", "3", "OR", "umlaut ü\n.\n", 1700000003},
		}, pythonReads(t, "read-mbox", dir))
	})
	t.Run("reads Maildir", func(t *testing.T) {
		dir := t.TempDir()
		copyMail(t, from, transfer.Maildir{Path: dir}, transfer.Options{})
		got := pythonReads(t, "read-maildir", dir)
		slices.SortFunc(got, func(a, b pythonMail) int { return strings.Compare(a.Subject, b.Subject) })
		assert.Equal(t, []pythonMail{
			{"INBOX", "maildir", "0", "", "plain\n", 1700000000}, {"INBOX", "maildir", "1", "FSa", quoted, 1700000001},
			{"INBOX", "maildir", "2", "DRT", "", 1700000002}, {"Work/Plans", "maildir", "3", "S", "umlaut ü\n.\n", 1700000003},
		}, got)
	})
	t.Run("writes", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.Mkdir(filepath.Join(dir, "mbox"), 0o700))
		out := run(t, "", "python3", filepath.Join("testdata", "mailboxes.py"), "write", dir)
		require.Contains(t, out, "all done")
		python := func(i int, body string) string {
			return crlf(fmt.Sprintf("From: a@example.org\nSubject: python %d\n\n%s", i, body))
		}
		// Python quotes nothing that is quoted already: mboxo.
		plain := strings.ReplaceAll(quoted, "\n>From x", "\nFrom x")
		to := account(t)
		copyMail(t, transfer.Mbox{Path: filepath.Join(dir, "mbox"), Format: transfer.MboxO}, to, transfer.Options{})
		assert.Equal(t, []moved{
			{"INBOX", "", 1770091506, python(0, "plain\n")}, {"INBOX", `\Flagged`, 1770091508, python(2, "")},
			{"Plans", `\Seen`, 1770091507, python(1, plain)}, {"Plans", `\Deleted`, 1770091509, python(3, "umlaut ü and a dot\n.\n")},
		}, contents(t, to))
		to = account(t)
		copyMail(t, transfer.Maildir{Path: filepath.Join(dir, "maildir")}, to, transfer.Options{})
		assert.Equal(t, []moved{
			{"INBOX", "", 1770091506, python(0, "plain\n")}, {"INBOX", `\Flagged`, 1770091508, python(2, "")},
			{"Work/Plans", `\Seen`, 1770091507, python(1, quoted)}, {"Work/Plans", `\Deleted`, 1770091509, python(3, "umlaut ü and a dot\n.\n")},
		}, contents(t, to))
	})
}
