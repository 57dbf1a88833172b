package smtp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/internal/testauth"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/internal/testleak"
	"github.com/posta-mail/posta/internal/testscript"
)

// testHandler is a back end with opinions, told by local parts:
// nobody@ is unknown, later@ temporary, relay@ refused by policy, boom@ fails
// with an internal error, bye@ gets 421, full@ fails in Data (in LMTP alone).
type testHandler struct {
	mu       sync.Mutex
	ext      []Extension
	got      []received
	sessions int
	closed   int
}

type received struct {
	env  Envelope
	body string
	with string
}

func (h *testHandler) NewSession(_ context.Context, c *Conn) (Session, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sessions++
	return &testSession{h: h, c: c}, nil
}

func (h *testHandler) messages() []received {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.got)
}

type testSession struct {
	h   *testHandler
	c   *Conn
	env *Envelope
}

func (s *testSession) Mail(_ context.Context, from Path, opts MailOptions) (Reply, error) {
	if from.Local == "refused" {
		return Reply{}, Errorf(550, EnhancedCode{5, 7, 1}, "Not you")
	}
	s.env = &Envelope{Peer: s.c.Peer(), Identity: s.c.Identity(), From: from, MailOptions: opts}
	if from.Local == "echo" {
		return Reply{Text: describeMail(opts)}, nil
	}
	if from.Local == "known" {
		return Reply{Enhanced: EnhancedCode{2, 1, 0}, Text: "Good to see you"}, nil
	}
	return Reply{}, nil
}

func (s *testSession) Rcpt(_ context.Context, to Path, opts RcptOptions) (Reply, error) {
	switch to.Local {
	case "echo":
		s.env.To = append(s.env.To, Recipient{to, opts})
		return Reply{Text: describeRcpt(opts)}, nil
	case "nobody":
		return Reply{}, fmt.Errorf("wrapped: %w", Errorf(550, EnhancedCode{5, 1, 1}, "No such user"))
	case "praise":
		return Reply{}, Errorf(250, EnhancedCode{2, 1, 5}, "An error is no success")
	case "later":
		return Reply{}, Errorf(450, EnhancedCode{4, 2, 0}, "Come back")
	case "relay":
		return Reply{}, Errorf(550, EnhancedCode{5, 7, 1}, "No relaying")
	case "boom":
		return Reply{}, errors.New("open /var/secret/path: permission denied")
	case "bye":
		return Reply{}, Errorf(421, EnhancedCode{4, 3, 2}, "Going away")
	case "panic":
		panic("handler bug")
	case "late":
		return Reply{}, fmt.Errorf("asking: %w", context.DeadlineExceeded)
	case "moved":
		s.env.To = append(s.env.To, Recipient{to, opts})
		return Reply{251, EnhancedCode{2, 1, 5}, "Not local, will forward\nto <b@example.net>"}, nil
	case "odd": // a reply that refuses is not a success text
		s.env.To = append(s.env.To, Recipient{to, opts})
		return Reply{550, EnhancedCode{5, 1, 1}, "Odd"}, nil
	}
	s.env.To = append(s.env.To, Recipient{to, opts})
	return Reply{}, nil
}

func (s *testSession) Data(ctx context.Context, r io.Reader) (Result, error) {
	switch s.env.From.Local {
	case "early": // decides without reading
		return Result{}, Errorf(554, EnhancedCode{5, 7, 1}, "Not wanted")
	case "lazy":
		return Result{}, nil
	case "odd":
		return Result{Reply: Reply{550, EnhancedCode{5, 7, 1}, "Odd"}}, nil
	case "late":
		return Result{}, context.DeadlineExceeded
	case "panic":
		panic("handler bug")
	case "swallow": // a handler that ignores errors
		_, _ = io.ReadAll(r)
		return Result{}, nil
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return Result{}, fmt.Errorf("reading: %w", err)
	}
	s.h.mu.Lock()
	s.h.got = append(s.h.got, received{*s.env, string(b), s.c.Protocol()})
	n := len(s.h.got)
	s.h.mu.Unlock()
	res := Result{Reply: Reply{Code: 250, Enhanced: EnhancedCode{2, 6, 0}, Text: fmt.Sprintf("Queued as %d", n)}}
	for _, to := range s.env.To {
		switch {
		case to.Local != "full":
			res.Recipients = append(res.Recipients, nil)
		case s.c.LMTP():
			res.Recipients = append(res.Recipients, Errorf(452, EnhancedCode{4, 2, 2}, "Mailbox full"))
		default:
			return Result{}, Errorf(452, EnhancedCode{4, 2, 2}, "Mailbox full")
		}
	}
	return res, nil
}

