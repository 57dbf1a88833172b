package imap_test

import (
	"context"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// everything asks for all items there are.
const everything = "(UID FLAGS INTERNALDATE RFC822.SIZE MODSEQ ENVELOPE BODY BODYSTRUCTURE SAVEDATE EMAILID THREADID PREVIEW (LAZY)" +
	" BODY.PEEK[] BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[1] BODY.PEEK[1.MIME] BODY.PEEK[1.HEADER] BODY.PEEK[1.TEXT] BODY.PEEK[2.1] BODY.PEEK[]<3.5>" +
	" BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)] BODY.PEEK[HEADER.FIELDS.NOT (SUBJECT FROM)] BODY.PEEK[1.HEADER.FIELDS (SUBJECT)]" +
	" BINARY.PEEK[] BINARY.PEEK[1] BINARY.PEEK[1]<2.4> BINARY.SIZE[1] BINARY.SIZE[] RFC822.HEADER)"

// fetchAll fetches everything of the only message and checks the answer against
// itself and the message.
func fetchAll(t testing.TB, c *client, text string, utf8Quoted bool) {
	t.Helper()
	lines, end := c.do("FETCH 1 " + everything)
	if !strings.HasPrefix(end, "OK ") {
		require.Contains(t, end, "NO [UNKNOWN-CTE]")
	}
	require.NotEmpty(t, lines)
	line := lines[len(lines)-1] // FLAGS and HIGHESTMODSEQ may come before
	f, err := readFetch(line, utf8Quoted)
	require.NoError(t, err, "%.2000q", line)
	masked := strings.ReplaceAll(text, "\x00", " ")
	require.Equal(t, masked, f.items["BODY[]"])
	require.Equal(t, strconv.Itoa(len(text)), f.items["RFC822.SIZE"])
	require.Equal(t, masked, f.items["BODY[HEADER]"]+f.items["BODY[TEXT]"])
	require.Equal(t, f.items["BODY[HEADER]"], f.items["RFC822.HEADER"])
	require.Equal(t, text, f.items["BINARY[]"])
	require.Equal(t, strconv.Itoa(len(text)), f.items["BINARY.SIZE[]"])
	require.Equal(t, masked[min(3, len(masked)):min(8, len(masked))], f.items["BODY[]<3>"])
	if b := f.items["BINARY[1]"]; b != "NIL" {
		require.Equal(t, strconv.Itoa(len(b)), f.items["BINARY.SIZE[1]"])
		require.Equal(t, b[min(2, len(b)):min(6, len(b))], f.items["BINARY[1]<2>"])
	}
	require.NotEmpty(t, f.parts)
	for _, p := range f.parts[:min(len(f.parts), 20)] {
		lines, end := c.do("FETCH 1 (BODY.PEEK[" + p.path + "])")
		require.Contains(t, end, "OK ")
		one, err := readFetch(lines[0], utf8Quoted)
		require.NoError(t, err)
		require.Len(t, one.items["BODY["+p.path+"]"], p.octets, "part %s", p.path)
	}
}

// oneMessage is a session that has a mailbox of one message selected.
func oneMessage(t testing.TB, text string) *client {
	w := newWorld(t, nil)
	w.deliver("anna", store.Inbox, text, w.since)
	c := w.login("anna")
	c.ok("SELECT INBOX")
	return c
}

// hostileMessages are made to be misread, or to be expensive.
func hostileMessages() map[string]string {
	nested := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n", i, i)
		}
		return b.String()
	}
	return map[string]string{
		"empty":                "",
		"line end":             "\r\n",
		"no header":            "\r\nbody",
		"no end of header":     "Subject: x",
		"bare":                 "Subject: x\nTo: y\n\nline\rother\n",
		"NUL":                  "Sub\x00ject: \x00\r\nFrom: \x00 <a\x00@b>\r\nContent-Type: te\x00xt/pl\x00ain; a=\"\x00\"\r\n\r\n\x00\x00",
		"not UTF-8":            "Subject: \xff\xfe\r\nFrom: \"\xff\" <\x80@\x81>\r\nContent-Type: text/\xff; \xff=\xff\r\nContent-ID: \xff\r\n\r\n\xff",
		"quotes":               "Subject: \"\\\"\r\nFrom: \"a\\\"b\\\\\" <\"x\\\"y\"@z>\r\nContent-Description: \\\"\r\n\r\nx",
		"100,000 parts":        "Content-Type: multipart/mixed; boundary=b\r\n\r\n" + strings.Repeat("--b\r\n\r\nx\r\n", 100_000) + "--b--\r\n",
		"1,000 deep":           nested(1000) + "\r\nx",
		"cyclic boundary":      strings.Repeat("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", 1000) + strings.Repeat("--b--\r\n", 1000),
		"boundary of a parent": "Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\nContent-Type: multipart/mixed; boundary=ab\r\n\r\n--ab\r\n\r\nx\r\n--a\r\n\r\ny\r\n--ab--\r\n--a--\r\n",
		"messages 1,000 deep":  strings.Repeat("Content-Type: message/rfc822\r\n\r\n", 1000) + "x",
		"torn multipart":       "Content-Type: multipart/mixed\r\n\r\n--x\r\n\r\ny",
		"empty multipart":      "Content-Type: multipart/alternative; boundary=x\r\n\r\n",
		"encoded multipart":    "Content-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: base64\r\n\r\n--x\r\n\r\ny\r\n--x--",
		"unknown encoding":     "Content-Transfer-Encoding: x-foo\r\n\r\ny",
		"base64 message":       "Content-Type: message/rfc822\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDogeA0KDQp4",
		"100,000 fields":       strings.Repeat("A: b\r\n", 100_000) + "\r\nx",
		"100,000 addresses":    "To: " + strings.Repeat("a@b, ", 100_000) + "\r\n\r\nx",
		"one field of 2 MiB":   "Subject: " + strings.Repeat("x", 2<<20) + "\r\n\r\nx",
		"100,000 parameters":   "Content-Type: text/plain" + strings.Repeat("; a*0=b", 100_000) + "\r\n\r\nx",
		"10,000 continuations": "Content-Type: text/plain; " + continuations(10_000) + "\r\nContent-Disposition: attachment; " + continuations(10_000) + "\r\n\r\nx",
		"groups":               "To: a: b@c, d: e@f;, ;, g:;\r\nCc: ;\r\nBcc: :\r\n\r\n",
		"HTML":                 "Content-Type: text/html\r\n\r\n" + strings.Repeat("<", 100_000) + "&#xffffffff;&amp",
		"charset":              "Content-Type: text/plain; charset=utf-16\r\n\r\n\xff\xfe\x00\xd8a",
	}
}

