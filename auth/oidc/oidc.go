package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
)

// Defaults of a Verifier.
const (
	DefaultLeeway   = time.Minute
	DefaultTimeout  = 10 * time.Second
	DefaultKeysFor  = time.Hour
	DefaultMaxToken = 16 << 10
	// DefaultMaxWaiting is that of Verifier.MaxWaiting.
	DefaultMaxWaiting = 64
)

// maxName is how long an account's name may be: an address (RFC 5321 §4.5.3.1).
const maxName = 64 + 1 + 255

// DefaultAlgorithms are the signature algorithms accepted: those with a public
// key that are in use.
func DefaultAlgorithms() []string {
	return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
}

// ErrConfig: a Verifier lacks Issuer or Audience, or accepts an algorithm that
// needs no secret, or one that the keys would be the secret of. Nobody is let
// in then.
var ErrConfig = errors.New("oidc: incomplete or unsafe configuration")

// ErrBusy: as many tokens as may be are waiting for the issuer already, which is
// not to be flooded with what strangers send. It says nothing about the token: a
// login is auth.ErrUnavailable.
var ErrBusy = errors.New("oidc: too many tokens are waiting for the issuer")

// Verifier verifies tokens: it is an auth.TokenAuthenticator. Issuer and
// Audience must be set. Its fields must not change once it is in use; it is then
// safe for concurrent use.
type Verifier struct {
	// Issuer is the authorization server, an https URL, as tokens name it in
	// iss. Its metadata (RFC 8414, OpenID Connect Discovery) says where its keys
	// are.
	Issuer string
	// Audience are the names of this service: a token must be for one of them
	// (RFC 8725 §3.9). The client_id of an application is none: ID tokens have it
	// for their audience (OpenID Connect Core §2), and not all of them can be told
	// from access tokens. Whoever the issuer gives a token for this service is let
	// in, with an address of any domain; User can refuse.
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
	// UserClaim names the claim that is the account's name. Empty: "email", and
	// only if "email_verified" is true; when it is named, the issuer is trusted
	// not to let users choose it, and only an "email_verified" that is false
	// speaks against an address. There is no second choice: whoever may write one
	// claim would be who another one names. Names are in lower case, but for
	// "sub" (OpenID Connect Core §2: case-sensitive); an address may be sent from.
	UserClaim string
	// User makes an identity of verified claims, in place of UserClaim; req tells
	// service and address, as for scopes that are one service's. The
	// error is auth.ErrForbidden, or auth.ErrCredentials, for claims that are
	// nobody's, which is also what nil and an identity without an account are
	// taken for; inside a *sasl.TokenError it tells the client more, such as the
	// scope that is missing.
	User func(ctx context.Context, req auth.Request, c Claims) (*auth.Identity, error)
	// Passwords answers for passwords, with its SCRAM keys, its way to write names
	// and its Governor if it has them; nil: none is right.
	Passwords auth.Authenticator
	// Throttle is the governor shared by all servers over these users. Nil: that
	// of Passwords, or else one with defaults.
	Throttle *auth.Governor
	// Client fetches metadata and keys, and asks; nil: one with the standard
	// library's Transport. Redirects are never followed.
	Client *http.Client
	// Leeway is by how much clocks may differ. 0: DefaultLeeway; negative:
	// not at all.
	Leeway time.Duration
	// Timeout bounds the fetching of keys, and the asking about a token. 0: DefaultTimeout.
	Timeout time.Duration
	// MaxWaiting bounds the tokens that wait for the issuer at one time, for its
	// keys or its answer; further ones fail with ErrBusy. Those that are verified
	// by keys that are known do not wait. 0 or negative: DefaultMaxWaiting.
	MaxWaiting int
	// KeysFor is for how long keys are kept without asking again; if that then
	// fails, they are used up to a day old. Keys that are
	// not known are asked for at most every ten seconds. 0: DefaultKeysFor.
	KeysFor time.Duration
	// Logger is told when keys cannot be fetched; nil: nobody.
	Logger *slog.Logger

	governor auth.Governor
	keys     keySet
	waiting  atomic.Int64 // for the issuer
	once     sync.Once
	invalid  error
}