func (s *testSession) Reset() { s.env = nil }

func (s *testSession) Close() {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	s.h.closed++
}

// testAuth knows one user.
type testAuth struct{}

func (testAuth) Password(_ context.Context, req auth.Request, authzid, user, password string) (*auth.Identity, error) {
	switch {
	case user == "down":
		return nil, auth.ErrUnavailable
	case user != "tim" || password != "tanstaaftanstaaf" || (authzid != "" && authzid != "tim"):
		return nil, auth.ErrCredentials
	}
	return &auth.Identity{Account: "tim", Login: user}, nil
}

func TestMain(m *testing.M) { testleak.Main(m) }

// testServer runs a server in memory until the test ends, and nothing of it
// longer.
func testServer(t testing.TB, s *Server) *memnet.Listener {
	t.Helper()
	testleak.Check(t)
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
	cert, err := ca.Issue("mx.example.org")
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{cert}}, &tls.Config{RootCAs: ca.Pool(), ServerName: "mx.example.org"}
}

// TestDialogues runs testdata/*.txt. A file's first comment lines say how the
// server is set up: "# server: lmtp auth …".
func TestDialogues(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	testscript.RunDir(t, "testdata/*.txt", func(t *testing.T, name string) testscript.Config {
		clientTLS := clientTLS
		s := &Server{Hostname: "mx.example.org", Handler: &testHandler{}, Governor: &auth.Governor{Off: true}}
		for _, o := range serverOptions(t, name) {
			switch o {
			case "lmtp":
				s.LMTP = true
			case "tls":
				s.TLSConfig = serverTLS
			case "auth":
				s.Auth = testAuth{}
			case "sasl":
				s.Auth, s.ChannelBinding = testauth.Able{}, true
				s.TLSConfig, clientTLS = testauth.CertifiedTLS(t, serverTLS, clientTLS)
			case "fewer":
				s.DisableAuth, s.ChannelBinding = []string{"login", "XOAUTH2", "SCRAM-SHA-1", "ANONYMOUS"}, false
			case "insecure":
				s.InsecureAuth = true
			case "require":
				s.RequireAuth = true
			case "small":
				s.MaxMessageBytes, s.MaxLineLength, s.MaxRecipients = 1000, 200, 3
			case "xclient":
				s.XClients = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
				s.Handler = &originHandler{}
			case "xlogin":
				s.XClientLogin = xclientLogin
			case "proxy":
				s.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
			case "ext":
				s.Handler.(*testHandler).ext = allExtensions()
			case "messages":
				s.MaxMessages = 2
			case "nohandler":
				s.Handler = nil
			default:
				t.Fatalf("unknown option %q", o)
			}
		}
		l := testServer(t, s)
		return testscript.Config{Dial: func(ctx context.Context) (net.Conn, error) { return l.Dial(ctx) }, TLS: clientTLS}
	})
}

func serverOptions(t *testing.T, name string) []string {
	first, _, _ := strings.Cut(readFile(t, "testdata/"+name+".txt"), "\n")
	opts, ok := strings.CutPrefix(first, "# server:")
	if !ok {
		t.Fatalf("%s: first line must be \"# server: options\"", name)
	}
	return strings.Fields(opts)
}
