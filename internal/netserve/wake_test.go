package netserve

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/testcert"
)

// A call of Wake ends one wait, whenever it comes.
func TestWake(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, Config{Handle: func(_ context.Context, c *Conn) {
			read := func() error { _, err := c.Read(make([]byte, 1)); return err }
			for _, wait := range []func() error{read, c.Await} {
				begin := time.Now()
				require.NoError(t, c.Idle(time.Hour))
				time.AfterFunc(time.Minute, c.Wake)
				require.ErrorIs(t, wait(), os.ErrDeadlineExceeded, "while it waits")
				require.Equal(t, time.Minute, time.Since(begin))
				require.True(t, c.Woken())
				require.False(t, c.Woken())

				require.NoError(t, c.Busy(time.Hour))
				time.AfterFunc(time.Minute, c.Wake)
				require.NoError(t, read(), "a command is not interrupted")
				require.Equal(t, time.Hour, time.Since(begin))

				require.NoError(t, c.Idle(time.Hour))
				require.ErrorIs(t, wait(), os.ErrDeadlineExceeded, "but what follows")
				require.True(t, c.Woken())

				require.NoError(t, c.Idle(time.Hour))
				require.ErrorIs(t, wait(), os.ErrDeadlineExceeded)
				require.Equal(t, 2*time.Hour, time.Since(begin), "once")
				require.False(t, c.Woken())
			}
		}})
		c := s.dial(t)
		for range 2 {
			time.Sleep(time.Hour)
			_, _ = c.Write([]byte("x"))
			time.Sleep(time.Hour)
		}
		synctest.Wait()
		require.NoError(t, s.Shutdown(context.Background()))
		<-s.done
	})
}

// What comes while a connection is woken again and again is read, once and in
// order; the last Wake is never lost.
func TestWakeLosesNothing(t *testing.T) {
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	cert, err := ca.Issue("mx.example.org")
	require.NoError(t, err)
	serverTLS := &tls.Config{Certificates: []tls.Certificate{cert}}
	clientTLS := &tls.Config{RootCAs: ca.Pool(), ServerName: "mx.example.org"}
	tcp := func(t *testing.T) (net.Listener, func() (net.Conn, error)) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		return l, func() (net.Conn, error) { return net.Dial("tcp", l.Addr().String()) }
	}
	t.Run("TCP", func(t *testing.T) {
		l, dial := tcp(t)
		testWakes(t, Config{}, l, dial)
	})
	t.Run("TLS", func(t *testing.T) {
		l, dial := tcp(t)
		testWakes(t, Config{TLS: serverTLS}, l, func() (net.Conn, error) {
			nc, err := dial()
			if err != nil {
				return nil, err
			}
			return tls.Client(nc, clientTLS), nil
		})
	})
	t.Run("memory", func(t *testing.T) {
		l := memnet.Listen()
		testWakes(t, Config{}, l, func() (net.Conn, error) { return l.Dial(t.Context()) })
	})
}

func testWakes(t *testing.T, cfg Config, l net.Listener, dial func() (net.Conn, error)) {
	const lines = 500
	conns := make(chan *Conn, 1)
	var mu sync.Mutex
	news, told := 0, 0 // what Wake is about, and what has been seen of it
	cfg.Handle = func(_ context.Context, c *Conn) {
		conns <- c
		rest := c.CanAwait()
		var got []byte
		b := make([]byte, 64)
		for {
			_ = c.Idle(0)
			n, err := c.Read(b)
			for err != nil && os.IsTimeout(err) {
				if c.Woken() {
					mu.Lock()
					told = news
					mu.Unlock()
				}
				_ = c.Idle(0)
				if !rest {
					break
				}
				err = c.Await()
			}
			if err != nil && !os.IsTimeout(err) {
				return
			}
			got = append(got, b[:n]...)
			_ = c.Busy(0)
			for len(got) >= 4 {
				_, _ = c.Write(got[:4])
				got = got[4:]
			}
		}
	}
	s := &Server{}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l, cfg) }()
	nc, err := dial()
	require.NoError(t, err)
	if h, ok := nc.(*tls.Conn); ok {
		require.NoError(t, h.Handshake())
	}
	c := <-conns
	stop, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
			}
			mu.Lock()
			news++
			mu.Unlock()
			c.Wake()
			time.Sleep(time.Microsecond) // as often as may be, without taking a processor
		}
	}()
	r := bufio.NewReader(nc)
	for i := range lines {
		line := string([]byte{'a' + byte(i%26), 'a' + byte(i/26%26), '\r', '\n'})
		_, err := io.WriteString(nc, line)
		require.NoError(t, err)
		got, err := r.ReadString('\n')
		require.NoError(t, err)
		require.Equal(t, line, got)
	}
	close(stop)
	<-ended
	require.Eventually(t, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return told == news
	}, 10*time.Second, time.Millisecond, "the last one was lost")
	_ = nc.Close()
	require.NoError(t, s.Close())
	<-served
}
