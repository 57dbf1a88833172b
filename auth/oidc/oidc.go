package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
)

// Defaults of a Verifier.
const (
	DefaultLeeway   = time.Minute
	DefaultTimeout  = 10 * time.Second
	DefaultKeysFor  = time.Hour
	DefaultMaxToken = 16 << 10
)

// DefaultAlgorithms are the signature algorithms accepted: those with a public
// key that are in use.
func DefaultAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// ErrConfig: a Verifier lacks Issuer or Audience, or accepts an algorithm that
// needs no secret, or one that the keys would be the secret of. Nobody is let
// in then.
var ErrConfig = errors.New("oidc: incomplete or unsafe configuration")

// Verifier verifies tokens: it is an auth.TokenAuthenticator. Issuer and
// Audience must be set. Its fields must not change once it is in use; it is then
// safe for concurrent use.
type Verifier struct {
	// Issuer is the authorization server, an https URL, as tokens name it in
	// iss. Its metadata (RFC 8414, OpenID Connect Discovery) says where its keys
	// are.
	Issuer string
	// Audience are the names of this service: a token must be for one of them
	// (RFC 8725 §3.9).
	Audience []string
	// Algorithms are the signature algorithms accepted; nil: DefaultAlgorithms.
	// "none" and those with a shared secret are refused (RFC 8725 §3.1).
	Algorithms []string
	// KeysURL is where the keys are; empty: as the metadata says.
	KeysURL string
	// Introspection asks about tokens that are no JWT; nil: they are refused.
	Introspection *Introspection
	// Scope are scopes that a token must have (RFC 6749 §3.3). Empty: none.
	Scope []string
	// User makes an identity of verified claims. Nil: the account is the claim
	// "email" if "email_verified" is not false, else "preferred_username", else
	// "sub"; an address may be sent from. The error is auth.ErrForbidden, or
	// auth.ErrCredentials, for claims that are nobody's.
	User func(ctx context.Context, c Claims) (*auth.Identity, error)
	// Passwords answers for passwords; nil: none is right.
	Passwords auth.Authenticator
	// Client fetches metadata and keys; nil: one that follows no redirects.
	Client *http.Client
	// Leeway is by how much clocks may differ. 0: DefaultLeeway.
	Leeway time.Duration
	// Timeout bounds what is fetched for one login. 0: DefaultTimeout.
	Timeout time.Duration
	// KeysFor is for how long keys are kept without asking again. Keys that are
	// not known are asked for at most every ten seconds. 0: DefaultKeysFor.
	KeysFor time.Duration
	// Logger is told when keys cannot be fetched; nil: nobody.
	Logger *slog.Logger

	keys    keySet
	once    sync.Once
	invalid error
}

// Claims are what a verified token says (RFC 7519 §4.1, OpenID Connect Core
// §5.1).
type Claims struct {
	// Subject is who the token is about, unique at the issuer.
	Subject string
	// Username and Email are "preferred_username" or "username", and "email";
	// NotVerified says that the issuer has not verified the address.
	Username, Email string
	NotVerified     bool
	// Scope are the scopes, Expires is until when the token is good.
	Scope   []string
	Expires time.Time
	// All is every claim as it came, numbers as float64.
	All map[string]any
}

// Password implements auth.Authenticator by Passwords.
func (v *Verifier) Password(ctx context.Context, req auth.Request, authzid, user, password string) (*auth.Identity, error) {
	if v.Passwords == nil {
		return nil, auth.ErrCredentials
	}
	return v.Passwords.Password(ctx, req, authzid, user, password)
}

// Token implements auth.TokenAuthenticator. Errors are a *sasl.TokenError around
// auth.ErrCredentials for a token that is not good and around
// auth.ErrForbidden for one that is not good for this; auth.ErrForbidden for
// another user; auth.ErrUnavailable if that could not be found out.
func (v *Verifier) Token(ctx context.Context, _ auth.Request, user, token string) (*auth.Identity, error) {
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	timeout := v.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	claims, err := v.Verify(ctx, token)
	switch {
	case errors.Is(err, ErrToken):
		return nil, v.refusal("invalid_token", fmt.Errorf("%w: %w", auth.ErrCredentials, err))
	case err != nil:
		return nil, fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	for _, s := range v.Scope {
		if !slices.Contains(claims.Scope, s) {
			return nil, v.refusal("insufficient_scope", fmt.Errorf("%w: no scope %s", auth.ErrForbidden, s))
		}
	}
	id, err := v.identity(ctx, claims)
	if err != nil {
		return nil, err
	}
	if user != "" && !strings.EqualFold(user, id.Account) && !strings.EqualFold(user, id.Login) {
		return nil, auth.ErrForbidden
	}
	return id, nil
}

// refusal tells the client why (RFC 7628 §3.2.2).
func (v *Verifier) refusal(status string, err error) error {
	return &sasl.TokenError{Status: status, Scope: strings.Join(v.Scope, " "), Configuration: v.metadataURL(), Err: err}
}

func (v *Verifier) identity(ctx context.Context, c *Claims) (*auth.Identity, error) {
	if v.User != nil {
		return v.User(ctx, *c)
	}
	name := c.Subject
	switch {
	case c.Email != "" && !c.NotVerified:
		name = c.Email
	case c.Username != "":
		name = c.Username
	}
	if name == "" {
		return nil, auth.ErrCredentials
	}
	id := &auth.Identity{Account: strings.ToLower(name), Login: strings.ToLower(name)}
	if strings.Contains(name, "@") {
		id.Senders = []string{id.Account}
	}
	return id, nil
}

// check looks at the configuration once.
func (v *Verifier) check() error {
	v.once.Do(func() {
		switch {
		case v.Issuer == "" || len(v.Audience) == 0 || slices.Contains(v.Audience, ""):
			v.invalid = ErrConfig
		case !strings.HasPrefix(v.Issuer, "https://"), v.KeysURL != "" && !strings.HasPrefix(v.KeysURL, "https://"):
			v.invalid = fmt.Errorf("%w: not https", ErrConfig)
		}
		for _, a := range v.Algorithms {
			if !slices.Contains(DefaultAlgorithms(), a) {
				v.invalid = fmt.Errorf("%w: algorithm %s", ErrConfig, a)
			}
		}
	})
	return v.invalid
}

func (v *Verifier) algorithms() []string {
	if v.Algorithms == nil {
		return DefaultAlgorithms()
	}
	return v.Algorithms
}

func (v *Verifier) leeway() time.Duration {
	if v.Leeway <= 0 {
		return DefaultLeeway
	}
	return v.Leeway
}

var _ auth.TokenAuthenticator = (*Verifier)(nil)
