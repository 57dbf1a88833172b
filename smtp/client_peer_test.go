package smtp_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

// against runs f with a Client configuration that reaches a Peer, in fake
// time, and checks that the Peer saw what it expected.
func against(t *testing.T, script string, f func(t *testing.T, cfg *smtp.ClientConfig, p *smtptest.Peer)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p, err := smtptest.NewPeer(script)
		require.NoError(t, err)
		defer p.Close()
		f(t, &smtp.ClientConfig{Hostname: "client.example.com", DialContext: p.Dial}, p)
		require.NoError(t, p.Close())
		require.NoError(t, p.Err())
	})
}

func envelope(to ...string) *smtp.Envelope {
	env := &smtp.Envelope{From: smtp.Path{Local: "a", Domain: "example.com"}}
	for _, s := range to {
		p, err := smtp.ParseAddress(s)
		if err != nil {
			panic(err)
		}
		env.To = append(env.To, smtp.Recipient{Path: p})
	}
	return env
}

func code(err error) int {
	var e *smtp.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

const hello = `
	S: 220 mx.example.org ESMTP
	C: EHLO client\.example\.com
	S: 250-mx.example.org
	S: 250-PIPELINING
	S: 250-SIZE 1000
	S: 250 8BITMIME
`

func TestGroupsArePipelined(t *testing.T) {
	against(t, hello+`
	C: MAIL FROM:<a@example\.com> SIZE=5
	C: RCPT TO:<b@example\.org>
	C: RCPT TO:<c@example\.org>
	C: DATA
	S: 250 2.1.0 ok
	S: 550 5.1.1 unknown
	S: 250 ok
	S: 354 go
	DATA
	S: 250 2.0.0 queued as 42
	C: QUIT
	S: 221 bye`, func(t *testing.T, cfg *smtp.ClientConfig, p *smtptest.Peer) {
		c, err := smtp.Dial(t.Context(), "mx:25", cfg)
		require.NoError(t, err)
		res, err := c.Send(t.Context(), envelope("b@example.org", "c@example.org"), strings.NewReader("a\n.\nb"))
		require.NoError(t, err)
		require.Equal(t, 550, code(res.Recipients[0]))
		require.NoError(t, res.Recipients[1])
		require.Equal(t, "queued as 42", res.Reply.Text)
		require.NoError(t, c.Quit(t.Context()))
		require.False(t, c.Alive())
		require.Equal(t, []string{"a\r\n..\r\nb\r\n.\r\n"}, p.Data())
	})
}

func TestLockStepWithoutPipelining(t *testing.T) {
	against(t, `
	S: 220 hi
	C: EHLO client\.example\.com
	S: 502 what?
	C: HELO client\.example\.com
	S: 250 old
	C: MAIL FROM:<a@example\.com>
	S: 250 ok
	C: RCPT TO:<b@example\.org>
	S: 450 later
	C: RCPT TO:<c@example\.org>
	S: 550-no
	S: 550 never
	C: QUIT
	S: 221 bye`, func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
		res, err := smtp.SendMail(t.Context(), "mx:25", cfg, envelope("b@example.org", "c@example.org"), strings.NewReader("x"))
		require.Equal(t, 450, code(err), "the first recipient's")
		require.True(t, smtp.IsTemporary(res.Recipients[0]))
		require.False(t, smtp.IsTemporary(res.Recipients[1]))
		var ce *smtp.CommandError
		require.ErrorAs(t, res.Recipients[1], &ce)
		require.Equal(t, "RCPT", ce.Command)
		require.ErrorContains(t, ce, "no / never")
	})
}

// EHLO refused with 4yz, or cut: no fall back to HELO.
func TestNoFallBackOnTemporaryErrors(t *testing.T) {
	against(t, "S: 220 hi\nC: EHLO .*\nS: 450 later\nSTALL", func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
		_, err := smtp.Dial(t.Context(), "mx:25", cfg)
		require.Equal(t, 450, code(err))
	})
	against(t, "S: 220 hi\nC: LHLO .*\nS: 500 what\nSTALL", func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
		cfg.LMTP = true
		_, err := smtp.Dial(t.Context(), "mx:24", cfg)
		require.Equal(t, 500, code(err))
	})
}

