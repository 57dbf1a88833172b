package smtp_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

const chunking = `
	S: 220 mx.example.org ESMTP
	C: EHLO client\.example\.com
	S: 250-mx.example.org
	S: 250-PIPELINING
	S: 250-BINARYMIME
	S: 250 CHUNKING
`

// A small message goes out with the commands: one round trip.
func TestSmallMessageByBDAT(t *testing.T) {
	commands := chunking + `
	C: MAIL FROM:<a@example\.com>
	C: RCPT TO:<b@example\.org>
	C: BDAT 9 LAST
	C: a
	C: \.
	C: b
	`
	for name, tc := range map[string]struct {
		replies string
		code    int
		unknown bool
	}{
		"taken":            {"S: 250 ok\nS: 250 ok\nS: 250 2.0.0 queued\n", 0, false},
		"nobody":           {"S: 250 ok\nS: 550 no\nS: 503 nobody\nC: RSET\nS: 250 ok\n", 550, false},
		"no sender":        {"S: 450 no\nS: 503 no\nS: 503 nobody\nC: RSET\nS: 250 ok\n", 450, false},
		"refused":          {"S: 250 ok\nS: 250 ok\nS: 554 spam\nC: RSET\nS: 250 ok\n", 554, false},
		"421":              {"S: 421 going\nCLOSE\n", 421, false},
		"421 to a message": {"S: 250 ok\nS: 250 ok\nS: 421 going\nCLOSE\n", 421, false},
		"lost":             {"S: 250 ok\nCLOSE\n", 0, true},
		"lost at once":     {"CLOSE\n", 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			against(t, commands+tc.replies, func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
				c, err := smtp.Dial(t.Context(), "mx:25", cfg)
				require.NoError(t, err)
				defer c.Close()
				env := envelope("b@example.org")
				_, err = c.Send(t.Context(), env, strings.NewReader("a\n.\nb\n"))
				require.Equal(t, tc.code, code(err), "%v", err)
				require.Equal(t, tc.unknown, errors.Is(err, smtp.ErrOutcomeUnknown), "%v", err)
				require.Equal(t, tc.code != 0 && tc.code != 421, strings.Contains(tc.replies, "RSET"))
				if strings.Contains(tc.replies, "RSET") {
					require.NoError(t, c.Reset(t.Context()))
				}
			})
		})
	}
}

// After a refused chunk RSET comes with the next group.
func TestResetAfterRefusal(t *testing.T) {
	group := "C: MAIL FROM:<a@example\\.com>\nC: RCPT TO:<b@example\\.org>\nC: BDAT 3 LAST\nC: x\n"
	against(t, chunking+group+"S: 250 ok\nS: 250 ok\nS: 552 no\nC: RSET\n"+group+"S: 250 ok\nS: 250 ok\nS: 250 ok\nS: 250 ok\n",
		func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
			c, err := smtp.Dial(t.Context(), "mx:25", cfg)
			require.NoError(t, err)
			defer c.Close()
			_, err = c.Send(t.Context(), envelope("b@example.org"), strings.NewReader("x"))
			require.Equal(t, 552, code(err))
			require.False(t, smtp.IsTemporary(err))
			_, err = c.Send(t.Context(), envelope("b@example.org"), strings.NewReader("x"))
			require.NoError(t, err)
		})
}

