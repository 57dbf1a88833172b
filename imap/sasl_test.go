package imap_test

import (
	"context"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
)

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
