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
	able func(*offer) bool // whether the Authenticator can serve it
	// secret: what the client sends is as good as a password, which needs TLS.
	secret bool
	// fits reports whether it is for this connection, if that matters.
	fits   func(*offer) bool
	server func(*Exchange) (gosasl.Server, error)
}

// offer is what a list of mechanisms depends on.
type offer struct {
	auth      Authenticator
	tls       *tls.ConnectionState
	hashes    []string // for which there are SCRAM keys
	binds     bool     // a client can bind its proof to the connection
	plaintext bool     // secrets may be sent
}

func (l *Login) offer(p Peer) *offer {
	o := &offer{auth: l.Auth, tls: p.TLS, binds: l.binds(p), plaintext: l.PlaintextAllowed(p)}
	if _, ok := l.Auth.(SCRAMAuthenticator); ok {
		if h, ok := l.Auth.(SCRAMHasher); ok {
			o.hashes = h.SCRAMHashes()
		} else {
			o.hashes = []string{"SHA-256"}
		}
	}
	return o
}

// mechanisms are all there are, strongest first: clients take the first they know.
var mechanisms = []mechanism{
	{sasl.External, implements[ExternalAuthenticator], false, certified, func(x *Exchange) (gosasl.Server, error) {
		return sasl.NewExternalServer(x.external), nil
	}},
	{sasl.SCRAMSHA512 + sasl.Plus, hasKeys("SHA-512"), false, bindable, scramServer("SHA-512", true)},
	{sasl.SCRAMSHA256 + sasl.Plus, hasKeys("SHA-256"), false, bindable, scramServer("SHA-256", true)},
	{sasl.SCRAMSHA1 + sasl.Plus, hasKeys("SHA-1"), false, bindable, scramServer("SHA-1", true)},
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

func implements[I Authenticator](o *offer) bool {
	_, ok := o.auth.(I)
	return ok
}

func hasKeys(hash string) func(*offer) bool {
	return func(o *offer) bool { return slices.Contains(o.hashes, hash) }
}

// certified: the client has shown a certificate that its chain proves.
func certified(o *offer) bool { return o.tls != nil && len(o.tls.VerifiedChains) > 0 }

func bindable(o *offer) bool { return o.binds }

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
func (l *Login) offersPlus(o *offer) bool {
	return o.binds && slices.ContainsFunc(mechanisms, func(m mechanism) bool {
		return strings.HasSuffix(m.name, sasl.Plus) && l.offers(&m, o)
	})
}

// offers reports whether the operator leaves a mechanism on, the Authenticator can
// serve it, and the connection is one for it.
func (l *Login) offers(m *mechanism, o *offer) bool {
	return m.able(o) && (m.fits == nil || m.fits(o)) &&
		!slices.ContainsFunc(l.Disable, func(name string) bool { return strings.EqualFold(name, m.name) })
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
	o := l.offer(p)
	names := make([]string, 0, len(mechanisms))
	for i := range mechanisms {
		if m := &mechanisms[i]; (o.plaintext || !m.secret) && l.offers(m, o) {
			names = append(names, m.name)
		}
	}
	return names
}

// find returns the mechanism that a client has named.
func (l *Login) find(name string, o *offer) (*mechanism, error) {
	i := slices.IndexFunc(mechanisms, func(m mechanism) bool { return m.name == name })
	switch {
	case i < 0 || !l.offers(&mechanisms[i], o):
		return nil, ErrMechanism
	case mechanisms[i].secret && !o.plaintext:
		return nil, ErrEncryptionRequired
	}
	return &mechanisms[i], nil
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
