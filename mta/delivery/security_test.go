package delivery_test

import (
	"context"
	"crypto/tls"
	"errors"
	"strings"
	"testing"
	"time"

	gosasl "github.com/emersion/go-sasl"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/internal/testcert"
	"github.com/posta-mail/posta/mta/queue"
	"github.com/posta-mail/posta/mta/route"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/smtp/smtptest"
)

const starttls = "S: 220 hi\nC: EHLO mx.a.test\nS: 250-me\nS: 250 STARTTLS\nC: STARTTLS\n"

func tlsFor(t testing.TB, names ...string) (server *tls.Config, client *tls.Config) {
	t.Helper()
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	cert, err := ca.Issue(names...)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{cert}}, &tls.Config{RootCAs: ca.Pool()}
}

// When to encrypt, and what comes of a handshake that fails.
func TestSecurity(t *testing.T) {
	secure := func(s smtp.TLSPolicy) func(context.Context, string, route.Host) (smtp.TLSPolicy, error) {
		return func(context.Context, string, route.Host) (smtp.TLSPolicy, error) { return s, nil }
	}
	broken := starttls + "S: 220 go\nC: .*\nSTALL"
	refused := starttls + "S: 454 4.7.0 not now\nC: QUIT"
	_, strangers := tlsFor(t, "x.test")
	for _, c := range []struct {
		name    string
		sec     *smtp.TLSPolicy
		scripts []string // of the first address; nil: a real server with TLS
		want    string
		with    string // ESMTP or ESMTPS
		conns   int
	}{
		{"offered", nil, nil, "250 a.mx.test", "ESMTPS", 1},
		{"handshake fails: plain text", nil, []string{broken, good}, "250 a.mx.test", "", 2},
		{"STARTTLS is refused: plain text", nil, []string{refused, good}, "250 a.mx.test", "", 2},
		{"plain text after 220: not again", nil, []string{starttls + "S- \"220 go\\r\\n250 injected\\r\\n\"", good}, "451 4.4.1 b.mx.test", "", 1},
		{"required, not offered", &smtp.TLSPolicy{Mode: smtp.TLSRequired}, []string{greet + "C: QUIT", good}, "451 4.4.1 b.mx.test", "", 1},
		{"required, handshake fails", &smtp.TLSPolicy{Mode: smtp.TLSRequired}, []string{broken, good}, "451 4.4.1 b.mx.test", "", 1},
		{"verified, unknown authority", &smtp.TLSPolicy{Mode: smtp.TLSVerified}, nil, "451 4.4.1 b.mx.test", "", 1},
		{"verified, wrong authority", &smtp.TLSPolicy{Mode: smtp.TLSVerified, Config: strangers}, nil, "451 4.4.1 b.mx.test", "", 1},
		{"verified", &smtp.TLSPolicy{Mode: smtp.TLSVerified, Config: &tls.Config{}}, nil, "250 a.mx.test", "ESMTPS", 1},
		{"required, any certificate", &smtp.TLSPolicy{Mode: smtp.TLSRequired}, nil, "250 a.mx.test", "ESMTPS", 1},
		{"none", &smtp.TLSPolicy{Mode: smtp.TLSNone}, nil, "250 a.mx.test", "ESMTP", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newInternet()
			n.hosts[0].Addrs = n.hosts[0].Addrs[:1]
			n.Transport.Client.Timeouts.Handshake = 300 * time.Millisecond
			var rec *smtptest.Recorder
			var conns func() int
			if c.scripts == nil {
				server, client := tlsFor(t, "a.mx.test")
				rec = n.recorder(t, "1", func(r *smtptest.Recorder) { r.Server.TLSConfig = server })
				conns = rec.Sessions
				if c.sec != nil && c.sec.Config != nil && c.sec.Config.RootCAs == nil {
					c.sec.Config = &tls.Config{RootCAs: client.RootCAs, ServerName: "a.mx.test"}
				}
			} else {
				conns = n.peer(t, "1", c.scripts...).Conns
			}
			if c.sec != nil {
				n.Secure = secure(*c.sec)
			}
			require.Equal(t, []string{c.want}, allSay(n.deliver(t.Context(), "bob")))
			require.Equal(t, c.conns, conns())
			if rec != nil && c.with != "" {
				require.Equal(t, c.with, rec.Messages()[0].Protocol)
			}
		})
	}
}

// A failed handshake is told as what it is.
func TestTLSFailureCode(t *testing.T) {
	n := newInternet()
	n.hosts = n.hosts[1:]
	server, _ := tlsFor(t, "other.test")
	n.recorder(t, "3", func(r *smtptest.Recorder) { r.Server.TLSConfig = server })
	n.Secure = func(_ context.Context, domain string, h route.Host) (smtp.TLSPolicy, error) {
		require.Equal(t, "b.test", domain)
		return smtp.VerifiedTLS(), nil
	}
	res := n.deliver(t.Context(), "bob")
	require.Equal(t, "451 4.7.5 b.mx.test", says(res[0]))
	require.ErrorContains(t, res[0].Err, "certificate")
}

