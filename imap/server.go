package imap

import (
	"context"
	"crypto/tls"
	"hash/maphash"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/netserve"
	lines "github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/store"
)

// Server serves the accounts of a Store over IMAP. Set the fields before the
// first call of Serve and leave them alone afterwards; a Server must not be
// copied. A zero Server lets nobody in. Its methods are safe for concurrent use.
//
// In all limits zero means the default told with the field and a negative value
// no bound, unless the field says otherwise.
//
// A connection takes about 6 KiB while it idles, in IDLE and with NOTIFY too, 14
// KiB under TLS, and at most another 64 KiB buffer while responses are being written (a response to one message may be
// larger: a BODYSTRUCTURE of 1,000 parts). Commands longer than 4 KiB, their
// literals and large headers that are filtered take their memory from
// MemoryBudget. Message bodies are never held: they are streamed, and small ones
// are read some at a time (store/sqlite takes a buffer of 128 KiB for that while
// a FETCH of many bodies runs). COMPRESS=DEFLATE takes another 45 KiB for each
// connection that uses it.
//
// These are octets in use. The process may hold up to twice as much until Go's
// garbage collector has run (GOGC, or debug.SetMemoryLimit, sets that).
type Server struct {
	// Addr is the TCP address ListenAndServe listens on; empty: ":143", or
	// ":993" with ImplicitTLS.
	Addr string
	// Store holds the accounts. Nil: every login is refused.
	Store store.Store
	// Auth proves users; nil: every login is refused. The account opened is
	// Identity.Account and must exist in the Store.
	Auth auth.Authenticator
	// Governor slows down and locks out guessers. Nil: Auth's own, or one
	// with defaults (see [auth.Login]).
	Governor *auth.Governor
	// DisableAuth names SASL mechanisms that are not offered although Auth could
	// serve them, as "LOGIN" or "XOAUTH2"; see [auth.Login].
	DisableAuth []string
	// ChannelBinding offers SCRAM with -PLUS under TLS that ends here; what
	// speaks against it is at [auth.Login].
	ChannelBinding bool
	// TLSConfig enables STARTTLS, or ImplicitTLS. Versions below TLS 1.2 are
	// refused whatever it says (RFC 8996).
	TLSConfig *tls.Config
	// ImplicitTLS makes the handshake before the greeting (RFC 8314 §3.2).
	// It needs TLSConfig.
	ImplicitTLS bool
	// InsecureAuth allows LOGIN and mechanisms that send the password without
	// TLS. For tests and closed networks.
	InsecureAuth bool

	// MaxMessageBytes bounds a message in APPEND, in octets; it is told to
	// clients as APPENDLIMIT (RFC 7889). 0: 64 MiB. Never above
	// [store.MaxMessageSize].
	MaxMessageBytes int64
	// MaxCommandBytes bounds a command in octets, literals included but for
	// APPEND's messages. 0: 65,536; RFC 2683 §3.2.1.5 wants at least 8,000.
	// Before login it is at most 16,384 and each literal at most 4,096. It
	// cannot be unbounded: negative is the default.
	MaxCommandBytes int
	// MaxLiterals bounds the literals of one command, and the parts that
	// CATENATE puts a message together from. 0: 128.
	MaxLiterals int
	// LiteralMinus makes literals that are sent without asking at most 4,096
	// octets long: LITERAL- in place of LITERAL+ (RFC 7888 §5). So does
	// Disable with "LITERAL+".
	LiteralMinus bool
	// MaxAppendMessages bounds the messages of one APPEND (MULTIAPPEND, RFC
	// 3502), which are filed together or not at all. 0: 1,000.
	MaxAppendMessages int
	// MaxAppendBytes bounds their octets together; a single message is bounded
	// by MaxMessageBytes alone. 0: 256 MiB.
	MaxAppendBytes int64
	// MaxPipelined is how many APPENDs and UID STOREs of one connection may wait
	// for their commit while the next is being read, of 256 KiB each and 4 MiB
	// together at most. They share commits. 0: 128; negative or 1: none waits.
	MaxPipelined int
	// MaxNesting bounds parentheses, NOT and OR in SEARCH. 0: 200. It cannot
	// be unbounded: negative is the default, and 100,000 the most.
	MaxNesting int
	// MaxSetRanges bounds the ranges of one set of message numbers or UIDs;
	// what they name costs no more than the mailbox is large. 0: 50,000, which
	// the default of MaxCommandBytes has no room for.
	MaxSetRanges int
	// MaxSearchTerms bounds the keys of one SEARCH. 0: 1,000.
	MaxSearchTerms int
	// MaxContexts bounds the searches of a session whose results are kept up to
	// date (RFC 5267 §4.3); of more, NOUPDATE is said. 0: 10.
	MaxContexts int
	// MaxFilters bounds the filters that one search uses (RFC 5466), those
	// within filters included. 0: 20. It cannot be unbounded: negative is the
	// default.
	MaxFilters int
	// MaxSearchMailboxes bounds the mailboxes of one ESEARCH (RFC 7377). 0:
	// 1,000.
	MaxSearchMailboxes int
	// MaxFetchItems bounds the data items of one FETCH, and the header fields
	// named in one of them. 0: 200.
	MaxFetchItems int
	// MaxMetadataBytes bounds a value of SETMETADATA (RFC 5464), in octets. 0:
	// 16,384. Never above [store.MaxAnnotationValue].
	MaxMetadataBytes int
	// MaxMetadataEntries bounds the entries that one user sees with a mailbox.
	// 0: 100. Never above [store.MaxAnnotations].
	MaxMetadataEntries int
	// MaxMessages bounds the messages that one SEARCH, FETCH, STORE, COPY, MOVE,
	// UID EXPUNGE or APPEND works on; it is told to clients as MESSAGELIMIT
	// (RFC 9738). Of more, those with the highest UIDs are done and the reply
	// says where to go on; COPY, APPEND, SORT and THREAD do nothing then. RFC
	// 9738 §3 wants at least 1,000, and clients that do not know of it see large
	// mailboxes in part (§4). 0 or negative: no bound.
	MaxMessages int
	// MaxSaveMessages bounds the messages of one COPY or APPEND alone; it is
	// told as SAVELIMIT where there is no MaxMessages, and never above that. 0
	// or negative: no bound.
	MaxSaveMessages int
	// MaxNotifyMailboxes bounds the mailboxes that one NOTIFY (RFC 5465) may
	// observe besides the selected one, at about 150 octets each; beyond it NOTIFY
	// is refused, or ended when there come to be more. 0: 2,000.
	MaxNotifyMailboxes int
	// MaxReferences bounds how many of the Message-IDs in a message's References
	// THREAD looks at: the last ones. 0: 100. It cannot be unbounded: negative
	// is the default.
	MaxReferences int
	// MaxInflateRatio bounds how many octets what a client sends compressed
	// (RFC 4978) may stand for, as a multiple of its own size; the first MiB and
	// octets of literals, which have bounds of their own, do not count. Beyond
	// it the session ends with BYE. 0: 100.
	MaxInflateRatio int
	// MaxBadCommands is how many commands in a row may be answered BAD before
	// the connection is closed. 0: 50; before login at most 5 in all.
	MaxBadCommands int
	// MaxLoginFailures is how many failed logins end a connection. 0: 5.
	MaxLoginFailures int

	// Proxies are the addresses of proxies in front of this server. A connection
	// from one of them must begin, before TLS, with a header of the PROXY
	// protocol (version 1 or 2), which must be there within 10 seconds and says
	// whose connection it is; otherwise it is closed without a word. From all
	// others such a header is never read. Limits by address count the announced
	// one. Default none.
	Proxies []netip.Prefix

	// MaxConns bounds all connections. 0: 20,000.
	MaxConns int
	// MaxConnsPerAddr bounds those of one IPv4 address or IPv6 /64. 0: 500.
	MaxConnsPerAddr int
	// ConnRate bounds new connections a minute from one IPv4 address or IPv6
	// /64. 0: no bound.
	ConnRate int
	// MaxConnsPerAccount bounds the sessions logged in to one account. 0: 100.
	MaxConnsPerAccount int
	// MemoryBudget bounds the octets of all connections' long commands
	// together; a command for which there is none left ends its session. What
	// SORT and THREAD hold for the messages found, about 200 octets each, is of
	// it too; they fail without it. So are results of searches that are saved or
	// kept up to date, about 16 octets for each run of UIDs; without it they are
	// not. So are the APPENDs and UID STOREs that wait for their commit; without
	// it they do not wait. 0: 256 MiB.
	MemoryBudget int64

	// IdleTimeout ends a session that sends no command, in IDLE too. 0: 31
	// minutes; RFC 9051 §5.4 wants at least 30.
	IdleTimeout time.Duration
	// KeepAlive is how often a client in IDLE, or one that has used NOTIFY, is
	// told that the server is still there when nothing else happens for so long:
	// otherwise address translators forget the connection, and neither side
	// learns of it. 0: 4 minutes; negative: never.
	KeepAlive time.Duration
	// LoginTimeout bounds the time from the connection to the login. 0: 2
	// minutes.
	LoginTimeout time.Duration
	// ReadTimeout bounds each wait for the next octets of a command that has
	// begun. 0: 2 minutes.
	ReadTimeout time.Duration
	// WriteTimeout bounds each write of at most about 64 KiB. 0: 5 minutes.
	WriteTimeout time.Duration

	// Disable names capabilities that are not to be there, such as
	// "COMPRESS=DEFLATE" or "SORT=DISPLAY", without case; their commands are
	// unknown then. A capability that IMAP4rev2 has taken in takes IMAP4rev2 with
	// it. IMAP4rev1 itself cannot be disabled. Unknown names do nothing.
	Disable []string

	// Namespaces says under which names the mailboxes of other accounts are
	// found.
	Namespaces Namespaces

	// URLHosts are the host names by which clients know this server, for IMAP
	// URLs in CATENATE and URLFETCH: those with another name cannot be resolved.
	// Empty: every name is taken for this server's.
	URLHosts []string
	// URLSubmitters are the accounts of submission servers, which may fetch
	// what users have authorized with "submit+" (RFC 4467 §2.3). Default none.
	URLSubmitters []string

	// ID is what the ID command tells about the server (RFC 2971 §3.3), such
	// as "name" and "version". Nil: only the name "Posta"; empty: nothing.
	ID map[string]string
	// Metadata are entries of the server that all users can read (RFC 5464
	// §6.2.1), such as "/shared/admin", a URL by which the administrator is
	// reached, and "/shared/comment". Names that do not begin with "/shared/"
	// are ignored.
	Metadata map[string]string
	// JMAP is the URL of the JMAP session resource at which the same mail can
	// be had with the same ids (RFC 9698); empty for none.
	JMAP string
	// Logger gets logins, refusals and failures of the store; nil discards.
	Logger *slog.Logger
	// Trace observes connections, logins and commands; nil for none.
	Trace *Trace

	conns      netserve.Server
	once       sync.Once
	lim        limits
	login      *auth.Login
	budget     *lines.Budget
	log        *slog.Logger
	tls        *tls.Config
	off        map[string]bool // what Disable names, in upper case
	extensions map[string]*extension
	sharing    accountCounts
	hubs       hubs
	urlKeys    sync.Mutex // held while a mailbox gets its first key for URLs
	spaces     []space    // of other accounts
	metadata   []store.Annotation
	seed       maphash.Seed
	rights     sync.Mutex // held while an ACL is read and then changed
	misuse     error      // what is wrong with the fields
}

