package smtp

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/memnet"
)

// halting writes, while it is slow, the first half of everything, and a minute
// later the rest.
type halting struct {
	net.Conn
	slow bool
}

func (c *halting) Write(p []byte) (int, error) {
	n := 0
	if c.slow {
		n = len(p) / 2
		if _, err := c.Conn.Write(p[:n]); err != nil {
			return 0, err
		}
		time.Sleep(time.Minute)
	}
	_, err := c.Conn.Write(p[n:])
	return len(p), err
}

// whereabouts notes the goroutines that its methods are called on.
type whereabouts struct {
	nullSession
	seen map[string]bool
}

func (s whereabouts) NewSession(context.Context, *Conn) (Session, error) { return s, nil }

func (s whereabouts) Mail(context.Context, Path, MailOptions) (Reply, error) {
	b := make([]byte, 64)
	name, _, _ := bytes.Cut(b[:runtime.Stack(b, false)], []byte(" ["))
	s.seen[string(name)] = true
	return Reply{}, nil
}

// A session that has rested goes on where it was, with half a line, half a TLS
// record or half a transaction, on another goroutine.
func TestRest(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	now := time.Now() // a bubble's time is before the certificate's
	clientTLS.Time = func() time.Time { return now }
	for name, encrypted := range map[string]bool{"plain": false, "tls": true} {
		t.Run(name, func(t *testing.T) {
			h := whereabouts{seen: make(map[string]bool)}
			s := &Server{Handler: h, TLSConfig: serverTLS, ImplicitTLS: encrypted}
			bubble(t, s, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
				raw, err := l.Dial(t.Context())
				require.NoError(t, err)
				halts := &halting{Conn: raw}
				c := newTalkConn(t, halts)
				if encrypted {
					c = newTalkConn(t, tls.Client(halts, clientTLS))
				}
				slowly := func(s string) {
					halts.slow = true
					c.say(s)
					halts.slow = false
				}
				c.hear("220 ")
				c.say("EHLO x\r\n")
				c.hear("250 ")
				for range 2 {
					slowly("MAIL FROM:<a@example.com>\r\n")
					c.hear("250 2.1.0")
					time.Sleep(time.Minute)
					c.say("RCPT TO:<b@example.org>\r\nDATA\r\n")
					c.hear("250 2.1.5", "354 ")
					time.Sleep(time.Minute)
					slowly("x\r\n.\r\n")
					c.hear("250 2.0.0")
				}
				require.Len(t, h.seen, 2)
				start := time.Now()
				time.Sleep(4 * time.Minute)
				c.say("NO")
				time.Sleep(30 * time.Second)
				c.say("OP\r\n")
				c.hear("250 ")
				require.Equal(t, 4*time.Minute+30*time.Second, time.Since(start))
				start = time.Now()
				c.hear("421 4.4.2")
				require.Equal(t, 5*time.Minute, time.Since(start))
			})
		})
	}
}
