package auth

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posta-mail/posta/auth/sasl"
)

// mechanism is one row of the table: what is needed to offer it, and what serves
// it.
type mechanism struct {
	name string
	able func(Authenticator) bool // whether the Authenticator can serve it
	// secret: what the client sends is as good as a password, which needs TLS.
	secret bool
	// fits reports whether it is for this connection, if that matters.
	fits   func(*Login, Peer) bool
	server func(*Exchange) (gosasl.Server, error)
}

// mechanisms are all there are, strongest first: clients take the first they know.
var mechanisms = []mechanism{
	{sasl.External, implements[ExternalAuthenticator], false, certified, func(x *Exchange) (gosasl.Server, error) {
		return sasl.NewExternalServer(x.external), nil
	}},
	{sasl.SCRAMSHA512 + sasl.Plus, hasKeys("SHA-512"), false, (*Login).binds, scramServer("SHA-512", true)},
	{sasl.SCRAMSHA256 + sasl.Plus, hasKeys("SHA-256"), false, (*Login).binds, scramServer("SHA-256", true)},
	{sasl.SCRAMSHA1 + sasl.Plus, hasKeys("SHA-1"), false, (*Login).binds, scramServer("SHA-1", true)},
	{sasl.SCRAMSHA512, hasKeys("SHA-512"), false, nil, scramServer("SHA-512", false)},
	{sasl.SCRAMSHA256, hasKeys("SHA-256"), false, nil, scramServer("SHA-256", false)},
	{sasl.SCRAMSHA1, hasKeys("SHA-1"), false, nil, scramServer("SHA-1", false)},
	{sasl.OAuthBearer, implements[TokenAuthenticator], true, nil, func(x *Exchange) (gosasl.Server, error) {
		return sasl.NewOAuthBearerServer(x.token), nil
	}},
	{sasl.XOAuth2, implements[TokenAuthenticator], true, nil, func(x *Exchange) (gosasl.Server, error) {
		return sasl.NewXOAuth2Server(x.token), nil
	}},
	{sasl.Plain, implements[Authenticator], true, nil, func(x *Exchange) (gosasl.Server, error) {
		return sasl.NewPlainServer(x.password), nil
	}},
	{sasl.Login, implements[Authenticator], true, nil, func(x *Exchange) (gosasl.Server, error) {
		return sasl.NewLoginServer(func(user, password string) error { return x.password("", user, password) }), nil
	}},
	{sasl.Anonymous, implements[AnonymousAuthenticator], false, nil, func(x *Exchange) (gosasl.Server, error) {
		return sasl.NewAnonymousServer(x.anonymous), nil
	}},
}

func implements[I Authenticator](a Authenticator) bool {
	_, ok := a.(I)
	return ok
}

// certified: the client has shown a certificate that its chain proves.
func certified(_ *Login, p Peer) bool { return p.TLS != nil && len(p.TLS.VerifiedChains) > 0 }

func hasKeys(hash string) func(Authenticator) bool {
	return func(a Authenticator) bool {
		if h, ok := a.(SCRAMHasher); ok {
			return implements[SCRAMAuthenticator](a) && slices.Contains(h.SCRAMHashes(), hash)
		}
		return hash == "SHA-256" && implements[SCRAMAuthenticator](a)
	}
}

// binds reports whether a client can bind its proof to the connection. Behind a
// proxy it is not certain that client and server are the ends of one TLS
// connection: there nothing is bound.
func (l *Login) binds(p Peer) bool {
	return l.ChannelBinding && p.TLS != nil && p.TLS.HandshakeComplete && !p.Proxy.IsValid() &&
		(p.TLS.Version >= tls.VersionTLS13 || len(sasl.ServerBindings(p.TLS, p.Certificate)) > 0)
}

func scramServer(hash string, plus bool) func(*Exchange) (gosasl.Server, error) {
	return func(x *Exchange) (gosasl.Server, error) {
		keys := func(user string) (sasl.SCRAMKeys, error) { return x.keys(hash, user) }
		// Where -PLUS is offered, who does not use it must not believe that it
		// is not (RFC 5802 §6).
		if plus || x.plus {
			return sasl.NewBoundSCRAMServer(hash, sasl.ServerBindings(x.req.Peer.TLS, x.req.Peer.Certificate), plus, keys, x.authorize)
		}
		return sasl.NewSCRAMServer(hash, keys, x.authorize)
	}
}

