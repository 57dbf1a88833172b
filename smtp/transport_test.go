package smtp_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	gosasl "github.com/emersion/go-sasl"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

// network counts the connections that a Transport makes.
type network struct {
	smtp.Transport
	made atomic.Int32
	mu   sync.Mutex
	open map[string]int // by address; "" is all
	most map[string]int
}

type countedConn struct {
	net.Conn
	once sync.Once
	end  func()
}

func (c *countedConn) Close() error {
	c.once.Do(c.end)
	return c.Conn.Close()
}

// reach sets the network's way to connect.
func (n *network) reach(dial func(ctx context.Context, network, addr string) (net.Conn, error)) {
	n.open, n.most = map[string]int{}, map[string]int{}
	add := func(addr string, by int) {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, a := range []string{"", addr} {
			n.open[a] += by
			n.most[a] = max(n.most[a], n.open[a])
		}
	}
	n.Dial = func(ctx context.Context, network string, to *smtp.Target) (net.Conn, error) {
		n.made.Add(1)
		c, err := dial(ctx, network, to.Addr)
		if err != nil {
			return nil, err
		}
		add(to.Addr, 1)
		return &countedConn{Conn: c, end: func() { add(to.Addr, -1) }}, nil
	}
}

func (n *network) now() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open[""]
}

// send sends one message and returns how many had gone over its connection.
func (n *network) send(t testing.TB, to *smtp.Target) int {
	t.Helper()
	res, err := n.Send(t.Context(), to, envelope("b@example.org"), strings.NewReader("x\r\n"))
	require.NoError(t, err)
	return res.Conn.Messages
}

// pooled runs f with a Transport and a Recorder in fake time. Nothing may be
// left of them.
func pooled(t *testing.T, set func(n *network, rec *smtptest.Recorder), f func(t *testing.T, n *network, rec *smtptest.Recorder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		n, rec := &network{}, &smtptest.Recorder{}
		if set != nil {
			set(n, rec)
		}
		rec.Start()
		t.Cleanup(func() { n.Close(); _ = rec.Close() })
		n.reach(rec.Dial)
		f(t, n, rec)
		n.Close()
		synctest.Wait()
		require.Zero(t, n.now(), "connections left")
		require.NoError(t, rec.Close())
	})
}

var mx = &smtp.Target{Addr: "mx.example.org:25"}

// One connection for many messages, until it has been idle too long, was used
// often enough, or is too old.
func TestTransportReuse(t *testing.T) {
	pooled(t, nil, func(t *testing.T, n *network, rec *smtptest.Recorder) {
		for i := range 3 {
			require.Equal(t, i, n.send(t, mx))
			time.Sleep(29 * time.Second)
		}
		require.EqualValues(t, 1, n.made.Load())
		require.Len(t, rec.Messages(), 3)
		time.Sleep(time.Second)
		synctest.Wait()
		require.Zero(t, n.now(), "idle for 30 s")
		require.Equal(t, 0, n.send(t, mx))
		n.CloseIdle()
		synctest.Wait()
		require.Zero(t, n.now())
	})
	pooled(t, func(n *network, _ *smtptest.Recorder) { n.MaxMessages = 2 }, func(t *testing.T, n *network, _ *smtptest.Recorder) {
		require.Equal(t, []int{0, 1, 0, 1, 0}, []int{n.send(t, mx), n.send(t, mx), n.send(t, mx), n.send(t, mx), n.send(t, mx)})
	})
	pooled(t, func(n *network, _ *smtptest.Recorder) { n.IdleTimeout = -1 }, func(t *testing.T, n *network, _ *smtptest.Recorder) {
		n.send(t, mx)
		time.Sleep(5*time.Minute - time.Nanosecond)
		require.Equal(t, 1, n.send(t, mx))
		synctest.Wait()
		require.Equal(t, 1, n.now())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		require.Zero(t, n.now(), "5 minutes old")
	})
	pooled(t, func(n *network, _ *smtptest.Recorder) { n.MaxIdlePerHost = -1 }, func(t *testing.T, n *network, _ *smtptest.Recorder) {
		require.Equal(t, []int{0, 0}, []int{n.send(t, mx), n.send(t, mx)})
		synctest.Wait()
		require.Zero(t, n.now())
	})
}

// What a server says of its limits counts.
func TestTransportMailMax(t *testing.T) {
	offer := "S: 220 hi\nC: EHLO .*\nS: 250-hi\nS: 250 LIMITS RCPTMAX=10 MAILMAX=2\n"
	once := "C: MAIL .*\nS: 250 ok\nC: RCPT .*\nS: 250 ok\nC: DATA\nS: 354 go\nDATA\nS: 250 done\n"
	synctest.Test(t, func(t *testing.T) {
		p, err := smtptest.NewPeer(offer+once+once+"C: QUIT\nS: 221 bye", offer+once+"C: QUIT\nS: 221 bye")
		require.NoError(t, err)
		n := &network{}
		n.reach(p.Dial)
		require.Equal(t, []int{0, 1, 0}, []int{n.send(t, mx), n.send(t, mx), n.send(t, mx)})
		require.NoError(t, n.Shutdown(t.Context()))
		require.NoError(t, p.Close())
		require.NoError(t, p.Err())
	})
}

// Nobody waits for connections that do not fit, nor gets them.
func TestTransportKeys(t *testing.T) {
	login := func() (gosasl.Client, error) { return sasl.NewPlainClient("", "u", "p"), nil }
	verified := smtp.VerifiedTLS("mx.example.org")
	serverTLS, clientTLS := testTLSConfig(t)
	now := time.Now() // not that of the bubble
	clientTLS.Time = func() time.Time { return now }
	verified.Config = clientTLS
	unverified := smtp.TLSPolicy{Mode: smtp.TLSRequired, Config: clientTLS}
	targets := map[string]*smtp.Target{
		"plain": {TLS: smtp.TLSPolicy{Mode: smtp.TLSNone}}, "opportunistic": {}, "required": {TLS: unverified}, "verified": {TLS: verified},
		"server name": {ServerName: "mx.example.org"}, "local address": {LocalAddr: netip.MustParseAddr("192.0.2.1")},
		"login": {Auth: login, Login: "u"}, "other login": {Auth: login, Login: "v"},
	}
	pooled(t, func(n *network, rec *smtptest.Recorder) {
		rec.Server.TLSConfig, rec.Server.Auth, rec.Server.Governor = serverTLS, anyone{}, &auth.Governor{Off: true}
		n.Client.InsecureAuth, n.MaxIdlePerHost = true, 20
	}, func(t *testing.T, n *network, _ *smtptest.Recorder) {
		for name, to := range targets {
			to.Addr = "192.0.2.25:25"
			require.Equal(t, 0, n.send(t, to), name)
		}
		for name, to := range targets {
			again := *to
			require.Equal(t, 1, n.send(t, &again), name)
			res, err := n.Send(t.Context(), to, envelope("b@example.org"), nil)
			require.NoError(t, err)
			require.Equal(t, name == "plain", res.Conn.TLS == nil, name)
			require.Equal(t, name == "verified", res.Conn.Unverified == nil, name)
		}
		require.EqualValues(t, len(targets), n.made.Load())
		nobody := &smtp.Target{Addr: "192.0.2.25:25", Auth: login}
		require.Equal(t, []int{0, 0}, []int{n.send(t, nobody), n.send(t, nobody)}, "a login without a name is not shared")
	})
}

// anyone is an Authenticator of everybody.
type anyone struct{}

func (anyone) Password(_ context.Context, _ auth.Request, _, user, _ string) (*auth.Identity, error) {
	return &auth.Identity{Account: user, Login: user}, nil
}

// Limits hold with a thousand callers, all of which are served.
func TestTransportConcurrent(t *testing.T) {
	const callers = 1000
	pooled(t, func(n *network, rec *smtptest.Recorder) {
		n.MaxConns, n.MaxConnsPerHost, n.MaxIdle, n.MaxMessages = 7, 3, 2, 30
		rec.Server.MaxConnsPerAddr, rec.Server.ConnRate = -1, -1
	}, func(t *testing.T, n *network, rec *smtptest.Recorder) {
		var wg sync.WaitGroup
		for i := range callers {
			to := &smtp.Target{Addr: fmt.Sprintf("mx%d.example.org:25", i%5), ServerName: fmt.Sprint(i % 2)}
			wg.Go(func() { n.send(t, to) })
		}
		wg.Wait()
		require.Len(t, rec.Messages(), callers)
		synctest.Wait()
		require.Equal(t, 7, n.most[""])
		for addr, m := range n.most {
			if addr != "" {
				require.LessOrEqual(t, m, 3, addr)
			}
		}
		require.LessOrEqual(t, n.now(), 2)
		require.GreaterOrEqual(t, int(n.made.Load()), callers/30)
		require.Less(t, int(n.made.Load()), callers, "connections are shared") // how often is the scheduler's
	})
}

