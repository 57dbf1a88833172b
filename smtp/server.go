package smtp

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/netserve"
)

// Server is an SMTP, submission or LMTP server. Set its fields before the
// first call of Serve and not after. A zero Server has no Handler and refuses
// everything.
type Server struct {
	Addr     string // for ListenAndServe; ":25" if empty
	Hostname string // in the greeting and replies; "localhost" if empty
	Handler  Handler

	// TLSConfig enables STARTTLS; TLS 1.2 is the least whatever it says.
	TLSConfig *tls.Config
	// ImplicitTLS makes the handshake before the greeting (RFC 8314 §3.3).
	ImplicitTLS bool
	// LMTP speaks LMTP instead of SMTP (RFC 2033).
	LMTP bool

	// Auth enables AUTH. RequireAuth refuses MAIL without it (RFC 6409 §4.3).
	Auth        auth.Authenticator
	Governor    *auth.Governor
	RequireAuth bool
	// InsecureAuth allows plaintext mechanisms without TLS.
	InsecureAuth bool

	MaxMessageBytes int64
	MaxRecipients   int
	MaxConns        int
	MaxConnsPerAddr int
	ConnRate        int
	IdleTimeout     time.Duration

	Logger *slog.Logger

	conns netserve.Server
}

// ErrServerClosed is returned by Serve after Shutdown or Close.
var ErrServerClosed = netserve.ErrClosed

// ListenAndServe listens on Addr and serves.
func (s *Server) ListenAndServe() error {
	addr := s.Addr
	if addr == "" {
		addr = ":25"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return s.Serve(l)
}

// Serve accepts connections on l.
func (s *Server) Serve(l net.Listener) error {
	return s.conns.Serve(l, netserve.Config{Name: "smtp"})
}

// Shutdown stops accepting, tells idle clients 421, lets transactions finish.
func (s *Server) Shutdown(ctx context.Context) error { return s.conns.Shutdown(ctx) }

// Close ends all connections at once.
func (s *Server) Close() error { return s.conns.Close() }

// Conn is one connection as a Handler may see it.
type Conn struct{}

// Peer describes the connection as it is now: HELO name and TLS included.
func (c *Conn) Peer() auth.Peer { return auth.Peer{} }

// Identity is who has logged in; nil before that.
func (c *Conn) Identity() *auth.Identity { return nil }
