package netserve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

var fromProxies = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}

const announced = "PROXY TCP4 192.0.2.1 198.51.100.2 12345 25\r\n"

// seen collects what Opened and Closed tell, in order.
type seen struct {
	mu  sync.Mutex
	log []string
	err error
}

func (s *seen) add(what string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, what)
	s.err = err
}

func (s *seen) take() ([]string, error) {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	l := s.log
	s.log = nil
	return l, s.err
}

func (s *seen) watch(cfg Config) Config {
	cfg.Opened = func(c *Conn) { s.add("opened", nil) }
	cfg.Closed = func(c *Conn, err error) { s.add("closed", err) }
	return cfg
}

func TestProxyHeader(t *testing.T) {
	socket := netip.MustParseAddrPort("10.1.2.3:0").Addr()
	for name, tc := range map[string]struct {
		from   []byte
		header string
		want   string // of the remote address; "" none, "socket" its own
		proxy  bool
	}{
		"announced":          {[]byte{10, 1, 2, 3}, announced, "192.0.2.1:12345", true},
		"unknown":            {[]byte{10, 1, 2, 3}, "PROXY UNKNOWN\r\n", "", true},
		"local":              {[]byte{10, 1, 2, 3}, "\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00", "socket", false},
		"from someone else":  {[]byte{192, 0, 2, 9}, "", "socket", false},
		"4-in-6 is the same": {net.IPv4(10, 1, 2, 3), announced, "192.0.2.1:12345", true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				peers := make(chan Peer[any], 1)
				s := serve(t, Config{Proxies: fromProxies, Handle: func(ctx context.Context, c *Conn) {
					peers <- c.Peer()
					echo(ctx, c)
				}})
				c := s.dial(t, tc.from...)
				_, err := io.WriteString(c, tc.header+"hi\n")
				require.NoError(t, err)
				require.Equal(t, "hi\n", hear(t, c))
				p := <-peers
				require.Equal(t, tc.proxy, p.Proxy.IsValid())
				switch {
				case tc.want == "socket":
					require.Equal(t, p.Remote, addrPort(c.LocalAddr()))
				case tc.want == "":
					require.False(t, p.Remote.IsValid())
					require.False(t, p.Local.IsValid())
				default:
					require.Equal(t, tc.want, p.Remote.String())
					require.Equal(t, "198.51.100.2:25", p.Local.String())
					require.Equal(t, socket, p.Proxy.Addr().Unmap())
				}
				time.Sleep(5 * time.Minute) // the header's deadline does not stay
				require.Equal(t, "hi\n", ask(t, c, "hi\n"))
				require.NoError(t, s.Close())
				<-s.done
			})
		})
	}
}

// Someone who is no proxy cannot announce anything.
func TestProxyHeaderFromOthersIsNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, Config{Proxies: fromProxies})
		c := s.dial(t, 192, 0, 2, 1)
		require.Equal(t, announced[:len(announced)-2]+"\r\n", ask(t, c, announced), "it is a command like any other")
		require.NoError(t, s.Close())
		<-s.done
	})
}

func TestBadProxyHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log seen
		s := serve(t, log.watch(Config{Proxies: fromProxies, Refuse: func(net.Conn, error) { t.Error("not a word") }, Handle: func(context.Context, *Conn) {
			t.Error("not handled")
		}}))
		for _, in := range []string{"EHLO x\r\n", "PROXY TCP4 \r\n", "\x16\x03\x01\x02\x00"} {
			c := s.dial(t, 10, 0, 0, 1)
			_, err := io.WriteString(c, in)
			require.NoError(t, err)
			require.Equal(t, "EOF", hear(t, c))
			got, err := log.take()
			require.Equal(t, []string{"opened", "closed"}, got)
			require.ErrorIs(t, err, ErrProxyHeader)
		}
		silent := s.dial(t, 10, 0, 0, 1)
		start := time.Now()
		_, err := io.WriteString(silent, "PROXY ")
		require.NoError(t, err)
		require.Equal(t, "EOF", hear(t, silent))
		require.Equal(t, proxyTimeout, time.Since(start))
		_, err = log.take()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)

		s.dial(t, 10, 0, 0, 1) // a shutdown does not wait for one
		start = time.Now()
		require.NoError(t, s.Shutdown(context.Background()))
		require.Equal(t, start, time.Now())
		<-s.done
	})
}

