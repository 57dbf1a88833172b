package smtp

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/memnet"
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

func (c *talk) say(s string) {
	c.t.Helper()
	_, err := io.WriteString(c, s)
	require.NoError(c.t, err)
}

// hear reads lines until one is the end of a reply, which must begin so.
func (c *talk) hear(prefixes ...string) {
	c.t.Helper()
	for _, p := range prefixes {
		for {
			line, err := c.r.ReadString('\n')
			require.NoError(c.t, err, "waiting for %q", p)
			if len(line) > 3 && line[3] == '-' {
				continue
			}
			require.True(c.t, strings.HasPrefix(line, p), "got %q, want %q", line, p)
			break
		}
	}
}

func (c *talk) hearEOF() {
	c.t.Helper()
	b, err := io.ReadAll(c.r)
	require.NoError(c.t, err)
	require.Empty(c.t, string(b))
}

// begin goes as far as a recipient, or with DATA to the message.
func (c *talk) begin(data bool) {
	c.t.Helper()
	c.hear("220 ")
	c.say("EHLO x\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\n")
	c.hear("250 ", "250 2.1.0", "250 2.1.5")
	if data {
		c.say("DATA\r\n")
		c.hear("354 ")
	}
}

func bubble(t *testing.T, s *Server, f func(t *testing.T, l *memnet.Listener, h *testHandler)) {
	synctest.Test(t, func(t *testing.T) {
		h := &testHandler{}
		if s.Handler == nil {
			s.Handler = h
		}
		l := memnet.Listen()
		done := make(chan error, 1)
		go func() { done <- s.Serve(l) }()
		defer func() {
			_ = s.Close()
			require.ErrorIs(t, <-done, ErrServerClosed)
		}()
		f(t, l, h)
		time.Sleep(24 * time.Hour) // helpers see that their connection is closed
	})
}

func TestIdleClientIsTold(t *testing.T) {
	bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
		c := newTalk(t, l)
		c.hear("220 ")
		start := time.Now()
		c.hear("421 4.4.2")
		require.Equal(t, 5*time.Minute, time.Since(start))
		c.hearEOF()
	})
}

// The wait is for a whole line: one octet a minute does not prolong it.
func TestOctetAMinute(t *testing.T) {
	bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
		c := newTalk(t, l)
		c.hear("220 ")
		start := time.Now()
		go drip(c, strings.Repeat("N", 10), 1, time.Minute)
		c.hear("421 4.4.2")
		require.Equal(t, 5*time.Minute, time.Since(start))
	})
}

func TestSessionHasAnEnd(t *testing.T) {
	bubble(t, &Server{MaxNoops: -1}, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
		c := newTalk(t, l)
		c.hear("220 ")
		start := time.Now()
		for time.Since(start) <= 6*time.Hour-4*time.Minute {
			c.say("NOOP\r\n")
			c.hear("250 ")
			time.Sleep(4 * time.Minute)
		}
		c.hear("421 4.4.2")
		require.Equal(t, 6*time.Hour, time.Since(start))
	})
}

func TestMessageThatStops(t *testing.T) {
	bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, h *testHandler) {
		c := newTalk(t, l)
		c.begin(true)
		c.say("Subject: x\r\n")
		start := time.Now()
		c.hear("421 4.4.2")
		require.Equal(t, 3*time.Minute, time.Since(start))
		c.hearEOF() // and nothing sent later is a command
		require.Empty(t, h.messages())
	})
}

// drip sends s in pieces of n octets, one each period.
func drip(c net.Conn, s string, n int, period time.Duration) {
	for len(s) > 0 {
		n = min(n, len(s))
		if _, err := io.WriteString(c, s[:n]); err != nil {
			return
		}
		s = s[n:]
		time.Sleep(period)
	}
}

func TestMessageThatCrawls(t *testing.T) {
	bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
		c := newTalk(t, l)
		c.begin(true)
		start := time.Now()
		go drip(c, strings.Repeat("x", 1000), 1, time.Minute)
		c.hear("421 4.4.2")
		require.InDelta(t, dataGrace+time.Minute, time.Since(start), float64(time.Minute))
	})
}