// Chunks are bounded, and text is made the same by DATA and BDAT, however it
// is cut.
func TestChunks(t *testing.T) {
	want := map[string]string{
		"a\rb\nc": "a\r\nb\r\nc\r\n", "": "", ".\n..\r\n": ".\r\n..\r\n", "a\r\r\nb": "a\r\n\r\nb\r\n", "a\r": "a\r\n",
	}
	long := strings.Repeat(strings.Repeat("x", 69)+"\n.\r", 20000)
	want[long] = strings.NewReplacer("\n", "\r\n", "\r", "\r\n").Replace(long)
	for text, out := range want {
		for name, lmtp := range map[string]bool{"SMTP": false, "LMTP": true} {
			for _, noChunking := range []bool{false, true} {
				for _, unknown := range []bool{false, true} {
					got := ""
					server := smtptest.NewServer(t, &smtp.Server{LMTP: lmtp, Handler: smtp.Receive(func(smtp.Path) bool { return true }, func(_ context.Context, _ *smtp.Envelope, r io.Reader) error {
						b, err := io.ReadAll(r)
						got = string(b)
						return err
					})})
					cfg := server.Client()
					cfg.NoChunking = noChunking
					var body io.Reader = strings.NewReader(text)
					if unknown {
						body = iotest.HalfReader(strings.NewReader(text))
					}
					_, err := smtp.SendMail(t.Context(), server.Addr(), cfg, envelope("b@example.org"), body)
					require.NoError(t, err)
					require.True(t, out == got, "%s %v %v %.20q", name, noChunking, unknown, text)
				}
			}
		}
	}
}

// A binary message needs both extensions.
func TestBinaryNotOffered(t *testing.T) {
	for _, ext := range []string{"CHUNKING", "BINARYMIME", "8BITMIME"} {
		against(t, "S: 220 hi\nC: EHLO .*\nS: 250-hi\nS: 250 "+ext+"\n", func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
			env := envelope("b@example.org")
			env.Body = smtp.BodyBinary
			c, err := smtp.Dial(t.Context(), "mx:25", cfg)
			require.NoError(t, err)
			defer c.Close()
			_, err = c.Send(t.Context(), env, strings.NewReader("x"))
			require.ErrorIs(t, err, smtp.ErrNotSent)
			var missing *smtp.ExtensionError
			require.ErrorAs(t, err, &missing)
			require.NotEqual(t, ext, missing.Keyword)
		})
	}
}

// A body that cannot be read to its end never gets its LAST chunk, and does not
// cost the connection.
func TestUnreadableBinary(t *testing.T) {
	boom := errors.New("disk on fire")
	against(t, chunking+"C: MAIL .*\nC: RCPT .*\nS: 250 ok\nS: 250 ok\nC: RSET\nS: 250 ok\n", func(t *testing.T, cfg *smtp.ClientConfig, _ *smtptest.Peer) {
		env := envelope("b@example.org")
		env.Body = smtp.BodyBinary
		c, err := smtp.Dial(t.Context(), "mx:25", cfg)
		require.NoError(t, err)
		defer c.Close()
		_, err = c.Send(t.Context(), env, io.MultiReader(strings.NewReader("half"), iotest.ErrReader(boom)))
		require.ErrorIs(t, err, boom)
		require.True(t, c.Alive())
		require.NoError(t, c.Reset(t.Context()))
	})
}

// A server that stops taking in chunks; and a context that is shorter.
func TestChunkTimeout(t *testing.T) {
	script := strings.Replace(chunking, "PIPELINING", "X", 1) + "C: MAIL .*\nS: 250 ok\nC: RCPT .*\nS: 250 ok\nC: BDAT 1.*\nWAIT 1h"
	for name, limit := range map[string]time.Duration{"timeout": 0, "context": 10 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, err := smtptest.NewPeer(script)
				require.NoError(t, err)
				ctx := t.Context()
				if limit > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, limit)
					defer cancel()
				}
				start := time.Now()
				c, err := smtp.Dial(t.Context(), "mx:25", &smtp.ClientConfig{Hostname: "client.example.com", DialContext: p.Dial})
				require.NoError(t, err)
				_, err = c.Send(ctx, envelope("b@example.org"), bytes.NewReader(bytes.Repeat([]byte("0123456789abcde\n"), 1<<18)))
				require.True(t, smtp.IsTemporary(err))
				require.False(t, c.Alive())
				if limit > 0 {
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.Less(t, time.Since(start), limit+6*time.Second)
				} else {
					require.GreaterOrEqual(t, time.Since(start), 3*time.Minute)
					require.Less(t, time.Since(start), 6*time.Minute)
				}
				_ = c.Close()
				_ = p.Close()
			})
		})
	}
}
