package smtp

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/memnet"
)

func TestEndlessNoops(t *testing.T) {
	l := testServer(t, &Server{Handler: &testHandler{}})
	c := newTalk(t, l)
	c.hear("220 ")
	for i := range 100 {
		c.say([]string{"NOOP\r\n", "RSET\r\n", "VRFY x\r\n", "HELP\r\n", "EHLO x\r\n"}[i%5])
		c.hear("2")
	}
	c.say("NOOP\r\n")
	c.hear("421 4.7.0")
	c.hearEOF()
}

// A message accepted shows that the client means it.
func TestNoopsAreForgivenByMessages(t *testing.T) {
	l := testServer(t, &Server{Handler: &testHandler{}, MaxNoops: 5})
	c := newTalk(t, l)
	c.hear("220 ")
	c.say("EHLO x\r\n")
	c.hear("250 ")
	for range 20 {
		c.say("RSET\r\nNOOP\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n")
		c.hear("250 ", "250 ", "250 ", "250 ", "354 ")
		c.say(".\r\n")
		c.hear("250 ")
	}
	for range 6 {
		c.say("MAIL FROM:<refused@example.com>\r\n")
	}
	c.hear("550 ", "550 ", "550 ", "550 ", "550 ", "421 4.7.0")
}

func TestDirectoryHarvest(t *testing.T) {
	l := testServer(t, &Server{Handler: &testHandler{}})
	c := newTalk(t, l)
	c.begin(false)
	for range 20 {
		c.say("RCPT TO:<nobody@example.org>\r\nRCPT TO:<later@example.org>\r\nRCPT TO:<relay@example.org>\r\n")
		c.hear("550 5.1.1", "450 4.2.0", "550 5.7.1")
	}
	c.say("RCPT TO:<nobody@example.org>\r\n")
	c.hear("421 4.7.0")
}

func TestConnectionLimits(t *testing.T) {
	l := testServer(t, &Server{Hostname: "mx.example.org", Handler: &testHandler{}, MaxConns: 3, MaxConnsPerAddr: 2, ConnRate: 4})
	from := func(last byte) *talk {
		nc, err := l.DialFrom(t.Context(), net.IPv4(192, 0, 2, last))
		require.NoError(t, err)
		t.Cleanup(func() { _ = nc.Close() })
		c := newTalkConn(t, nc)
		return c
	}
	a, b := from(1), from(1)
	a.hear("220 ")
	b.hear("220 ")
	c := from(1)
	c.hear("421 4.7.0 mx.example.org")
	c.hearEOF()
	d := from(2)
	d.hear("220 ")
	e := from(3)
	e.hear("421 4.3.2 mx.example.org")
	e.hearEOF()
	for range 2 {
		a.say("QUIT\r\n")
		a.hear("221 ")
		a.hearEOF()
		require.Eventually(t, func() bool { // until the server has counted it out
			a = from(1)
			line, err := a.r.ReadString('\n')
			return err == nil && strings.HasPrefix(line, "220 ")
		}, 5*time.Second, time.Millisecond)
	}
	a.say("QUIT\r\n")
	a.hear("221 ")
	a.hearEOF()
	from(1).hear("421 4.7.0") // four within the minute
}

func newTalkConn(t testing.TB, nc net.Conn) *talk {
	c := &talk{Conn: nc, t: t}
	c.r = newBufReader(nc)
	return c
}

func TestEarlyTalker(t *testing.T) {
	bubble(t, &Server{GreetingDelay: 5 * time.Second}, func(t *testing.T, l *memnet.Listener, h *testHandler) {
		c := newTalk(t, l)
		time.Sleep(time.Second)
		c.say("EHLO x\r\nMAIL FROM:<a@example.com>\r\n")
		c.hear("554 5.5.1")
		c.hearEOF()
		start := time.Now()
		c = newTalk(t, l)
		c.hear("220 ")
		require.Equal(t, 5*time.Second, time.Since(start))
		c.say("NOOP\r\n")
		c.hear("250 ")
		require.Equal(t, 1, h.sessions)
	})
}

// What comes before the greeting under TLS, or behind a proxy's header, is early
// too; the header is not.
func TestEarlyTalkerWithin(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	clientTLS.Time = func(now time.Time) func() time.Time { return func() time.Time { return now } }(time.Now()) // not the bubble's
	for name, tc := range map[string]struct {
		server *Server
		wrap   func(nc net.Conn) net.Conn
	}{
		"TLS": {&Server{TLSConfig: serverTLS, ImplicitTLS: true}, func(nc net.Conn) net.Conn { return tls.Client(nc, clientTLS) }},
		"PROXY": {&Server{Proxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}, func(nc net.Conn) net.Conn {
			_, _ = io.WriteString(nc, "PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n")
			return nc
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := tc.server
			s.GreetingDelay = 5 * time.Second
			bubble(t, s, func(t *testing.T, l *memnet.Listener, _ *testHandler) {
				dial := func() *talk {
					nc, err := l.Dial(t.Context())
					require.NoError(t, err)
					nc = tc.wrap(nc)
					t.Cleanup(func() { _ = nc.Close() })
					return &talk{Conn: nc, t: t, r: newBufReader(nc)}
				}
				c := dial()
				c.say("EHLO x\r\n")
				c.hear("554 5.5.1")
				dial().hear("220 ")
			})
		})
	}
}

