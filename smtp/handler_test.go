package smtp

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
)

// What a Handler may answer to a connection, and what becomes of the rest
// (RFC 5321 §3.1, §4.3.2).
func TestGreetingRefusals(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want string
		open bool // QUIT is waited for
	}{
		{Errorf(554, EnhancedCode{5, 7, 1}, "Not you"), "554 5.7.1 Not you", true},
		{Errorf(521, EnhancedCode{5, 3, 2}, "No mail"), "521 5.3.2 No mail", true},
		{Errorf(421, EnhancedCode{4, 3, 2}, "Later"), "421 4.3.2 Later", false},
		{Errorf(550, EnhancedCode{5, 7, 1}, "Not you"), "554 5.7.1 Not you", true},
		{Errorf(451, EnhancedCode{4, 7, 1}, "Later"), "421 4.7.1 Later", false},
		{errors.New("secret"), "421 4.3.0 Local error", false},
		{nil, "421 4.3.0 Local error", false}, // and no Session either
	} {
		l := testServer(t, &Server{Handler: HandlerFunc(func(context.Context, *Conn) (Session, error) { return nil, tc.err })})
		c := newTalk(t, l)
		c.hear(tc.want)
		if tc.open {
			c.say("EHLO x\r\n")
			c.hear("503 5.5.1")
			c.say("QUIT\r\n")
			c.hear("221 ")
		}
		c.hearEOF()
	}
}

// strictSession checks that the Server keeps its promises about the order of
// calls.
type strictSession struct {
	testSession
	busy   atomic.Bool
	closed atomic.Bool
	inMail bool
	log    *[]string
}

func (s *strictSession) enter(t string) func() {
	if !s.busy.CompareAndSwap(false, true) || s.closed.Load() {
		panic("overlapping call: " + t)
	}
	*s.log = append(*s.log, t)
	return func() { s.busy.Store(false) }
}

func (s *strictSession) Mail(ctx context.Context, from Path, opts MailOptions) (Reply, error) {
	defer s.enter("mail")()
	s.inMail = true
	return s.testSession.Mail(ctx, from, opts)
}

func (s *strictSession) Rcpt(ctx context.Context, to Path, opts RcptOptions) (Reply, error) {
	defer s.enter("rcpt")()
	return s.testSession.Rcpt(ctx, to, opts)
}

func (s *strictSession) Data(ctx context.Context, r io.Reader) (Result, error) {
	defer s.enter("data")()
	res, err := s.testSession.Data(ctx, r)
	go func() { // reading on after Data has returned must be harmless
		_, err := r.Read(make([]byte, 10))
		if err == nil {
			panic("read after Data")
		}
	}()
	return res, err
}

func (s *strictSession) Reset() { defer s.enter("reset")() }
func (s *strictSession) Close() { defer s.enter("close")(); s.closed.Store(true) }

