package mda

import (
	"context"
	"errors"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/testscript"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// serve runs an LMTP server in memory until the test ends.
func serve(t testing.TB, a *Agent) *memnet.Listener {
	t.Helper()
	s := &smtp.Server{Hostname: "lmtp.example.org", LMTP: true, Handler: a.LMTP()}
	l := memnet.Listen()
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		require.ErrorIs(t, <-done, smtp.ErrServerClosed)
	})
	return l
}

// TestLMTP runs testdata/*.txt. A file's first line says what is wrong with
// the agent: "# agent: full=account …"; lines "# filed: account MAILBOX=1 …"
// say what is in an account's mailboxes at the end.
func TestLMTP(t *testing.T) {
	testscript.RunDir(t, "testdata/*.txt", func(t *testing.T, name string) testscript.Config {
		st := &failingStore{Store: testStore(t), place: map[string]error{}, account: map[string]error{}}
		a := &Agent{Store: st, Hostname: "lmtp.example.org", Postmaster: "eva@example.org", Aliases: map[string][]string{
			"both@example.org":      {"anna@example.org", "otto@example.org"},
			"out@example.org":       {"x@else.test"},
			"a@loop.test":           {"a@loop.test"},
			"\u00e4nne@example.org": {"anna@example.org"},
		}}
		b, err := os.ReadFile("testdata/" + name + ".txt")
		require.NoError(t, err)
		for i, line := range strings.Split(string(b), "\n") {
			if opts, ok := strings.CutPrefix(line, "# agent:"); ok {
				for _, o := range strings.Fields(opts) {
					what, account, _ := strings.Cut(o, "=")
					switch what {
					case "full":
						st.place[account] = store.ErrOverQuota
					case "down":
						st.account[account] = store.ErrUnavailable
					case "stage":
						st.stage = store.ErrNoSpace
					default:
						t.Fatalf("unknown option %q", o)
					}
				}
			} else if i == 0 {
				t.Fatal("first line must be \"# agent: options\"")
			}
			if filed, ok := strings.CutPrefix(line, "# filed:"); ok {
				fields := strings.Fields(filed)
				want := map[string]int{}
				for _, f := range fields[1:] {
					box, n, _ := strings.Cut(f, "=")
					want[box], _ = strconv.Atoi(n)
				}
				t.Cleanup(func() {
					ctx := context.WithoutCancel(t.Context())
					require.Equal(t, want, boxesContext(ctx, t, st.Store, fields[0]), fields[0])
				})
			}
		}
		l := serve(t, a)
		return testscript.Config{Dial: func(ctx context.Context) (net.Conn, error) { return l.Dial(ctx) }}
	})
}

// What comes by LMTP is marked with whom and how it came.
func TestLMTPHeader(t *testing.T) {
	st := testStore(t)
	l := serve(t, &Agent{Store: st, Hostname: "lmtp.example.org"})
	testscript.Run(t, "header", `
S~ 220 .*
C: LHLO client.test
S* 250 .*
C: MAIL FROM:<"a b"@else.test>
S~ 250 .*
C: RCPT TO:<ANNA+x@example.org>
S~ 250 .*
C: DATA
S~ 354 .*
C: Return-Path: <forged@else.test>
C: Subject: hello
C: 
C: Hi.
C: .
S~ 250 .*
`, testscript.Config{Dial: func(ctx context.Context) (net.Conn, error) { return l.Dial(ctx) }})
	got := mail(t, st, "anna@example.org", store.Inbox)
	require.Len(t, got, 1)
	require.Regexp(t, `^Return-Path: <"a b"@else\.test>\r\n`+
		`Delivered-To: ANNA\+x@example\.org\r\n`+
		`Received: from client\.test \(\[127\.0\.0\.1\]\)\r\n\tby lmtp\.example\.org with LMTP;\r\n\t[^\r\n]+\r\n`+
		`Return-Path: <forged@else\.test>\r\nSubject: hello\r\n\r\nHi\.\r\n$`, got[0])
}

// A zero Agent knows nobody, by LMTP too.
func TestLMTPZeroAgent(t *testing.T) {
	l := serve(t, &Agent{})
	testscript.Run(t, "zero", `
S~ 220 .*
C: LHLO client.test
S* 250 .*
C: MAIL FROM:<>
S~ 250 .*
C: RCPT TO:<anna@example.org>
S: 550 5.1.1 No such user here
`, testscript.Config{Dial: func(ctx context.Context) (net.Conn, error) { return l.Dial(ctx) }})
	s, err := (&Agent{}).LMTP().NewSession(t.Context(), &smtp.Conn{})
	require.NoError(t, err)
	_, err = s.Data(t.Context(), strings.NewReader(letter))
	require.Equal(t, "451 4.3.0", code(err))
	require.Equal(t, "localhost", (&Agent{}).hostname())
}

// An error of the reader is handed on, so that the server knows its reply.
func TestLMTPReaderFails(t *testing.T) {
	a := &Agent{Store: testStore(t)}
	s, err := a.LMTP().NewSession(t.Context(), &smtp.Conn{})
	require.NoError(t, err)
	_, err = s.Mail(t.Context(), smtp.Path{}, smtp.MailOptions{})
	require.NoError(t, err)
	_, err = s.Rcpt(t.Context(), path(t, "anna@example.org"), smtp.RcptOptions{})
	require.NoError(t, err)
	tooBig := smtp.Errorf(552, smtp.EnhancedCode{5, 3, 4}, "Message too big")
	_, err = s.Data(t.Context(), errReader{tooBig})
	require.ErrorIs(t, err, tooBig)
	_, err = s.Data(t.Context(), errReader{errors.New("connection reset")})
	require.Equal(t, "451 4.3.0", code(err))
	require.Empty(t, boxes(t, a.Store, "anna@example.org"))
	s.Reset()
	s.Close()
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }
