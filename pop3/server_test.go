package pop3

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/testauth"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/internal/testscript"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// testAuth knows anna, otto, empty, moved and some with troubles; all have the same
// password.
type testAuth struct{}

const password = "tanstaaf tanstaaf "

func (testAuth) Password(_ context.Context, _ auth.Request, authzid, user, pass string) (*auth.Identity, error) {
	switch {
	case user == "down":
		return nil, fmt.Errorf("dial /var/secret/socket: %w", auth.ErrUnavailable)
	case user == "forbidden":
		return nil, auth.ErrForbidden
	case pass != password, authzid != "" && authzid != user:
		return nil, auth.ErrCredentials
	}
	switch user {
	case "anna", "otto", "empty", "nobox", "broken", "moved":
		return &auth.Identity{Account: user, Login: user}, nil
	}
	return nil, auth.ErrCredentials
}

// testStore is a store of the engine for tests with accounts anna, otto, empty,
// broken and moved; anna has the messages of testdata/mail, and those of moved
// have brought unique-ids along: good ones, the same twice, none, one that is
// not theirs to have, and one as long as can be.
func testStore(t testing.TB) *memory.Store {
	t.Helper()
	st := memory.New()
	t.Cleanup(func() { _ = st.Close() })
	for _, name := range []string{"anna", "otto", "empty", "broken", "moved"} {
		require.NoError(t, st.CreateAccount(t.Context(), name))
	}
	for _, m := range testMail {
		put(t, st, "anna", m)
	}
	put(t, st, "otto", testMail[0])
	put(t, st, "broken", testMail[0])
	own := fmt.Sprint(mailboxInfo(t, st, "moved").UIDValidity)
	for _, u := range []string{"!~old-1", "same", "same", "", own + ".2", strings.Repeat("x", 70)} {
		put(t, st, "moved", testMail[3], u)
	}
	return st
}

// testMail are anna's messages: an ordinary one, one full of dots, one with
// line ends of other systems and no last one, one without a body, an empty one.
var testMail = []string{
	"Subject: one\r\nFrom: <a@example.com>\r\n\r\nFirst line\r\nSecond line\r\nThird line\r\n",
	".Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n\r\n.\r\n",
	"Subject: ends\n\nbare LF\n.\nbare CR\r.\rno end",
	"Subject: header alone\r\n",
	"",
}

// put files a message, with a unique-id if one is given.
func put(t testing.TB, st store.Store, account, text string, uidl ...string) {
	t.Helper()
	staged, err := st.Stage(t.Context(), strings.NewReader(text))
	require.NoError(t, err)
	defer staged.Discard()
	for _, p := range st.Place(t.Context(), []store.Target{{Account: account, Mailbox: store.Inbox, Body: staged, UIDL: strings.Join(uidl, "")}}) {
		require.NoError(t, p.Err)
	}
}

// uids are the messages that an account's INBOX has.
func uids(t testing.TB, st store.Store, account string) []store.UID {
	t.Helper()
	acc, err := st.Account(t.Context(), account, account)
	require.NoError(t, err)
	mb, err := acc.Mailbox(t.Context(), store.Inbox)
	require.NoError(t, err)
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	out := []store.UID{}
	for _, row := range snap.All() {
		out = append(out, row.UID)
	}
	return out
}

// testServer runs a server in memory until the test ends.
func testServer(t testing.TB, s *Server) *memnet.Listener {
	t.Helper()
	l := memnet.Listen()
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		_ = s.Close()
		require.ErrorIs(t, <-done, ErrServerClosed)
	})
	return l
}

// testTLS is a server's and a client's configuration that fit.
func testTLS(t testing.TB) (server, client *tls.Config) {
	t.Helper()
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	cert, err := ca.Issue("pop.example.org")
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{cert}}, &tls.Config{RootCAs: ca.Pool(), ServerName: "pop.example.org"}
}