// Idle connections give way to who needs one.
func TestTransportIdleGivesWay(t *testing.T) {
	for name, set := range map[string]func(n *network, a, b *smtp.Target){
		"of the host": func(n *network, a, b *smtp.Target) { n.MaxConnsPerHost, b.ServerName = 1, "other" },
		"of all":      func(n *network, a, b *smtp.Target) { n.MaxConns, b.Addr = 1, "other:25" },
	} {
		t.Run(name, func(t *testing.T) {
			a, b := *mx, *mx
			pooled(t, func(n *network, _ *smtptest.Recorder) { set(n, &a, &b) }, func(t *testing.T, n *network, _ *smtptest.Recorder) {
				start := time.Now()
				require.Equal(t, []int{0, 1, 0, 1, 0}, []int{n.send(t, &a), n.send(t, &a), n.send(t, &b), n.send(t, &b), n.send(t, &a)})
				require.Zero(t, time.Since(start))
				require.Equal(t, 1, n.most[""])
			})
		})
	}
}

// Nor does one become idle that another host could have.
func TestTransportUsedGivesWay(t *testing.T) {
	pooled(t, func(n *network, rec *smtptest.Recorder) {
		n.MaxConns = 1
		rec.Data = func(*smtptest.Message) error { time.Sleep(time.Second); return nil }
	}, func(t *testing.T, n *network, _ *smtptest.Recorder) {
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 5 {
			wg.Go(func() { n.send(t, &smtp.Target{Addr: fmt.Sprintf("mx%d.example.org:25", i)}) })
		}
		wg.Wait()
		require.Equal(t, 5*time.Second, time.Since(start))
		require.Equal(t, 1, n.most[""])
	})
}

// Of many connections to one host a few are kept.
func TestTransportIdlePerHost(t *testing.T) {
	pooled(t, func(_ *network, rec *smtptest.Recorder) {
		rec.Data = func(*smtptest.Message) error { time.Sleep(time.Second); return nil }
	}, func(t *testing.T, n *network, _ *smtptest.Recorder) {
		var wg sync.WaitGroup
		for i := range 40 {
			wg.Go(func() { n.send(t, &smtp.Target{Addr: fmt.Sprintf("mx%d.example.org:25", i%2)}) })
		}
		wg.Wait()
		synctest.Wait()
		require.Equal(t, 40, n.most[""])
		require.Equal(t, map[string]int{"": 10, "mx0.example.org:25": 5, "mx1.example.org:25": 5}, n.open)
	})
}

