package transfer

import (
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/store"
)

// A server that sends an octet now and then ends no sooner than one that is
// silent, and no later than the rate allows.
func TestIMAPSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, done := memnet.Listen(), make(chan struct{})
		go func() {
			defer close(done)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
			for _, b := range []byte("* OK " + strings.Repeat("x", 1000)) {
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(20 * time.Second)
			}
		}()
		start := time.Now()
		_, err := IMAP{Addr: "x:1", Security: IMAPPlaintext, Timeout: time.Minute,
			Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }}.Connect(t.Context())
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		assert.InDelta(t, time.Minute, time.Since(start), float64(time.Second))
		<-done
	})
}

// NUL cannot be sent to servers without BINARY: a space stands there, which is
// told, and known again.
func TestIMAPNUL(t *testing.T) {
	text := "Subject: x\r\n\r\na\x00b\r\n"
	from, far := anna(t, mail{"INBOX", flags("k"), 1, "", text}), anna(t)
	s := connect(t, served(t, far, IMAPPlaintext))
	delete(s.caps, "BINARY")
	for i := range 2 {
		r := copyAll(t, from, s, Options{})
		assert.Zero(t, r.Skipped)
		assert.Equal(t, int64(1-i), r.Messages)
		assert.Equal(t, int64(1-i), r.Altered)
		assert.Equal(t, int64(i), r.Duplicates)
	}
	want := contents(t, from)
	want[0].text = strings.ReplaceAll(text, "\x00", " ")
	assert.Equal(t, want, contents(t, far))
}

// What a server cannot do with a folder concerns that alone.
func TestIMAPFolderRefused(t *testing.T) {
	s := connect(t, script(t, hello(
		"* LIST () \"/\" a\r\n* LIST () \"/\" b\r\nTAG OK\r\n", "TAG OK\r\n",
		"TAG NO [NOPERM] no\r\n",
		"* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK\r\n", "* 1 FETCH (UID 5)\r\nTAG OK\r\n", "* 1 FETCH (UID 5)\r\nTAG OK\r\n",
		"* 1 FETCH (UID 5 BODY[] {3}\r\nabc)\r\nTAG OK\r\n",
	)...))
	to := anna(t)
	r := copyAll(t, s, to, Options{})
	require.Len(t, r.Skips, 1)
	assert.Equal(t, "a", r.Skips[0].Folder)
	assert.ErrorIs(t, r.Skips[0].Err, ErrFolder)
	assert.ErrorIs(t, r.Skips[0].Err, ErrRefused)
	assert.Equal(t, 1, r.Folders)
	assert.Len(t, contents(t, to), 1)

	from := anna(t, mail{"INBOX", nil, 1, "", "1"}, mail{"X", nil, 2, "", "2"})
	s = connect(t, scriptAppend(t, hello(
		"* STATUS INBOX (MESSAGES 0 UIDVALIDITY 7 UIDNEXT 1)\r\nTAG OK\r\n", "+ go\r\n", "TAG OK\r\n",
		"* LIST () \"/\" \"\"\r\nTAG OK\r\n", "TAG NO\r\n", "TAG NO [CANNOT] no\r\n",
	)...))
	r = copyAll(t, from, s, Options{})
	require.Len(t, r.Skips, 1)
	assert.Equal(t, "X", r.Skips[0].Folder)
	assert.Equal(t, int64(1), r.Messages)
}

// Messages that are too big for either side are left out.
func TestIMAPTooBig(t *testing.T) {
	s := connect(t, script(t, hello(
		"* LIST () \"/\" INBOX\r\nTAG OK\r\n", "TAG OK\r\n",
		"* 2 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK\r\n", "* 1 FETCH (UID 5)\r\n* 2 FETCH (UID 6)\r\nTAG OK\r\n",
		"* 1 FETCH (UID 5 RFC822.SIZE 5000000000)\r\n* 2 FETCH (UID 6)\r\nTAG OK\r\n",
		"* 2 FETCH (UID 6 BODY[] {3}\r\nabc)\r\nTAG OK\r\n",
	)...))
	to := anna(t)
	r := copyAll(t, s, to, Options{})
	require.Len(t, r.Skips, 1)
	assert.ErrorIs(t, r.Skips[0].Err, ErrTooBig)
	assert.Equal(t, int64(1), r.Messages)

	big := strings.Repeat("Subject: x\r\n\r\n"+strings.Repeat("y", 70)+"\r\n", 3*askAbove/80)
	from, far := anna(t, mail{"INBOX", nil, 1, "", "1"}, mail{"INBOX", nil, 2, "", big}, mail{"INBOX", nil, 3, "", "3"}), anna(t)
	r = copyAll(t, from, connect(t, served(t, far, IMAPPlaintext)), Options{})
	assert.Equal(t, int64(3), r.Messages)
	same(t, from, far)

	far = anna(t)
	r = copyAll(t, from, connect(t, served(t, far, IMAPPlaintext, func(s *imap.Server) { s.MaxMessageBytes = 1000 })), Options{})
	require.Len(t, r.Skips, 1)
	assert.ErrorIs(t, r.Skips[0].Err, ErrTooBig)
	assert.Len(t, contents(t, far), 2)
}

