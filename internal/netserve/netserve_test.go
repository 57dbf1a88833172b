package netserve

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/testcert"
)

// echo is a protocol of lines: "slow\n" takes a minute, "panic\n" panics,
// anything else comes back. It says "bye" when the server shuts down.
func echo(ctx context.Context, c *Conn) {
	r := bufio.NewReader(c)
	for {
		if c.Closing() {
			_, _ = io.WriteString(c, "bye\n")
			return
		}
		if c.Idle(10*time.Minute) != nil {
			return
		}
		line, err := r.ReadString('\n')
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && c.Closing():
			continue
		case err != nil:
			return
		}
		_ = c.Busy(time.Minute)
		switch line {
		case "slow\n":
			select {
			case <-time.After(time.Minute):
			case <-ctx.Done():
				return
			}
		case "panic\n":
			panic("boom")
		}
		_, _ = io.WriteString(c, line)
	}
}

// running is a server in a bubble.
type running struct {
	*Server
	l    *memnet.Listener
	done chan error
}

func serve(t *testing.T, cfg Config) *running {
	t.Helper()
	if cfg.Handle == nil {
		cfg.Handle = echo
	}
	cfg.Name = "echo"
	r := &running{&Server{}, memnet.Listen(), make(chan error, 1)}
	go func() { r.done <- r.Serve(r.l, cfg) }()
	return r
}

func (r *running) dial(t *testing.T, ip ...byte) net.Conn {
	t.Helper()
	addr := net.IPv4(127, 0, 0, 1)
	if ip != nil {
		addr = ip
	}
	c, err := r.l.DialFrom(t.Context(), addr)
	require.NoError(t, err)
	synctest.Wait()
	return c
}

func ask(t *testing.T, c net.Conn, q string) string {
	t.Helper()
	_, err := io.WriteString(c, q)
	require.NoError(t, err)
	return hear(t, c)
}

func hear(t *testing.T, c net.Conn) string {
	t.Helper()
	b := make([]byte, 100)
	n, err := c.Read(b)
	if err == io.EOF {
		return "EOF"
	}
	require.NoError(t, err)
	return string(b[:n])
}

func TestServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		peers := make(chan Peer[any], 2)
		s := serve(t, Config{Handle: func(ctx context.Context, c *Conn) {
			c.SetHELO("me")
			peers <- c.Peer()
			<-ctx.Done()
		}})
		start := time.Now()
		a, b := s.dial(t, 192, 0, 2, 1), s.dial(t, 192, 0, 2, 2)
		p, q := <-peers, <-peers
		require.NotEqual(t, p.ID, q.ID)
		require.Contains(t, p.ID, "echo-")
		require.Equal(t, "me", p.HELO)
		require.Equal(t, start, p.Since)
		require.True(t, p.Remote.Addr().Unmap().Is4())
		require.EqualValues(t, 1, p.Local.Port())
		require.Equal(t, 2, s.Conns())
		require.NoError(t, s.Close())
		require.ErrorIs(t, <-s.done, ErrClosed)
		require.Equal(t, "EOF", hear(t, a))
		require.Equal(t, "EOF", hear(t, b))
		synctest.Wait()
		require.Zero(t, s.Conns())
		require.ErrorIs(t, s.Serve(memnet.Listen(), Config{}), ErrClosed)
		require.NoError(t, s.Shutdown(t.Context()), "nothing is left to wait for")
	})
}

func TestShutdownWakesTheIdleAndWaitsForTheBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, Config{})
		idle, busy := s.dial(t), s.dial(t)
		require.Equal(t, "hello\n", ask(t, idle, "hello\n"))
		_, err := io.WriteString(busy, "slow\n")
		require.NoError(t, err)
		synctest.Wait()
		start := time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		require.Equal(t, "bye\n", hear(t, idle))
		require.Equal(t, start, time.Now())
		require.ErrorIs(t, <-s.done, ErrClosed)
		require.Equal(t, "slow\n", hear(t, busy))
		require.Equal(t, "bye\n", hear(t, busy))
		require.NoError(t, <-done)
		require.Equal(t, time.Minute, time.Since(start))
		require.NoError(t, s.Shutdown(context.Background()), "a second time")
	})
}

func TestShutdownByForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, Config{})
		c := s.dial(t)
		_, err := io.WriteString(c, "slow\n")
		require.NoError(t, err)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, s.Shutdown(ctx), context.DeadlineExceeded)
		require.Equal(t, "EOF", hear(t, c))
		synctest.Wait()
		require.Zero(t, s.Conns())
	})
}

// A connection whose write blocks is closed all the same.
func TestCloseWhileWriting(t *testing.T) {
	serverTLS, clientTLS := certs(t)
	for name, cfg := range map[string]*tls.Config{"plain": nil, "TLS": serverTLS} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan error, 1)
				s := serve(t, Config{TLS: cfg, Handle: func(_ context.Context, c *Conn) {
					for {
						if _, err := c.Write(make([]byte, 1<<16)); err != nil {
							ended <- err
							return
						}
					}
				}})
				c := s.dial(t)
				if cfg != nil {
					require.NoError(t, tls.Client(c, clientTLS).Handshake())
				}
				synctest.Wait()
				require.NoError(t, s.Close())
				require.Error(t, <-ended)
				require.NoError(t, s.Shutdown(t.Context()))
				<-s.done
			})
		})
	}
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type step struct {
			what string
			err  error
			took time.Duration
		}
		steps := make(chan step, 10)
		s := serve(t, Config{Handle: func(_ context.Context, c *Conn) {
			read := func(what string) {
				start := time.Now()
				_, err := c.Read(make([]byte, 1))
				steps <- step{what, err, time.Since(start)}
			}
			_ = c.Idle(time.Minute)
			read("idle")
			_ = c.Busy(time.Second)
			read("busy")
			_ = c.WriteTimeout(time.Hour)
			start := time.Now()
			_, err := c.Write(make([]byte, 1<<20))
			steps <- step{"write", err, time.Since(start)}
			_ = c.Idle(0)
			read("no limit, but shutdown") // ends with the shutdown
			_ = c.Idle(time.Minute)
			read("idle while closing")
			_ = c.Busy(time.Second)
			read("busy while closing")
		}})
		c := s.dial(t)
		defer c.Close()
		for _, want := range []step{{"idle", nil, time.Minute}, {"busy", nil, time.Second}, {"write", nil, time.Hour}} {
			got := <-steps
			require.ErrorIs(t, got.err, os.ErrDeadlineExceeded)
			got.err = nil
			require.Equal(t, want, got)
		}
		time.Sleep(24 * time.Hour)
		go func() { _ = s.Shutdown(context.Background()) }()
		for _, want := range []step{{"no limit, but shutdown", nil, 24 * time.Hour}, {"idle while closing", nil, 0}, {"busy while closing", nil, time.Second}} {
			got := <-steps
			require.ErrorIs(t, got.err, os.ErrDeadlineExceeded)
			got.err = nil
			require.Equal(t, want, got)
		}
		<-s.done
	})
}

// What is set after Close cannot bring a connection back.
func TestDeadlinesAfterClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		got := make(chan error, 4)
		s := serve(t, Config{Handle: func(ctx context.Context, c *Conn) {
			<-ctx.Done()
			got <- c.Idle(time.Minute)
			got <- c.Busy(time.Minute)
			got <- c.WriteTimeout(time.Minute)
			got <- c.StartTLS(ctx, &tls.Config{})
		}})
		s.dial(t)
		require.NoError(t, s.Close())
		for range 4 {
			require.Error(t, <-got)
		}
		<-s.done
	})
}

func TestPanicEndsOneConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, Config{})
		a, b := s.dial(t), s.dial(t)
		require.Equal(t, "EOF", ask(t, a, "panic\n"))
		require.Equal(t, "hi\n", ask(t, b, "hi\n"))
		synctest.Wait()
		require.Equal(t, 1, s.Conns())
		require.NoError(t, s.Close())
		<-s.done
	})
}

func TestLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, Config{MaxConns: 4, MaxConnsPerAddr: 2, ConnRate: 3, Refuse: func(c net.Conn, reason error) {
			_, _ = io.WriteString(c, reason.Error())
		}})
		a, _ := s.dial(t, 192, 0, 2, 1), s.dial(t, 192, 0, 2, 1)
		c := s.dial(t, 192, 0, 2, 1)
		require.Equal(t, ErrTooManyPeer.Error(), hear(t, c))
		require.Equal(t, "EOF", hear(t, c))
		s.dial(t, 192, 0, 2, 2)
		s.dial(t, 192, 0, 2, 3)
		require.Equal(t, ErrTooManyConns.Error(), hear(t, s.dial(t, 192, 0, 2, 4)))

		_ = a.Close()
		synctest.Wait()
		b := s.dial(t, 192, 0, 2, 1) // the third of this minute
		require.Equal(t, "hi\n", ask(t, b, "hi\n"))
		_ = b.Close()
		synctest.Wait()
		require.Equal(t, ErrRate.Error(), hear(t, s.dial(t, 192, 0, 2, 1)))
		time.Sleep(time.Minute)
		require.Equal(t, "hi\n", ask(t, s.dial(t, 192, 0, 2, 1), "hi\n"))
		require.NoError(t, s.Close())
		<-s.done
	})
}

// The addresses of one IPv6 /64 are one peer; memory sockets and limits that
// are off count nobody.
func TestPeerKey(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.1":          "192.0.2.1/32",
		"2001:db8:1:2:3::4":  "2001:db8:1:2::/64",
		"2001:db8:1:2:ff::4": "2001:db8:1:2::/64",
	} {
		require.Equal(t, want, HostOf(netip.MustParseAddr(in)).String())
	}
	require.False(t, HostOf(netip.Addr{}).IsValid())
	var table peerTable
	require.NoError(t, table.enter(netip.Prefix{}, time.Now(), &Config{MaxConnsPerAddr: 1}))
	require.Empty(t, table.peers)
}

// The table of peers does not grow for ever.
func TestPeerTableIsBounded(t *testing.T) {
	cfg := &Config{ConnRate: 10, MaxConnsPerAddr: 10}
	var table peerTable
	now := time.Now()
	addr := netip.MustParseAddr("10.0.0.0")
	for range 2 * maxPeers {
		addr = addr.Next()
		require.NoError(t, table.enter(HostOf(addr), now, cfg))
		table.leave(HostOf(addr))
		now = now.Add(time.Millisecond)
	}
	require.LessOrEqual(t, len(table.peers), maxPeers+1)
	now = now.Add(2 * time.Minute)
	require.NoError(t, table.enter(HostOf(addr), now, cfg))
	require.Len(t, table.peers, 1, "those whose minute is over have been swept")

	table = peerTable{}
	require.NoError(t, table.enter(HostOf(addr), now, &Config{MaxConnsPerAddr: 10}))
	table.leave(HostOf(addr))
	require.Empty(t, table.peers, "without a rate there is nothing to remember")
}

// flaky is a listener that fails now and then.
type flaky struct {
	net.Listener
	errs []error
}

type passing struct{}

func (passing) Error() string   { return "too many open files" }
func (passing) Timeout() bool   { return false }
func (passing) Temporary() bool { return true }