// Servers that answer nonsense: each ends the connection with a temporary
// error, within bounds.
func TestMisbehavingServers(t *testing.T) {
	mail := hello + `
	C: MAIL .*
	C: RCPT .*
	C: DATA
	`
	for name, tc := range map[string]struct {
		script string
		want   error // nil: some reply
		code   int
		perm   bool
	}{
		"endless greeting":            {"S* 1000000 220-x\nSTALL", smtp.ErrProtocol, 0, false},
		"endless line":                {"S- " + quote(strings.Repeat("2", 10000)) + "\nSTALL", nil, 0, false},
		"garbage greeting":            {"S: hello\nSTALL", smtp.ErrProtocol, 0, false},
		"letters for a code":          {"S: 2x0 hello\nSTALL", smtp.ErrProtocol, 0, false},
		"two codes":                   {"S: 220-hello\nS: 554 no\nSTALL", smtp.ErrProtocol, 0, false},
		"code out of range":           {"S: 120 hello\nSTALL", smtp.ErrProtocol, 0, false},
		"two codes in a reply":        {"S: 220-a\nS: 250 b\nSTALL", smtp.ErrProtocol, 0, false},
		"bare LF":                     {"S- \"220 hi\\n\"\nSTALL", nil, 0, false},
		"greeting 250":                {"S: 250 hi\nSTALL", smtp.ErrProtocol, 0, false},
		"greeting 554":                {"S: 554 no\nSTALL", nil, 554, true},
		"greeting 421":                {"S: 421 no\nSTALL", nil, 421, false},
		"closed at once":              {"CLOSE", io.ErrUnexpectedEOF, 0, false},
		"closed within a reply":       {"S- \"220-hi\\r\\n220\"\nCLOSE", io.ErrUnexpectedEOF, 0, false},
		"says too much after EHLO":    {"S: 220 hi\nC: EHLO .*\nS- \"250 hi\\r\\n250 and more\\r\\n\"\nSTALL", smtp.ErrProtocol, 0, false},
		"says 421 unasked":            {"S: 220 hi\nC: EHLO .*\nS- \"250 hi\\r\\n421 4.3.2 bye\\r\\n\"\nCLOSE", nil, 421, false},
		"354 to MAIL":                 {mail + "S: 354 go\nSTALL", smtp.ErrProtocol, 0, false},
		"250 to DATA":                 {mail + "S: 250 ok\nS: 250 ok\nS: 250 ok\nSTALL", smtp.ErrProtocol, 0, false},
		"421 to RCPT":                 {mail + "S: 250 ok\nS: 421 bye\nSTALL", nil, 421, false},
		"MAIL refused":                {mail + "S: 550 5.7.1 no\nS: 503 no\nS: 503 no\nC: QUIT", nil, 550, true},
		"DATA refused":                {mail + "S: 250 ok\nS: 250 ok\nS: 451 4.3.0 no\nC: QUIT", nil, 451, false},
		"message refused":             {mail + "S: 250 ok\nS: 250 ok\nS: 354 go\nDATA\nS: 554 5.7.1 spam\nC: QUIT", nil, 554, true},
		"unknown code":                {mail + "S: 250 ok\nS: 599 ?\nS: 554 no\nC: QUIT", nil, 599, true},
		"552 to RCPT":                 {mail + "S: 250 ok\nS: 552 too many\nS: 554 no\nC: QUIT", nil, 552, false},
		"552 5.2.2 to RCPT":           {mail + "S: 250 ok\nS: 552 5.2.2 full\nS: 554 no\nC: QUIT", nil, 552, true},
		"lost before the reply":       {mail + "S: 250 ok\nS: 250 ok\nS: 354 go\nDATA\nCLOSE", smtp.ErrOutcomeUnknown, 0, false},
		"no reply to the message":     {mail + "S: 250 ok\nS: 250 ok\nS: 354 go\nDATA\nSTALL", smtp.ErrOutcomeUnknown, 0, false},
		"no reply to MAIL":            {mail + "STALL", nil, 0, false},
		"takes 354 although all fail": {mail + "S: 250 ok\nS: 550 no\nS: 354 go\nDATA\nS: 554 nobody\nC: QUIT", nil, 550, true},
	} {
		t.Run(name, func(t *testing.T) {
			against(t, tc.script, func(t *testing.T, cfg *smtp.ClientConfig, p *smtptest.Peer) {
				start := time.Now()
				_, err := smtp.SendMail(t.Context(), "mx:25", cfg, envelope("b@example.org"), strings.NewReader("x"))
				require.Error(t, err)
				if tc.want != nil {
					require.ErrorIs(t, err, tc.want)
				}
				require.Equal(t, tc.code, code(err), "%v", err)
				require.Equal(t, !tc.perm, smtp.IsTemporary(err), "%v", err)
				require.LessOrEqual(t, time.Since(start), 11*time.Minute)
			})
		})
	}
}

