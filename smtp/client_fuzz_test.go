package smtp

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/sasl"
)

// Whatever a server says, the Client ends, takes no more for accepted than was
// said, and sends nothing but whole lines of its own.
func FuzzClient(f *testing.F) {
	ehlo := "220 hi\r\n250-mx\r\n250-PIPELINING\r\n250-SIZE 1000\r\n250-8BITMIME\r\n250-AUTH PLAIN\r\n250 SMTPUTF8\r\n"
	for _, s := range []string{
		ehlo + "235 in\r\n250 ok\r\n250 ok\r\n550 5.1.1 no\r\n354 go\r\n250 2.0.0 done\r\n250 ok\r\n221 bye\r\n",
		strings.Replace(ehlo, "SIZE 1000", "CHUNKING", 1) + "235 in\r\n250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n250 ok\r\n550 no\r\n550 no\r\n503 nobody\r\n",
		strings.Replace(ehlo, "SIZE 1000", "LIMITS RCPTMAX=1 MAILMAX=1", 1) + "235 in\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n",
		ehlo + "235 in\r\n250 ok\r\n550 no\r\n550 no\r\n354 go\r\n554 none\r\n", ehlo + "334 eA==\r\n501 ok\r\n", ehlo + "235 in\r\n421 bye\r\n",
		"220 hi\r\n500 what\r\n250 old\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 done\r\n", "554 no\r\n", "220-a\r\n220 b\r\n250 \r\n", "220\r\n250\r\n250\r\n",
		"220 hi\r\n250-mx\r\n250 STARTTLS\r\n220 go\r\n", ehlo + "235 in\r\n250 ok\r\n250 ok\r\n250 ok\r\n354 go\r\n250 one\r\n452 two\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, input []byte, lmtp bool) {
		conn := &scriptConn{closed: make(chan struct{})}
		for line := range bytes.Lines(input) { // a reply is there when it is asked for
			conn.segments = append(conn.segments, bytes.Clone(line))
		}
		c, err := NewClient(context.Background(), conn, &ClientConfig{LMTP: lmtp, InsecureAuth: true, Auth: sasl.NewPlainClient("", "u", "p")})
		if err == nil {
			env := &Envelope{From: Path{"a", "example.com"}, To: To(Path{"b", "example.org"}, Path{"ü", "example.org"}), MailOptions: MailOptions{SMTPUTF8: true}}
			for range 2 {
				res, err := c.Send(context.Background(), env, strings.NewReader("a\n.\nb"))
				require.Len(t, res.Recipients, 2)
				ok := res.Recipients[0] == nil || res.Recipients[1] == nil
				require.Equal(t, ok, err == nil)
				if ok && !lmtp {
					require.Equal(t, 2, res.Reply.Code/100)
				}
				if ok {
					out := conn.out.String()
					require.True(t, strings.Contains(out, "DATA\r\n") || strings.Contains(out, " LAST\r\n"), "%q", out)
					if !strings.Contains(out, " LAST\r\n") {
						require.Contains(t, string(input), "354")
					}
				}
			}
			_ = c.Quit(context.Background())
			require.False(t, c.Alive())
		}
		<-conn.closed
		out, _, _ := strings.Cut(conn.out.String(), "STARTTLS\r\n") // what follows is TLS
		require.False(t, strings.ContainsAny(strings.ReplaceAll(out, "\r\n", ""), "\r\n"), "%q", out)
	})
}