// The limits are those of who is behind the proxy.
func TestProxyLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log seen
		s := serve(t, log.watch(Config{Proxies: fromProxies, MaxConnsPerAddr: 1, MaxConns: 3, Refuse: func(c net.Conn, err error) {
			_, _ = io.WriteString(c, "no\n")
		}}))
		via := func(ip string) net.Conn {
			c := s.dial(t, 10, 0, 0, 1)
			_, _ = io.WriteString(c, "PROXY TCP4 "+ip+" 198.51.100.2 1 25\r\nhi\n")
			return c
		}
		a, b := via("192.0.2.1"), via("192.0.2.2")
		require.Equal(t, "hi\n", hear(t, a))
		require.Equal(t, "hi\n", hear(t, b))
		log.take()
		c := via("192.0.2.1")
		require.Equal(t, "no\n", hear(t, c))
		require.Equal(t, "EOF", hear(t, c))
		got, err := log.take()
		require.Equal(t, []string{"opened", "closed"}, got)
		require.ErrorIs(t, err, ErrTooManyPeer)
		require.NoError(t, a.Close())
		synctest.Wait()
		a = via("192.0.2.1") // it was counted out
		require.Equal(t, "hi\n", hear(t, a))
		c = via("192.0.2.3")
		require.Equal(t, "hi\n", hear(t, c))
		require.Equal(t, "no\n", hear(t, s.dial(t, 10, 0, 0, 1)), "MaxConns counts before the header")
		require.NoError(t, s.Close())
		<-s.done
		synctest.Wait()
		require.Empty(t, s.peers.peers)
	})
}

func TestProxyHeaderBeforeTLS(t *testing.T) {
	serverTLS, clientTLS := certs(t)
	synctest.Test(t, func(t *testing.T) {
		peers := make(chan Peer[any], 1)
		s := serve(t, Config{Proxies: fromProxies, TLS: serverTLS, Handle: func(ctx context.Context, c *Conn) {
			peers <- c.Peer()
			echo(ctx, c)
		}})
		c := s.dial(t, 10, 0, 0, 1)
		_, err := io.WriteString(c, announced)
		require.NoError(t, err)
		secure := tls.Client(c, clientTLS)
		require.NoError(t, secure.Handshake())
		require.Equal(t, "hi\n", ask(t, secure, "hi\n"))
		p := <-peers
		require.Equal(t, "192.0.2.1:12345", p.Remote.String())
		require.NotNil(t, p.TLS)
		require.NoError(t, s.Close())
		<-s.done
	})
}

// What Opened and Closed promise, however a connection ends.
func TestOpenedAndClosed(t *testing.T) {
	serverTLS, _ := certs(t)
	synctest.Test(t, func(t *testing.T) {
		var log seen
		why := errors.New("why")
		s := serve(t, log.watch(Config{MaxConns: 1, Handle: func(ctx context.Context, c *Conn) {
			defer c.EndedBy(why)
			echo(ctx, c)
		}}))
		a, b := s.dial(t), s.dial(t)
		require.Equal(t, "EOF", hear(t, b))
		got, err := log.take()
		require.Equal(t, []string{"opened", "opened", "closed"}, got)
		require.ErrorIs(t, err, ErrTooManyConns)
		require.NoError(t, a.Close())
		got, err = log.take()
		require.Equal(t, []string{"closed"}, got)
		require.ErrorIs(t, err, why)
		c := s.dial(t)
		_, _ = io.WriteString(c, "panic\n")
		require.Equal(t, "EOF", hear(t, c))
		got, err = log.take()
		require.Equal(t, []string{"opened", "closed"}, got)
		require.ErrorIs(t, err, ErrPanic)
		require.NoError(t, s.Close())
		<-s.done

		s = serve(t, log.watch(Config{TLS: serverTLS}))
		c = s.dial(t)
		_, _ = io.WriteString(c, "EHLO in plain text\r\n")
		_, _ = io.ReadAll(c)
		got, err = log.take()
		require.Equal(t, []string{"opened", "closed"}, got)
		require.ErrorIs(t, err, ErrHandshake)
		require.NoError(t, s.Close())
		<-s.done
	})
}

// A hook that panics takes nobody else down.
func TestHooksPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := serve(t, Config{Opened: func(*Conn) { panic("opened") }, Closed: func(*Conn, error) { panic("closed") }})
		require.Equal(t, "EOF", hear(t, s.dial(t)))
		synctest.Wait()
		require.Zero(t, s.Conns())
		require.NoError(t, s.Close())
		<-s.done
	})
}

// PeerOf leaves no field out.
func TestPeerOf(t *testing.T) {
	id := 7
	c := &Conn{peer: Peer[any]{"id", netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2"),
		netip.MustParseAddrPort("192.0.2.3:3"), "name", "helo", &tls.ConnectionState{}, &x509.Certificate{}, &id, time.Now()}}
	got, want := reflect.ValueOf(PeerOf[*int](c)), reflect.ValueOf(c.Peer())
	for i := range want.NumField() {
		require.False(t, want.Field(i).IsZero(), want.Type().Field(i).Name)
		require.Equal(t, want.Field(i).Interface(), got.Field(i).Interface())
	}
	c.SetIdentity(nil)
	require.Nil(t, PeerOf[*int](c).Identity)
}