// A slow but honest sender is let through, far beyond one read's deadline.
func TestMessageThatIsSlow(t *testing.T) {
	bubble(t, &Server{}, func(t *testing.T, l *memnet.Listener, h *testHandler) {
		c := newTalk(t, l)
		c.begin(true)
		start := time.Now()
		go drip(c, strings.Repeat(strings.Repeat("x", 98)+"\r\n", 3000)+".\r\n", 2000, 10*time.Second)
		c.hear("250 2.6.0")
		require.Greater(t, time.Since(start), 20*time.Minute)
		require.Len(t, h.messages(), 1)
	})
}

func TestMessageHasAnEnd(t *testing.T) {
	bubble(t, &Server{DataMaxTime: 10 * time.Minute}, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
		c := newTalk(t, l)
		c.begin(true)
		start := time.Now()
		go drip(c, strings.Repeat(strings.Repeat("x", 98)+"\r\n", 3000), 2000, 10*time.Second)
		c.hear("421 4.4.2")
		require.InDelta(t, 10*time.Minute, time.Since(start), float64(11*time.Second))
	})
}

// slowHandler takes half an hour over each read, which is not the client's
// fault.
type slowHandler struct{}

func (slowHandler) NewSession(context.Context, *Conn) (Session, error) { return slowSession{}, nil }

type slowSession struct{ nullSession }

func (slowSession) Data(_ context.Context, r io.Reader) (Result, error) {
	b := make([]byte, 100)
	for {
		time.Sleep(30 * time.Minute)
		if _, err := r.Read(b); err == io.EOF {
			return Result{}, nil
		} else if err != nil {
			return Result{}, err
		}
	}
}

func TestHandlersTimeDoesNotCount(t *testing.T) {
	bubble(t, &Server{Handler: slowHandler{}}, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
		c := newTalk(t, l)
		c.begin(true)
		start := time.Now()
		c.say(strings.Repeat("x", 500) + "\r\n.\r\n")
		c.hear("250 2.0.0")
		require.Greater(t, time.Since(start), 2*time.Hour)
	})
}

func TestClientThatDoesNotRead(t *testing.T) {
	bubble(t, &Server{MaxNoops: -1}, func(t *testing.T, l *memnet.Listener, h *testHandler) {
		c := newTalk(t, l)
		for {
			_ = c.SetWriteDeadline(time.Now().Add(time.Hour))
			if _, err := io.WriteString(c, strings.Repeat("HELP\r\n", 1000)); err != nil {
				require.False(t, errors.Is(err, os.ErrDeadlineExceeded), "the server has closed before")
				break
			}
		}
		synctest.Wait()
		h.mu.Lock()
		defer h.mu.Unlock()
		require.Equal(t, 1, h.closed)
	})
}

func TestShutdown(t *testing.T) {
	s := &Server{}
	bubble(t, s, func(t *testing.T, l *memnet.Listener, h *testHandler) {
		idle, busy, sending := newTalk(t, l), newTalk(t, l), newTalk(t, l)
		idle.hear("220 ")
		busy.begin(false)
		sending.begin(true)
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		idle.hear("421 4.3.2")
		idle.hearEOF()
		synctest.Wait()
		_, err := l.Dial(t.Context())
		require.Error(t, err)
		busy.say("DATA\r\n")
		busy.hear("354 ")
		busy.say("x\r\n.\r\n")
		busy.hear("250 2.6.0", "421 4.3.2")
		busy.hearEOF()
		select {
		case <-done:
			t.Fatal("Shutdown did not wait for the last message")
		default:
		}
		sending.say("y\r\n.\r\n")
		sending.hear("250 2.6.0", "421 4.3.2")
		require.NoError(t, <-done)
		require.Len(t, h.messages(), 2)
		require.ErrorIs(t, s.Serve(memnet.Listen()), ErrServerClosed)
	})
}

func TestShutdownByForce(t *testing.T) {
	s := &Server{}
	bubble(t, s, func(t *testing.T, l *memnet.Listener, h *testHandler) {
		c := newTalk(t, l)
		c.begin(true)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
		c.hearEOF()
		synctest.Wait()
		require.Equal(t, 1, h.closed)
		require.Empty(t, h.messages())
	})
}