// Claims are what a verified token says (RFC 7519 §4.1, OpenID Connect Core
// §5.1).
type Claims struct {
	// Subject is who the token is about, unique at the issuer.
	Subject string
	// Username and Email are "preferred_username" or "username", and "email";
	// NotVerified: the issuer does not say that it has verified the address, which
	// may then be anybody's.
	Username, Email string
	NotVerified     bool
	// Scope are the scopes, Expires is until when the token is good.
	Scope   []string
	Expires time.Time
	// All is every claim as it came, numbers as float64.
	All map[string]any
}

// Token implements auth.TokenAuthenticator. Errors are a *sasl.TokenError around
// auth.ErrCredentials for a token that is not good and around
// auth.ErrForbidden for one that is not good for this; auth.ErrForbidden for
// another user; auth.ErrUnavailable if that could not be found out.
func (v *Verifier) Token(ctx context.Context, req auth.Request, user, token string) (*auth.Identity, error) {
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
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
	id, err := v.identity(ctx, req, claims)
	if err != nil {
		return nil, err
	}
	if id == nil || id.Account == "" {
		return nil, auth.ErrCredentials
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

// wait takes a place among those that wait for the issuer; leave gives it back.
func (v *Verifier) wait() (leave func(), err error) {
	most := v.MaxWaiting
	if most <= 0 {
		most = DefaultMaxWaiting
	}
	leave = func() { v.waiting.Add(-1) }
	if v.waiting.Add(1) > int64(most) {
		leave()
		return nil, ErrBusy
	}
	return leave, nil
}

func (v *Verifier) identity(ctx context.Context, req auth.Request, c *Claims) (*auth.Identity, error) {
	if v.User != nil {
		return v.User(ctx, req, *c)
	}
	claim := v.UserClaim
	if claim == "" {
		claim = "email"
	}
	name, _ := c.All[claim].(string)
	_, told := c.All["email_verified"]
	if claim == "email" && (told || v.UserClaim == "") && c.NotVerified {
		return nil, v.refusal("invalid_token", fmt.Errorf("%w: address not verified", auth.ErrCredentials))
	}
	if claim != "sub" {
		name = lower(name)
	}
	// A letter that Unicode has a lower case of would be folded further on.
	if !plainName(name) || claim != "sub" && name != strings.ToLower(name) {
		return nil, v.refusal("invalid_token", fmt.Errorf("%w: no name in claim %s", auth.ErrCredentials, claim))
	}
	id := &auth.Identity{Account: name, Login: name}
	if claim != "sub" && strings.Contains(name, "@") {
		id.Senders = []string{name}
	}
	return id, nil
}

// lower is s with its ASCII letters in lower case: what Unicode would fold beyond
// that ("K", the Kelvin sign) may be another user's name at the issuer.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, s)
}

// plainName reports whether a name can be an account's, whose engines may make a
// path of it or a line. U+FFFD stands where a name was no UTF-8: for many names.
func plainName(s string) bool {
	return s != "" && len(s) <= maxName && strings.TrimSpace(s) == s &&
		!strings.ContainsFunc(s, func(r rune) bool { return r == utf8.RuneError || unicode.IsControl(r) })
}

// check looks at the configuration once.
func (v *Verifier) check() error {
	v.once.Do(func() {
		switch {
		case v.Issuer == "" || len(v.Audience) == 0 || slices.Contains(v.Audience, ""):
			v.invalid = ErrConfig
		case !secure(v.Issuer), strings.ContainsAny(v.Issuer, "?#"), // RFC 8414 §2
			v.KeysURL != "" && !secure(v.KeysURL), v.Introspection != nil && !secure(v.Introspection.URL):
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

// secure reports whether an address is one of https and without a login.
func secure(address string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasPrefix(address, "https://") && u.Host != "" && u.User == nil
}

func (v *Verifier) algorithms() []string {
	if v.Algorithms == nil {
		return DefaultAlgorithms()
	}
	return v.Algorithms
}

func (v *Verifier) leeway() time.Duration {
	if v.Leeway == 0 {
		return DefaultLeeway
	}
	return max(v.Leeway, 0)
}

var _ auth.TokenAuthenticator = (*Verifier)(nil)
