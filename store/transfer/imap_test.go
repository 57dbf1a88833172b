package transfer

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/store"
)

// served serves an account over IMAP and gives a way to connect.
func served(t testing.TB, a Account, security IMAPSecurity, with ...func(*imap.Server)) IMAP {
	t.Helper()
	pem, key, err := testcert.SelfSigned("mail.example.org")
	require.NoError(t, err)
	cert, err := tls.X509KeyPair(pem, key)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem))
	users := password.Memory()
	require.NoError(t, users.Add("anna", `pass "word\`))
	srv := &imap.Server{
		Store: a.Store, Auth: users, Governor: &auth.Governor{Off: true}, TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}},
		ImplicitTLS: security == IMAPTLS, InsecureAuth: security == IMAPPlaintext,
	}
	for _, f := range with {
		f(srv)
	}
	l := memnet.Listen()
	go srv.Serve(l)
	t.Cleanup(func() { srv.Shutdown(context.Background()) })
	return IMAP{
		Addr: "mail.example.org", Security: security, User: "anna", Password: `pass "word\`, TLS: &tls.Config{RootCAs: roots},
		Dial: func(ctx context.Context, _, addr string) (net.Conn, error) { return l.Dial(ctx) },
	}
}

// sendable are messages without what IMAP cannot carry.
func sendable() []mail {
	mails := some()
	for i, m := range mails {
		mails[i].text = strings.ReplaceAll(m.text, "\x00", "0")
	}
	return mails
}

func connect(t testing.TB, c IMAP) *IMAPSession {
	t.Helper()
	s, err := c.Connect(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

func TestIMAPRoundTrip(t *testing.T) {
	for _, security := range []IMAPSecurity{IMAPTLS, IMAPStartTLS, IMAPPlaintext} {
		from := anna(t, sendable()...)
		acct, err := from.open(t.Context())
		require.NoError(t, err)
		_, err = acct.Create(t.Context(), "Gesendet", store.CreateOptions{SpecialUse: `\Sent`})
		require.NoError(t, err)
		require.NoError(t, acct.Subscribe(t.Context(), "Gesendet", true))
		source := connect(t, served(t, from, security))
		folders, err := source.Folders(t.Context())
		require.NoError(t, err)
		found := false
		for _, f := range folders {
			if f.Name == "Gesendet" {
				found = true
				assert.Equal(t, `\Sent`, f.SpecialUse)
				assert.True(t, f.Subscribed)
			}
		}
		assert.True(t, found)

		to := anna(t)
		r := copyAll(t, source, to, Options{})
		assert.Equal(t, int64(7), r.Messages)
		same(t, from, to)

		// And from there to another server.
		far := anna(t)
		sink := connect(t, served(t, far, security))
		r = copyAll(t, to, sink, Options{})
		assert.Equal(t, int64(7), r.Messages)
		same(t, from, far)
		b, err := far.open(t.Context())
		require.NoError(t, err)
		mb, err := b.Mailbox(t.Context(), "Gesendet")
		require.NoError(t, err)
		info, err := mb.Info(t.Context())
		require.NoError(t, err)
		assert.True(t, info.Subscribed)

		// Again, into what is there already.
		r = copyAll(t, to, sink, Options{})
		assert.Zero(t, r.Messages)
		assert.Equal(t, int64(7), r.Duplicates)
		same(t, from, far)
	}
}

// A copy to a server that stopped anywhere goes on without anything twice,
// though two messages are the same.
func TestIMAPResume(t *testing.T) {
	mails := append(sendable(), sendable()[0], sendable()[0])
	for at := range 10 {
		from, far := anna(t, mails...), anna(t)
		c := served(t, far, IMAPPlaintext)
		opt := Options{Checkpoint: filepath.Join(t.TempDir(), "state")}
		stopped := errors.New("stopped")
		copyStopped := func() {
			s := connect(t, c)
			_, err := Copy(t.Context(), &cut{from, at, stopped}, s, opt)
			if at < len(mails) {
				require.ErrorIs(t, err, stopped)
			}
		}
		copyStopped()
		if at%2 == 0 {
			// The checkpoint is older than the last messages.
			opt.Checkpoint += "2"
		}
		copyAll(t, from, connect(t, c), opt)
		same(t, from, far)

		to := anna(t)
		opt.Checkpoint += "3"
		source := connect(t, c)
		_, err := Copy(t.Context(), &cut{source, at, stopped}, to, opt)
		if at < len(mails) {
			require.ErrorIs(t, err, stopped)
			source = connect(t, c)
		}
		r := copyAll(t, source, to, opt)
		assert.Zero(t, r.Duplicates)
		same(t, far, to)
	}
}

func TestIMAPLogin(t *testing.T) {
	c := served(t, anna(t), IMAPStartTLS)
	c.Password = "wrong"
	_, err := c.Connect(t.Context())
	require.ErrorIs(t, err, ErrRefused)
	assert.NotContains(t, err.Error(), "wrong")
	c.Password = "a\r\nb"
	_, err = c.Connect(t.Context())
	require.Error(t, err)
	c = served(t, anna(t), IMAPTLS)
	c.TLS = nil
	_, err = c.Connect(t.Context())
	require.ErrorContains(t, err, "certificate")
}

// script is a server that says what it is told to, a piece for each line that
// the client sends, and the first at once. TAG is replaced by the line's tag,
// END ends the connection.
func script(t testing.TB, says ...string) IMAP {
	t.Helper()
	l := memnet.Listen()
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		for i, s := range says {
			tag := ""
			if i > 0 {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				tag, _, _ = strings.Cut(line, " ")
			}
			s, end := strings.CutSuffix(s, "END")
			io.WriteString(conn, strings.ReplaceAll(s, "TAG", tag))
			if end {
				return
			}
		}
		io.Copy(io.Discard, r)
	}()
	return IMAP{Addr: "x:1", Security: IMAPPlaintext, User: "u", Password: "p", Timeout: 5 * time.Second,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }}
}

