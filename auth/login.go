package auth

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Login is how servers authenticate: it derives the mechanisms to offer,
// drives the exchange, and keeps the governor in front of the Authenticator.
// A zero Login offers nothing and refuses everything. Safe for concurrent use;
// the fields must not change once it is in use, and it must not be copied.
type Login struct {
	// Auth proves users; nil refuses everybody.
	Auth Authenticator
	// Governor slows and locks out guessers. Nil: Auth's own if it is
	// [Governed], otherwise one of this Login with defaults.
	Governor *Governor
	// InsecurePlaintext allows mechanisms that send the password, and LOGIN
	// or USER/PASS commands, without TLS. For tests and closed networks.
	InsecurePlaintext bool
	// Disable names mechanisms that are not offered although Auth could serve
	// them, such as "LOGIN" or "XOAUTH2", in any case of letters. It does not
	// touch the LOGIN command of IMAP and USER/PASS of POP3.
	Disable []string
	// ChannelBinding offers each SCRAM mechanism as -PLUS too, where the
	// connection has something to bind to: under TLS that ends here and that no
	// proxy has passed on. Whoever breaks into TLS then can't pass a login on
	// (RFC 5802 §6). tls-exporter (RFC 9266), tls-server-end-point (RFC 5929 §4)
	// and under TLS 1.2 tls-unique are taken.
	//
	// It is a field, and off, because of clients on GNU SASL that give it nothing
	// to bind to, as NeoMutt in Debian 12: they choose -PLUS wherever it is
	// offered, fail before their first message, and try nothing else. Neither the
	// order of the list nor anything else that a server can say helps them. Those
	// on Cyrus SASL pass -PLUS over. Switch it on where you know your clients.
	ChannelBinding bool

	once    sync.Once
	settled *Governor
}

// NewLogin returns a Login with its governor settled.
func NewLogin(a Authenticator, g *Governor, insecure bool) *Login {
	l := &Login{Auth: a, Governor: g, InsecurePlaintext: insecure}
	l.Governor = l.governor()
	return l
}

// governor is the one that the field's documentation tells.
func (l *Login) governor() *Governor {
	l.once.Do(func() {
		l.settled = l.Governor
		if gv, ok := l.Auth.(Governed); ok && l.settled == nil {
			l.settled = gv.Governor()
		}
		if l.settled == nil {
			l.settled = new(Governor)
		}
	})
	return l.settled
}

// Password authenticates with a plain-text password, as the LOGIN command of
// IMAP and USER/PASS of POP3 do. The governor may make it wait; ctx ends the
// wait. Errors are the package's Err values, possibly wrapped; a ctx that ends
// is ErrUnavailable.
func (l *Login) Password(ctx context.Context, req Request, user, password string) (*Identity, error) {
	if l == nil || l.Auth == nil {
		return nil, ErrMechanism
	}
	if !l.PlaintextAllowed(req.Peer) {
		return nil, ErrEncryptionRequired
	}
	return l.governed(ctx, req, user, password, func() (*Identity, error) {
		// No back end may take an empty password for an anonymous login, as
		// LDAP's simple bind does (RFC 4513 §5.1.2).
		if user == "" || password == "" {
			return nil, ErrCredentials
		}
		return l.Auth.Password(ctx, req, "", user, password)
	})
}

// governed runs one attempt behind the governor. secret is the password or
// token, if any.
func (l *Login) governed(ctx context.Context, req Request, user, secret string, attempt func() (*Identity, error)) (id *Identity, err error) {
	g, addr, user := l.governor(), req.Peer.Addr(), l.canonical(user)
	if err := g.Admit(ctx, addr, user); err != nil {
		return nil, classify(err)
	}
	settled := false
	defer func() {
		if !settled { // attempt has panicked
			g.Release(addr, user)
		}
	}()
	id, err = attempt()
	if err == nil && id == nil {
		err = fmt.Errorf("%w: no identity", ErrUnavailable)
	}
	err = classify(err)
	settled = true
	g.settle(addr, user, secret, err)
	if err != nil {
		return nil, err
	}
	return id, nil
}

// canonical is the name the governor counts by.
func (l *Login) canonical(user string) string {
	if n, ok := l.Auth.(Namer); ok {
		return n.CanonicalName(user)
	}
	return user
}

// countable reports whether an attempt that failed with err says anything
// about the password, or is the back end's doing and not the guesser's.
func countable(err error) bool {
	return !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrThrottled) && !errors.Is(err, ErrCanceled)
}