// TestDialogues runs testdata/*.txt. A file's first line says how the server
// is set up: "# server: tls auth …".
func TestDialogues(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	testscript.RunDir(t, "testdata/*.txt", func(t *testing.T, name string) testscript.Config {
		clientTLS := clientTLS
		st := testStore(t)
		s := &Server{Hostname: "pop.example.org", Store: st, Auth: testAuth{}, Governor: &auth.Governor{Off: true}}
		implicit := false
		for _, o := range serverOptions(t, name) {
			switch o {
			case "tls":
				s.TLSConfig = serverTLS
			case "implicit":
				s.TLSConfig, s.ImplicitTLS, implicit = serverTLS, true, true
			case "sasl":
				s.Auth, s.ChannelBinding = testauth.Able{}, true
				s.TLSConfig, clientTLS = testauth.CertifiedTLS(t, serverTLS, clientTLS)
			case "fewer":
				s.DisableAuth, s.ChannelBinding = []string{"login", "XOAUTH2", "SCRAM-SHA-1", "ANONYMOUS"}, false
			case "insecure":
				s.InsecureAuth = true
			case "noauth":
				s.Auth = nil
			case "nostore":
				s.Store = nil
			case "patient":
				s.MaxAuthFailures = 100
			case "governed":
				s.Governor = &auth.Governor{AccountFailures: 2, BaseDelay: -1}
			case "broken":
				s.Store = &brokenStore{Store: st}
			case "unshared":
				s.Store = struct{ store.Store }{st}
			default:
				t.Fatalf("unknown option %q", o)
			}
		}
		l := testServer(t, s)
		validity, moved := mailboxInfo(t, st, "anna").UIDValidity, mailboxInfo(t, st, "moved").UIDValidity
		return testscript.Config{
			Dial: func(ctx context.Context) (net.Conn, error) {
				nc, err := l.Dial(ctx)
				if err == nil && implicit {
					nc = tls.Client(nc, clientTLS)
				}
				return nc, err
			},
			TLS:  clientTLS,
			Vars: map[string]string{"validity": fmt.Sprint(validity), "moved": fmt.Sprint(moved)},
		}
	})
}

func mailboxInfo(t testing.TB, st store.Store, account string) store.MailboxInfo {
	t.Helper()
	acc, err := st.Account(t.Context(), account, account)
	require.NoError(t, err)
	mb, err := acc.Mailbox(t.Context(), store.Inbox)
	require.NoError(t, err)
	info, err := mb.Info(t.Context())
	require.NoError(t, err)
	return info
}

func serverOptions(t *testing.T, name string) []string {
	b, err := os.ReadFile("testdata/" + name + ".txt")
	require.NoError(t, err)
	first, _, _ := strings.Cut(string(b), "\n")
	opts, ok := strings.CutPrefix(first, "# server:")
	require.True(t, ok, "%s: first line must be \"# server: options\"", name)
	return strings.Fields(opts)
}

// brokenStore fails for the account broken: the first expunge, UIDL, each body
// after reading some octets, and for the account nobox the snapshot.
type brokenStore struct {
	store.Store
	short atomic.Int64 // octets that bodies give
}

var errDisk = errors.New("read /var/secret/segment: input/output error")

func (s *brokenStore) Account(ctx context.Context, name, actor string) (store.Account, error) {
	acc, err := s.Store.Account(ctx, name, actor)
	if err != nil || name != "broken" {
		return acc, err
	}
	return &brokenAccount{acc, s}, nil
}

type brokenAccount struct {
	store.Account
	s *brokenStore
}

func (a *brokenAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	return &brokenMailbox{mb, a.s}, err
}

type brokenMailbox struct {
	store.Mailbox
	s *brokenStore
}

func (m *brokenMailbox) UIDLs(context.Context) (map[store.UID]string, error) { return nil, errDisk }

func (m *brokenMailbox) Expunge(context.Context, store.UIDSet, ...store.Flag) (store.Expunged, error) {
	return store.Expunged{}, errDisk
}

func (m *brokenMailbox) Open(ctx context.Context, row store.Row) (store.Body, error) {
	b, err := m.Mailbox.Open(ctx, row)
	return &brokenBody{b, m.s.short.Load()}, err
}

type brokenBody struct {
	store.Body
	good int64
}

func (b *brokenBody) ReadAt(p []byte, off int64) (int, error) {
	if off+int64(len(p)) > b.good {
		return 0, errDisk
	}
	return b.Body.ReadAt(p, off)
}
