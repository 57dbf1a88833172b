package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/netserve"
	"github.com/posta-mail/posta/internal/wire"
)

// Server is an SMTP, submission or LMTP server. Set its fields before the
// first call of Serve and not after. A zero Server has no Handler and refuses
// everything. Its methods are safe for concurrent use.
//
// For every limit zero means the default, and a negative value none.
//
// # Memory
//
// A connection that has nothing to do keeps about 5 KiB, under TLS about 15 KiB:
// its state, and a goroutine that has never done anything but wait. While
// commands come, and a quarter of a second longer, it owns about 20 KiB whatever
// its peer does: a buffer of 4 KiB for input, one of up to 4 KiB for replies, and
// a second goroutine; under TLS about 40 KiB more. Whatever a peer can make the
// Server keep beyond that (AUTH lines over 4 KiB, the larger buffer while a
// message arrives, sender and recipients with their parameters) is taken from
// MemoryBudget, which all connections share: the worst case is MaxConns times the
// fixed part plus MemoryBudget, 2,000 × 20 KiB + 64 MiB = 104 MiB with the
// defaults and without TLS. A connection that finds the budget empty gets 452
// 4.3.1 for a recipient, 421 4.3.1 for an AUTH line, and a small buffer for a
// message. Messages are streamed and never held. What PerAddr and PerNetwork
// count is kept apart: at most 65,536 sources each, of about 150 octets.
//
// These are octets in use. The process may hold up to twice as much until Go's
// garbage collector has run (GOGC, or debug.SetMemoryLimit, sets that).
type Server struct {
	// Addr is where ListenAndServe listens; ":25" if empty, ":465" with
	// ImplicitTLS, ":24" with LMTP.
	Addr string
	// Hostname is this system's name in the greeting and replies, fully
	// qualified (RFC 5321 §4.1.1.1); "localhost" if empty.
	Hostname string
	// Handler decides; nil refuses every connection with 521.
	Handler Handler

	// TLSConfig enables STARTTLS. TLS 1.2 is the least whatever it says
	// (RFC 8997). Certificates are replaced without restart by its
	// GetCertificate or GetConfigForClient, asked at each handshake.
	TLSConfig *tls.Config
	// ImplicitTLS makes the handshake before the greeting (RFC 8314 §3.3).
	ImplicitTLS bool
	// LMTP speaks LMTP instead of SMTP (RFC 2033): LHLO, and one reply for
	// each recipient. It must not be on port 25 (§5).
	LMTP bool

	// Auth enables AUTH (RFC 4954). What is offered follows from what Auth
	// implements and whether the connection is encrypted.
	Auth auth.Authenticator
	// Governor slows down guessers; nil: as auth.Login says.
	Governor *auth.Governor
	// DisableAuth names SASL mechanisms that are not offered although Auth could
	// serve them, as "LOGIN" or "XOAUTH2"; see [auth.Login].
	DisableAuth []string
	// ChannelBinding offers SCRAM with -PLUS under TLS that ends here; what
	// speaks against it is at [auth.Login].
	ChannelBinding bool
	// RequireAuth refuses MAIL before AUTH with 530 5.7.0 (RFC 6409 §4.3). The
	// Server does that itself: no Session has to.
	RequireAuth bool
	// InsecureAuth offers and accepts plaintext mechanisms without TLS, which
	// RFC 4954 §4 forbids. For tests and closed networks.
	InsecureAuth bool

	// MaxMessageBytes bounds a message, in octets; advertised by SIZE. Default
	// 50 MiB, RFC minimum 64 KiB (RFC 5321 §4.5.3.1.7). More is 552 5.3.4.
	MaxMessageBytes int64
	// MaxLineLength bounds one line of a message, in octets with CRLF.
	// Default 64 KiB, RFC minimum 1,000 (§4.5.3.1.6). More is 554 5.6.0.
	MaxLineLength int
	// MaxRecipients bounds the accepted recipients of one transaction.
	// Default 1,000, RFC minimum 100 (§4.5.3.1.8). More get 452 4.5.3 and the
	// others stay.
	MaxRecipients int

	// MaxMessages bounds the transactions of one session; advertised by LIMITS
	// (RFC 9422). Default none. The next MAIL gets 421 4.5.3.
	MaxMessages int

	// HandshakeTimeout bounds every TLS handshake, and at 10 seconds at most the
	// header of a proxy. Default 30 seconds. Then the connection is closed.
	HandshakeTimeout time.Duration
	// IdleTimeout is how long a client may take for one command line, and to
	// take in replies. Default and RFC minimum 5 minutes (§4.5.3.2.7). Then
	// 421 4.4.2.
	IdleTimeout time.Duration
	// StressTimeout takes the place of IdleTimeout, and MaxBadCommands is 1, while
	// the Server is under stress: while four fifths of MaxConns or MemoryBudget
	// are in use. It holds for waits that begin then. It is logged, and told by
	// Trace.Stress. Default 10 seconds; negative: never.
	StressTimeout time.Duration
	// SessionTimeout bounds a connection's life; checked between commands.
	// Default 6 hours. Then 421 4.4.2.
	SessionTimeout time.Duration
	// DataTimeout is the longest wait for the next octets of a message.
	// Default 3 minutes (§4.5.3.2.5). Then 421 4.4.2, as with the two below.
	DataTimeout time.Duration
	// DataMaxTime bounds the waiting for one message altogether; the time the
	// Handler takes does not count. Default 2 hours.
	DataMaxTime time.Duration
	// DataMinRate is the average, in octets a second, that a message must
	// arrive with once it has been waited for during 5 minutes. Default 128.
	DataMinRate int64

	// MaxBadCommands is how many unknown, malformed or misplaced commands one
	// session may have. Default 10. Then 421 4.7.0, as with the three below.
	MaxBadCommands int
	// MaxNoops bounds commands that get nothing done (NOOP, RSET, VRFY, HELP,
	// EXPN, EHLO, a refused MAIL), counted anew after each accepted message.
	// Default 100.
	MaxNoops int
	// MaxAuthFailures bounds failed AUTH commands of one session. Default 3.
	MaxAuthFailures int
	// MaxUnknownRecipients bounds recipients refused by 5yz 5.1.z in one
	// session. Default 20.
	MaxUnknownRecipients int

	// Proxies are the addresses of proxies in front of this server. A connection
	// from one of them must begin, before TLS, with a header of the PROXY
	// protocol (version 1 or 2), which must be there within 10 seconds and says
	// whose connection it is; otherwise it is closed without a word. From all
	// others such a header is never read. Limits by address count the announced
	// one. Default none.
	Proxies []netip.Prefix
	// XClients are the addresses of those who may say by XCLIENT, Postfix's
	// command, whose session they pass on: filters and proxies such as nginx.
	// They alone find it in the reply to EHLO; others get 550 5.7.0. Remote, Name,
	// Local and HELO of the Peer are then what was said, Proxy is who said it, and
	// limits by address count the new one. The Handler's Session is closed, and
	// another one made as for a new connection. A peer is known by the address it
	// has when the connection begins, behind a proxy the announced one. Default
	// none.
	XClients []netip.Prefix
	// XClientLogin makes an Identity of what such a peer gives as LOGIN, the name
	// of someone who has logged in there; p is the client. Nil: nobody is taken
	// for logged in by a proxy's word. auth.ErrCredentials or auth.ErrForbidden is
	// answered 535 5.7.8 and changes nothing, any other error ends the connection
	// with 421 4.3.0. It must be safe for concurrent use.
	XClientLogin func(ctx context.Context, p auth.Peer, login string) (*auth.Identity, error)

	// Tarpit makes a session's mistakes wait for their replies: the second bad
	// command, unknown recipient or failed AUTH so long, each further one so much
	// longer, up to ten times. Not under stress. Default none.
	Tarpit time.Duration

	// MaxConns bounds the connections at one time. Default 2,000. More get
	// 421 4.3.2.
	MaxConns int
	// MaxConnsPerAddr bounds those from one IPv4 address or IPv6 /64. Default
	// 100. More get 421 4.7.0.
	MaxConnsPerAddr int
	// MaxConnsPerNetwork bounds those from one IPv4 /24 or IPv6 /48. Default
	// none. More get 421 4.7.0.
	MaxConnsPerNetwork int
	// ConnRate bounds new connections a minute from one IPv4 address or IPv6
	// /64. Default none. More get 421 4.7.0.
	ConnRate int
	// PerServer, PerAddr and PerNetwork bound what all clients together, those
	// of one IPv4 address or IPv6 /64, and those of one IPv4 /24 or IPv6 /48 may
	// do within a time. The zero values bound nothing.
	PerServer, PerAddr, PerNetwork Quota
	// Exempt are clients to whom no Quota applies and that are not counted,
	// such as one's own.
	Exempt []netip.Prefix
	// MemoryBudget bounds the memory that all connections share, in octets; see
	// above. Default 64 MiB.
	MemoryBudget int64
	// GreetingDelay makes a client wait for the greeting. Who does not wait is
	// sent away with 554 5.5.1 (RFC 5321 §3.1 and §4.3.1 make clients wait), as
	// are, on most systems without any delay, those whose words are there first.
	// Default none.
	GreetingDelay time.Duration

	// Logger gets what an operator should know; nil discards.
	Logger *slog.Logger
	// Trace sees what happens on every connection; nil for none.
	Trace *Trace
	// ConnState, if not nil, is told of each stage of every connection, those
	// that are refused or fail before the greeting included. For one connection
	// it is called in order, never twice at the same time: StateNew first, once,
	// and StateClosed last, once, whatever happens in between. err is nil except with
	// StateRefused and with StateClosed, where it says why; nil there is a QUIT.
	// It should return soon and must be safe for concurrent use. Shutdown
	// returns after StateClosed of the connections it has waited for.
	ConnState func(p auth.Peer, state ConnState, err error)

	once   sync.Once
	shared *shared
	conns  netserve.Server
}

