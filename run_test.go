package posta_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/posta-mail/posta"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/stretchr/testify/require"
)

// service runs until it is shut down or told to fail.
type service struct {
	stop chan struct{}
	fail chan error
	down bool
}

func newService() *service { return &service{stop: make(chan struct{}), fail: make(chan error, 1)} }

func (s *service) Run(context.Context) error {
	select {
	case err := <-s.fail:
		return err
	case <-s.stop:
		return nil
	}
}

func (s *service) Shutdown(context.Context) error {
	if !s.down {
		s.down = true
		close(s.stop)
	}
	return nil
}

type useless struct{}

func (useless) Shutdown(context.Context) error { return nil }

func TestRun(t *testing.T) {
	t.Run("the first failure stops all", func(t *testing.T) {
		bad, good, failure := newService(), newService(), errors.New("no")
		bad.fail <- failure
		require.ErrorIs(t, posta.Run(context.Background(), good, bad), failure)
		require.True(t, good.down)
	})
	t.Run("a context that ends is no failure", func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		a, b := newService(), newService()
		require.NoError(t, posta.Run(ctx, a, b))
		require.True(t, a.down && b.down)
	})
	t.Run("SIGTERM ends it", func(t *testing.T) {
		a := newService()
		done := make(chan error, 1)
		started := make(chan struct{})
		go func() { done <- posta.Run(context.Background(), a, startSignal{newService(), started}) }()
		<-started
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGTERM))
		require.NoError(t, <-done)
	})
	t.Run("what cannot run is told before anything starts", func(t *testing.T) {
		require.ErrorIs(t, posta.Run(context.Background(), newService(), useless{}), posta.ErrNotRunnable)
	})
}

type startSignal struct {
	*service
	started chan struct{}
}

func (s startSignal) Run(ctx context.Context) error {
	close(s.started)
	return s.service.Run(ctx)
}

func TestCertificatesReload(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	write := func(name string, stamp time.Time) {
		c, k, err := testcert.SelfSigned(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(certFile, c, 0o600))
		require.NoError(t, os.WriteFile(keyFile, k, 0o600))
		require.NoError(t, os.Chtimes(certFile, stamp, stamp))
		require.NoError(t, os.Chtimes(keyFile, stamp, stamp))
	}
	write("one.example", time.Unix(1000, 0))
	certs, err := posta.LoadCertificates(certFile, keyFile)
	require.NoError(t, err)
	name := func() string {
		l, err := tls.Listen("tcp", "127.0.0.1:0", certs.TLSConfig())
		require.NoError(t, err)
		defer l.Close()
		go func() {
			c, err := l.Accept()
			if err == nil {
				_ = c.(*tls.Conn).Handshake()
				_ = c.Close()
			}
		}()
		raw, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		defer raw.Close()
		c := tls.Client(raw, &tls.Config{InsecureSkipVerify: true})
		require.NoError(t, c.Handshake())
		return c.ConnectionState().PeerCertificates[0].DNSNames[0]
	}
	require.Equal(t, "one.example", name())
	write("two.example", time.Unix(2000, 0))
	require.NoError(t, certs.Reload())
	require.Equal(t, "two.example", name())
	require.NoError(t, os.WriteFile(keyFile, []byte("half"), 0o600))
	require.Error(t, certs.Reload())
	require.Equal(t, "two.example", name(), "a broken pair leaves the old one in use")
	write("three.example", time.Unix(3000, 0))
	fresh, err := posta.LoadCertificates(certFile, keyFile)
	require.NoError(t, err)
	write("four.example", time.Unix(4000, 0))
	certs = fresh
	require.Equal(t, "four.example", name(), "changed files are noticed without being told")
	require.NoError(t, os.WriteFile(keyFile, []byte("half"), 0o600))
	_, err = posta.LoadCertificates(certFile, keyFile)
	require.Error(t, err)
}
