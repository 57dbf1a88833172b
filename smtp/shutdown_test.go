package smtp

import (
	"context"
	"crypto/tls"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/memnet"
)

// heldHandler's sessions block where they are told to: in NewSession, Mail,
// Rcpt or Data, until the gate is opened or their context ends.
type heldHandler struct {
	testHandler
	at   string
	gate chan struct{}
	ends int // contexts that ended
}

func (h *heldHandler) wait(ctx context.Context, where string) error {
	if h.at != where {
		return nil
	}
	select {
	case <-h.gate:
		return nil
	case <-ctx.Done():
		h.mu.Lock()
		defer h.mu.Unlock()
		h.ends++
		return ctx.Err()
	}
}

func (h *heldHandler) NewSession(ctx context.Context, c *Conn) (Session, error) {
	if err := h.wait(ctx, "NewSession"); err != nil {
		return nil, err
	}
	s, err := h.testHandler.NewSession(ctx, c)
	return &heldSession{s.(*testSession), h}, err
}

type heldSession struct {
	*testSession
	h *heldHandler
}

func (s *heldSession) Mail(ctx context.Context, from Path, opts MailOptions) (Reply, error) {
	if err := s.h.wait(ctx, "Mail"); err != nil {
		return Reply{}, err
	}
	return s.testSession.Mail(ctx, from, opts)
}

func (s *heldSession) Rcpt(ctx context.Context, to Path, opts RcptOptions) (Reply, error) {
	if err := s.h.wait(ctx, "Rcpt"); err != nil {
		return Reply{}, err
	}
	return s.testSession.Rcpt(ctx, to, opts)
}

func (s *heldSession) Data(ctx context.Context, r io.Reader) (Result, error) {
	res, err := s.testSession.Data(ctx, r)
	if err := s.h.wait(ctx, "Data"); err != nil {
		return Result{}, err
	}
	return res, err
}

