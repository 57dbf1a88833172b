package auth

import (
	"context"
	"errors"

	"github.com/posta-mail/posta/auth/sasl"
)

// Login is how servers authenticate: it derives the mechanisms to offer,
// drives the exchange, and keeps the governor in front of the Authenticator.
// A zero Login offers nothing and refuses everything. Safe for concurrent use.
type Login struct {
	// Auth proves users; nil refuses everybody.
	Auth Authenticator
	// Governor slows and locks out guessers. Nil: Auth's own if it is
	// [Governed]; otherwise one is made with defaults by [NewLogin].
	Governor *Governor
	// InsecurePlaintext allows mechanisms that send the password, and LOGIN
	// or USER/PASS commands, without TLS. For tests and closed networks.
	InsecurePlaintext bool
}

// NewLogin returns a Login with its governor settled.
func NewLogin(a Authenticator, g *Governor, insecure bool) *Login {
	if g == nil {
		if gv, ok := a.(Governed); ok {
			g = gv.Governor()
		}
	}
	if g == nil {
		g = new(Governor)
	}
	return &Login{Auth: a, Governor: g, InsecurePlaintext: insecure}
}

// PlaintextAllowed reports whether a password may be sent over this
// connection (RFC 4954 §4, RFC 9051 §6.2.3: only under TLS by default).
func (l *Login) PlaintextAllowed(p Peer) bool {
	return l != nil && l.Auth != nil && (p.Secure() || l.InsecurePlaintext)
}

// Mechanisms lists what can be offered on this connection, strongest first.
// Empty when nobody can log in.
func (l *Login) Mechanisms(p Peer) []string {
	if l == nil || l.Auth == nil {
		return nil
	}
	var names []string
	if _, ok := l.Auth.(ExternalAuthenticator); ok && p.TLS != nil && len(p.TLS.VerifiedChains) > 0 {
		names = append(names, sasl.External)
	}
	if _, ok := l.Auth.(SCRAMAuthenticator); ok {
		names = append(names, sasl.SCRAMSHA256)
	}
	if l.PlaintextAllowed(p) {
		if _, ok := l.Auth.(TokenAuthenticator); ok {
			names = append(names, sasl.OAuthBearer)
		}
		names = append(names, sasl.Plain, sasl.Login)
	}
	return names
}

// Password authenticates with a plain-text password, as the LOGIN command of
// IMAP and USER/PASS of POP3 do. The governor may make it wait; ctx ends the
// wait. Errors are the package's Err values, possibly wrapped.
func (l *Login) Password(ctx context.Context, req Request, user, password string) (*Identity, error) {
	if !l.PlaintextAllowed(req.Peer) {
		return nil, ErrEncryptionRequired
	}
	return l.governed(ctx, req, user, func() (*Identity, error) {
		return l.Auth.Password(ctx, req, "", user, password)
	})
}

// governed runs one attempt behind the governor.
func (l *Login) governed(ctx context.Context, req Request, user string, attempt func() (*Identity, error)) (*Identity, error) {
	if err := l.Governor.Admit(ctx, req.Peer.Addr(), user); err != nil {
		return nil, err
	}
	id, err := attempt()
	switch {
	case err == nil:
		l.Governor.Succeeded(req.Peer.Addr(), user)
	case errors.Is(err, ErrUnavailable), errors.Is(err, ErrCanceled), ctx.Err() != nil:
		// Not the guesser's doing: nothing is learned about the password.
	default:
		l.Governor.Failed(req.Peer.Addr(), user)
	}
	return id, err
}