func TestOrderOfCalls(t *testing.T) {
	var log []string
	done := make(chan struct{})
	h := &testHandler{}
	s := &Server{Handler: HandlerFunc(func(_ context.Context, c *Conn) (Session, error) {
		return &strictSession{testSession: testSession{h: h, c: c}, log: &log}, nil
	}), Trace: &Trace{Close: func(auth.Peer, error) { close(done) }}}
	l := testServer(t, s)
	c := newTalk(t, l)
	c.begin(true)
	c.say("x\r\n.\r\n")
	c.hear("250 ")
	c.say("MAIL FROM:<>\r\nEHLO y\r\nMAIL FROM:<>\r\nRSET\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
	c.hear("250 ", "250 ", "250 ", "250 ", "250 ", "250 ", "354 ")
	c.say("half a mess")
	_ = c.Close()
	<-done
	require.Equal(t, "mail rcpt data reset mail reset mail reset mail rcpt data reset reset close", strings.Join(log, " "))
	require.Len(t, h.messages(), 1)
}

// A client that goes away within a message has not sent one.
func TestCutMessageIsNotAccepted(t *testing.T) {
	got := make(chan error, 1)
	l := testServer(t, &Server{Handler: Receive(ForDomains("example.org"), func(_ context.Context, _ *Envelope, r io.Reader) error {
		_, err := io.ReadAll(r)
		got <- err
		return err
	})})
	c := newTalk(t, l)
	c.begin(true)
	c.say("Subject: x\r\n\r\nbody\r\n.")
	_ = c.Close()
	require.ErrorIs(t, <-got, io.ErrUnexpectedEOF)
}

func TestBodyErrorsAreReplies(t *testing.T) {
	got := make(chan error, 1)
	l := testServer(t, &Server{MaxMessageBytes: 100, Handler: Receive(ForDomains("example.org"), func(_ context.Context, _ *Envelope, r io.Reader) error {
		_, err := io.ReadAll(r)
		got <- err
		return err
	})})
	c := newTalk(t, l)
	c.begin(true)
	c.say(strings.Repeat("x\r\n", 100) + ".\r\n")
	c.hear("552 5.3.4")
	require.Equal(t, 552, AsError(<-got).Code)
	c.say("QUIT\r\n")
	c.hear("221 ")
}

func TestReceive(t *testing.T) {
	var mu sync.Mutex
	var got []*Envelope
	l := testServer(t, &Server{Handler: Receive(ForDomains("Example.ORG"), func(_ context.Context, env *Envelope, r io.Reader) error {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, env)
		_, err := io.Copy(io.Discard, r)
		return err
	})})
	c := newTalk(t, l)
	c.begin(false)
	c.say("RCPT TO:<Postmaster>\r\nRCPT TO:<x@example.net>\r\nRCPT TO:<c@EXAMPLE.org>\r\nDATA\r\n")
	c.hear("250 ", "550 5.7.1", "250 ", "354 ")
	c.say(".\r\n")
	c.hear("250 ")
	require.Equal(t, To(Path{"b", "example.org"}, Path{"Postmaster", ""}, Path{"c", "example.org"}), got[0].To)
	require.Equal(t, "x", got[0].Peer.HELO)

	l = testServer(t, &Server{Handler: Receive(nil, func(context.Context, *Envelope, io.Reader) error { return nil })})
	c = newTalk(t, l)
	c.hear("220 ")
	c.say("EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@example.org>\r\nRCPT TO:<Postmaster>\r\nDATA\r\n")
	c.hear("250 ", "250 ", "550 5.7.1", "550 5.7.1", "554 5.5.1")
}

// Trace sees connections, commands, replies and logins, and no credentials.
func TestTrace(t *testing.T) {
	var mu sync.Mutex
	var log []string
	add := func(s ...string) {
		mu.Lock()
		defer mu.Unlock()
		log = append(log, strings.Join(s, " "))
	}
	ended := make(chan error, 2)
	var logs bytes.Buffer
	s := &Server{
		Hostname: "mx.example.org", Handler: &testHandler{}, Auth: testAuth{}, InsecureAuth: true,
		Logger: slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		Trace: &Trace{
			Connect: func(p auth.Peer) { add("connect", p.Addr().String()) },
			Command: func(_ auth.Peer, verb, args string) { add("C", verb, args) },
			Reply:   func(_ auth.Peer, verb string, r Reply) { add("S", verb, r.String()) },
			Auth: func(_ auth.Peer, mech string, id *auth.Identity, err error) {
				if err != nil {
					add("auth", mech, "failed")
				} else {
					add("auth", mech, id.Account)
				}
			},
			Close: func(_ auth.Peer, err error) { ended <- err },
		},
	}
	l := testServer(t, s)
	c := newTalk(t, l)
	c.hear("220 ")
	c.say("ehlo x\r\n")
	c.hear("250 ")
	c.say("AUTH PLAIN AHRpbQB3cm9uZw==\r\n")
	c.hear("535 ")
	c.say("AUTH LOGIN\r\ndGlt\r\ndGFuc3RhYWZ0YW5zdGFhZg==\r\n")
	c.hear("334 ", "334 ", "235 ")
	c.say("MAIL FROM:<a@example.com>\r\nRCPT TO:<boom@example.org>\r\nQUIT\r\n")
	c.hear("250 ", "451 ", "221 ")
	require.NoError(t, <-ended)
	mu.Lock()
	all := strings.Join(log, "\n")
	mu.Unlock()
	require.Equal(t, `connect 127.0.0.1
S  220 mx.example.org ESMTP ready
C EHLO x
S EHLO 250 mx.example.org
PIPELINING
SIZE 52428800
8BITMIME
SMTPUTF8
CHUNKING
ENHANCEDSTATUSCODES
LIMITS RCPTMAX=1000
AUTH PLAIN LOGIN
C AUTH PLAIN
auth PLAIN failed
S AUTH 535 5.7.8 Authentication credentials invalid
C AUTH LOGIN
auth LOGIN tim
S AUTH 235 2.7.0 Authentication succeeded
C MAIL FROM:<a@example.com>
S MAIL 250 2.1.0 Sender OK
C RCPT TO:<boom@example.org>
S RCPT 451 4.3.0 Local error, try again later
C QUIT 
S QUIT 221 2.0.0 mx.example.org closing connection`, all)
	require.Contains(t, logs.String(), "permission denied", "the operator is told")
	for _, secret := range []string{"AHRpbQB3cm9uZw", "dGFuc3RhYWZ0YW5zdGFhZg", "tanstaaf"} {
		require.NotContains(t, all+logs.String(), secret)
	}

	// A connection that dies before EHLO is seen too.
	c = newTalk(t, l)
	c.hear("220 ")
	_ = c.Close()
	require.ErrorIs(t, <-ended, io.EOF)
}