// A connection that has ended while it was idle costs nothing but another.
func TestTransportDeadConnection(t *testing.T) {
	once := "C: MAIL .*\nS: 250 ok\nC: RCPT .*\nS: 250 ok\nC: DATA\nS: 354 go\nDATA\nS: 250 done\n"
	hi := "S: 220 hi\nC: EHLO .*\nS: 250 hi\n"
	good := hi + once + "C: QUIT\nS: 221 bye"
	for _, c := range []struct {
		name, first string
		body        io.Reader
		code        int // of the second message; 0: sent over another connection
		conns       int
	}{
		{"closed", hi + once + "CLOSE", nil, 0, 2},
		{"421 unasked", hi + once + "S: 421 4.4.2 idle", nil, 0, 2},
		{"421 to MAIL", hi + once + "C: MAIL .*\nS: 421 4.3.2 closing", nil, 0, 2},
		{"closed at MAIL", hi + once + "C: MAIL .*", nil, 0, 2},
		{"a body that is not read before is no matter", hi + once + "CLOSE", iotest.OneByteReader(strings.NewReader("x\r\n")), 0, 2},
		{"503 to MAIL", hi + once + "C: MAIL .*\nS: 503 too many\nC: .*", nil, 0, 2},
		{"4.5.3 to MAIL", hi + once + "C: MAIL .*\nS: 452 4.5.3 too many\nC: .*", nil, 0, 2},
		{"451 to MAIL is an answer", hi + once + "C: MAIL .*\nS: 451 4.3.0 later\nC: QUIT\nS: 221 bye", nil, 451, 1},
		{"closed at RCPT", hi + once + "C: MAIL .*\nS: 250 ok\nC: RCPT .*", nil, -1, 1},
		{"closed after the final dot", hi + once + "C: MAIL .*\nS: 250 ok\nC: RCPT .*\nS: 250 ok\nC: DATA\nS: 354 go\nDATA", nil, -1, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, err := smtptest.NewPeer(c.first, good)
				require.NoError(t, err)
				n := &network{}
				n.reach(p.Dial)
				n.send(t, mx)
				synctest.Wait()
				if c.body == nil {
					c.body = strings.NewReader("x\r\n")
				}
				res, err := n.Send(t.Context(), mx, envelope("b@example.org"), c.body)
				if c.code == 0 {
					require.NoError(t, err)
					require.Equal(t, 0, res.Conn.Messages)
				} else {
					require.Error(t, err)
					require.Equal(t, max(c.code, 0), code(err))
					require.Equal(t, 1, res.Conn.Messages)
				}
				require.Equal(t, c.conns, p.Conns())
				require.NoError(t, n.Shutdown(t.Context()))
				require.NoError(t, p.Close())
				require.Zero(t, n.now())
			})
		})
	}
	t.Run("RSET is refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, err := smtptest.NewPeer(hi+"C: MAIL .*\nS: 250 ok\nC: RCPT .*\nS: 550 no\nC: RSET\nS: 502 what?\nC: .*", good)
			require.NoError(t, err)
			n := &network{}
			n.reach(p.Dial)
			_, err = n.Send(t.Context(), mx, envelope("b@example.org"), nil)
			require.Equal(t, 550, code(err))
			require.Equal(t, 0, n.send(t, mx))
			require.Equal(t, 2, p.Conns())
			n.Close()
			require.NoError(t, p.Close())
		})
	})
	t.Run("only once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, err := smtptest.NewPeer(hi+once, hi+"C: MAIL .*")
			require.NoError(t, err)
			n := &network{}
			n.reach(p.Dial)
			n.send(t, mx)
			_, err = n.Send(t.Context(), mx, envelope("b@example.org"), nil)
			require.ErrorIs(t, err, io.ErrUnexpectedEOF)
			require.Equal(t, 2, p.Conns())
			n.Close()
			require.NoError(t, p.Close())
		})
	})
}

// A message that could go out with MAIL does not where the server may have gone
// meanwhile: then it could not be sent again.
func TestTransportDeadChunking(t *testing.T) {
	hi := "S: 220 hi\nC: EHLO .*\nS: 250-hi\nS: 250-PIPELINING\nS: 250 CHUNKING\n"
	chunk := "C: MAIL .*\nC: RCPT .*\nC: BDAT 3 LAST\nC: x\nS: 250 ok\nS: 250 ok\nS: 250 done\n"
	data := "C: MAIL .*\nC: RCPT .*\nC: DATA\nS: 250 ok\nS: 250 ok\nS: 354 go\nDATA\nS: 250 done\n"
	for _, c := range []struct {
		name   string
		first  string
		pauses []time.Duration
		conns  int
	}{
		{"gone after the first", hi + chunk, []time.Duration{0, 0}, 2},
		{"used twice", hi + chunk + data + chunk + chunk, []time.Duration{0, 0, 0, time.Second - 1}, 1},
		{"idle", hi + chunk + data + data, []time.Duration{0, 0, time.Second}, 1},
		{"gone while idle", hi + chunk + data, []time.Duration{0, 0, time.Second}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, err := smtptest.NewPeer(c.first, hi+chunk)
				require.NoError(t, err)
				n := &network{}
				n.reach(p.Dial)
				for _, d := range c.pauses {
					time.Sleep(d)
					synctest.Wait()
					_, err := n.Send(t.Context(), mx, envelope("b@example.org"), bytes.NewBufferString("x\r\n"))
					require.NoError(t, err)
				}
				require.Equal(t, c.conns, p.Conns())
				n.Close()
				require.NoError(t, p.Close())
				require.NoError(t, p.Err())
			})
		})
	}
}

// A transaction that a failure has left open is ended before the next.
func TestTransportResets(t *testing.T) {
	pooled(t, func(_ *network, rec *smtptest.Recorder) {
		rec.Rcpt = func(to smtp.Path) error {
			if to.Local == "nobody" {
				return smtp.Errorf(550, smtp.EnhancedCode{5, 1, 1}, "no")
			}
			return nil
		}
	}, func(t *testing.T, n *network, rec *smtptest.Recorder) {
		_, err := n.Send(t.Context(), mx, envelope("nobody@example.org"), nil)
		require.Equal(t, 550, code(err))
		require.Equal(t, 1, n.send(t, mx))
		require.Equal(t, 1, rec.Sessions())
	})
}

// ctx ends a wait for a connection, for its making, and for the server.
func TestTransportCancelled(t *testing.T) {
	stall := "S: 220 hi\nC: EHLO .*\nS: 250 hi\nC: MAIL .*\nSTALL"
	for name, dial := range map[string]func(ctx context.Context) error{
		"dialling": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, "sending": func(context.Context) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, err := smtptest.NewPeer(stall)
				require.NoError(t, err)
				n := &network{}
				n.MaxConns = 1
				n.reach(func(ctx context.Context, network, addr string) (net.Conn, error) {
					if err := dial(ctx); err != nil {
						return nil, err
					}
					return p.Dial(ctx, network, addr)
				})
				first, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				second, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				start := time.Now()
				var wg sync.WaitGroup
				wg.Go(func() {
					_, err := n.Send(first, mx, envelope("b@example.org"), nil)
					require.ErrorIs(t, err, context.DeadlineExceeded)
					require.Equal(t, 10*time.Second, time.Since(start))
				})
				synctest.Wait()
				res, err := n.Send(second, mx, envelope("b@example.org", "c@example.org"), nil)
				require.ErrorIs(t, err, context.DeadlineExceeded)
				require.Equal(t, []error{err, err}, res.Recipients)
				require.Equal(t, time.Second, time.Since(start))
				wg.Wait()
				synctest.Wait()
				require.Zero(t, n.now())
				require.NoError(t, n.Shutdown(t.Context()), "nothing is counted that is gone")
				require.NoError(t, p.Close())
			})
		})
	}
}

// Shutdown lets messages be sent, Close does not; neither leaves anything.
func TestTransportEnd(t *testing.T) {
	slow := func(_ *network, rec *smtptest.Recorder) {
		rec.Data = func(*smtptest.Message) error { time.Sleep(10 * time.Second); return nil }
	}
	type ending struct {
		name  string
		end   func(ctx context.Context, n *network) error
		after time.Duration
		err   error // of the message
	}
	for _, e := range []ending{
		{"Shutdown", func(ctx context.Context, n *network) error { return n.Shutdown(ctx) }, 10 * time.Second, nil},
		{"Shutdown in time", func(ctx context.Context, n *network) error {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			if err := n.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("not %v", err)
			}
			return nil
		}, time.Second, smtp.ErrTransportClosed},
		{"Close", func(_ context.Context, n *network) error { n.Close(); return nil }, 0, smtp.ErrTransportClosed},
	} {
		t.Run(e.name, func(t *testing.T) {
			pooled(t, func(n *network, rec *smtptest.Recorder) { slow(n, rec); n.MaxConnsPerHost = 2 }, func(t *testing.T, n *network, rec *smtptest.Recorder) {
				var wg sync.WaitGroup
				start := time.Now()
				for range 2 {
					wg.Go(func() {
						_, err := n.Send(t.Context(), mx, envelope("b@example.org"), nil)
						require.ErrorIs(t, err, e.err)
						require.Equal(t, e.after, time.Since(start))
					})
				}
				synctest.Wait()
				wg.Go(func() {
					_, err := n.Send(t.Context(), mx, envelope("b@example.org"), nil)
					require.ErrorIs(t, err, smtp.ErrTransportClosed, "who waits has no chance")
					require.Zero(t, time.Since(start))
				})
				synctest.Wait()
				require.NoError(t, e.end(t.Context(), n))
				wg.Wait()
				synctest.Wait()
				require.Zero(t, n.now())
				_, err := n.Send(t.Context(), mx, envelope("b@example.org"), nil)
				require.ErrorIs(t, err, smtp.ErrTransportClosed)
				require.NoError(t, n.Shutdown(t.Context()))
				time.Sleep(10 * time.Second) // until the server has noticed
			})
		})
	}
}