// hello is a server up to the login.
func hello(more ...string) []string {
	return append([]string{"* OK hi\r\n", "* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\nTAG OK\r\n", "TAG OK in\r\n", "* CAPABILITY IMAP4rev1\r\nTAG OK\r\n"}, more...)
}

func TestIMAPHostile(t *testing.T) {
	list := "* LIST () \"/\" INBOX\r\nTAG OK\r\n"
	lsub := "TAG OK\r\n"
	examine := "* 1 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK\r\n"
	uids := "* 1 FETCH (UID 5)\r\nTAG OK\r\n"
	meta := "* 1 FETCH (UID 5 FLAGS (\\Seen \\Recent) INTERNALDATE \" 1-Jan-2026 00:00:00 +0000\" RFC822.SIZE 3)\r\nTAG OK\r\n"
	long := strings.Repeat("x", 70_000)
	var names string
	for i := range 1100 {
		names += fmt.Sprintf("* LIST () \"/\" {16000}\r\n%016000d\r\n", i)
	}
	for _, c := range []struct {
		name string
		says []string
		want error
	}{
		{"nothing", []string{""}, os.ErrDeadlineExceeded},
		{"no greeting", []string{"hello\r\n"}, ErrProtocol},
		{"bye", []string{"* BYE go away\r\n"}, ErrRefused},
		{"bare LF", []string{"* OK hi\n"}, ErrProtocol},
		{"long line", []string{"* OK " + long + "\r\n"}, ErrProtocol},
		{"another tag", []string{"* OK\r\n", "B1 OK\r\n"}, ErrProtocol},
		{"no mechanism", []string{"* OK\r\n", "* CAPABILITY IMAP4rev1 LOGINDISABLED\r\nTAG OK\r\n"}, ErrInsecure},
		{"refused", []string{"* OK\r\n", "* CAPABILITY AUTH=PLAIN SASL-IR\r\nTAG OK\r\n", "TAG NO [AUTHENTICATIONFAILED] no\r\n"}, ErrRefused},
		{"list", hello("* LIST (\\X\r\nTAG OK\r\n"), ErrProtocol},
		{"list with a long name", hello("* LIST () \"/\" {100000}\r\n"), ErrLimit},
		{"delimiter", hello("* LIST () \"//\" a\r\nTAG OK\r\n"), ErrProtocol},
		{"no uidvalidity", hello(list, lsub, "* 1 EXISTS\r\nTAG OK\r\n"), ErrProtocol},
		{"too many messages", hello(list, lsub, "* 4294967295 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK\r\n"), ErrLimit},
		{"fetch", hello(list, lsub, examine, "* 1 FETCH (UID x)\r\nTAG OK\r\n"), ErrProtocol},
		{"deep", hello(list, lsub, examine, "* 1 FETCH (X "+strings.Repeat("(", 1000)+")\r\nTAG OK\r\n"), ErrLimit},
		{"literal too long", hello(list, lsub, examine, uids, meta, "* 1 FETCH (UID 5 BODY[] {99999999999}\r\n"), ErrLimit},
		{"literal that is no number", hello(list, lsub, examine, uids, meta, "* 1 FETCH (UID 5 BODY[] {-1}\r\n"), ErrProtocol},
		{"cut in a message", hello(list, lsub, examine, uids, meta, "* 1 FETCH (UID 5 BODY[] {10}\r\nabcEND"), io.ErrUnexpectedEOF},
		{"silent in a message", hello(list, lsub, examine, uids, meta, "* 1 FETCH (UID 5 BODY[] {10}\r\nabc"), os.ErrDeadlineExceeded},
		{"long names", hello(names), ErrLimit},
		{"refuses to list", hello("TAG NO\r\n"), ErrRefused},
		{"another message", hello(list, lsub, examine, uids, meta, "* 1 FETCH (UID 6 BODY[] {3}\r\nabc)\r\nTAG OK\r\n"), ErrProtocol},
		{"another message, told late", hello(list, lsub, examine, uids, meta, "* 1 FETCH (BODY[] {3}\r\nabc UID 6)\r\nTAG OK\r\n"), ErrProtocol},
		{"two UIDs", hello(list, lsub, examine, "* 1 FETCH (UID 5)\r\n* 2 FETCH (UID 6)\r\nTAG OK\r\n", "* 1 FETCH (UID 5)\r\n* 2 FETCH (UID 6)\r\nTAG OK\r\n",
			"* 1 FETCH (UID 5 BODY[] a UID 6)\r\nTAG OK\r\n"), ErrProtocol},
		{"twice", hello(list, lsub, examine, uids, meta, "* 1 FETCH (UID 5 BODY[] a)\r\n* 1 FETCH (UID 5 BODY[] b)\r\nTAG OK\r\n"), ErrProtocol},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := script(t, c.says...)
			conf.Timeout = 300 * time.Millisecond
			s, err := conf.Connect(t.Context())
			if err == nil {
				_, err = Copy(t.Context(), s, anna(t), Options{})
				s.Close()
			}
			require.Error(t, err)
			if c.want != nil {
				require.ErrorIs(t, err, c.want)
			}
		})
	}
}