// continuations is one parameter in n pieces (RFC 2231 §3).
func continuations(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "name*%d*=%%20;", i)
	}
	return b.String()
}

// Whatever a message is, it can be fetched.
func TestFetchHostileMessages(t *testing.T) {
	for name, text := range hostileMessages() {
		t.Run(name, func(t *testing.T) {
			c := oneMessage(t, text)
			fetchAll(t, c, text, false)
			c.ok("ENABLE IMAP4rev2")
			fetchAll(t, c, text, true)
		})
	}
}

// FuzzFetch: any octets make a message whose items an independent reader
// understands.
func FuzzFetch(f *testing.F) {
	for _, text := range hostileMessages() {
		if len(text) < 4000 {
			f.Add([]byte(text))
		}
	}
	files, err := filepath.Glob("testdata/*.eml")
	require.NoError(f, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(f, err)
		for m := range strings.SplitSeq(string(b), "\n----\n") {
			f.Add([]byte(strings.ReplaceAll(m, "\n", "\r\n")))
		}
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 20_000 {
			return
		}
		c := oneMessage(t, string(text))
		fetchAll(t, c, string(text), false)
		c.ok("ENABLE IMAP4rev2")
		fetchAll(t, c, string(text), true)
	})
}

// detailless is a store in which UID 4 has no details.
type detailless struct{ store.Store }

func (s detailless) Account(ctx context.Context, name, actor string) (store.Account, error) {
	a, err := s.Store.Account(ctx, name, actor)
	return detaillessAccount{a}, err
}

type detaillessAccount struct{ store.Account }

func (a detaillessAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	return detaillessMailbox{mb}, err
}

type detaillessMailbox struct{ store.Mailbox }