func quote(s string) string { return `"` + s + `"` }

// The waits of RFC 5321 §4.5.3.2, and a context that is shorter.
func TestTimeouts(t *testing.T) {
	for name, tc := range map[string]struct {
		script string
		want   time.Duration
	}{
		"greeting": {"STALL", 5 * time.Minute},
		"EHLO":     {"S: 220 hi\nSTALL", 5 * time.Minute},
		"MAIL":     {hello + "STALL", 5 * time.Minute},
		"DATA":     {hello + "C: MAIL.*\nC: RCPT.*\nC: DATA\nS: 250 ok\nS: 250 ok\nSTALL", 2 * time.Minute},
		"message":  {hello + "C: MAIL.*\nC: RCPT.*\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nSTALL", 10 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			against(t, tc.script, func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
				start := time.Now()
				_, err := smtp.SendMail(t.Context(), "mx:25", cfg, envelope("b@example.org"), strings.NewReader("x"))
				require.True(t, smtp.IsTemporary(err))
				require.Equal(t, tc.want, time.Since(start))
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				defer cancel()
				start = time.Now()
				_, err = smtp.SendMail(ctx, "mx:25", cfg, envelope("b@example.org"), strings.NewReader("x"))
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, 30*time.Second, time.Since(start))
			})
		})
	}
}

// A server that stops taking in the message.
func TestBlockTimeout(t *testing.T) {
	against(t, "S: 220 hi\nC: EHLO .*\nS: 250 hi\nC: MAIL.*\nS: 250 ok\nC: RCPT.*\nS: 250 ok\nC: DATA\nS: 354 go\nWAIT 1h", func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
		start := time.Now()
		defer func() { time.Sleep(time.Until(start.Add(2 * time.Hour))) }() // to the script's end
		_, err := smtp.SendMail(t.Context(), "mx:25", cfg, envelope("b@example.org"), strings.NewReader(strings.Repeat("x\n", 1<<20)))
		require.True(t, smtp.IsTemporary(err))
		require.Less(t, time.Since(start), 10*time.Minute)
	})
}

// A server that answers before it has everything, and closes.
func TestRefusalWhileSending(t *testing.T) {
	against(t, "S: 220 hi\nC: EHLO .*\nS: 250 hi\nC: MAIL.*\nS: 250 ok\nC: RCPT.*\nS: 250 ok\nC: DATA\nS: 354 go\nC: x*\nS: 552 5.3.4 too big\nCLOSE", func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
		_, err := smtp.SendMail(t.Context(), "mx:25", cfg, envelope("b@example.org"), strings.NewReader("xxx\n"+strings.Repeat("y\n", 1<<20)))
		require.Equal(t, 552, code(err))
	})
}