// What servers may also say.
func TestIMAPForms(t *testing.T) {
	s := connect(t, script(t, hello(
		"* LIST (\\HasNoChildren) NIL {5}\r\ninbox\r\n* LIST (\\Noselect) \".\" parent\r\n* LIST (\\Sent) \".\" \"a.b/c.&AOQ-.\\\"\\\\\"\r\n* LIST () \".\" &bad\r\nTAG OK\r\n",
		"* LSUB () \".\" &bad\r\nTAG OK\r\n",
		"* FLAGS (\\Seen)\r\n* 2 EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY 4294967295] x\r\nTAG OK [READ-ONLY]\r\n",
		"* 2 FETCH (UID 9)\r\n* 3 EXISTS\r\n* 1 FETCH (UID 5 MODSEQ (7))\r\nTAG OK\r\n",
		"* 1 FETCH (FLAGS (\\Seen k) X ({2}\r\n)( NIL \"a\\\"\") INTERNALDATE \"01-Feb-2026 01:00:00 +0100\" RFC822.SIZE 3 UID 5)\r\n* 2 FETCH (UID 9 FLAGS () INTERNALDATE NIL RFC822.SIZE 0)\r\nTAG OK\r\n",
		"* 2 FETCH (UID 9 BODY[] \"\")\r\n* 1 FETCH (BODY[] {3}\r\nabc UID 5)\r\nTAG OK\r\n",
		"* OK [X] {3}\r\n* 1 FETCH (BODY[] {3}\r\nabc UID 5)\r\n* 2 FETCH (FLAGS (x))\r\nTAG OK\r\n",
		"* 2 FETCH (UID 9 BODY[] \"\")\r\nTAG OK\r\n",
	)...))
	folders, err := s.Folders(t.Context())
	require.NoError(t, err)
	assert.Equal(t, []Folder{
		{Name: "INBOX", Key: "inbox", Messages: -1, Octets: -1},
		{Name: `a/b_c/ä/"\`, Key: `a.b/c.&AOQ-."\`, SpecialUse: `\Sent`, Messages: -1, Octets: -1},
		{Name: "&bad", Key: "&bad", Subscribed: true, Messages: -1, Octets: -1},
	}, folders)
	var got []mail
	for m, err := range s.Messages(t.Context(), folders[0], "") {
		require.NoError(t, err)
		b, err := io.ReadAll(m.Body)
		require.NoError(t, err)
		date := int64(0)
		if !m.Date.IsZero() {
			date = m.Date.Unix()
		}
		got = append(got, mail{m.ID, m.Flags, date, "", string(b)})
	}
	assert.Equal(t, []mail{
		{"4294967295:5", flags("k", store.FlagSeen), time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC).Unix(), "", "abc"},
		{"4294967295:9", nil, 0, "", ""},
	}, got)
}