// After a failed handshake plain text is for another connection, and only for
// those who have not asked for more.
func TestTransportPlainAfterHandshake(t *testing.T) {
	offer := "S: 220 hi\nC: EHLO .*\nS: 250-hi\nS: 250-AUTH PLAIN\nS: 250 STARTTLS\nC: STARTTLS\n"
	good := "S: 220 hi\nC: EHLO .*\nS: 250-hi\nS: 250 STARTTLS\nC: MAIL .*\nS: 250 ok\nC: RCPT .*\nS: 250 ok\nC: DATA\nS: 354 go\nDATA\nS: 250 done"
	login := func() (gosasl.Client, error) { return sasl.NewPlainClient("", "u", "p"), nil }
	for _, c := range []struct {
		name, first string
		to          smtp.Target
		conns       int
		fails       string
	}{
		{"refused", offer + "S: 454 4.7.0 no\nC: .*", smtp.Target{}, 2, ""},
		{"broken", offer + "S: 220 go\nC: .*\nS: what?", smtp.Target{}, 2, ""},
		{"injected", offer + "S- \"220 go\\r\\n250 injected\\r\\n\"\nSTALL", smtp.Target{}, 1, "plain text after"},
		{"required", offer + "S: 454 4.7.0 no\nC: .*", smtp.Target{TLS: smtp.TLSPolicy{Mode: smtp.TLSRequired}}, 1, "454"},
		{"verified", offer + "S: 220 go\nC: .*\nS: what?", smtp.Target{TLS: smtp.VerifiedTLS()}, 1, "STARTTLS"},
		{"implicit", "S: 220 hi\nSTALL", smtp.Target{TLS: smtp.TLSPolicy{Implicit: true}}, 1, "STARTTLS"},
		{"login", offer + "S: 454 4.7.0 no\nC: .*", smtp.Target{Auth: login, Login: "u"}, 1, "454"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, err := smtptest.NewPeer(c.first, good)
				require.NoError(t, err)
				n := &network{}
				n.reach(p.Dial)
				c.to.Addr = mx.Addr
				res, err := n.Send(t.Context(), &c.to, envelope("b@example.org"), nil)
				if c.fails != "" {
					require.ErrorContains(t, err, c.fails)
					require.Equal(t, smtp.ConnInfo{}, res.Conn)
				} else {
					require.NoError(t, err)
					require.Nil(t, res.Conn.TLS)
					require.ErrorIs(t, res.Conn.Unverified, smtp.ErrUnverified)
					require.ErrorContains(t, res.Conn.TLSFailure, "STARTTLS")
				}
				require.Equal(t, c.conns, p.Conns())
				n.Close()
				synctest.Wait()
				require.Zero(t, n.now())
				require.NoError(t, p.Close())
			})
		})
	}
}