// A message that cannot be read to its end is never ended by a dot.
func TestUnreadableMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var rec smtptest.Recorder
		rec.Start()
		defer rec.Close()
		boom := errors.New("disk on fire")
		body := io.MultiReader(strings.NewReader("Subject: x\n\nhalf"), iotest.ErrReader(boom))
		c, err := smtp.Dial(t.Context(), "mx:25", &smtp.ClientConfig{DialContext: rec.Dial})
		require.NoError(t, err)
		_, err = c.Send(t.Context(), envelope("b@example.org"), body)
		require.ErrorIs(t, err, boom)
		require.False(t, c.Alive())
		synctest.Wait()
		require.Empty(t, rec.Messages())
		_, err = c.Send(t.Context(), envelope("b@example.org"), strings.NewReader("x"))
		require.ErrorIs(t, err, boom)
	})
}

func TestManyRecipients(t *testing.T) {
	rec := smtptest.Recorder{Rcpt: func(to smtp.Path) error {
		if to.Local[0] == '7' {
			return smtp.Errorf(450, smtp.EnhancedCode{4, 2, 0}, "%s", strings.Repeat("long excuse ", 500))
		}
		return nil
	}}
	rec.Start()
	defer rec.Close()
	env := envelope()
	for i := range 1000 {
		env.To = append(env.To, smtp.Recipient{Path: smtp.Path{Local: string(rune(48+i%10)) + "x", Domain: "example.org"}})
	}
	res, err := smtp.SendMail(t.Context(), "mx:25", &smtp.ClientConfig{DialContext: rec.Dial}, env, strings.NewReader("x"))
	require.NoError(t, err)
	for i, err := range res.Recipients {
		require.Equal(t, i%10 == 7, err != nil)
	}
	require.Len(t, rec.Messages()[0].To, 900)
}

// What the client refuses without asking: values that would break the
// protocol, and extensions that are not there.
func TestNotSent(t *testing.T) {
	script := "S: 220 hi\nC: EHLO .*\nS: 250-hi\nS: 250 SIZE 10\nC: QUIT"
	for name, tc := range map[string]struct {
		change func(env *smtp.Envelope)
		code   int
	}{
		"size":            {func(env *smtp.Envelope) { env.Size = 11 }, 552},
		"8-bit":           {func(env *smtp.Envelope) { env.Body = smtp.Body8BitMIME }, 554},
		"unknown body":    {func(env *smtp.Envelope) { env.Body = "X\r\nRSET" }, 501},
		"UTF-8 sender":    {func(env *smtp.Envelope) { env.From.Local = "ü" }, 553},
		"UTF-8 recipient": {func(env *smtp.Envelope) { env.To[0].Local = "ü" }, 553},
		"sender":          {func(env *smtp.Envelope) { env.From.Local = "x>\r\nRSET\r\n" }, 501},
		"recipient":       {func(env *smtp.Envelope) { env.To[0].Domain = "x>\r\nRSET\r\n" }, 501},
		"null recipient":  {func(env *smtp.Envelope) { env.To[0] = smtp.Recipient{} }, 501},
		"nobody":          {func(env *smtp.Envelope) { env.To = nil }, 554},
	} {
		t.Run(name, func(t *testing.T) {
			against(t, script, func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
				env := envelope("b@example.org")
				tc.change(env)
				_, err := smtp.SendMail(t.Context(), "mx:25", cfg, env, strings.NewReader("x"))
				require.ErrorIs(t, err, smtp.ErrNotSent)
				require.Equal(t, tc.code, code(err))
				require.False(t, smtp.IsTemporary(err))
			})
		})
	}
	for _, name := range []string{"a b", "a\r\nRSET", "ü"} {
		against(t, "STALL", func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
			cfg.Hostname = name
			_, err := smtp.Dial(t.Context(), "mx:25", cfg)
			require.ErrorIs(t, err, smtp.ErrNotSent)
		})
	}
}