// countingListener counts the writes of its connections, and hides what they
// are.
type countingListener struct {
	net.Listener
	writes atomic.Int64
}

type countingConn struct {
	net.Conn
	l *countingListener
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &countingConn{c, l}, nil
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.l.writes.Add(1)
	return c.Conn.Write(p)
}

// A group of commands is answered in one write.
func TestRepliesAreCoalesced(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &countingListener{Listener: tcp}
	s := &Server{Handler: &testHandler{}}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	nc, err := net.Dial("tcp", tcp.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	c := newTalkConn(t, nc)
	c.hear("220 ")
	c.say("EHLO x\r\n")
	c.hear("250 ")
	require.EqualValues(t, 2, l.writes.Load(), "six lines of EHLO are one write")
	c.say("MAIL FROM:<a@example.com>\r\n" + strings.Repeat("RCPT TO:<b@example.org>\r\n", 100) + "DATA\r\n")
	for range 101 {
		c.hear("250 ")
	}
	c.hear("354 ")
	// 2.6 KB of commands in one segment, 2.3 KB of replies.
	require.LessOrEqual(t, l.writes.Load(), int64(4))
}

func TestServeRefusesWrongSettings(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.ErrorContains(t, (&Server{ImplicitTLS: true}).Serve(l), "TLSConfig")
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	require.ErrorContains(t, (&Server{LMTP: true}).Serve(addrListener{l, 25}), "port 25")
	require.ErrorContains(t, (&Server{Hostname: "mx\r\n250 x"}).Serve(l), "Hostname")
	require.Error(t, (&Server{Addr: "256.0.0.1:0"}).ListenAndServe())
}

type addrListener struct {
	net.Listener
	port int
}

func (l addrListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4zero, Port: l.port} }

func TestListenAndServe(t *testing.T) {
	s := &Server{Addr: "127.0.0.1:0"}
	done := make(chan error, 1)
	// Whichever comes first, serving ends with ErrServerClosed.
	go func() { done <- s.ListenAndServe() }()
	require.NoError(t, s.Shutdown(t.Context()))
	require.ErrorIs(t, <-done, ErrServerClosed)
}

// A Conn that no server made is of use in a Handler's own tests.
func TestZeroConn(t *testing.T) {
	var c Conn
	require.Equal(t, auth.Peer{}, c.Peer())
	require.Nil(t, c.Identity())
	require.Equal(t, "SMTP", c.Protocol())
	require.False(t, c.LMTP())
	require.Empty(t, c.Hostname())
}
