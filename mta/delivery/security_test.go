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
	ca, stranger := smtptest.NewAuthority(t), smtptest.NewAuthority(t)
	verified := &smtp.TLSPolicy{Mode: smtp.TLSVerified, Config: ca.Client()}
	required := &smtp.TLSPolicy{Mode: smtp.TLSRequired}
	const accepted, failed = "250 a.mx.test", "451 4.4.1 b.mx.test"
	for _, c := range []struct {
		name  string
		sec   *smtp.TLSPolicy
		fault smtptest.Fault // of the first address
		want  string
		with  string // ESMTP or ESMTPS; empty: there is no message
		conns int
	}{
		{"offered", nil, smtptest.Fault{}, accepted, "ESMTPS", 1},
		{"handshake fails: plain text", nil, smtptest.Fault{At: smtptest.AtHandshake, Drop: smtptest.DropCommand}, accepted, "ESMTP", 2},
		{"handshake stalls: plain text", nil, smtptest.Fault{At: smtptest.AtHandshake, Delay: time.Hour}, accepted, "ESMTP", 2},
		{"STARTTLS is refused: plain text", nil, smtptest.Fault{At: smtptest.AtStartTLS, Reply: "454 4.7.0 not now"}, accepted, "ESMTP", 2},
		{"plain text after 220: not again", nil, smtptest.Fault{At: smtptest.AtStartTLS, Append: "250 injected\r\n"}, failed, "", 1},
		{"required, not offered", required, smtptest.Fault{At: smtptest.AtHello, Hide: []string{"STARTTLS"}}, failed, "", 1},
		{"required, handshake fails", required, smtptest.Fault{At: smtptest.AtHandshake, Drop: smtptest.DropCommand}, failed, "", 1},
		{"required, any certificate", required, smtptest.Fault{At: smtptest.AtHandshake, TLS: stranger.Expired("x.test")}, accepted, "ESMTPS", 1},
		{"verified, the system's authorities", &smtp.TLSPolicy{Mode: smtp.TLSVerified}, smtptest.Fault{}, failed, "", 1},
		{"verified, unknown authority", verified, smtptest.Fault{At: smtptest.AtHandshake, TLS: stranger.Server("a.mx.test")}, failed, "", 1},
		{"verified, wrong name", verified, smtptest.Fault{At: smtptest.AtHandshake, TLS: ca.Server("b.mx.test")}, failed, "", 1},
		{"verified, expired", verified, smtptest.Fault{At: smtptest.AtHandshake, TLS: ca.Expired("a.mx.test")}, failed, "", 1},
		{"verified", verified, smtptest.Fault{}, accepted, "ESMTPS", 1},
		{"none", &smtp.TLSPolicy{Mode: smtp.TLSNone}, smtptest.Fault{}, accepted, "ESMTP", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := newInternet()
			n.hosts[0].Addrs = n.hosts[0].Addrs[:1]
			n.Transport.Client.Timeouts.Handshake = 300 * time.Millisecond
			rec := n.recorder(t, "1", func(r *smtptest.Recorder) { r.Server.TLSConfig = ca.Server("a.mx.test") })
			rec.Misbehave(smtptest.Faults{Rules: []smtptest.Fault{c.fault}})
			if c.sec != nil {
				n.Secure = func(context.Context, string, route.Host) (smtp.TLSPolicy, error) { return *c.sec, nil }
			}
			require.Equal(t, []string{c.want}, allSay(n.deliver(t.Context(), "bob")))
			require.Equal(t, c.conns, rec.Sessions())
			with := []string{}
			for _, m := range rec.Messages() {
				with = append(with, m.Protocol)
			}
			require.Equal(t, strings.Fields(c.with), with)
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