// One bad recipient does not keep the others from theirs.
func TestOneRecipientNotSent(t *testing.T) {
	var rec smtptest.Recorder
	defer rec.Close()
	env := envelope("a@example.org", "b@example.org", "c@example.org")
	env.To[1].Local = "ü"
	res, err := smtp.SendMail(t.Context(), "mx:25", &smtp.ClientConfig{DialContext: rec.Dial}, env, strings.NewReader("x"))
	require.NoError(t, err)
	require.ErrorIs(t, res.Recipients[1], smtp.ErrNotSent)
	require.Len(t, rec.Messages()[0].To, 2)
	env.SMTPUTF8 = true
	res, err = smtp.SendMail(t.Context(), "mx:25", &smtp.ClientConfig{DialContext: rec.Dial}, env, strings.NewReader("x"))
	require.NoError(t, err)
	require.NoError(t, res.Recipients[1])
	require.True(t, rec.Messages()[1].SMTPUTF8)
}

func TestAllow8Bit(t *testing.T) {
	against(t, "S: 220 hi\nC: EHLO .*\nS: 250 hi\nC: MAIL FROM:<a@example.com>\nS: 250 ok\nC: RCPT.*\nS: 250 ok\nC: DATA\nS: 354 go\nDATA\nS: 250 ok\nC: QUIT", func(t *testing.T, cfg *smtp.ClientConfig, p *smtptest.Peer) {
		cfg.Allow8Bit = true
		env := envelope("b@example.org")
		env.Body = smtp.Body8BitMIME
		_, err := smtp.SendMail(t.Context(), "mx:25", cfg, env, strings.NewReader("grün"))
		require.NoError(t, err)
	})
}

// Reset after a refused transaction, unasked; Noop; two messages.
func TestReuse(t *testing.T) {
	against(t, hello+`
	C: MAIL .*
	C: RCPT .*
	C: DATA
	S: 250 ok
	S: 550 no
	S: 554 no
	C: RSET
	S: 250 ok
	C: MAIL .*
	C: RCPT .*
	C: DATA
	S: 250 ok
	S: 250 ok
	S: 354 go
	DATA
	S: 250 ok
	C: NOOP
	S: 250 ok
	C: RSET
	S: 250 ok
	C: NOOP
	S: 421 going
	`, func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
		c, err := smtp.Dial(t.Context(), "mx:25", cfg)
		require.NoError(t, err)
		require.Equal(t, "mx.example.org ESMTP", c.Greeting().Text)
		size, ok := c.Extension("size")
		require.True(t, ok)
		require.Equal(t, "1000", size)
		_, err = c.Send(t.Context(), envelope("b@example.org"), strings.NewReader("x"))
		require.Equal(t, 550, code(err))
		_, err = c.Send(t.Context(), envelope("b@example.org"), strings.NewReader("x"))
		require.NoError(t, err)
		require.NoError(t, c.Noop(t.Context()))
		require.NoError(t, c.Reset(t.Context()))
		require.True(t, c.Alive())
		require.Equal(t, 421, code(c.Noop(t.Context())))
		require.False(t, c.Alive())
		require.NoError(t, c.Close())
	})
}

func TestLMTPReplies(t *testing.T) {
	lhlo := `
	S: 220 hi
	C: LHLO .*
	S: 250-hi
	S: 250 PIPELINING
	C: MAIL .*
	C: RCPT .*
	C: RCPT .*
	C: RCPT .*
	C: DATA
	S: 250 ok
	S: 250 ok
	S: 550 no
	S: 250 ok
	S: 354 go
	DATA
	`
	to := []string{"a@example.org", "b@example.org", "c@example.org"}
	against(t, lhlo+"S: 250 ok\nS: 452 4.2.2 full\nC: QUIT", func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
		cfg.LMTP = true
		res, err := smtp.SendMail(t.Context(), "mx:24", cfg, envelope(to...), strings.NewReader("x"))
		require.NoError(t, err)
		require.NoError(t, res.Recipients[0])
		require.Equal(t, 550, code(res.Recipients[1]))
		require.Equal(t, 452, code(res.Recipients[2]))
	})
	against(t, lhlo+"S: 250 ok\nCLOSE", func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
		cfg.LMTP = true
		res, err := smtp.SendMail(t.Context(), "mx:24", cfg, envelope(to...), strings.NewReader("x"))
		require.NoError(t, err, "one has been delivered")
		require.NoError(t, res.Recipients[0])
		require.ErrorIs(t, res.Recipients[2], smtp.ErrOutcomeUnknown)
	})
}