// REQUIRETLS demands a verified server whatever the policy says (RFC 8689).
func TestRequireTLS(t *testing.T) {
	server, _ := tlsFor(t, "b.mx.test")
	for _, mode := range []smtp.TLSMode{smtp.TLSOpportunistic, smtp.TLSNone, smtp.TLSRequired} {
		n := newInternet()
		n.hosts = n.hosts[1:]
		rec := n.recorder(t, "3", func(r *smtptest.Recorder) { r.Server.TLSConfig = server })
		n.Secure = func(context.Context, string, route.Host) (smtp.TLSPolicy, error) {
			return smtp.TLSPolicy{Mode: mode}, nil
		}
		m := &queue.Message{Recipients: []queue.Recipient{{To: smtp.Path{Local: "bob", Domain: "b.test"}}}}
		m.Options.RequireTLS = true
		require.Equal(t, []string{"451 4.7.5 b.mx.test"}, allSay(n.Deliver(t.Context(), m, body{strings.NewReader(letter)})))
		require.Empty(t, rec.Messages())
		require.Equal(t, 1, rec.Sessions(), "no second try in plain text")
	}
}

// A policy that cannot be found out skips its host, and defers if there is no
// other.
func TestPolicyErrors(t *testing.T) {
	n := newInternet()
	asked := []string{}
	n.recorder(t, "3", nil)
	n.Secure = func(_ context.Context, _ string, h route.Host) (smtp.TLSPolicy, error) {
		asked = append(asked, h.Name)
		if h.Name == "a.mx.test" {
			return smtp.TLSPolicy{}, errors.New("TLSA lookup failed")
		}
		return smtp.TLSPolicy{}, nil
	}
	require.Equal(t, []string{"250 b.mx.test"}, allSay(n.deliver(t.Context(), "bob")))
	require.Equal(t, []string{"3"}, n.calls)
	require.Equal(t, []string{"a.mx.test", "b.mx.test"}, asked)
	n.hosts = n.hosts[:1]
	require.Equal(t, []string{"451 4.7.5 a.mx.test"}, allSay(n.deliver(t.Context(), "bob")))
}

// accounts is an Authenticator of one user.
type accounts struct{}

func (accounts) Password(_ context.Context, _ auth.Request, _, user, password string) (*auth.Identity, error) {
	if user == "relay" && password == "secret" {
		return &auth.Identity{Account: "relay", Login: "relay"}, nil
	}
	return nil, auth.ErrCredentials
}

// At a smarthost one logs in, under TLS only, and a wrong password returns no
// mail.
func TestAuth(t *testing.T) {
	server, client := tlsFor(t, "a.mx.test")
	login := func(password string) func(route.Host) gosasl.Client {
		return func(h route.Host) gosasl.Client {
			if h.Name != "a.mx.test" {
				return nil
			}
			return sasl.NewPlainClient("", "relay", password)
		}
	}
	client.ServerName = "a.mx.test"
	trust := func(context.Context, string, route.Host) (smtp.TLSPolicy, error) {
		return smtp.TLSPolicy{Config: client}, nil
	}
	for _, c := range []struct {
		name, password string
		tls            bool
		secure         func(context.Context, string, route.Host) (smtp.TLSPolicy, error)
		want           string
	}{
		{"logged in", "secret", true, trust, "250 a.mx.test"},
		{"wrong password", "wrong", true, trust, "451 4.7.8 a.mx.test"},
		{"certificate not verified", "secret", true, nil, "451 4.7.5 a.mx.test"},
		{"no TLS", "secret", false, trust, "454 4.7.0"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newInternet()
			n.hosts = []route.Host{{Name: "a.mx.test", Port: 25, Addrs: n.hosts[0].Addrs[:1]}}
			rec := n.recorder(t, "1", func(r *smtptest.Recorder) {
				r.Server.Auth, r.Server.RequireAuth, r.Server.Governor = accounts{}, true, &auth.Governor{Off: true}
				if c.tls {
					r.Server.TLSConfig = server
				} else {
					r.Server.InsecureAuth = true
				}
			})
			n.Auth, n.Secure = login(c.password), c.secure
			require.Equal(t, []string{c.want}, allSay(n.deliver(t.Context(), "bob")))
			if c.want == "250 a.mx.test" {
				require.Equal(t, "ESMTPSA", rec.Messages()[0].Protocol)
			} else {
				require.Empty(t, rec.Messages())
			}
		})
	}
	n := newInternet()
	n.recorder(t, "3", nil)
	n.Auth = login("secret")
	require.Equal(t, []string{"250 b.mx.test"}, allSay(n.deliver(t.Context(), "bob")), "no login at other hosts")
}
