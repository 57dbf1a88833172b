package pop3

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/netserve"
	"github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/store"
)

// Server is a POP3 server. Set its fields before the first call of Serve and
// not after; it must not be copied then. A zero Server has neither Store nor
// Auth and refuses every connection. Its methods are safe for concurrent use.
//
// For every limit zero means the default, and a negative value none.
//
// # Memory
//
// One connection owns about 12 KiB whatever its peer does: a buffer of 4 KiB
// for input, up to 4 KiB for replies, and its goroutine; under TLS about 40 KiB
// more. What it can make the Server keep beyond that (SASL lines over 4 KiB,
// 64 KiB while a message is sent, one bit for each message once one is marked
// deleted) is taken from MemoryBudget, which all connections share. Messages
// are streamed and never held. The list of messages is the store's snapshot,
// which sessions share.
//
// These are octets in use. The process may hold up to twice as much until Go's
// garbage collector has run (GOGC, or debug.SetMemoryLimit, sets that).
type Server struct {
	// Addr is where ListenAndServe listens; ":110" if empty, ":995" with
	// ImplicitTLS.
	Addr string
	// Hostname is this system's name in the greeting; "localhost" if empty.
	Hostname string
	// Store holds the accounts; nil refuses every connection. If it is a
	// [store.Leaser], the exclusive lock of a mailbox (RFC 1939 §4) holds
	// for all processes that share the store, otherwise for this Server.
	Store store.Store
	// Auth proves users; nil refuses every connection. The account opened is
	// Identity.Account and must exist in the Store. What is offered follows
	// from what Auth implements and whether the connection is encrypted.
	Auth auth.Authenticator
	// Governor slows down guessers; nil: as auth.Login says.
	Governor *auth.Governor
	// DisableAuth names SASL mechanisms that are not offered although Auth could
	// serve them, as "LOGIN" or "XOAUTH2"; see [auth.Login].
	DisableAuth []string
	// ChannelBinding offers SCRAM with -PLUS under TLS that ends here; what
	// speaks against it is at [auth.Login].
	ChannelBinding bool

	// TLSConfig enables STLS (RFC 2595). TLS 1.2 is the least whatever it
	// says (RFC 8997). Certificates are replaced without restart by its
	// GetCertificate or GetConfigForClient, asked at each handshake.
	TLSConfig *tls.Config
	// ImplicitTLS makes the handshake before the greeting (RFC 8314 §3.3). It
	// needs TLSConfig.
	ImplicitTLS bool
	// InsecureAuth offers and accepts USER, PASS and plaintext mechanisms
	// without TLS. For tests and closed networks.
	InsecureAuth bool

	// IdleTimeout is how long a client may take for one command line, and to
	// take in each piece of a reply. Default and RFC minimum 10 minutes. Then
	// the connection is closed without a word, as RFC 1939 §3 demands, and
	// nothing is deleted.
	IdleTimeout time.Duration
	// LoginTimeout bounds the time from the connection to the login. Default
	// 10 minutes, so that it is never less than what RFC 1939 §3 lets a client
	// wait; 2 minutes are enough for all but people who type.
	LoginTimeout time.Duration

	// MaxBadCommands is how many unknown, malformed or misplaced commands one
	// session may have. Default 10. Then -ERR and the end. A second command of
	// more than 255 octets (RFC 2449 §4) ends the session whatever it says.
	MaxBadCommands int
	// MaxAuthFailures bounds failed logins of one connection, those of users
	// whose mailbox is in use or cannot be opened included. Default 3. Then
	// the connection ends.
	MaxAuthFailures int

	// Proxies are the addresses of proxies in front of this server. A connection
	// from one of them must begin, before TLS, with a header of the PROXY
	// protocol (version 1 or 2), which must be there within 10 seconds and says
	// whose connection it is; otherwise it is closed without a word. From all
	// others such a header is never read. Limits by address count the announced
	// one. Default none.
	Proxies []netip.Prefix

	// MaxConns bounds the connections at one time. Default 2,000. More get
	// -ERR [SYS/TEMP], as with the two below.
	MaxConns int
	// MaxConnsPerAddr bounds those from one IPv4 address or IPv6 /64. Default
	// 100.
	MaxConnsPerAddr int
	// ConnRate bounds new connections a minute from one IPv4 address or IPv6
	// /64. Default none.
	ConnRate int
	// MemoryBudget bounds the memory that all connections share, in octets;
	// see above. Default 64 MiB. A command for which there is none left works
	// with small buffers or gets -ERR [SYS/TEMP].
	MemoryBudget int64

	// Logger gets what an operator should know; nil discards.
	Logger *slog.Logger
	// Trace sees what happens on every connection; nil for none.
	Trace *Trace

	once   sync.Once
	shared *shared
	conns  netserve.Server
}

