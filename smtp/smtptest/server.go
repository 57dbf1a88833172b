package smtptest

import (
	"context"
	"errors"
	"net"
	"testing"

	"github.com/posta-mail/posta/smtp"
)

// Server is a smtp.Server that serves in memory while a test runs. Its methods
// are safe for concurrent use.
type Server struct {
	// Config is the server itself, for what is asked of it later, such as
	// Shutdown. Its fields are not to be changed any more.
	Config *smtp.Server
	// Authority made the server's certificate and is trusted by its clients; nil
	// if NewServer made no certificate.
	Authority *Authority

	net network
}

// loopback is where clients in memory come from.
var loopback = net.IPv4(127, 0, 0, 1)

// NewServer serves srv in memory, as configured, until the test and its
// subtests end. If nobody is to see TLS leave TLSConfig nil; NewTLSServer sets
// it. When the test ends connections are closed, and it fails if one has a
// Handler that does not return within 10 seconds.
func NewServer(tb testing.TB, srv *smtp.Server) *Server {
	tb.Helper()
	s := &Server{Config: srv}
	s.serve(tb)
	return s
}

// NewTLSServer is NewServer with a certificate for srv.Hostname ("localhost" if
// that is empty) and 127.0.0.1, for STARTTLS or, if srv says so, ImplicitTLS.
func NewTLSServer(tb testing.TB, srv *smtp.Server) *Server {
	tb.Helper()
	s := &Server{Config: srv, Authority: NewAuthority(tb)}
	srv.TLSConfig = s.Authority.Server(s.name(), "127.0.0.1")
	s.serve(tb)
	return s
}

func (s *Server) serve(tb testing.TB) {
	s.net.start(s.Config)
	done := make(chan error, 1)
	go func() { done <- s.Config.Serve(s.net.listener) }()
	tb.Cleanup(func() {
		s.net.close()
		_ = s.Config.Close()
		if err := <-done; !errors.Is(err, smtp.ErrServerClosed) {
			tb.Errorf("smtptest: server: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
		defer cancel()
		if s.Config.Shutdown(ctx) != nil {
			tb.Error("smtptest: a connection of the server does not end")
		}
	})
}

func (s *Server) name() string {
	if s.Config.Hostname != "" {
		return s.Config.Hostname
	}
	return "localhost"
}

// Addr is a host and port for Dial and smtp.Dial: the server's name, which its
// certificate is for.
func (s *Server) Addr() string { return net.JoinHostPort(s.name(), "25") }

// Dial connects in memory from 127.0.0.1, whatever the address. It fits
// smtp.ClientConfig.DialContext.
func (s *Server) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return s.net.dial(ctx, loopback)
}

// DialFrom connects in memory from another address, for what depends on it.
func (s *Server) DialFrom(ctx context.Context, ip net.IP) (net.Conn, error) {
	return s.net.dial(ctx, ip)
}

// ListenTCP also serves on a port of the loopback interface, until the test
// ends, and returns its address.
func (s *Server) ListenTCP() (addr string, err error) {
	l, err := s.net.tcp()
	if err != nil {
		return "", err
	}
	go func() { _ = s.Config.Serve(l) }()
	return l.Addr().String(), nil
}

// Misbehave makes the server do wrong on connections made from now on, until
// the next call; those there are go on as they were. Counts begin anew.
func (s *Server) Misbehave(f Faults) { s.net.misbehave(f) }

// Misbehaved is how often each rule of the last Misbehave has taken effect.
func (s *Server) Misbehaved() []int { return s.net.misbehaved() }

// Client is the configuration of a client that fits: it dials in memory, speaks
// LMTP as the server does, and demands TLS and the Authority's certificate if
// there is one.
func (s *Server) Client() *smtp.ClientConfig {
	cfg := &smtp.ClientConfig{LMTP: s.Config.LMTP, DialContext: s.Dial}
	cfg.TLS.Implicit = s.Config.ImplicitTLS
	if s.Authority != nil {
		cfg.TLS.Mode, cfg.TLS.Config = smtp.TLSVerified, s.Authority.Client()
	}
	return cfg
}

// NewClient connects to a Server, says EHLO, and closes the connection when the
// test ends. change, if not nil, alters the configuration of Server.Client
// first, for example to log in. The test fails if there is no connection.
func NewClient(tb testing.TB, s *Server, change func(cfg *smtp.ClientConfig)) *smtp.Client {
	tb.Helper()
	cfg := s.Client()
	if change != nil {
		change(cfg)
	}
	c, err := smtp.Dial(tb.Context(), s.Addr(), cfg)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = c.Close() })
	return c
}