func (f *flaky) Accept() (net.Conn, error) {
	if len(f.errs) > 0 {
		err := f.errs[0]
		f.errs = f.errs[1:]
		return nil, err
	}
	return f.Listener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := memnet.Listen()
		fatal := errors.New("listener broken")
		var s Server
		start := time.Now()
		err := s.Serve(&flaky{mem, []error{passing{}, passing{}, passing{}, fatal}}, Config{Handle: echo})
		require.ErrorIs(t, err, fatal)
		require.Equal(t, (5+10+20)*time.Millisecond, time.Since(start), "growing waits")
		_, err = mem.Dial(t.Context())
		require.Error(t, err, "Serve closes its listener")

		// A shutdown ends the wait.
		s = Server{}
		list := make([]error, 1000)
		for i := range list {
			list[i] = passing{}
		}
		done := make(chan error, 1)
		go func() { done <- s.Serve(&flaky{memnet.Listen(), list}, Config{Handle: echo}) }()
		time.Sleep(time.Minute + time.Millisecond)
		start = time.Now()
		require.NoError(t, s.Shutdown(t.Context()))
		require.ErrorIs(t, <-done, ErrClosed)
		require.Equal(t, start, time.Now())
	})
}

func certs(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	cert, err := ca.Issue("mx.example.org")
	require.NoError(t, err)
	now := time.Now() // of the world outside the bubble, where the certificate was made
	return &tls.Config{Certificates: []tls.Certificate{cert}},
		&tls.Config{RootCAs: ca.Pool(), ServerName: "mx.example.org", Time: func() time.Time { return now }}
}

func TestStartTLS(t *testing.T) {
	serverTLS, clientTLS := certs(t)
	synctest.Test(t, func(t *testing.T) {
		peers := make(chan Peer[any], 1)
		s := serve(t, Config{Handle: func(ctx context.Context, c *Conn) {
			c.SetHELO("before")
			_ = c.Idle(time.Second) // must not cut the handshake short
			if c.StartTLS(ctx, serverTLS) != nil {
				return
			}
			peers <- c.Peer()
			echo(ctx, c)
		}})
		c := s.dial(t)
		time.Sleep(10 * time.Second)
		secure := tls.Client(c, clientTLS)
		require.NoError(t, secure.Handshake())
		p := <-peers
		require.NotNil(t, p.TLS)
		require.Empty(t, p.HELO)
		time.Sleep(5 * time.Minute) // nor does the handshake's deadline stay
		require.Equal(t, "hi\n", ask(t, secure, "hi\n"))
		require.NoError(t, s.Close())
		<-s.done
	})
}

func TestImplicitTLS(t *testing.T) {
	serverTLS, clientTLS := certs(t)
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, Config{TLS: serverTLS, MaxConns: 2, Refuse: func(c net.Conn, _ error) {
			t.Error("no plain text where TLS is expected")
		}})
		good, silent := s.dial(t), s.dial(t)
		secure := tls.Client(good, clientTLS)
		require.NoError(t, secure.Handshake())
		require.Equal(t, "hi\n", ask(t, secure, "hi\n"))
		require.Equal(t, "EOF", hear(t, s.dial(t)), "too many")
		start := time.Now()
		require.Equal(t, "EOF", hear(t, silent))
		require.Equal(t, 30*time.Second, time.Since(start))
		synctest.Wait() // until it is counted out

		garbage := s.dial(t)
		_, err := io.WriteString(garbage, "EHLO me, in plain text\r\n")
		require.NoError(t, err)
		_, err = io.ReadAll(garbage)
		require.NoError(t, err)

		// A handshake under way is no reason to wait.
		s.dial(t)
		start = time.Now()
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		require.Equal(t, "bye\n", hear(t, secure))
		require.NoError(t, <-done)
		require.Equal(t, start, time.Now())
		<-s.done
	})
}

// Conn reads and writes what its TLS layer gives, also over real sockets.
func TestOverTCP(t *testing.T) {
	serverTLS, clientTLS := certs(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var s Server
	done := make(chan error, 1)
	go func() { done <- s.Serve(l, Config{TLS: serverTLS, Handle: echo}) }()
	c, err := tls.Dial("tcp", l.Addr().String(), clientTLS)
	require.NoError(t, err)
	defer c.Close()
	require.Equal(t, "hi\n", ask(t, c, "hi\n"))
	go func() { _ = s.Shutdown(context.Background()) }()
	require.Equal(t, "bye\n", hear(t, c))
	require.ErrorIs(t, <-done, ErrClosed)
}