// Names go to the server in its form, and stay apart.
func TestIMAPNames(t *testing.T) {
	for _, c := range []struct {
		name, delim, caps string
		want              []string
	}{
		{"slash", `"/"`, "IMAP4rev1", []string{"a/b.c", "a/b_c", "&AOQ-/x"}},
		{"dot", `"."`, "IMAP4rev1 IMAP4rev2", []string{"a.b_c", "a.b_c~ab14be70", "&AOQ-.x"}},
		{"flat", `NIL`, "IMAP4rev1", []string{"a_b.c", "a_b_c", "&AOQ-_x"}},
		{"utf8", `"/"`, "IMAP4rev2", []string{"a/b.c", "a/b_c", "ä/x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			says := hello("* LIST () " + c.delim + " \"\"\r\nTAG OK\r\n")
			says[3] = "* CAPABILITY " + c.caps + "\r\nTAG OK\r\n"
			s := connect(t, script(t, says...))
			var got []string
			for range 2 {
				got = nil
				for _, name := range []string{"a/b.c", "a/b_c", "ä/x"} {
					raw, err := s.rawName(name)
					require.NoError(t, err)
					got = append(got, raw)
					if c.name != "dot" && c.name != "flat" {
						assert.Equal(t, name, s.plainName(raw, "/"))
					}
				}
			}
			assert.Equal(t, c.want, got)
		})
	}
}

// Looking for what is there already takes 8 octets a message, and finds each
// message once though many look the same.
func TestIMAPTwins(t *testing.T) {
	var mails []mail
	for i := range 40 {
		mails = append(mails, mail{"INBOX", nil, 1, "", fmt.Sprintf("Subject: %d\r\n", i%4)})
	}
	from, far := anna(t, mails...), anna(t, mails[:30]...)
	r := copyAll(t, from, connect(t, served(t, far, IMAPPlaintext)), Options{})
	assert.Equal(t, int64(30), r.Duplicates)
	assert.Equal(t, int64(10), r.Messages)
	count := map[string]int{}
	for _, m := range contents(t, far) {
		count[m.text]++
	}
	for text, n := range count {
		assert.Equal(t, 10, n, text)
	}
	assert.Len(t, count, 4)
}

// A list that cannot be had with everything at once is asked for in parts.
func TestIMAPPlainList(t *testing.T) {
	says := hello("TAG BAD what?\r\n", "* LIST () \"/\" a\r\nTAG OK\r\n", "* LSUB () \"/\" a\r\nTAG OK\r\n")
	says[3] = "* CAPABILITY IMAP4rev1 LIST-EXTENDED LIST-STATUS\r\nTAG OK\r\n"
	s := connect(t, script(t, says...))
	folders, err := s.Folders(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []Folder{{Name: "a", Key: "a", Subscribed: true, Messages: -1, Octets: -1}}, folders)
	_, err = store.CanonicalName(folders[0].Name)
	require.NoError(t, err)
}

// A name that a server does not take is made simpler.
func TestIMAPSimpleName(t *testing.T) {
	from := anna(t, mail{"a.b/ä'", nil, 1, "", "1"})
	s := connect(t, scriptAppend(t, hello(
		"* STATUS INBOX (MESSAGES 0 UIDVALIDITY 7 UIDNEXT 1)\r\nTAG OK\r\n",
		"* LIST () \"/\" \"\"\r\nTAG OK\r\n", "TAG NO\r\n", "TAG NO [CANNOT] no dots\r\n",
		"TAG NO\r\n", "TAG OK\r\n", "* STATUS x (MESSAGES 0 UIDVALIDITY 7 UIDNEXT 1)\r\nTAG OK\r\n", "+\r\n", "TAG OK\r\n",
	)...))
	r, err := Copy(t.Context(), from, s, Options{Mailbox: func(name string) (string, bool) { return name, name == store.Inbox || name == "a.b/ä'" }})
	require.NoError(t, err)
	assert.Zero(t, r.Skipped, "%v", r.Skips)
	assert.Equal(t, int64(1), r.Messages)
	assert.Contains(t, s.opened, "a_b/&AOQ-_")
}

// Answers to commands under way may come in any order.
func TestIMAPAnswersInAnyOrder(t *testing.T) {
	says := hello("* STATUS INBOX (MESSAGES 0 UIDVALIDITY 7 UIDNEXT 1)\r\nTAG OK\r\n",
		"", "", "", "A6 NO [TOOBIG] x\r\nA5 OK [APPENDUID 7 1] x\r\n")
	says[3] = "* CAPABILITY IMAP4rev1 LITERAL+\r\nTAG OK\r\n"
	s := connect(t, script(t, says...))
	r := copyAll(t, anna(t, mail{"INBOX", nil, 1, "", "1"}, mail{"INBOX", nil, 2, "", "2"}), s, Options{})
	assert.Equal(t, int64(1), r.Messages)
	require.Len(t, r.Skips, 1)
	assert.ErrorIs(t, r.Skips[0].Err, ErrRefused)
}

// Nothing that came in the clear is taken for what TLS protects, and no
// password goes where STARTTLS is not offered.
func TestIMAPStartTLS(t *testing.T) {
	caps := "* CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN\r\nTAG OK\r\n"
	for _, c := range []struct {
		name string
		says []string
		want error
	}{
		{"not offered", []string{"* OK\r\n", "* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nTAG OK\r\n"}, ErrInsecure},
		{"logged in already", []string{"* PREAUTH\r\n", caps}, ErrInsecure},
		{"refused", []string{"* OK\r\n", caps, "TAG NO\r\n"}, ErrRefused},
		{"injected", []string{"* OK\r\n", caps, "TAG OK\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n"}, ErrProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := script(t, c.says...)
			conf.Security = IMAPStartTLS
			_, err := conf.Connect(t.Context())
			require.ErrorIs(t, err, c.want)
		})
	}
}
