// Package testauth has an authenticator that can everything, for the tests of
// the servers.
package testauth

import (
	"context"
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/internal/testcert"
)

// CertifiedTLS returns both configurations with a certificate of anna's, which the
// server checks.
func CertifiedTLS(t *testing.T, server, client *tls.Config) (*tls.Config, *tls.Config) {
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

// Able has every ability. Anna's password is "secret" and her token "good";
// her certificate is for anna.test. A guest is anna too.
type Able struct{}

func (Able) identity(ok bool, authzid, user string) (*auth.Identity, error) {
	switch {
	case !ok || user != "anna":
		return nil, auth.ErrCredentials
	case authzid != "" && authzid != user:
		return nil, auth.ErrForbidden
	}
	return &auth.Identity{Account: user, Login: user}, nil
}

// Password implements auth's interface of that ability.
func (a Able) Password(_ context.Context, _ auth.Request, authzid, user, password string) (*auth.Identity, error) {
	return a.identity(password == "secret", authzid, user)
}

// SCRAMHashes implements auth's interface of that ability.
func (Able) SCRAMHashes() []string { return []string{"SHA-1", "SHA-256", "SHA-512"} }

// SCRAMKeys implements auth's interface of that ability.
func (Able) SCRAMKeys(_ context.Context, _ auth.Request, user, hash string) (sasl.SCRAMKeys, error) {
	if user != "anna" {
		return sasl.FakeSCRAMKeys(hash, []byte("key"), user, 16, 4096)
	}
	return sasl.DeriveSCRAMKeys(hash, "secret", []byte("sixteen octets !"), 4096)
}

// Authorize implements auth's interface of that ability.
func (a Able) Authorize(_ context.Context, _ auth.Request, authzid, user string) (*auth.Identity, error) {
	return a.identity(true, authzid, user)
}

// Token implements auth's interface of that ability.
func (a Able) Token(_ context.Context, _ auth.Request, user, token string) (*auth.Identity, error) {
	switch token {
	case "down":
		return nil, auth.ErrUnavailable
	case "narrow":
		return nil, &sasl.TokenError{Status: "insufficient_scope", Scope: "mail", Err: auth.ErrForbidden}
	}
	return a.identity(token == "good", user, "anna")
}

// External implements auth's interface of that ability.
func (a Able) External(_ context.Context, req auth.Request, authzid string) (*auth.Identity, error) {
	return a.identity(req.Peer.TLS.VerifiedChains[0][0].DNSNames[0] == "anna.test", authzid, "anna")
}

// Anonymous implements auth's interface of that ability.
func (a Able) Anonymous(_ context.Context, _ auth.Request, trace string) (*auth.Identity, error) {
	return a.identity(trace != "banned", "", "anna")
}