// shared is what all connections of a Server have in common.
type shared struct {
	limits
	hostname string
	store    store.Store
	leaser   store.Leaser
	budget   *wire.Budget
	tls      *tls.Config
	login    *auth.Login // nil without Auth
	log      *slog.Logger
	trace    *Trace
}

// ErrServerClosed is returned by Serve and ListenAndServe after Shutdown or
// Close.
var ErrServerClosed = errors.New("pop3: server closed")

func (s *Server) setup() *shared {
	s.once.Do(func() {
		sh := &shared{
			limits: s.limits(), hostname: s.Hostname, store: s.Store, log: s.Logger, trace: s.Trace,
			tls: netserve.ServerTLS(s.TLSConfig), budget: wire.NewBudget(bound(s.MemoryBudget, 64<<20, 0)),
		}
		if sh.hostname == "" {
			sh.hostname = "localhost"
		}
		if sh.log == nil {
			sh.log = slog.New(slog.DiscardHandler)
		}
		if sh.trace == nil {
			sh.trace = &Trace{}
		}
		if s.Auth != nil {
			sh.login = auth.NewLogin(s.Auth, s.Governor, s.InsecureAuth)
			sh.login.Disable, sh.login.ChannelBinding = s.DisableAuth, s.ChannelBinding
		}
		if l, ok := s.Store.(store.Leaser); ok {
			sh.leaser = l
		} else {
			sh.leaser = new(store.Leases)
		}
		s.shared = sh
	})
	return s.shared
}

// ListenAndServe listens on Addr and serves.
func (s *Server) ListenAndServe() error {
	addr := s.Addr
	switch {
	case addr != "":
	case s.ImplicitTLS:
		addr = ":995"
	default:
		addr = ":110"
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return s.Serve(l)
}

// Serve accepts connections on l until it fails or the Server is shut down,
// when it returns ErrServerClosed. It closes l. It may be called for several
// listeners; limits hold for all together.
func (s *Server) Serve(l net.Listener) error {
	if s.ImplicitTLS && s.TLSConfig == nil {
		_ = l.Close()
		return errors.New("pop3: ImplicitTLS without TLSConfig")
	}
	sh := s.setup()
	cfg := netserve.Config{
		Name:            "pop3",
		Proxies:         s.Proxies,
		MaxConns:        bound(s.MaxConns, 2000, 0),
		MaxConnsPerAddr: bound(s.MaxConnsPerAddr, 100, 0),
		ConnRate:        max(s.ConnRate, 0),
		Refuse:          refuseConn,
		Handle:          s.handle,
		Logger:          sh.log,
	}
	if s.ImplicitTLS {
		cfg.TLS = sh.tls
	}
	err := s.conns.Serve(l, cfg)
	if errors.Is(err, netserve.ErrClosed) {
		return ErrServerClosed
	}
	return err
}

// refuseConn answers a connection that is over a limit.
func refuseConn(c net.Conn, reason error) {
	text := "-ERR [SYS/TEMP] Too many connections, try again later\r\n"
	if errors.Is(reason, netserve.ErrTooManyPeer) || errors.Is(reason, netserve.ErrRate) {
		text = "-ERR [SYS/TEMP] Too many connections from your address\r\n"
	}
	_, _ = io.WriteString(c, text)
}

// Shutdown stops accepting and waits: commands under way, a QUIT with its
// deletions among them, may finish; then, and at once where none is under way,
// clients are told -ERR [SYS/TEMP] and nothing they have marked is deleted.
// When ctx ends first the rest is closed by force and ctx's error returned.
func (s *Server) Shutdown(ctx context.Context) error { return s.conns.Shutdown(ctx) }

// Close ends listeners and connections at once.
func (s *Server) Close() error { return s.conns.Close() }
