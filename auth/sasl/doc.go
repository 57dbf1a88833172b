// Package sasl implements the mechanisms by which users prove themselves
// (RFC 4422), server and client side, on the Client and Server interfaces of
// go-sasl. It imports nothing of Posta: credentials come through the small
// interfaces and functions it declares.
package sasl

// Mechanism names as registered with IANA.
const (
	Plain       = "PLAIN"         // RFC 4616
	Login       = "LOGIN"         // no RFC; two prompts, for old clients
	SCRAMSHA1   = "SCRAM-SHA-1"   // RFC 5802
	SCRAMSHA256 = "SCRAM-SHA-256" // RFC 7677
	External    = "EXTERNAL"      // RFC 4422 appendix A
	OAuthBearer = "OAUTHBEARER"   // RFC 7628
)

// SCRAMKeys are what a server keeps instead of a password (RFC 5802 §3).
type SCRAMKeys struct {
	Salt       []byte
	Iterations int // at least 4096 (RFC 7677 §4)
	StoredKey  []byte
	ServerKey  []byte
}