// ErrServerClosed is what Serve returns after Shutdown or Close.
var ErrServerClosed = netserve.ErrClosed

// setup settles what is derived from the fields.
func (s *Server) setup() {
	s.once.Do(func() {
		s.off = disabled(s.Disable)
		s.lim = s.limits()
		s.login = auth.NewLogin(s.Auth, s.Governor, s.InsecureAuth)
		s.login.Disable, s.login.ChannelBinding = s.DisableAuth, s.ChannelBinding
		s.budget = lines.NewBudget(s.lim.budget)
		s.log = s.Logger
		if s.log == nil {
			s.log = slog.New(slog.DiscardHandler)
		}
		s.tls = netserve.ServerTLS(s.TLSConfig)
		s.lim.parse.Off = s.off
		s.extensions = extensionsByName()
		s.metadata, s.seed = serverMetadata(s.Metadata), maphash.MakeSeed()
		s.spaces, s.misuse = s.Namespaces.settle()
	})
}

// ListenAndServe listens on Addr and serves until the server is closed. It
// always returns an error: ErrServerClosed after Shutdown or Close.
func (s *Server) ListenAndServe() error {
	addr := s.Addr
	if addr == "" {
		addr = ":143"
		if s.ImplicitTLS {
			addr = ":993"
		}
	}
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	return s.Serve(l)
}

