package imap_test

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store"
)

// volatile is what differs between two runs of the same conversation.
var volatile = regexp.MustCompile(`(UIDVALIDITY|APPENDUID|COPYUID) \d+|INTERNALDATE "[^"]*"|\[HIGHESTMODSEQ \d+\]|HIGHESTMODSEQ \d+|INTERNAL:01[0-9a-f]{64}`)

// converse sends a script after login, in pieces of the given size, and returns
// all the server said. pipelined is Server.MaxPipelined: where APPENDs share
// commits, what is told in between depends on when they end.
func converse(t testing.TB, script []byte, piece, pipelined int) string {
	w := newWorld(t, func(s *imap.Server) {
		s.MaxMessageBytes = 2000
		s.MaxCommandBytes = 3000
		s.Disable = []string{"COMPRESS=DEFLATE"} // FuzzDialogue has it
		s.MaxPipelined = pipelined
	})
	w.fill("anna", store.Inbox, 3)
	w.deliver("anna", store.Inbox, "Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: in\r\n\r\ny\r\n--b--\r\n", w.since)
	c, err := w.dial(t.Context())
	require.NoError(t, err)
	defer c.Close()
	script = append([]byte("l LOGIN anna secret\r\ns SELECT INBOX\r\n"), script...)
	go func() {
		for len(script) > 0 {
			n := min(piece, len(script))
			if _, err := c.Write(script[:n]); err != nil {
				return
			}
			script = script[n:]
		}
		_ = c.(interface{ CloseWrite() error }).CloseWrite()
	}()
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	b, err := io.ReadAll(c)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Fatalf("the server does not answer: %q", b[max(0, len(b)-200):])
	}
	return volatile.ReplaceAllString(string(b), "$1")
}

// tagged finds the ends of commands, without response codes of what was there at
// the time.
var tagged = regexp.MustCompile(`(?m)^[a-z]+\d* (OK|NO|BAD) `)

// FuzzConversation runs what a client may send: however it is cut into pieces,
// the server says the same, and only lines that are responses.
func FuzzConversation(f *testing.F) {
	files, err := filepath.Glob("testdata/[0-9]*.txt")
	require.NoError(f, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(f, err)
		var script bytes.Buffer
		for line := range strings.Lines(string(b)) {
			if cmd, ok := strings.CutPrefix(line, "C: "); ok {
				script.WriteString(strings.TrimSuffix(cmd, "\n") + "\r\n")
			}
		}
		if script.Len() < 3000 {
			f.Add(script.Bytes())
		}
	}
	f.Add([]byte("a IDLE\r\nDONE\r\nb APPEND INBOX {3+}\r\nabc\r\nc UID FETCH 1:* (FLAGS BODY[]<1.5> BINARY[1])\r\nd ENABLE IMAP4rev2\r\ne SEARCH TEXT {1}\r\nx\r\n"))
	f.Fuzz(func(t *testing.T, script []byte) {
		if len(script) > 4000 {
			return
		}
		whole := converse(t, script, len(script)+100, 1)
		if whole != converse(t, script, 1, 1) {
			t.Fatalf("one read and octet by octet differ:\n%s\n-----\n%s", whole, converse(t, script, 1, 1))
		}
		checkResponses(t, whole)
		together := converse(t, script, len(script)+100, 0)
		checkResponses(t, together)
		if a, b := tagged.FindAllString(whole, -1), tagged.FindAllString(together, -1); !slices.Equal(a, b) {
			t.Fatalf("one by one and pipelined differ:\n%s\n-----\n%s", whole, together)
		}
	})
}

// checkResponses makes sure that a transcript is a row of responses.
func checkResponses(t *testing.T, b string) {
	start := regexp.MustCompile(`^(\* |\+ |[^\s(){%*"\\+\x00-\x1f\x7f-\xff]+ (OK|NO|BAD) )`)
	literal := regexp.MustCompile(`\{(\d+)\}\r\n$`)
	for len(b) > 0 {
		if !start.MatchString(b[:min(len(b), 400)]) {
			t.Fatalf("not a response: %.200q", b)
		}
		for {
			i := strings.Index(b, "\r\n")
			if i < 0 {
				t.Fatalf("unfinished line: %.200q", b)
			}
			line := b[:i+2]
			if strings.ContainsAny(line[:i], "\r\n\x00") {
				t.Fatalf("bare CR, LF or NUL: %q", line)
			}
			b = b[i+2:]
			m := literal.FindStringSubmatch(line)
			if m == nil {
				break
			}
			n := 0
			for _, c := range m[1] {
				n = n*10 + int(c-'0')
			}
			if n > len(b) {
				t.Fatalf("literal is cut short after %q", line)
			}
			b = b[n:]
		}
	}
}
