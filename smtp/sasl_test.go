package smtp

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/internal/testcert"
)

// certifiedTLS is the same with a certificate of anna's, which the server checks.
func certifiedTLS(t *testing.T, server, client *tls.Config) (*tls.Config, *tls.Config) {
	t.Helper()
	ca, err := testcert.NewAuthority()
	require.NoError(t, err)
	anna, err := ca.Issue("anna.test")
	require.NoError(t, err)
	server, client = server.Clone(), client.Clone()
	server.ClientCAs, server.ClientAuth = ca.Pool(), tls.VerifyClientCertIfGiven
	client.Certificates = []tls.Certificate{anna}
	return server, client
}

// ableAuth has every ability. Anna's password is "secret" and her token "good";
// her certificate is for anna.test. A guest is anna too.
type ableAuth struct{}

func (ableAuth) identity(ok bool, authzid, user string) (*auth.Identity, error) {
	switch {
	case !ok || user != "anna":
		return nil, auth.ErrCredentials
	case authzid != "" && authzid != user:
		return nil, auth.ErrForbidden
	}
	return &auth.Identity{Account: user, Login: user}, nil
}

func (a ableAuth) Password(_ context.Context, _ auth.Request, authzid, user, password string) (*auth.Identity, error) {
	return a.identity(password == "secret", authzid, user)
}

func (ableAuth) SCRAMHashes() []string { return []string{"SHA-1", "SHA-256", "SHA-512"} }

func (ableAuth) SCRAMKeys(_ context.Context, _ auth.Request, user, hash string) (sasl.SCRAMKeys, error) {
	if user != "anna" {
		return sasl.FakeSCRAMKeys(hash, []byte("key"), user, 16, 4096)
	}
	return sasl.DeriveSCRAMKeys(hash, "secret", []byte("sixteen octets !"), 4096)
}

func (a ableAuth) Authorize(_ context.Context, _ auth.Request, authzid, user string) (*auth.Identity, error) {
	return a.identity(true, authzid, user)
}

func (a ableAuth) Token(_ context.Context, _ auth.Request, user, token string) (*auth.Identity, error) {
	switch token {
	case "down":
		return nil, auth.ErrUnavailable
	case "narrow":
		return nil, &sasl.TokenError{Status: "insufficient_scope", Scope: "mail", Err: auth.ErrForbidden}
	}
	return a.identity(token == "good", user, "anna")
}

func (a ableAuth) External(_ context.Context, req auth.Request, authzid string) (*auth.Identity, error) {
	return a.identity(req.Peer.TLS.VerifiedChains[0][0].DNSNames[0] == "anna.test", authzid, "anna")
}

func (a ableAuth) Anonymous(_ context.Context, _ auth.Request, trace string) (*auth.Identity, error) {
	return a.identity(trace != "banned", "", "anna")
}

// The client takes the strongest mechanism, bound to the connection, under every
// version of TLS, and one bound to the certificate works as well; a proof bound to
// something else fails.
func TestChannelBinding(t *testing.T) {
	serverTLS, clientTLS := testTLS(t)
	var used []string
	s := &Server{Hostname: "mx.example.org", Handler: &testHandler{}, Auth: ableAuth{}, ChannelBinding: true, TLSConfig: serverTLS, Governor: &auth.Governor{Off: true}}
	var mu sync.Mutex
	s.Trace = &Trace{Auth: func(_ auth.Peer, mech string, _ *auth.Identity, err error) {
		mu.Lock()
		defer mu.Unlock()
		if err == nil {
			used = append(used, mech)
		}
	}}
	l := testServer(t, s)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		dial := func(who sasl.Credentials) *Client {
			cfg := clientTLS.Clone()
			cfg.MaxVersion = version
			c, err := Dial(t.Context(), "mx.example.org:587", &ClientConfig{
				Hostname: "client.example.com", TLS: TLSPolicy{Mode: TLSVerified, Config: cfg},
				DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) },
			})
			require.NoError(t, err)
			if who.User != "" {
				require.NoError(t, c.LoginAs(t.Context(), who))
			}
			return c
		}
		require.NoError(t, dial(sasl.Credentials{User: "anna", Password: "secret"}).Quit(t.Context()))
		for _, right := range []bool{true, false} {
			c := dial(sasl.Credentials{})
			binding, err := sasl.EndPointBinding(c.TLS().PeerCertificates[0])
			require.NoError(t, err)
			if !right {
				binding.Data[0]++
			}
			mech, err := sasl.SCRAM{Hash: "SHA-256", User: "anna", Password: "secret", Binding: binding, Plus: true}.Client()
			require.NoError(t, err)
			err = c.Login(t.Context(), mech)
			require.Equal(t, right, err == nil, "%v", err)
			require.NoError(t, c.Quit(t.Context()))
		}
	}
	mu.Lock()
	defer mu.Unlock()
	require.Equal(t, []string{"SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-512-PLUS", "SCRAM-SHA-256-PLUS"}, used)
}