// Serve accepts connections on l until it fails or the server is closed, when
// it returns ErrServerClosed. It closes l. ImplicitTLS without TLSConfig, and
// Namespaces that cannot be, are refused with an error.
func (s *Server) Serve(l net.Listener) error {
	s.setup()
	if s.misuse != nil {
		_ = l.Close()
		return s.misuse
	}
	cfg := netserve.Config{
		Name:            "imap",
		Proxies:         s.Proxies,
		MaxConns:        s.lim.conns,
		MaxConnsPerAddr: s.lim.connsPerAddr,
		ConnRate:        s.ConnRate,
		Refuse:          refuse,
		Handle:          s.handle,
		Logger:          s.log,
	}
	if s.ImplicitTLS {
		if s.tls == nil {
			_ = l.Close()
			return errNoTLS
		}
		cfg.TLS = s.tls
	}
	return s.conns.Serve(l, cfg)
}

// Shutdown stops accepting, ends idle sessions with BYE and the others after
// the command at hand. When ctx ends first the rest is closed by force and
// ctx's error returned.
func (s *Server) Shutdown(ctx context.Context) error { return s.conns.Shutdown(ctx) }

// Close closes listeners and connections at once.
func (s *Server) Close() error { return s.conns.Close() }

// refuse says why a connection is not accepted.
func refuse(c net.Conn, reason error) {
	text := "* BYE [UNAVAILABLE] Too many connections\r\n" // RFC 5530
	if reason == netserve.ErrClosed {
		text = "* BYE [UNAVAILABLE] Shutting down\r\n"
	}
	_, _ = c.Write([]byte(text))
}

// accountCounts counts sessions by account.
type accountCounts struct {
	mu sync.Mutex
	n  map[string]int
}

// enter counts a session in, unless there are max already.
func (a *accountCounts) enter(account string, max int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if max >= 0 && a.n[account] >= max {
		return false
	}
	if a.n == nil {
		a.n = make(map[string]int)
	}
	a.n[account]++
	return true
}

func (a *accountCounts) leave(account string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.n[account]--; a.n[account] <= 0 {
		delete(a.n, account)
	}
}