// A message that the server cannot give ends nothing.
func TestIMAPBroken(t *testing.T) {
	s := connect(t, script(t, hello(
		"* LIST () NIL INBOX\r\nTAG OK\r\n", "TAG OK\r\n",
		"* 5 EXISTS\r\n* OK [UIDVALIDITY 7] x\r\nTAG OK\r\n",
		"* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 2)\r\n* 3 FETCH (UID 3)\r\n* 4 FETCH (UID 4)\r\n* 5 FETCH (UID 6)\r\nTAG OK\r\n",
		"* 1 FETCH (UID 1)\r\n* 2 FETCH (UID 2)\r\n* 3 FETCH (UID 3)\r\n* 5 FETCH (UID 6)\r\nTAG OK\r\n", // 4 is gone
		"* 1 FETCH (UID 1 BODY[] one)\r\n* 3 FETCH (UID 3 BODY[] NIL)\r\n* 5 FETCH (UID 6 BODY[] six)\r\nTAG NO [SERVERBUG] lost one\r\n",
		"TAG NO [SERVERBUG] lost it\r\n",
		"* 3 FETCH (UID 3 BODY[] NIL)\r\nTAG OK\r\n",
		"* 5 FETCH (UID 6 BODY[] six)\r\nTAG OK\r\n",
	)...))
	to := anna(t)
	r := copyAll(t, s, to, Options{})
	assert.Equal(t, int64(2), r.Messages)
	require.Len(t, r.Skips, 2)
	assert.Equal(t, "7:2", r.Skips[0].Message)
	assert.ErrorIs(t, r.Skips[0].Err, ErrRefused)
	assert.Equal(t, "7:3", r.Skips[1].Message)
	var texts []string
	for _, m := range contents(t, to) {
		texts = append(texts, m.text)
	}
	assert.Equal(t, []string{"one", "six"}, texts)
}

// What a server refuses is left out, unless it refuses everything.
func TestIMAPRefusals(t *testing.T) {
	status := "* STATUS INBOX (MESSAGES 0 UIDVALIDITY 7 UIDNEXT 1)\r\nTAG OK\r\n"
	from := anna(t, mail{"INBOX", flags("k"), 1, "", "1"}, mail{"INBOX", nil, 2, "", "2"}, mail{"INBOX", nil, 3, "", "3"})
	ok := func(uid int) []string { return []string{"+ go\r\n", fmt.Sprintf("TAG OK [APPENDUID 7 %d] x\r\n", uid)} }
	join := func(parts ...[]string) (all []string) {
		for _, p := range parts {
			all = append(all, p...)
		}
		return all
	}
	// The line that ends a literal has no tag: the answers name it.
	run := func(says ...string) (Report, error) {
		for i := range says {
			says[i] = strings.ReplaceAll(says[i], "APPENDTAG", "TAG")
		}
		s := connect(t, scriptAppend(t, hello(append([]string{status}, says...)...)...))
		return Copy(t.Context(), from, s, Options{})
	}
	r, err := run(join(ok(1), ok(2), ok(3))...)
	require.NoError(t, err)
	assert.Equal(t, int64(3), r.Messages)
	// The first is taken without its keyword, the second is too big.
	r, err = run(join([]string{"TAG NO no keywords\r\n"}, ok(1), []string{"TAG NO [TOOBIG] x\r\n"}, ok(3))...)
	require.NoError(t, err)
	assert.Equal(t, int64(2), r.Messages)
	assert.Equal(t, int64(1), r.Altered)
	assert.Equal(t, int64(1), r.Skipped)
	r, err = run(join(ok(1), []string{"TAG NO [OVERQUOTA] full\r\n"})...)
	require.ErrorIs(t, err, store.ErrOverQuota)
	assert.Equal(t, int64(1), r.Messages)

	for i := range 2 * maxRefused {
		fill(t, from, mail{"INBOX", nil, int64(10 + i), "", "x"})
	}
	no := make([]string, 20)
	for i := range no {
		no[i] = "TAG NO disk\r\n"
	}
	r, err = run(join(ok(1), no)...)
	require.ErrorIs(t, err, ErrRefused)
	assert.Equal(t, int64(1), r.Messages)
	assert.Zero(t, r.Skipped, "they may be taken another time")
}