// A trace of each connection, without secrets; login by the client's certificate.
func TestClientTrace(t *testing.T) {
	serverTLS, clientTLS := testTLSConfig(t)
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	cert, err := ca.Issue("client.example.com")
	require.NoError(t, err)
	clientTLS.Certificates = []tls.Certificate{cert}
	serverTLS.ClientAuth, serverTLS.ClientCAs = tls.RequireAndVerifyClientCert, ca.Pool()
	p, err := smtptest.NewPeer(`
	S: 220 hi
	C: EHLO localhost
	S: 250-hi
	S: 250 STARTTLS
	C: STARTTLS
	S: 220 go
	TLS
	C: EHLO localhost
	S: 250-hi
	S: 250 AUTH EXTERNAL
	C: AUTH EXTERNAL c2VjcmV0
	S: 235 in
	C: MAIL .*
	S: 250 ok
	C: RCPT .*
	S: 550 5.1.1 no
	C: QUIT
	S: 221 bye`)
	require.NoError(t, err)
	p.TLSConfig = serverTLS
	var got []string
	add := func(format string, args ...any) { got = append(got, fmt.Sprintf(format, args...)) }
	transport := &smtp.Transport{Dial: func(ctx context.Context, network string, to *smtp.Target) (net.Conn, error) {
		return p.Dial(ctx, network, to.Addr)
	}}
	transport.Trace = func(to *smtp.Target) *smtp.ClientTrace {
		add("connect to %s", to.Addr)
		return &smtp.ClientTrace{
			TLS: func(s *tls.ConnectionState, unverified, err error) {
				add("TLS %x %v %v", s.Version, unverified, err)
			},
			Command: func(verb, args string) { add("C: %s %s", verb, args) },
			Reply:   func(verb string, r smtp.Reply) { add("S: %s %d", verb, r.Code) },
		}
	}
	to := &smtp.Target{Addr: mx.Addr, TLS: smtp.TLSPolicy{Mode: smtp.TLSVerified, Config: clientTLS}, Login: "client",
		Auth: func() (gosasl.Client, error) { return gosasl.NewExternalClient("secret"), nil }}
	_, err = transport.Send(t.Context(), to, envelope("b@example.org"), nil)
	require.Equal(t, 550, code(err))
	transport.CloseIdle()
	require.NoError(t, p.Close())
	require.NoError(t, p.Err())
	require.Equal(t, []string{
		"connect to mx.example.org:25", "S: greeting 220", "C: EHLO localhost", "S: EHLO 250", "C: STARTTLS ", "S: STARTTLS 220", "TLS 304 <nil> <nil>",
		"C: EHLO localhost", "S: EHLO 250", "C: AUTH EXTERNAL", "S: AUTH 235", "C: MAIL FROM:<a@example.com>", "S: MAIL 250",
		"C: RCPT TO:<b@example.org>", "S: RCPT 550", "C: QUIT ", "S: QUIT 221",
	}, got)
}

// The address to connect from.
func TestLocalAddr(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has all of 127.0.0.0/8 on its loopback interface")
	}
	rec := &smtptest.Recorder{}
	addr, err := rec.StartTCP()
	require.NoError(t, err)
	defer rec.Close()
	transport := &smtp.Transport{}
	defer transport.Close()
	for _, local := range []string{"127.0.0.1", "127.0.0.2"} {
		_, err := transport.Send(t.Context(), &smtp.Target{Addr: addr, LocalAddr: netip.MustParseAddr(local)}, envelope("b@example.org"), nil)
		require.NoError(t, err)
		list := rec.Messages()
		require.Equal(t, local, list[len(list)-1].Peer.Remote.Addr().String())
	}
}

// A server that does not answer QUIT holds up nobody who sends, and the end not
// for long.
func TestTransportQuitStalls(t *testing.T) {
	script := "S: 220 hi\nC: EHLO .*\nS: 250 hi\nC: MAIL .*\nS: 250 ok\nC: RCPT .*\nS: 250 ok\nC: DATA\nS: 354 go\nDATA\nS: 250 done\nC: QUIT\nSTALL"
	for name, c := range map[string]struct {
		end   func(n *network) error
		after time.Duration
	}{
		"CloseIdle": {func(n *network) error { n.CloseIdle(); return nil }, 5 * time.Second},
		"Shutdown":  {func(n *network) error { return n.Shutdown(context.Background()) }, 5 * time.Second},
		"Close":     {func(n *network) error { n.Close(); return nil }, 0},
		"Close while it says QUIT": {func(n *network) error {
			go n.CloseIdle()
			synctest.Wait()
			n.Close()
			return nil
		}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, err := smtptest.NewPeer(script)
				require.NoError(t, err)
				n := &network{}
				n.MaxMessages = 1
				n.reach(p.Dial)
				start := time.Now()
				n.send(t, mx)
				n.send(t, mx)
				require.Zero(t, time.Since(start))
				time.Sleep(6 * time.Second)
				synctest.Wait()
				require.Zero(t, n.now())
				n = &network{}
				n.reach(p.Dial)
				n.send(t, mx)
				start = time.Now()
				require.NoError(t, c.end(n))
				require.Equal(t, c.after, time.Since(start))
				synctest.Wait()
				require.Zero(t, n.now())
				require.NoError(t, p.Close())
			})
		})
	}
}