// Shutdown as clients in every state see it. What they do afterwards begins a
// minute later; a Shutdown that waits for them cannot be over then.
func TestShutdownInEachState(t *testing.T) {
	for name, tc := range map[string]struct {
		server *Server
		before func(c *talk) // the state
		waits  bool          // Shutdown waits for what comes
		after  func(c *talk) // to the end
		got    int           // messages
	}{
		"before EHLO": {before: func(c *talk) { c.hear("220 ") }, after: func(c *talk) { c.hear("421 4.3.2 localhost Service shutting down") }},
		"after EHLO": {before: func(c *talk) { c.hear("220 "); c.say("EHLO x\r\n"); c.hear("250 ") },
			after: func(c *talk) { c.hear("421 4.3.2") }},
		"in half a line": {before: func(c *talk) { c.hear("220 "); c.say("EHLO x\r\nMAIL FR"); c.hear("250 ") },
			after: func(c *talk) { c.hear("421 4.3.2") }},
		"between messages": {before: func(c *talk) { c.begin(true); c.say(".\r\n"); c.hear("250 ") },
			after: func(c *talk) { c.hear("421 4.3.2") }, got: 1},
		"in the greeting's delay": {server: &Server{GreetingDelay: time.Hour}, before: func(*talk) {},
			after: func(c *talk) { c.hear("421 4.3.2") }},
		"after MAIL": {before: func(c *talk) { c.hear("220 "); c.say("EHLO x\r\nMAIL FROM:<>\r\n"); c.hear("250 ", "250 ") }, waits: true,
			after: func(c *talk) {
				c.say("RCPT TO:<b@example.org>\r\nBDAT 0 LAST\r\n")
				c.hear("250 2.1.5", "250 2.6.0", "421 4.3.2")
			}, got: 1},
		"after RCPT": {before: func(c *talk) { c.begin(false) }, waits: true,
			after: func(c *talk) {
				c.say("RCPT TO:<c@example.org>\r\nDATA\r\n")
				c.hear("250 2.1.5", "354 ")
				c.say("x\r\n.\r\n")
				c.hear("250 2.6.0", "421 4.3.2")
			}, got: 1},
		"after RCPT, and gives up": {before: func(c *talk) { c.begin(false) }, waits: true,
			after: func(c *talk) { c.say("RSET\r\n"); c.hear("250 2.0.0", "421 4.3.2") }},
		"after RCPT, and quits": {before: func(c *talk) { c.begin(false) }, waits: true,
			after: func(c *talk) { c.say("QUIT\r\n"); c.hear("221 ") }},
		"after RCPT, and is silent": {before: func(c *talk) { c.begin(false) }, waits: true,
			after: func(c *talk) { c.hear("421 4.3.2") }},
		"in DATA": {before: func(c *talk) { c.begin(true); c.say("x\r\n") }, waits: true,
			after: func(c *talk) { c.say(".\r\n"); c.hear("250 2.6.0", "421 4.3.2") }, got: 1},
		"in DATA, with another transaction behind": {before: func(c *talk) { c.begin(true); c.say("x\r\n") }, waits: true,
			after: func(c *talk) {
				c.say(".\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\n")
				c.hear("250 2.6.0", "421 4.3.2")
			}, got: 1},
		"in DATA, silent": {before: func(c *talk) { c.begin(true); c.say("x\r\n") }, waits: true,
			after: func(c *talk) { c.hear("421 4.4.2") }},
		"in a chunk": {before: func(c *talk) { c.begin(false); c.say("BDAT 4\r\nab") }, waits: true,
			after: func(c *talk) {
				c.say("\r\nBDAT 0 LAST\r\n")
				c.hear("250 2.0.0", "250 2.6.0", "421 4.3.2")
			}, got: 1},
		"between chunks": {before: func(c *talk) { c.begin(false); c.say("BDAT 4\r\nab\r\n"); c.hear("250 ") }, waits: true,
			after: func(c *talk) { c.say("BDAT 4 LAST\r\ncd\r\n"); c.hear("250 2.6.0", "421 4.3.2") }, got: 1},
		"between chunks, and gives up": {before: func(c *talk) { c.begin(false); c.say("BDAT 4\r\nab\r\n"); c.hear("250 ") }, waits: true,
			after: func(c *talk) { c.say("RSET\r\nMAIL FROM:<>\r\n"); c.hear("421 4.3.2") }},
		"in AUTH": {server: &Server{Auth: testAuth{}, InsecureAuth: true},
			before: func(c *talk) {
				c.hear("220 ")
				c.say("EHLO x\r\nAUTH LOGIN\r\ndGlt\r\n")
				c.hear("250 ", "334 ", "334 ")
			}, waits: true,
			after: func(c *talk) { c.say("dGFuc3RhYWZ0YW5zdGFhZg==\r\n"); c.hear("235 ", "421 4.3.2") }},
		"in AUTH, silent": {server: &Server{Auth: testAuth{}, InsecureAuth: true},
			before: func(c *talk) { c.hear("220 "); c.say("EHLO x\r\nAUTH LOGIN\r\n"); c.hear("250 ", "334 ") }, waits: true,
			after: func(c *talk) { c.hear("421 4.3.2") }},
	} {
		t.Run(name, func(t *testing.T) { shutdownCase(t, tc.server, tc.before, tc.waits, tc.after, tc.got) })
	}
}

func shutdownCase(t *testing.T, s *Server, before func(*talk), waits bool, after func(*talk), got int) {
	if s == nil {
		s = &Server{}
	}
	bubble(t, s, func(t *testing.T, l *memnet.Listener, h *testHandler) {
		c := newTalk(t, l)
		before(c)
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(t.Context()) }()
		synctest.Wait()
		_, err := l.Dial(t.Context())
		require.Error(t, err, "no new connections")
		if waits {
			time.Sleep(time.Minute)
			require.Empty(t, done, "Shutdown waits")
			after(c)
			c.hearEOF()
			require.NoError(t, <-done)
		} else {
			require.NoError(t, <-done, "without waiting")
			after(c)
			c.hearEOF()
		}
		require.Len(t, h.messages(), got)
	})
}