// offersPlus reports whether any mechanism with channel binding is offered: a
// client that has seen one does not send the flag "y", whatever it then chooses.
func (l *Login) offersPlus(p Peer) bool {
	return l.binds(p) && slices.ContainsFunc(mechanisms, func(m mechanism) bool {
		return strings.HasSuffix(m.name, sasl.Plus) && l.enabled(m)
	})
}

// enabled reports whether the operator leaves a mechanism on and the
// Authenticator can serve it.
func (l *Login) enabled(m mechanism) bool {
	return m.able(l.Auth) && !slices.ContainsFunc(l.Disable, func(name string) bool { return strings.EqualFold(name, m.name) })
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
	plaintext := l.PlaintextAllowed(p)
	names := make([]string, 0, len(mechanisms))
	for _, m := range mechanisms {
		if (plaintext || !m.secret) && (m.fits == nil || m.fits(l, p)) && l.enabled(m) {
			names = append(names, m.name)
		}
	}
	return names
}

// find returns the mechanism that a client has named.
func (l *Login) find(req Request) (mechanism, error) {
	if l == nil || l.Auth == nil {
		return mechanism{}, ErrMechanism
	}
	i := slices.IndexFunc(mechanisms, func(m mechanism) bool { return m.name == req.Mechanism })
	if i < 0 {
		return mechanism{}, ErrMechanism
	}
	m := mechanisms[i]
	switch {
	case !l.enabled(m), m.fits != nil && !m.fits(l, req.Peer):
		return mechanism{}, ErrMechanism
	case m.secret && !l.PlaintextAllowed(req.Peer):
		return mechanism{}, ErrEncryptionRequired
	}
	return m, nil
}

func (x *Exchange) password(authzid, user, password string) (err error) {
	x.identity, err = x.login.governed(x.ctx, x.req, user, password, func() (*Identity, error) {
		return x.login.Auth.Password(x.ctx, x.req, authzid, user, password)
	})
	return err
}

func (x *Exchange) external(authzid string) (err error) {
	back, ok := x.login.Auth.(ExternalAuthenticator)
	if !ok {
		return ErrMechanism
	}
	x.identity, err = x.login.governed(x.ctx, x.req, "", "", func() (*Identity, error) {
		return back.External(x.ctx, x.req, authzid)
	})
	return err
}

func (x *Exchange) anonymous(trace string) (err error) {
	back, ok := x.login.Auth.(AnonymousAuthenticator)
	if !ok {
		return ErrMechanism
	}
	x.identity, err = x.login.governed(x.ctx, x.req, "", "", func() (*Identity, error) {
		return back.Anonymous(x.ctx, x.req, trace)
	})
	return err
}

func (x *Exchange) token(user, token string) (err error) {
	back, ok := x.login.Auth.(TokenAuthenticator)
	if !ok {
		return ErrMechanism
	}
	x.identity, err = x.login.governed(x.ctx, x.req, user, token, func() (*Identity, error) {
		return back.Token(x.ctx, x.req, user, token)
	})
	if err != nil && !errors.Is(err, ErrCredentials) && !errors.Is(err, ErrForbidden) {
		return fmt.Errorf("%w: %w", sasl.ErrUnchecked, err) // it says nothing about the token
	}
	return err
}

// keys admits the attempt, whose outcome Next tells the governor when the
// proof has come.
func (x *Exchange) keys(hash, user string) (sasl.SCRAMKeys, error) {
	back, ok := x.login.Auth.(SCRAMAuthenticator)
	if !ok {
		return sasl.SCRAMKeys{}, ErrMechanism
	}
	x.user = x.login.canonical(user)
	g, addr := x.login.governor(), x.req.Peer.Addr()
	if err := g.Admit(x.ctx, addr, x.user); err != nil {
		return sasl.SCRAMKeys{}, err
	}
	g.Release(addr, x.user) // the client may take its time, or never answer
	k, err := back.SCRAMKeys(x.ctx, x.req, user, hash)
	x.proving = err == nil
	return k, err
}

func (x *Exchange) authorize(authzid, user string) (err error) {
	back, ok := x.login.Auth.(SCRAMAuthenticator)
	if !ok {
		return ErrMechanism
	}
	x.identity, err = back.Authorize(x.ctx, x.req, authzid, user)
	return err
}
