package sasl

import (
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"
)

// Credentials are what a client can prove itself with. [Credentials.Client]
// finds the mechanism. Safe for concurrent use while nobody changes it.
type Credentials struct {
	User     string
	Password string // empty: none
	// Token is a bearer token (RFC 6750); empty: none.
	Token string
	// Certificate says that the TLS connection has a certificate of the client's
	// for EXTERNAL.
	Certificate bool
	// ActAs is the account to act as, if it is not that of User.
	ActAs string
}

// ErrNoMechanism: the server offers none that the credentials are good for, or
// only such as would show the secret where that is not allowed.
var ErrNoMechanism = errors.New("sasl: no mechanism for these credentials")

// String shows whose they are and no secret.
func (c Credentials) String() string { return fmt.Sprintf("credentials of %q", c.User) }

// GoString is String.
func (c Credentials) GoString() string { return c.String() }

// Client returns the strongest mechanism among those offered: EXTERNAL with a
// certificate, then a token's, then SCRAM with channel binding, SCRAM, PLAIN and
// LOGIN. state is the TLS connection, nil in plain text. secrets allows
// mechanisms that show password or token to the server; it should be true only
// under TLS, with a server that has proved who it is. It is for one exchange.
//
// Where the connection could be bound and the server does not offer that, SCRAM
// tells it so, and a server that did offer it finds out that somebody between
// has changed its list (RFC 5802 §6).
func (c Credentials) Client(offered []string, state *tls.ConnectionState, secrets bool) (gosasl.Client, error) {
	has := func(name string) bool {
		return slices.ContainsFunc(offered, func(o string) bool { return strings.EqualFold(o, name) })
	}
	if c.Certificate && state != nil && has(External) {
		return NewExternalClient(c.ActAs), nil
	}
	if c.Token != "" && secrets {
		switch as := c.ActAs; {
		case has(OAuthBearer):
			if as == "" {
				as = c.User
			}
			return NewOAuthBearerClient(as, c.Token), nil
		case has(XOAuth2) && as == "":
			return NewXOAuth2Client(c.User, c.Token), nil
		}
	}
	if c.Password == "" || c.User == "" {
		return nil, ErrNoMechanism
	}
	if m, ok := strongest(has, clientBinding(state)); ok {
		return SCRAM{Hash: m.hash, ActAs: c.ActAs, User: c.User, Password: c.Password, Binding: m.binding, Plus: m.plus}.Client()
	}
	switch {
	case secrets && has(Plain):
		return NewPlainClient(c.ActAs, c.User, c.Password), nil
	case secrets && has(Login) && c.ActAs == "":
		return NewLoginClient(c.User, c.Password), nil
	}
	return nil, ErrNoMechanism
}

// clientBinding is what a client binds to: the connection, or else the server's
// certificate.
func clientBinding(state *tls.ConnectionState) ChannelBinding {
	b, err := TLSBinding(state)
	if err != nil && state != nil && state.HandshakeComplete && len(state.PeerCertificates) > 0 {
		b, _ = EndPointBinding(state.PeerCertificates[0])
	}
	return b
}

type scramChoice struct {
	hash    string
	plus    bool
	binding ChannelBinding
}

// strongest chooses among the SCRAM mechanisms that are offered: the best hash
// (RFC 7677 §1), but any with channel binding before those without, or somebody in
// between could take the better one's -PLUS off the list and go unnoticed.
func strongest(has func(name string) bool, binding ChannelBinding) (scramChoice, bool) {
	hashes := []string{"SHA-512", "SHA-256", "SHA-1"}
	plus := func(hash string) bool { return has("SCRAM-" + hash + Plus) }
	if i := slices.IndexFunc(hashes, plus); i >= 0 {
		if binding.usable() {
			return scramChoice{hashes[i], true, binding}, true
		}
		binding = ChannelBinding{} // "y" would say that the server has not offered it
	}
	if i := slices.IndexFunc(hashes, func(hash string) bool { return has("SCRAM-" + hash) }); i >= 0 {
		return scramChoice{hashes[i], false, binding}, true
	}
	return scramChoice{}, false
}