// Over TCP no delay is needed if the words are there first.
func TestEarlyTalkerTCP(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	nc, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	_, err = io.WriteString(nc, "EHLO x\r\n")
	require.NoError(t, err)
	s := &Server{Handler: &testHandler{}}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	line, err := newBufReader(nc).ReadString('\n')
	require.NoError(t, err)
	if hasPeek {
		require.True(t, strings.HasPrefix(line, "554 5.5.1"), line)
	}
}

// panics in one connection's handler end that connection only.
func TestHandlerPanics(t *testing.T) {
	h := &testHandler{}
	l := testServer(t, &Server{Handler: h})
	other := newTalk(t, l)
	other.hear("220 ")
	c := newTalk(t, l)
	c.begin(false)
	c.say("RCPT TO:<panic@example.org>\r\n")
	c.hearEOF()
	other.say("NOOP\r\n")
	other.hear("250 ")
	require.Equal(t, 1, h.closed, "the session that panicked has been closed")
}

// gateHandler holds each session's Data until it is let go.
type gateHandler struct {
	gate chan struct{}
}

func (h *gateHandler) NewSession(context.Context, *Conn) (Session, error) {
	return gateSession{gate: h.gate}, nil
}

type gateSession struct {
	nullSession
	gate chan struct{}
}

func (s gateSession) Data(_ context.Context, r io.Reader) (Result, error) {
	b := make([]byte, 1)
	_, _ = io.ReadFull(r, b)
	<-s.gate
	_, err := io.Copy(io.Discard, r)
	return Result{}, err
}

// Many connections, each keeping as much as it can: recipients, an AUTH line
// that does not end, a message on its way. What is lent stays within the
// budget, nobody is refused by more than a temporary reply, and all comes back.
func TestMemoryBudget(t *testing.T) {
	const conns, budget = 200, 1 << 20 // a tenth of 2,000 connections and a fraction of 64 MiB
	h := &gateHandler{}
	s := &Server{Handler: h, Auth: testAuth{}, InsecureAuth: true, Governor: &auth.Governor{Off: true},
		MemoryBudget: budget, MaxConnsPerAddr: -1}
	synctest.Test(t, func(t *testing.T) {
		h.gate = make(chan struct{}) // of this bubble
		l := memnet.Listen()
		go func() { _ = s.Serve(l) }()
		var mu sync.Mutex
		codes := map[string]int{}
		count := func(line string) {
			mu.Lock()
			defer mu.Unlock()
			codes[line[:min(9, len(line))]]++
		}
		var wg sync.WaitGroup
		for i := range conns {
			wg.Add(1)
			go func() {
				defer wg.Done()
				nc, err := l.Dial(context.Background())
				if err != nil {
					return
				}
				defer nc.Close()
				c := newTalkConn(t, nc)
				c.hear("220 ")
				c.say("EHLO x\r\n")
				c.hear("250 ")
				if i%3 == 0 {
					c.say("AUTH PLAIN " + strings.Repeat("A", 12000))
				} else {
					c.say("MAIL FROM:<>\r\n")
					line, _ := c.r.ReadString('\n')
					count(line)
					for n := 0; n < 300 && strings.HasPrefix(line, "2"); n++ {
						c.say(fmt.Sprintf("RCPT TO:<%s%d@example.org>\r\n", strings.Repeat("x", 200), n))
						line, _ = c.r.ReadString('\n')
						count(line)
					}
					c.say("DATA\r\n")
					line, _ = c.r.ReadString('\n')
					if strings.HasPrefix(line, "354 ") {
						c.say("x\r\n.\r\n")
					}
				}
				rest, _ := io.ReadAll(c.r)
				if len(rest) > 9 {
					count(string(rest))
				}
			}()
		}
		synctest.Wait()
		used := s.shared.budget.Used()
		require.LessOrEqual(t, used, int64(budget))
		require.Greater(t, used, int64(budget*9/10))
		close(h.gate)
		synctest.Wait()
		require.NoError(t, s.Close())
		wg.Wait()
		synctest.Wait()
		require.Zero(t, s.shared.budget.Used())
		require.NotZero(t, codes["452 4.3.1"], "%v", codes)
		require.NotZero(t, codes["250 2.1.5"], "%v", codes)
		for code := range codes {
			require.Contains(t, "24", code[:1], "%v", codes)
		}
	})
}