// shared is what all connections of a Server have in common.
type shared struct {
	limits
	hostname string
	budget   *wire.Budget
	ledger   *ledger // nil: no Quota
	stress   atomic.Bool
	tls      *tls.Config
	login    *auth.Login // nil without Auth
	log      *slog.Logger
	trace    *Trace
}

// ErrServerClosed is returned by Serve and ListenAndServe after Shutdown or
// Close.
var ErrServerClosed = errors.New("smtp: server closed")

func (s *Server) setup() *shared {
	s.once.Do(func() {
		sh := &shared{limits: s.limits(), hostname: s.Hostname, log: s.Logger, trace: s.Trace, tls: netserve.ServerTLS(s.TLSConfig)}
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
		sh.ledger = newLedger(s)
		sh.budget = wire.NewBudget(bound(s.MemoryBudget, 64<<20, 0))
		s.shared = sh
	})
	return s.shared
}

// ListenAndServe listens on Addr and serves.
func (s *Server) ListenAndServe() error {
	addr := s.Addr
	switch {
	case addr != "":
	case s.LMTP:
		addr = ":24"
	case s.ImplicitTLS:
		addr = ":465"
	default:
		addr = ":25"
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
	if err := s.check(l); err != nil {
		_ = l.Close()
		return err
	}
	sh := s.setup()
	cfg := netserve.Config{
		Name:             "smtp",
		Proxies:          s.Proxies,
		HandshakeTimeout: bound(s.HandshakeTimeout, 30*time.Second, math.MaxInt64),
		MaxConns:         sh.maxConns,
		MaxConnsPerAddr:  bound(s.MaxConnsPerAddr, 100, 0),
		MaxConnsPerNet:   max(s.MaxConnsPerNetwork, 0),
		ConnRate:         max(s.ConnRate, 0),
		Refuse:           s.refuse,
		Handle:           s.handle,
		Opened:           s.opened,
		Closed:           s.closed,
		Logger:           sh.log,
	}
	if s.LMTP {
		cfg.Name = "lmtp"
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

// check finds settings that make no sense.
func (s *Server) check(l net.Listener) error {
	a, _ := l.Addr().(*net.TCPAddr)
	name, ok := heloName(s.Hostname)
	switch {
	case s.Hostname != "" && (!ok || name != s.Hostname):
		return errors.New("smtp: malformed Hostname")
	case s.ImplicitTLS && s.TLSConfig == nil:
		return errors.New("smtp: ImplicitTLS without TLSConfig")
	case s.LMTP && a != nil && a.Port == 25:
		return errors.New("smtp: LMTP must not be served on port 25 (RFC 2033 §5)")
	}
	return nil
}

// refuse answers a connection that is over a limit (RFC 5321 §3.8).
func (s *Server) refuse(c net.Conn, reason error) {
	text := "421 4.3.2 " + s.setup().hostname + " Too many connections, try again later\r\n"
	switch {
	case errors.Is(reason, netserve.ErrClosed):
		text = "421 4.3.2 " + s.setup().hostname + " Service shutting down\r\n"
	case errors.Is(reason, netserve.ErrTooManyPeer) || errors.Is(reason, netserve.ErrRate):
		text = "421 4.7.0 " + s.setup().hostname + " Too many connections from your address\r\n"
	}
	_, _ = io.WriteString(c, text)
}

// Shutdown stops accepting and waits. Clients between transactions are told
// 421 4.3.2 as soon as what they have sent is answered, at once if they wait.
// A transaction under way, or in a group of commands that has arrived, may go on
// to its end, as may AUTH; then 421 follows. TLS handshakes are broken off. When
// ctx ends first the rest is closed by force, the contexts of Handlers end, and
// ctx's error is returned.
func (s *Server) Shutdown(ctx context.Context) error { return s.conns.Shutdown(ctx) }

// Close ends listeners and connections at once.
func (s *Server) Close() error { return s.conns.Close() }