func (m detaillessMailbox) Details(ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
	return func(yield func(store.Detail, error) bool) {
		for d, err := range m.Mailbox.Details(ctx, rows) {
			if d.Row.UID == 4 {
				d, err = store.Detail{Row: d.Row}, store.ErrUnavailable
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

// A message that is damaged costs a NO, and the others are served (RFC 5530).
func TestFetchDamaged(t *testing.T) {
	w := newWorld(t, func(s *imap.Server) { s.Store = detailless{damagedStore{s.Store}} })
	w.fill("anna", store.Inbox, 5)
	c := w.login("anna")
	c.ok("SELECT INBOX")
	uids := func(lines []string) (got []int) {
		for _, l := range lines {
			f, err := readFetch(l, false)
			require.NoError(t, err)
			got = append(got, f.number)
		}
		return got
	}
	for cmd, want := range map[string]struct {
		served []int
		end    string
	}{
		"FETCH 1:* (FLAGS)":                                 {[]int{1, 2, 3, 4, 5}, "OK "},
		"FETCH 1:* (BODY.PEEK[])":                           {[]int{1, 4, 5}, "NO [CORRUPTION] "},
		"FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])":    {[]int{1, 4, 5}, "NO [CORRUPTION] "},
		"FETCH 1:* (ENVELOPE)":                              {[]int{1, 2, 3, 5}, "NO [UNAVAILABLE] "},
		"FETCH 1:* (BODYSTRUCTURE BODY.PEEK[1])":            {[]int{1, 5}, "NO ["},
		"UID FETCH 4:5 (PREVIEW)":                           {[]int{5}, "NO [UNAVAILABLE] "},
		"FETCH 2 (BODY.PEEK[])":                             {nil, "NO [CORRUPTION] "},
		"FETCH 1 (BODY.PEEK[] ENVELOPE BINARY.PEEK[1] UID)": {[]int{1}, "OK "},
	} {
		lines, end := c.do(cmd)
		assert.Equal(t, want.served, uids(lines), cmd)
		assert.True(t, strings.HasPrefix(end, want.end), "%s: %s", cmd, end)
	}
	c.ok("NOOP")
}

// A message that another session has expunged stays readable for a while, and
// then costs a hint.
func TestFetchExpunged(t *testing.T) {
	for _, grace := range []time.Duration{time.Hour, -1} {
		w := newWorld(t, func(s *imap.Server) {
			st := memory.Options{Grace: grace}.New()
			for _, name := range []string{"anna", "bob"} {
				require.NoError(t, st.CreateAccount(t.Context(), name))
			}
			s.Store = st
		})
		w.st = w.srv.Store
		w.fill("anna", store.Inbox, 3)
		c, other := w.login("anna"), w.login("anna")
		c.ok("SELECT INBOX")
		other.ok("SELECT INBOX")
		other.ok(`STORE 2 +FLAGS.SILENT (\Deleted)`)
		other.ok("EXPUNGE")
		lines, end := c.do("FETCH 1:3 (UID BODY.PEEK[TEXT] ENVELOPE)")
		if grace > 0 {
			require.Len(t, lines, 3)
			require.Contains(t, lines[1], "body 2")
			require.Contains(t, end, "OK ")
		} else {
			require.Len(t, lines, 2)
			require.Contains(t, end, "NO [EXPUNGEISSUED] ")
		}
		// What is known without the message is answered.
		lines, end = c.do("FETCH 2 (UID FLAGS RFC822.SIZE)")
		require.Len(t, lines, 1)
		require.Contains(t, end, "OK ")
		lines = c.ok("NOOP")
		require.Equal(t, []string{"* 2 EXPUNGE"}, lines)
	}
}

// The end of a header is found wherever it is.
func TestFetchHeaderEnds(t *testing.T) {
	w := newWorld(t, nil)
	var texts []string
	for _, at := range []int{0, 2 << 10, 4 << 10, 8 << 10, 20 << 10} {
		for d := -4; d <= 4; d++ {
			for _, end := range []string{"\r\n\r\nbody", "\n\nbody", "\r\n\r\n", "\r\n", ""} {
				if n := at + d - len("A: "); n > 0 {
					texts = append(texts, "A: "+strings.Repeat("x", n)+end)
				}
			}
		}
	}
	for _, text := range texts {
		w.deliver("anna", store.Inbox, text, w.since)
	}
	c := w.login("anna")
	c.ok("SELECT INBOX")
	lines := c.ok("FETCH 1:* (BODY.PEEK[HEADER] BODY.PEEK[TEXT] BODY.PEEK[HEADER.FIELDS (A)])")
	require.Len(t, lines, len(texts))
	for i, l := range lines {
		f, err := readFetch(l, false)
		require.NoError(t, err)
		text := texts[i]
		head, body, found := strings.Cut(text, "\n\n")
		if found {
			head += "\n\n"
		} else if head, body, found = strings.Cut(text, "\r\n\r\n"); found {
			head += "\r\n\r\n"
		}
		require.Equal(t, head, f.items["BODY[HEADER]"], "message %d of %d octets", i, len(text))
		require.Equal(t, body, f.items["BODY[TEXT]"])
		require.Equal(t, strings.TrimRight(head, "\r\n"), strings.TrimRight(f.items["BODY[HEADER.FIELDS (A)]"], "\r\n"))
	}
}

// No capability is told twice.
func TestCapabilitiesOnce(t *testing.T) {
	c := newWorld(t, nil).login("anna")
	lines := c.ok("CAPABILITY")
	seen := map[string]bool{}
	for _, name := range strings.Fields(lines[0])[2:] {
		assert.False(t, seen[name], name)
		seen[name] = true
	}
}