func testTLSConfig(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	cert, err := ca.Issue("mx.example.org")
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{cert}}, &tls.Config{RootCAs: ca.Pool()}
}

func TestClientStartTLS(t *testing.T) {
	serverTLS, clientTLS := testTLSConfig(t)
	run := func(t *testing.T, script string, policy smtp.TLSPolicy, addr string) (*smtp.Client, error) {
		p, err := smtptest.NewPeer(script)
		require.NoError(t, err)
		p.TLSConfig = serverTLS
		t.Cleanup(func() { _ = p.Close() })
		policy.Config = clientTLS
		return smtp.Dial(t.Context(), addr, &smtp.ClientConfig{TLS: policy, DialContext: p.Dial})
	}
	opportunistic, none, required := smtp.TLSPolicy{}, smtp.TLSPolicy{Mode: smtp.TLSNone}, smtp.TLSPolicy{Mode: smtp.TLSRequired}
	offer := "S: 220 hi\nC: EHLO .*\nS: 250-hi\nS: 250-AUTH PLAIN\nS: 250 STARTTLS\nC: STARTTLS\n"

	c, err := run(t, offer+"S: 220 go\nTLS\nC: EHLO .*\nS: 250-hi\nS: 250 SIZE 5\nSTALL", required, "mx.example.org:25")
	require.NoError(t, err)
	require.NotNil(t, c.TLS())
	_, ok := c.Extension("AUTH")
	require.False(t, ok, "what was offered before TLS does not count")
	require.NoError(t, c.Close())

	_, err = run(t, offer+"S- \"220 go\\r\\n250 injected\\r\\n\"\nSTALL", opportunistic, "mx.example.org:25")
	require.ErrorIs(t, err, smtp.ErrProtocol)

	_, err = run(t, offer+"S: 454 no\nSTALL", opportunistic, "mx.example.org:25")
	require.Equal(t, 454, code(err))

	_, err = run(t, offer+"S: 220 go\nTLS\nSTALL", smtp.VerifiedTLS(), "other.example.org:25")
	require.ErrorContains(t, err, "certificate", "the name does not fit")

	_, err = run(t, "S: 220 hi\nC: EHLO .*\nS: 250 hi\nSTALL", required, "mx.example.org:25")
	require.ErrorIs(t, err, smtp.ErrNotSent)

	c, err = run(t, "S: 220 hi\nC: EHLO .*\nS: 250-hi\nS: 250 STARTTLS\nSTALL", none, "mx.example.org:25")
	require.NoError(t, err)
	require.Nil(t, c.TLS())
	require.NoError(t, c.Close())

	c, err = run(t, "TLS\nS: 220 hi\nC: EHLO .*\nS: 250 hi\nSTALL", smtp.TLSPolicy{Implicit: true}, "mx.example.org:465")
	require.NoError(t, err)
	require.ErrorIs(t, c.StartTLS(t.Context(), opportunistic), smtp.ErrNotSent)
	require.NoError(t, c.Close())

	c, err = run(t, "S: 220 hi\nC: EHLO .*\nS: 250-hi\nS: 250 STARTTLS\nC: STARTTLS\nS: 220 go\nTLS\nC: EHLO .*\nS: 250 hi\nSTALL", none, "mx.example.org:25")
	require.NoError(t, err)
	require.NoError(t, c.StartTLS(t.Context(), smtp.TLSPolicy{Config: clientTLS}))
	require.NotNil(t, c.TLS())
	require.NoError(t, c.Close())
}