// What a Handler is busy with is waited for, and what the client has sent
// behind it, if it is one group, is answered.
func TestShutdownWhileTheHandlerWorks(t *testing.T) {
	group := "EHLO x\r\nMAIL FROM:<refused@example.com>\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n"
	for at, tc := range map[string]struct {
		say   string
		after func(c *talk)
		got   int
	}{
		"NewSession": {after: func(c *talk) { c.hear("220 ", "421 4.3.2") }},
		"Mail": {say: group, after: func(c *talk) {
			c.hear("220 ", "250 ", "550 5.7.1", "250 2.1.0", "250 2.1.5", "354 ")
			c.say("x\r\n.\r\n")
			c.hear("250 2.6.0", "421 4.3.2")
		}, got: 1},
		"Rcpt": {say: group, after: func(c *talk) {
			c.hear("220 ", "250 ", "550 5.7.1", "250 2.1.0", "250 2.1.5", "354 ")
			c.say("x\r\n.\r\n")
			c.hear("250 2.6.0", "421 4.3.2")
		}, got: 1},
		"Data": {say: "EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nBDAT 2 LAST\r\n\r\nNOOP\r\n", after: func(c *talk) {
			c.hear("220 ", "250 ", "250 ", "250 ", "250 2.6.0", "421 4.3.2")
		}, got: 1},
	} {
		t.Run(at, func(t *testing.T) {
			h := &heldHandler{at: at, gate: make(chan struct{})}
			s := &Server{Handler: h}
			synctest.Test(t, func(t *testing.T) {
				h.gate = make(chan struct{})
				l := memnet.Listen()
				served := make(chan error, 1)
				go func() { served <- s.Serve(l) }()
				c := newTalk(t, l)
				c.say(tc.say)
				synctest.Wait()
				done := make(chan error, 1)
				go func() { done <- s.Shutdown(t.Context()) }()
				time.Sleep(24 * time.Hour)
				require.Empty(t, done, "Shutdown waits")
				close(h.gate)
				tc.after(c)
				c.hearEOF()
				require.NoError(t, <-done)
				require.ErrorIs(t, <-served, ErrServerClosed)
				require.Len(t, h.messages(), tc.got)
			})
		})
		t.Run(at+" by force", func(t *testing.T) {
			h := &heldHandler{at: at}
			s := &Server{Handler: h}
			bubble(t, s, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
				c := newTalk(t, l)
				c.say(tc.say)
				synctest.Wait()
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				start := time.Now()
				require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
				require.Equal(t, time.Minute, time.Since(start))
				_, _ = io.ReadAll(c)
				synctest.Wait()
				require.Equal(t, 1, h.ends, "its context ended")
				require.Equal(t, h.sessions, h.closed)
			})
		})
	}
}

// A handshake under way is broken off, before the greeting and after STARTTLS.
func TestShutdownInHandshake(t *testing.T) {
	serverTLS, _ := bubbleTLS(t)
	for _, implicit := range []bool{true, false} {
		for _, begun := range []bool{true, false} {
			s := &Server{TLSConfig: serverTLS, ImplicitTLS: implicit}
			bubble(t, s, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
				c := newTalk(t, l)
				if !implicit {
					c.hear("220 ")
					c.say("STARTTLS\r\n")
					c.hear("220 ")
				}
				if begun {
					half := &halfConn{talk: c}
					require.Error(t, tls.Client(half, &tls.Config{InsecureSkipVerify: true}).Handshake())
				}
				synctest.Wait()
				start := time.Now()
				require.NoError(t, s.Shutdown(t.Context()))
				require.Equal(t, start, time.Now())
				_, _ = io.ReadAll(c)
			})
		}
	}
}

// halfConn sends and does not listen.
type halfConn struct{ *talk }

func (c *halfConn) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }
func (c *halfConn) Close() error             { return nil }
