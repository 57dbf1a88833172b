package imaptest

import (
	"context"
	"crypto/sha256"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
)

// Users is an auth.Authenticator for tests: passwords by user name, which is the
// name of the user's account too. It knows PLAIN, LOGIN and SCRAM-SHA-256. Who
// logs in acts as themselves. It must not be changed while it is in use.
type Users map[string]string

// Password implements auth.Authenticator.
func (u Users) Password(ctx context.Context, req auth.Request, authzid, user, password string) (*auth.Identity, error) {
	if want, ok := u[user]; !ok || want != password {
		return nil, auth.ErrCredentials
	}
	return u.Authorize(ctx, req, authzid, user)
}

// SCRAMKeys implements auth.SCRAMAuthenticator.
func (u Users) SCRAMKeys(_ context.Context, _ auth.Request, user, hash string) (sasl.SCRAMKeys, error) {
	password, ok := u[user]
	if !ok {
		password = "unknown" // Authorize refuses them whatever they prove
	}
	salt := sha256.Sum256([]byte(user))
	return sasl.DeriveSCRAMKeys(hash, password, salt[:16], 4096)
}

// Authorize implements auth.SCRAMAuthenticator.
func (u Users) Authorize(_ context.Context, _ auth.Request, authzid, user string) (*auth.Identity, error) {
	if _, ok := u[user]; !ok || (authzid != "" && authzid != user) {
		return nil, auth.ErrForbidden
	}
	return &auth.Identity{Account: user, Login: user}, nil
}
