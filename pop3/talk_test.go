package pop3

import (
	"bufio"
	"context"
	"io"
	"net"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/store/memory"
)

// talk is a client by hand.
type talk struct {
	net.Conn
	t testing.TB
	r *bufio.Reader
}

func newTalk(t testing.TB, l *memnet.Listener) *talk {
	t.Helper()
	nc, err := l.Dial(context.Background())
	require.NoError(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	return &talk{nc, t, bufio.NewReader(nc)}
}

// login greets and logs in as user.
func login(t testing.TB, l *memnet.Listener, user string) *talk {
	t.Helper()
	c := newTalk(t, l)
	c.hear("+OK ")
	c.say("USER " + user + "\r\nPASS " + password + "\r\n")
	c.hear("+OK Send", "+OK ")
	return c
}

func (c *talk) say(s string) {
	c.t.Helper()
	_, err := io.WriteString(c, s)
	require.NoError(c.t, err)
}

// hear reads lines, which must begin so.
func (c *talk) hear(prefixes ...string) {
	c.t.Helper()
	for _, p := range prefixes {
		line, err := c.r.ReadString('\n')
		require.NoError(c.t, err, "waiting for %q", p)
		require.Equal(c.t, p, line[:min(len(p), len(line))])
	}
}

// hearUntil reads lines until one is exactly this.
func (c *talk) hearUntil(last string) {
	c.t.Helper()
	for {
		line, err := c.r.ReadString('\n')
		require.NoError(c.t, err)
		if line == last+"\r\n" {
			return
		}
	}
}

// hearEOF expects the end and nothing before.
func (c *talk) hearEOF() {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	require.NoError(c.t, err)
	require.Empty(c.t, string(b))
}

// bubble runs a server over the test store, in synctest's time. Every
// goroutine must have ended when f has and the server is closed.
func bubble(t *testing.T, s *Server, f func(t *testing.T, l *memnet.Listener, st *memory.Store)) {
	synctest.Test(t, func(t *testing.T) {
		st := testStore(t)
		if s.Store == nil {
			s.Store = st
		}
		s.Auth, s.InsecureAuth = testAuth{}, true
		if s.Governor == nil {
			s.Governor = &auth.Governor{Off: true}
		}
		l := memnet.Listen()
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		defer func() {
			_ = s.Close()
			require.ErrorIs(t, <-done, ErrServerClosed)
		}()
		f(t, l, st)
	})
}