// scriptAppend is script for a server that is sent literals: the line behind a
// continuation is answered under the tag of the command.
func scriptAppend(t testing.TB, says ...string) IMAP {
	t.Helper()
	l := memnet.Listen()
	t.Cleanup(func() { l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		tag := ""
		for i, s := range says {
			if i > 0 {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if !strings.HasPrefix(says[i-1], "+") {
					tag, _, _ = strings.Cut(line, " ")
				}
			}
			io.WriteString(conn, strings.ReplaceAll(s, "TAG", tag))
		}
		io.Copy(io.Discard, r)
	}()
	return IMAP{Addr: "x:1", Security: IMAPPlaintext, User: "u", Password: "p", Timeout: 5 * time.Second,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }}
}

// fuzzConn is a connection whose server has said everything already.
type fuzzConn struct {
	net.Conn
	r io.Reader
}

func (c fuzzConn) Read(p []byte) (int, error)       { return c.r.Read(p) }
func (c fuzzConn) Write(p []byte) (int, error)      { return len(p), nil }
func (c fuzzConn) Close() error                     { return nil }
func (c fuzzConn) SetReadDeadline(time.Time) error  { return nil }
func (c fuzzConn) SetWriteDeadline(time.Time) error { return nil }

func FuzzIMAP(f *testing.F) {
	login := "* OK\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR\r\nA1 OK\r\nA2 OK\r\n* CAPABILITY IMAP4rev1\r\nA3 OK\r\n"
	f.Add([]byte(login + "* LIST (\\Sent) \"/\" {1}\r\na\r\nA4 OK\r\n* LSUB () NIL a\r\nA5 OK\r\n* 1 EXISTS\r\n* OK [UIDVALIDITY 7]\r\nA6 OK\r\n" +
		"* 1 FETCH (UID 5)\r\nA7 OK\r\n* 1 FETCH (FLAGS (a \\b) UID 5 INTERNALDATE \" 1-Jan-2026 00:00:00 +0000\" RFC822.SIZE 3)\r\nA8 OK\r\n" +
		"* 1 FETCH (UID 5 BODY[] {3}\r\nabc)\r\nA9 OK\r\n"))
	f.Add([]byte("* PREAUTH\r\n* CAPABILITY IMAP4rev2\r\nA1 OK\r\nA2 OK\r\n* LIST () NIL \"\\\"\"\r\n* STATUS a (MESSAGES 1)\r\nA3 NO\r\n"))
	f.Add([]byte(login + "* 1 FETCH (X ((a \"b\") {2}\r\nab NIL) BODY[TEXT]<0> ~{1}\r\nx)\r\n* BYE\r\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) > 1<<18 {
			return
		}
		c := IMAP{Addr: "x", Security: IMAPPlaintext, User: "u", Password: "p",
			Dial: func(context.Context, string, string) (net.Conn, error) {
				return fuzzConn{r: strings.NewReader(string(in))}, nil
			}}
		s, err := c.Connect(t.Context())
		if err != nil {
			return
		}
		folders, err := s.Folders(t.Context())
		if err != nil {
			return
		}
		total := 0
		for _, folder := range folders {
			if folder.Name == "" || folder.Err != nil {
				t.Fatalf("folder %+v", folder)
			}
			for m, err := range s.Messages(t.Context(), folder, "") {
				if err != nil {
					continue
				}
				b, _ := io.ReadAll(m.Body)
				total += len(b)
			}
		}
		if total > len(in) {
			t.Fatalf("%d octets of %d", total, len(in))
		}
	})
}
