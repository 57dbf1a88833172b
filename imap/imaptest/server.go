package imaptest

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// patience is how long a test waits for what should be there at once.
const patience = 10 * time.Second

// hostname is the server's name, which its certificate is for.
const hostname = "localhost"

// Server is an imap.Server that serves in memory while a test runs. Its methods
// are safe for concurrent use.
type Server struct {
	// Config is the server itself, for what is asked of it later, such as
	// Shutdown. Its fields are not to be changed any more.
	Config *imap.Server
	// Authority made the server's certificate and is trusted by its clients; nil
	// if NewServer made no certificate.
	Authority *Authority

	tb       testing.TB
	listener *memnet.Listener
}

// NewServer serves srv in memory until the test and its subtests end. What srv
// leaves open is settled so that a test can begin at once: without a Store it
// gets one in memory, without Auth the Users anna and bob with the password
// "secret", without a Governor one that never waits, and without TLSConfig
// InsecureAuth. Where Auth is Users each of them has an account. A store that
// srv brings is not closed.
//
// When the test ends connections are closed, and it fails if a command does not
// end within 10 seconds.
func NewServer(tb testing.TB, srv *imap.Server) *Server {
	tb.Helper()
	s := &Server{Config: srv, tb: tb}
	s.serve()
	return s
}

// NewTLSServer is NewServer with a certificate for "localhost" and 127.0.0.1,
// for STARTTLS or, if srv says so, ImplicitTLS.
func NewTLSServer(tb testing.TB, srv *imap.Server) *Server {
	tb.Helper()
	s := &Server{Config: srv, Authority: NewAuthority(tb), tb: tb}
	srv.TLSConfig = s.Authority.Server(hostname, "127.0.0.1")
	s.serve()
	return s
}

func (s *Server) serve() {
	s.tb.Helper()
	srv := s.Config
	var own store.Store
	if srv.Store == nil {
		own = memory.New()
		srv.Store = own
	}
	if srv.Auth == nil {
		srv.Auth = Users{"anna": "secret", "bob": "secret"}
	}
	if srv.Governor == nil {
		srv.Governor = &auth.Governor{Off: true}
	}
	srv.InsecureAuth = srv.InsecureAuth || srv.TLSConfig == nil
	if users, ok := srv.Auth.(Users); ok {
		for name := range users {
			if err := srv.Store.CreateAccount(s.tb.Context(), name); err != nil && !errors.Is(err, store.ErrExists) {
				s.tb.Fatal(err)
			}
		}
	}
	s.listener = memnet.Listen()
	done := make(chan error, 1)
	go func() { done <- srv.Serve(s.listener) }()
	s.tb.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, imap.ErrServerClosed) {
			s.tb.Errorf("imaptest: server: %v", err)
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(s.tb.Context()), patience)
		defer cancel()
		if srv.Shutdown(ctx) != nil {
			s.tb.Error("imaptest: a connection of the server does not end")
		}
		if own != nil {
			_ = own.Close()
		}
	})
}

// Addr is a host and port for Dial.
func (s *Server) Addr() string { return net.JoinHostPort(hostname, "143") }

// Dial connects in memory from 127.0.0.1, whatever the address. It fits where
// clients take a function to dial with.
func (s *Server) Dial(ctx context.Context, _, _ string) (net.Conn, error) {
	return s.DialFrom(ctx, net.IPv4(127, 0, 0, 1))
}

// DialFrom connects in memory from another address, for what depends on it.
func (s *Server) DialFrom(ctx context.Context, ip net.IP) (net.Conn, error) {
	return s.listener.DialFrom(ctx, ip)
}

// ListenTCP also serves on a port of the loopback interface, until the test
// ends, and returns its address.
func (s *Server) ListenTCP() (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() { _ = s.Config.Serve(l) }()
	return l.Addr().String(), nil
}

// Message is a message to deliver.
type Message struct {
	// Mailbox is made if it is not there. Empty: INBOX.
	Mailbox string
	// Text is the message; a lone LF is written as CRLF.
	Text string
	// Flags it has from the beginning.
	Flags []store.Flag
	// Date is its internal date; the zero time is now.
	Date time.Time
}

// Deliver files messages in an account, in one commit and in their order, and
// returns their UIDs. The test fails if that is not possible.
func (s *Server) Deliver(account string, messages ...Message) []store.UID {
	s.tb.Helper()
	ctx, st := s.tb.Context(), s.Config.Store
	acc, err := st.Account(ctx, account, account)
	if err != nil {
		s.tb.Fatal(err)
	}
	var targets []store.Target
	for _, m := range messages {
		if m.Mailbox == "" {
			m.Mailbox = store.Inbox
		}
		if _, err := acc.Create(ctx, m.Mailbox, store.CreateOptions{}); err != nil && !errors.Is(err, store.ErrExists) {
			s.tb.Fatal(err)
		}
		body, err := st.Stage(ctx, strings.NewReader(crlf(m.Text)))
		if err != nil {
			s.tb.Fatal(err)
		}
		defer body.Discard()
		targets = append(targets, store.Target{Account: account, Mailbox: m.Mailbox, Body: body, Flags: m.Flags, Date: m.Date})
	}
	var uids []store.UID
	for _, p := range st.Place(ctx, targets) {
		if p.Err != nil {
			s.tb.Fatal(p.Err)
		}
		uids = append(uids, p.UID)
	}
	return uids
}

func crlf(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "\r\n", "\n"), "\n", "\r\n")
}
