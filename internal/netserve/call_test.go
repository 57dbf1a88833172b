package netserve

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/internal/testleak"
)

// waits is a handler that is in a call until its context ends; the time it took
// is sent.
func waits(ended chan<- time.Duration) func(context.Context, *Conn) {
	return func(ctx context.Context, c *Conn) {
		begin := time.Now()
		c.BeginCall()
		defer c.EndCall()
		<-ctx.Done()
		if !c.Gone() {
			begin = begin.Add(time.Hour)
		}
		ended <- time.Since(begin)
	}
}

func TestPeerGoneInMemory(t *testing.T) {
	for name, leave := range map[string]func(nc net.Conn){
		"close":      func(nc net.Conn) { _ = nc.Close() },
		"half close": func(nc net.Conn) { _ = nc.(interface{ CloseWrite() error }).CloseWrite() },
		"with input unread": func(nc net.Conn) {
			_, _ = io.WriteString(nc, "more\r\n")
			_ = nc.Close()
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ended := make(chan time.Duration, 1)
				s, l := &Server{}, memnet.Listen()
				go func() { _ = s.Serve(l, Config{Handle: waits(ended)}) }()
				nc, err := l.Dial(t.Context())
				require.NoError(t, err)
				time.Sleep(time.Minute)
				require.Empty(t, ended)
				leave(nc)
				require.LessOrEqual(t, <-ended, time.Minute+time.Second)
				require.NoError(t, s.Close())
				_ = nc.Close()
			})
		})
	}
}

func TestPeerGoneAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ended := make(chan time.Duration, 1)
		s, l := &Server{}, memnet.Listen()
		go func() { _ = s.Serve(l, Config{Handle: waits(ended)}) }()
		nc, err := l.Dial(t.Context())
		require.NoError(t, err)
		_ = nc.Close()
		require.LessOrEqual(t, <-ended, 2*time.Second)
		require.NoError(t, s.Close())
	})
}

// The sentinel is there only while someone is in a call.
func TestSentinelRests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in, out := make(chan bool), make(chan bool)
		s, l := &Server{}, memnet.Listen()
		go func() {
			_ = s.Serve(l, Config{Handle: func(_ context.Context, c *Conn) {
				for range in {
					c.BeginCall()
					<-out
					c.EndCall()
				}
			}})
		}()
		nc, err := l.Dial(t.Context())
		require.NoError(t, err)
		require.False(t, s.watching.Load())
		for range 3 {
			in <- true
			time.Sleep(10 * time.Second)
			require.True(t, s.watching.Load())
			out <- true
			time.Sleep(2 * time.Second)
			require.False(t, s.watching.Load())
		}
		in <- true
		close(in)
		out <- true
		synctest.Wait()
		require.False(t, s.watching.Load(), "the last connection has left")
		require.NoError(t, s.Close())
		_ = nc.Close()
	})
}

func TestPeerGoneTCP(t *testing.T) {
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	cert, err := ca.Issue("mx.example.org")
	require.NoError(t, err)
	serverTLS := &tls.Config{Certificates: []tls.Certificate{cert}}
	clientTLS := &tls.Config{RootCAs: ca.Pool(), ServerName: "mx.example.org"}
	for name, encrypted := range map[string]bool{"plain": false, "TLS": true} {
		t.Run(name, func(t *testing.T) { testPeerGone(t, "tcp", "127.0.0.1:0", encrypted, serverTLS, clientTLS) })
	}
	if runtime.GOOS != "windows" {
		t.Run("unix", func(t *testing.T) { testPeerGone(t, "unix", t.TempDir()+"/s", false, nil, nil) })
	}
}

func testPeerGone(t *testing.T, network, addr string, encrypted bool, serverTLS, clientTLS *tls.Config) {
	testleak.Check(t)
	l, err := net.Listen(network, addr)
	require.NoError(t, err)
	ended := make(chan time.Duration, 1)
	s, cfg := &Server{}, Config{Handle: waits(ended)}
	if encrypted {
		cfg.TLS = serverTLS
	}
	go func() { _ = s.Serve(l, cfg) }()
	defer s.Close()
	nc, err := net.Dial(network, l.Addr().String())
	require.NoError(t, err)
	defer nc.Close()
	c := nc
	if encrypted {
		tc := tls.Client(nc, clientTLS)
		require.NoError(t, tc.Handshake())
		c = tc
	}
	if runtime.GOOS == "linux" && network == "tcp" { // elsewhere it must have been read
		_, err = io.WriteString(c, "more\r\n")
		require.NoError(t, err)
	}
	require.NoError(t, c.Close())
	require.Less(t, <-ended, 10*time.Second)
}

func TestPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		took := make(chan time.Duration, 1)
		s, l := &Server{}, memnet.Listen()
		go func() {
			_ = s.Serve(l, Config{Handle: func(_ context.Context, c *Conn) {
				begin := time.Now()
				c.Pause(time.Minute)
				took <- time.Since(begin)
			}})
		}()
		dial := func() net.Conn {
			nc, err := l.Dial(t.Context())
			require.NoError(t, err)
			synctest.Wait()
			return nc
		}
		defer dial().Close()
		require.Equal(t, time.Minute, <-took)
		require.NoError(t, dial().Close())
		require.LessOrEqual(t, <-took, 2*time.Second)
		defer dial().Close()
		require.NoError(t, s.Shutdown(t.Context()))
		require.Zero(t, <-took)
	})
}
