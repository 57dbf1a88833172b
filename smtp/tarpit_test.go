package smtp

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/memnet"
)

func TestTarpit(t *testing.T) {
	s := &Server{Tarpit: time.Second, Auth: testAuth{}, InsecureAuth: true, Governor: &auth.Governor{Off: true}, MaxUnknownRecipients: -1}
	bubble(t, s, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
		c := newTalk(t, l)
		c.hear("220 ")
		after := func(want time.Duration, say string, hear ...string) {
			t.Helper()
			start := time.Now()
			c.say(say)
			c.hear(hear[:len(hear)-1]...)
			require.Zero(t, time.Since(start), "what comes before does not wait")
			c.hear(hear[len(hear)-1])
			require.Equal(t, want*time.Second, time.Since(start))
		}
		after(0, "EHLO x\r\nWHAT\r\n", "250 AUTH", "500 ")
		after(1, "NOOP\r\nWHAT\r\n", "250 ", "500 ")
		after(2, "AUTH PLAIN AGEAYg==\r\n", "535 ")
		after(0, "MAIL FROM:<a@example.com>\r\n", "250 2.1.0")
		for i := range 12 {
			after(time.Duration(min(3+i, 10)), "RCPT TO:<nobody@example.org>\r\n", "550 5.1.1")
		}
		after(0, "RCPT TO:<b@example.org>\r\n", "250 2.1.5")
	})
}

// Neither a shutdown nor the client's going waits for the tarpit.
func TestTarpitEnds(t *testing.T) {
	for name, end := range map[string]func(s *Server, c *talk){
		"shutdown": func(s *Server, _ *talk) { go func() { _ = s.Shutdown(context.Background()) }() },
		"client":   func(_ *Server, c *talk) { _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			closed := make(chan struct{})
			s := &Server{Tarpit: time.Hour, Trace: &Trace{Close: func(auth.Peer, error) { close(closed) }}}
			bubble(t, s, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
				closed = make(chan struct{}) // of the bubble
				c := newTalk(t, l)
				c.hear("220 ")
				c.say("WHAT\r\nWHAT\r\n")
				c.hear("500 ")
				synctest.Wait()
				start := time.Now()
				end(s, c)
				<-closed
				require.Less(t, time.Since(start), 5*time.Second)
			})
		})
	}
}
