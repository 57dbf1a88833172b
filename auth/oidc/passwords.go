package oidc

import (
	"context"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
)

// Password implements auth.Authenticator by Passwords.
func (v *Verifier) Password(ctx context.Context, req auth.Request, authzid, user, password string) (*auth.Identity, error) {
	if v.Passwords == nil {
		return nil, auth.ErrCredentials
	}
	return v.Passwords.Password(ctx, req, authzid, user, password)
}

// SCRAMHashes implements auth.SCRAMHasher: those of Passwords, none if it keeps no
// keys.
func (v *Verifier) SCRAMHashes() []string {
	if _, ok := v.Passwords.(auth.SCRAMAuthenticator); !ok {
		return nil
	}
	if h, ok := v.Passwords.(auth.SCRAMHasher); ok {
		return h.SCRAMHashes()
	}
	return []string{"SHA-256"}
}

// SCRAMKeys implements auth.SCRAMAuthenticator by Passwords; without one that has
// keys it returns auth.ErrMechanism.
func (v *Verifier) SCRAMKeys(ctx context.Context, req auth.Request, user, hash string) (sasl.SCRAMKeys, error) {
	if p, ok := v.Passwords.(auth.SCRAMAuthenticator); ok {
		return p.SCRAMKeys(ctx, req, user, hash)
	}
	return sasl.SCRAMKeys{}, auth.ErrMechanism
}

// Authorize implements auth.SCRAMAuthenticator as SCRAMKeys does.
func (v *Verifier) Authorize(ctx context.Context, req auth.Request, authzid, user string) (*auth.Identity, error) {
	if p, ok := v.Passwords.(auth.SCRAMAuthenticator); ok {
		return p.Authorize(ctx, req, authzid, user)
	}
	return nil, auth.ErrMechanism
}

// CanonicalName implements auth.Namer by Passwords: or else who guesses could
// write one name in many ways. Without one it is the name in lower case.
func (v *Verifier) CanonicalName(user string) string {
	if n, ok := v.Passwords.(auth.Namer); ok {
		return n.CanonicalName(user)
	}
	return lower(user)
}

// Governor implements auth.Governed: Throttle, or that of Passwords, or one with
// defaults.
func (v *Verifier) Governor() *auth.Governor {
	if v.Throttle != nil {
		return v.Throttle
	}
	if behind, ok := v.Passwords.(auth.Governed); ok {
		if g := behind.Governor(); g != nil {
			return g
		}
	}
	return &v.governor
}

var (
	_ auth.SCRAMAuthenticator = (*Verifier)(nil)
	_ auth.SCRAMHasher        = (*Verifier)(nil)
	_ auth.Namer              = (*Verifier)(nil)
	_ auth.Governed           = (*Verifier)(nil)
)
