package smtp

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/sasl"
)

// sendValues has a Client send one message with these values to a server that
// offers everything, and returns what it wrote.
func sendValues(t *testing.T, hostname string, env *Envelope) (string, error) {
	script := "220 hi\r\n250-mx\r\n250-PIPELINING\r\n250-SIZE 100000\r\n250-8BITMIME\r\n250-DSN\r\n250-REQUIRETLS\r\n250-DELIVERBY\r\n250-FUTURERELEASE 1000 2099-01-01T00:00:00Z\r\n" +
		"250-MT-PRIORITY\r\n250-RRVS\r\n250-X\r\n250-AUTH PLAIN\r\n250 SMTPUTF8\r\n235 in\r\n250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n221 bye\r\n"
	conn := &scriptConn{closed: make(chan struct{})}
	for line := range bytes.Lines([]byte(script)) {
		conn.segments = append(conn.segments, line)
	}
	c, err := NewClient(context.Background(), conn, &ClientConfig{Hostname: hostname, InsecureAuth: true, Auth: sasl.NewPlainClient("", "u", "p")})
	if err == nil {
		_, err = c.Send(context.Background(), env, strings.NewReader("text"))
		_ = c.Quit(context.Background())
	}
	<-conn.closed
	return conn.out.String(), err
}

// values are an envelope with s in every place that takes text.
func values(s string) []*Envelope {
	good := func() *Envelope {
		return &Envelope{From: Path{"a", "example.com"}, To: To(Path{"b", "example.org"}), MailOptions: MailOptions{SMTPUTF8: true}}
	}
	var list []*Envelope
	for _, set := range []func(e *Envelope){
		func(e *Envelope) { e.From.Local = s },
		func(e *Envelope) { e.From.Domain = s },
		func(e *Envelope) { e.To[0].Local = s },
		func(e *Envelope) { e.To[0].Domain = s },
		func(e *Envelope) { e.Auth = &s },
		func(e *Envelope) { e.Body = BodyType(s) },
		func(e *Envelope) { e.EnvelopeID = s },
		func(e *Envelope) { e.Return = Return(s) },
		func(e *Envelope) { e.To[0].Original = OriginalRecipient{"rfc822", s} },
		func(e *Envelope) { e.To[0].Original = OriginalRecipient{s, "b@example.org"} },
		func(e *Envelope) { e.MailOptions.Params = map[string]string{"X": s} },
		func(e *Envelope) { e.MailOptions.Params = map[string]string{s: "x"} },
		func(e *Envelope) { e.To[0].Params = map[string]string{"X": s} },
		func(e *Envelope) { e.To[0].Params = map[string]string{s: "x"} },
	} {
		e := good()
		set(e)
		list = append(list, e)
	}
	return list
}

// Whatever a program puts into an envelope, it stays the argument of one
// command, or nothing is sent.
func FuzzClientValues(f *testing.F) {
	for _, s := range []string{"", "x", "a b", "a\r\nRSET", "a\nRSET", "a\rRSET", "a\x00b", "ü", "\xff", "+0D+0A", "a> SIZE=1", "a> NOTIFY=NEVER <", "[1.2.3.4]", "a=b", "\u0085", "\u2028", "7BIT", "\x7f", "\t"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for i, env := range values(s) {
			out, err := sendValues(t, "client.example.com", env)
			requireCommands(t, out, i)
			if err == nil {
				require.Equal(t, 1, strings.Count(out, "\r\nMAIL FROM:"), "%q", out)
			}
		}
		out, _ := sendValues(t, s, values("x")[0])
		requireCommands(t, out, -1)
	})
}

// requireCommands requires that each line is one that a Client says, at most
// once.
func requireCommands(t *testing.T, out string, i int) {
	t.Helper()
	order := []string{"EHLO ", "AUTH PLAIN ", "MAIL FROM:<", "RCPT TO:<", "DATA\r\n", "text\r\n", ".\r\n", "QUIT\r\n"}
	for line := range strings.Lines(out) {
		for len(order) > 0 && !strings.HasPrefix(line, order[0]) {
			order = order[1:]
		}
		require.NotEmpty(t, order, "value %d: %q", i, out)
		order = order[1:]
		require.True(t, strings.HasSuffix(line, "\r\n"), "%q", out)
		require.False(t, strings.ContainsAny(strings.TrimSuffix(line, "\r\n"), "\r\x00"), "value %d: %q", i, line)
	}
}

// The last word before the socket, should a value get so far.
func TestClientControlsInValues(t *testing.T) {
	for _, s := range []string{"a\r\nRSET", "a\nRSET", "a\rRSET", "a\x00"} {
		c := &Client{}
		require.ErrorIs(t, c.write("NOOP", s), ErrNotSent, "%q", s)
		for i, env := range values(s) {
			out, err := sendValues(t, "client.example.com", env)
			requireCommands(t, out, i)
			if err == nil {
				require.NotContains(t, out, s[:2], "value %d", i)
			}
		}
	}
}