func TestClientLogin(t *testing.T) {
	offer := "S: 220 hi\nC: EHLO .*\nS: 250-hi\nS: 250-AUTH=LOGIN\nS: 250 AUTH PLAIN LOGIN SCRAM-SHA-256\n"
	for name, tc := range map[string]struct {
		script string
		change func(cfg *smtp.ClientConfig)
		check  func(t *testing.T, err error)
	}{
		"plain": {offer + "C: AUTH PLAIN AHUAcA==\nS: 235 in\nSTALL", nil, nil},
		"login": {offer + "C: AUTH LOGIN\nS: 334 VXNlcm5hbWU6\nC: dQ==\nS: 334 UGFzc3dvcmQ6\nC: cA==\nS: 235 in\nSTALL",
			func(cfg *smtp.ClientConfig) { cfg.Auth = sasl.NewLoginClient("u", "p") }, nil},
		"wrong": {offer + "C: AUTH PLAIN .*\nS: 535 5.7.8 no\nSTALL", nil, func(t *testing.T, err error) {
			require.Equal(t, 535, code(err))
			require.False(t, smtp.IsTemporary(err))
		}},
		"not over plain text": {offer + "STALL", func(cfg *smtp.ClientConfig) { cfg.InsecureAuth = false }, func(t *testing.T, err error) {
			require.ErrorIs(t, err, smtp.ErrNotSent)
		}},
		"not offered": {"S: 220 hi\nC: EHLO .*\nS: 250-hi\nS: 250 AUTH LOGIN\nSTALL", nil, func(t *testing.T, err error) {
			require.ErrorIs(t, err, smtp.ErrNotSent)
		}},
		"no AUTH after HELO": {"S: 220 hi\nC: EHLO .*\nS: 500 what\nC: HELO .*\nS: 250 hi\nSTALL", nil, func(t *testing.T, err error) {
			require.ErrorIs(t, err, smtp.ErrNotSent)
		}},
		"challenge PLAIN does not have": {offer + "C: AUTH PLAIN .*\nS: 334 eA==\nC: \\*\nS: 501 ok\nSTALL", nil, func(t *testing.T, err error) { require.Error(t, err) }},
		"bad base64":                    {offer + "C: AUTH PLAIN .*\nS: 334 !\nC: \\*\nS: 501 ok\nSTALL", nil, func(t *testing.T, err error) { require.Error(t, err) }},
		"server that proves nothing": {offer + "C: AUTH SCRAM-SHA-256 .*\nS: 235 in\nSTALL",
			func(cfg *smtp.ClientConfig) {
				cl, err := sasl.NewSCRAMClient("SHA-256", "", "u", "p")
				if err != nil {
					panic(err)
				}
				cfg.Auth = cl
			},
			func(t *testing.T, err error) { require.ErrorIs(t, err, sasl.ErrServer) }},
		"long initial response": {offer + "C: AUTH PLAIN\nS: 334 \nC: [A-Za-z0-9+/=]+\nS: 535 no\nSTALL",
			func(cfg *smtp.ClientConfig) { cfg.Auth = sasl.NewPlainClient("", "u", strings.Repeat("p", 11000)) },
			func(t *testing.T, err error) { require.Equal(t, 535, code(err)) }},
	} {
		t.Run(name, func(t *testing.T) {
			against(t, tc.script, func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
				cfg.InsecureAuth, cfg.Auth = true, sasl.NewPlainClient("", "u", "p")
				if tc.change != nil {
					tc.change(cfg)
				}
				c, err := smtp.Dial(t.Context(), "mx:587", cfg)
				if tc.check != nil {
					tc.check(t, err)
					return
				}
				require.NoError(t, err)
				require.NoError(t, c.Close())
			})
		})
	}
}
