// Package sasl implements the mechanisms by which users prove themselves
// (RFC 4422), server and client side, on the Client and Server interfaces of
// go-sasl. It imports nothing of Posta: credentials come through the small
// interfaces and functions it declares.
//
// There are PLAIN, LOGIN, SCRAM-SHA-1, SCRAM-SHA-256 and SCRAM-SHA-512 with and
// without channel binding (-PLUS), EXTERNAL, OAUTHBEARER, XOAUTH2 and ANONYMOUS.
// [Credentials] chooses a client's mechanism.
// No value of this package is safe for concurrent use: each belongs to one
// exchange on one connection.
//
// # Channel binding
//
// SCRAM's -PLUS ties a login to the TLS connection, so that whoever sits between
// two connections can't pass it on. Clients use tls-exporter under TLS 1.3,
// tls-unique under TLS 1.2, and tls-server-end-point where neither is to be had;
// servers take each of them ([ServerBindings]). A server that offers -PLUS refuses
// a client that believes it does not (RFC 5802 §6), and c= is verified always.
//
// # Preparing names and passwords
//
// RFC 5802 §2.2 and RFC 4616 §2 ask for SASLprep (RFC 4013), and peers that
// hold SCRAM keys have derived them from passwords prepared so; the PRECIS
// profile that replaces it (RFC 8265) gives other octets for some of them.
// SCRAM clients and [DeriveSCRAMKeys] therefore use [Prep], which is SASLprep
// with the code points of today's Unicode. Servers hand on names and plain
// passwords as received, checked to be UTF-8 without NUL: whoever compares
// them prepares them.
package sasl

import "errors"

// Mechanism names as registered with IANA.
const (
	Plain       = "PLAIN"         // RFC 4616
	Login       = "LOGIN"         // no RFC; two prompts, for old clients
	SCRAMSHA1   = "SCRAM-SHA-1"   // RFC 5802
	SCRAMSHA256 = "SCRAM-SHA-256" // RFC 7677
	SCRAMSHA512 = "SCRAM-SHA-512" // as RFC 7677, with another hash
	External    = "EXTERNAL"      // RFC 4422 appendix A
	OAuthBearer = "OAUTHBEARER"   // RFC 7628
	XOAuth2     = "XOAUTH2"       // no RFC
	Anonymous   = "ANONYMOUS"     // RFC 4505
	Plus        = "-PLUS"         // what SCRAM with channel binding ends in
)

// MaxMessage is the longest message, in octets after base64 decoding, that a
// mechanism takes from its peer. Longer ones are ErrMalformed (RFC 4954 §4
// wants 12288 octets of base64 to be accepted).
const MaxMessage = 12288

// SCRAMKeys are what a server keeps instead of a password (RFC 5802 §3).
type SCRAMKeys struct {
	Salt       []byte
	Iterations int // at least 4096 (RFC 7677 §4)
	StoredKey  []byte
	ServerKey  []byte
	// More are further keys that the proof may have been made with, of other
	// passwords of the same user under the same salt and iterations. All are tried
	// always: to hide how many a user has, give everybody the same number. Nil:
	// none.
	More []SCRAMPair
}

// SCRAMPair is the keys of one more password.
type SCRAMPair struct {
	StoredKey, ServerKey []byte
	// Matched, if not nil, is called when the proof was made with these keys,
	// before the user is authorized. Its error ends the exchange.
	Matched func() error
}

// Errors of the mechanisms; returned errors wrap them. What a callback
// returns is passed on as it is.
var (
	// ErrMalformed: the peer's message breaks the mechanism's syntax, is too
	// long, or comes when the exchange is over.
	ErrMalformed = errors.New("sasl: malformed message")
	// ErrProof: a server found the client's proof, nonce or channel binding
	// to be wrong.
	ErrProof = errors.New("sasl: proof does not verify")
	// ErrServer: a client found that the server does not know the password,
	// mixed up the nonces, asks for iterations out of bounds or reported an
	// error.
	ErrServer = errors.New("sasl: server not acceptable")
	// ErrPrepare: a name or password contains what SASLprep prohibits
	// (RFC 4013 §2.3).
	ErrPrepare = errors.New("sasl: prohibited character in name or password")
	// ErrKeys: SCRAM keys are incomplete or their parameters out of bounds.
	ErrKeys = errors.New("sasl: unusable SCRAM keys")
)

// Verifier is implemented by clients to whom the server must prove itself
// too. A protocol calls Verified once the server has reported success, and
// treats false as a failed authentication (RFC 5802 §5: an attacker in the
// middle could leave out the server's signature).
type Verifier interface {
	Verified() bool
}
