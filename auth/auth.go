package auth

import (
	"context"
	"errors"
	"strings"

	"github.com/posta-mail/posta/auth/sasl"
)

// Service is the protocol a user logs in to, by its SASL service name
// (RFC 4422 §4 and the IANA GSSAPI service name registry).
type Service string

// The services of Posta.
const (
	SMTP        Service = "smtp"
	IMAP        Service = "imap"
	POP3        Service = "pop"
	ManageSieve Service = "sieve"
)

// Request says what an authentication is for.
type Request struct {
	Peer      Peer
	Service   Service
	Mechanism string // SASL mechanism name in upper case; "" for LOGIN and USER/PASS commands
}

// Identity is a user who has proved who they are.
type Identity struct {
	// Account is the key of the user's account in the store.
	Account string
	// Login is the name the user authenticated with, in canonical form.
	Login string
	// Senders lists the addresses the user may send as, in the form
	// local@domain; "@domain" allows a whole domain. Empty: none.
	Senders []string
	// Groups are the groups the user belongs to; their meaning is the caller's.
	Groups []string
}

// MaySend reports whether the identity may use address as a sender. Local part
// and domain are compared without case: RFC 5321 §2.4 leaves the case of a
// local part to the system it belongs to, and here one mailbox has one name
// however it is written. Callers give the domain as A-label.
func (id *Identity) MaySend(address string) bool {
	if id == nil {
		return false
	}
	// ToLower, as mailboxes are looked up: EqualFold would make more letters
	// equal ("ſ" and "s") than name the same mailbox.
	address = strings.ToLower(address)
	at := strings.LastIndexByte(address, '@')
	if at <= 0 {
		return false
	}
	for _, s := range id.Senders {
		s = strings.ToLower(s)
		if s == address || s == address[at:] {
			return true
		}
	}
	return false
}

// Authenticator proves users. It must be safe for concurrent use. Further
// abilities are optional interfaces: [SCRAMAuthenticator], [SCRAMHasher],
// [TokenAuthenticator], [ExternalAuthenticator], [AnonymousAuthenticator],
// [Governed], [Namer]. What a server offers is derived from them.
type Authenticator interface {
	// Password checks a plain-text password and returns the identity to act
	// as: authzid when it is not empty and user may act for it (else
	// ErrForbidden), otherwise user's own. A wrong password and an unknown
	// user are the same error, ErrCredentials, after the same work, and so is
	// whatever else there is to say of an account (disabled, expired, locked)
	// to who has not shown the right password: clients are told the kinds
	// of errors apart. A back
	// end that cannot answer returns ErrUnavailable, which is also what any
	// other error is taken for. Neither user nor password is empty; both are
	// as the client sent them, so that comparing them is preceded by preparing
	// them (RFC 4616 §2), and IMAP's and POP3's own commands may hand over
	// what is not UTF-8.
	Password(ctx context.Context, req Request, authzid, user, password string) (*Identity, error)
}

// SCRAMAuthenticator is implemented by an Authenticator that keeps SCRAM keys
// (RFC 5802, RFC 7677).
type SCRAMAuthenticator interface {
	Authenticator
	// Authorizer is asked about a user whose proof the mechanism has verified.
	Authorizer
	// SCRAMKeys returns the user's keys for the named hash, one of those that
	// [SCRAMHasher] tells, or "SHA-256". For an unknown user, and for one
	// without keys for that hash, it returns deterministic fake keys and no
	// error (see [sasl.FakeSCRAMKeys]), so that the exchange fails at its end
	// and reveals nothing.
	SCRAMKeys(ctx context.Context, req Request, user, hash string) (sasl.SCRAMKeys, error)
}

// SCRAMHasher is implemented by a [SCRAMAuthenticator] that has keys for other
// hashes than SHA-256, which is what one without this method is asked for.
type SCRAMHasher interface {
	// SCRAMHashes lists the hashes that the users have keys for: "SHA-512",
	// "SHA-256", "SHA-1", in any order. Clients take the strongest mechanism
	// offered and many try no other, so that a hash should be listed only when
	// (nearly) all users have keys for it. It is called for every list of
	// mechanisms: it must be quick and must not block. Others are passed over;
	// none means that SCRAM is not offered.
	SCRAMHashes() []string
}

// TokenAuthenticator is implemented by an Authenticator that checks bearer
// tokens (RFC 7628, and XOAUTH2 in the same way).
type TokenAuthenticator interface {
	Authenticator
	// Token checks a token's issuer, audience, expiry and algorithm and
	// returns its owner's identity, or the one user asks to act as (else
	// ErrForbidden). user may be empty. A token that is not good is
	// ErrCredentials, best inside a [sasl.TokenError], which tells the client
	// why, and where to get a better one.
	Token(ctx context.Context, req Request, user, token string) (*Identity, error)
}

// ExternalAuthenticator is implemented by an Authenticator that maps what the
// TLS client certificate in req.Peer.TLS proves to an identity (RFC 4422
// appendix A). [Certificates] makes one of others.
type ExternalAuthenticator interface {
	Authenticator
	// External returns the certificate's identity, or the one authzid asks to
	// act as (else ErrForbidden). It is called only when req.Peer.TLS has a
	// verified chain. A proxy that speaks TLS of its own behind the PROXY protocol
	// (req.Peer.Proxy) shows its own certificate, which should be nobody's; where
	// clients are announced by XCLIENT it is not called.
	External(ctx context.Context, req Request, authzid string) (*Identity, error)
}

// AnonymousAuthenticator is implemented by an Authenticator that lets in whoever
// comes, as somebody with few rights (RFC 4505). Without it ANONYMOUS is not
// offered.
type AnonymousAuthenticator interface {
	Authenticator
	// Anonymous returns the identity of a guest, or ErrForbidden. trace is what
	// the client says of itself, an email address or a word: up to 255
	// characters without control characters, maybe empty, and no proof.
	Anonymous(ctx context.Context, req Request, trace string) (*Identity, error)
}

// Governed is implemented by an Authenticator that brings its own [Governor],
// so that several servers over one Authenticator share their counts.
type Governed interface {
	Governor() *Governor
}

// Namer is implemented by an Authenticator under which one user can be written
// in several ways (case, Unicode form, with or without the domain).
type Namer interface {
	// CanonicalName is the one name under which the [Governor] counts
	// failures. It is made from the name alone, whether such a user exists or
	// not, and quickly.
	CanonicalName(user string) string
}

// Reasons why a login fails. Implementations wrap them; protocols map each to
// one reply and never show the text of what is wrapped.
var (
	// ErrCredentials: wrong password or unknown user, without saying which.
	ErrCredentials = errors.New("auth: wrong user or password")
	// ErrForbidden: the user is who they say but may not act as authzid, or
	// may not use this service.
	ErrForbidden = errors.New("auth: not permitted")
	// ErrUnavailable: the back end cannot answer now; a temporary condition.
	ErrUnavailable = errors.New("auth: temporarily unavailable")
	// ErrThrottled: too many failures from this address or for this account;
	// a temporary condition.
	ErrThrottled = errors.New("auth: too many failures, try again later")
	// ErrEncryptionRequired: the mechanism needs TLS.
	ErrEncryptionRequired = errors.New("auth: encryption required")
	// ErrMechanism: the mechanism is unknown or not offered.
	ErrMechanism = errors.New("auth: mechanism not available")
	// ErrMalformed: the client's message breaks the mechanism's syntax.
	ErrMalformed = errors.New("auth: malformed exchange")
	// ErrCanceled: the client gave up with "*".
	ErrCanceled = errors.New("auth: exchange cancelled")
)
