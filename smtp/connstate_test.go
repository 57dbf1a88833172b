package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/memnet"
)

// lives collects the states of every connection.
type lives struct {
	mu   sync.Mutex
	seen map[string][]ConnState
	err  map[string]error
	last string // the connection that ended last
}

func (l *lives) hook(p auth.Peer, s ConnState, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen, l.err = map[string][]ConnState{}, map[string]error{}
	}
	l.seen[p.ID] = append(l.seen[p.ID], s)
	switch s {
	case StateClosed:
		l.last = p.ID
		fallthrough
	case StateRefused:
		l.err[p.ID] = err
	default:
		if err != nil {
			panic(fmt.Sprintf("%v with %v", s, err))
		}
	}
}

// end is the life of the connection that ended last.
func (l *lives) end() (string, error) {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Trim(fmt.Sprint(l.seen[l.last]), "[]"), l.err[l.last]
}

func TestConnState(t *testing.T) {
	serverTLS, _ := bubbleTLS(t)
	mail := "EHLO x\r\nMAIL FROM:<a@example.com>\r\n"
	for name, tc := range map[string]struct {
		server *Server
		from   []byte
		say    string
		wait   time.Duration
		states string
		err    error
	}{
		"says nothing and leaves": {states: "new greeted closed", err: io.EOF},
		"leaves before EHLO":      {say: "NOOP\r\n", states: "new greeted closed", err: io.EOF},
		"quits":                   {say: "EHLO x\r\nNOOP\r\nQUIT\r\n", states: "new greeted idle closed"},
		"one message":             {say: mail + "RCPT TO:<b@example.org>\r\nBDAT 2 LAST\r\n\r\nQUIT\r\n", states: "new greeted idle active idle closed"},
		"two transactions":        {say: mail + "RSET\r\nMAIL FROM:<>\r\nEHLO y\r\nQUIT\r\n", states: "new greeted idle active idle active idle closed"},
		"leaves within one":       {say: mail, states: "new greeted idle active closed", err: io.EOF},
		"too slow":                {wait: time.Hour, states: "new greeted closed", err: os.ErrDeadlineExceeded},
		"bad commands":            {say: strings.Repeat("X\r\n", 11), wait: 1, states: "new greeted closed", err: ErrAbuse},
		"a web client":            {say: "GET / HTTP/1.0\r\n", wait: 1, states: "new greeted closed", err: ErrViolation},
		"talks early":             {server: &Server{GreetingDelay: time.Minute}, say: "EHLO x\r\n", wait: 1, states: "new refused closed", err: ErrViolation},
		"refused by the handler": {server: &Server{Handler: HandlerFunc(func(context.Context, *Conn) (Session, error) {
			return nil, Errorf(421, EnhancedCode{4, 7, 0}, "Later")
		})}, states: "new refused closed", err: ErrHandlerRefused},
		"refused, and quits": {server: &Server{Handler: HandlerFunc(func(context.Context, *Conn) (Session, error) {
			return nil, Errorf(554, EnhancedCode{5, 7, 1}, "Never")
		})}, say: "QUIT\r\n", states: "new refused closed"},
		"the handler panics": {say: mail + "RCPT TO:<panic@example.org>\r\n", wait: 1, states: "new greeted idle active closed", err: ErrPanic},
		"421 by the handler": {say: mail + "RCPT TO:<bye@example.org>\r\n", wait: 1, states: "new greeted idle active closed", err: ErrHandlerRefused},
		"TLS fails":          {server: &Server{TLSConfig: serverTLS, ImplicitTLS: true}, say: "EHLO x\r\n", wait: 1, states: "new closed", err: ErrHandshake},
		"TLS never begins":   {server: &Server{TLSConfig: serverTLS, ImplicitTLS: true}, wait: time.Hour, states: "new closed", err: ErrHandshake},
		"STARTTLS fails":     {server: &Server{TLSConfig: serverTLS}, say: "EHLO x\r\nSTARTTLS\r\n", states: "new greeted idle closed", err: ErrHandshake},
		"no PROXY header":    {server: &Server{Proxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, from: []byte{10, 0, 0, 1}, say: "EHLO x\r\n", wait: 1, states: "new refused closed", err: ErrProxyHeader},
		"one too many":       {server: &Server{ConnRate: 1}, states: "new refused closed", err: ErrConnLimit},
	} {
		t.Run(name, func(t *testing.T) {
			var l lives
			s := tc.server
			if s == nil {
				s = &Server{}
			}
			s.ConnState = l.hook
			bubble(t, s, func(t *testing.T, ln *memnet.Listener, _ *testHandler) {
				from := net.IP{192, 0, 2, 1}
				if tc.from != nil {
					from = tc.from
				}
				if s.ConnRate > 0 {
					first, err := ln.DialFrom(t.Context(), from)
					require.NoError(t, err)
					defer first.Close()
					synctest.Wait()
				}
				c, err := ln.DialFrom(t.Context(), from)
				require.NoError(t, err)
				_, err = io.WriteString(c, tc.say)
				require.NoError(t, err)
				if tc.wait > 0 {
					time.Sleep(tc.wait)
				}
				synctest.Wait()
				require.NoError(t, c.Close())
				states, err := l.end()
				require.Equal(t, tc.states, states)
				if tc.err == nil {
					require.NoError(t, err)
				}
				require.ErrorIs(t, err, tc.err)
			})
		})
	}
}

// bubbleTLS is testTLS for bubbles, whose clock stands elsewhere.
func bubbleTLS(t testing.TB) (server, client *tls.Config) {
	server, client = testTLS(t)
	now := time.Now()
	client.Time = func() time.Time { return now }
	return server, client
}

func TestConnStateString(t *testing.T) {
	require.Equal(t, "state 77", ConnState(77).String())
	require.Equal(t, "idle", StateIdle.String())
}

// STARTTLS brings a connection back to where EHLO is missing.
func TestConnStateStartTLS(t *testing.T) {
	serverTLS, clientTLS := bubbleTLS(t)
	var l lives
	bubble(t, &Server{TLSConfig: serverTLS, ConnState: l.hook}, func(t *testing.T, ln *memnet.Listener, _ *testHandler) {
		c := newTalk(t, ln)
		c.hear("220 ")
		c.say("EHLO x\r\nSTARTTLS\r\n")
		c.hear("250 ", "220 ")
		secure := tls.Client(c.Conn, clientTLS)
		require.NoError(t, secure.Handshake())
		tc := newTalkConn(t, secure)
		tc.say("EHLO x\r\nQUIT\r\n")
		tc.hear("250 ", "221 ")
		_ = secure.Close()
		states, err := l.end()
		require.NoError(t, err)
		require.Equal(t, "new greeted idle greeted idle closed", states)
	})
}

// What is left when the hook has told of StateClosed: nothing.
func TestConnStateOutlivesNothing(t *testing.T) {
	h := &testHandler{}
	closed := make(chan int, 1)
	s := &Server{Handler: h, ConnState: func(_ auth.Peer, s ConnState, _ error) {
		if s == StateClosed {
			h.mu.Lock()
			defer h.mu.Unlock()
			closed <- h.closed
		}
	}}
	l := testServer(t, s)
	c := newTalk(t, l)
	c.hear("220 ")
	require.NoError(t, c.Close())
	require.Equal(t, 1, <-closed, "the Session was closed before")
}

// A connection closed by force says so.
func TestConnStateByForce(t *testing.T) {
	var l lives
	s := &Server{ConnState: l.hook}
	bubble(t, s, func(t *testing.T, ln *memnet.Listener, _ *testHandler) {
		c := newTalk(t, ln)
		c.begin(true)
		require.NoError(t, s.Close())
		states, err := l.end()
		require.Equal(t, "new greeted idle active closed", states)
		require.True(t, errors.Is(err, net.ErrClosed), err)
	})
}
