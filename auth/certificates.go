package auth

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
)

// Authorizer says who a user is whose proof has been checked already. Each
// [SCRAMAuthenticator] is one.
type Authorizer interface {
	// Authorize returns the identity of user, or the one authzid asks to act as
	// (else ErrForbidden); ErrCredentials if there is no such user.
	Authorize(ctx context.Context, req Request, authzid, user string) (*Identity, error)
}

// Certificates lets users in by their TLS client certificates (SASL EXTERNAL,
// RFC 4422 appendix A). It is embedded beside the Authenticator whose users they
// are, which makes an [ExternalAuthenticator] of both:
//
//	type users struct {
//		*password.Users
//		auth.Certificates
//	}
//
// Servers ask for certificates with a tls.Config whose ClientCAs are the
// authorities that may issue them, and whose ClientAuth is
// tls.VerifyClientCertIfGiven.
//
// The zero value lets nobody in. Fields must not change once it is in use. It is
// safe for concurrent use if Authorizer is.
type Certificates struct {
	// Authorizer has the users, usually the Authenticator beside. Without one
	// External is ErrUnavailable.
	Authorizer Authorizer
	// Keys are users by the [KeyFingerprint] of their certificates. It stays the
	// same when a certificate is renewed for the same key. Who is taken out gets
	// in no more; neither OCSP nor lists of revoked certificates are asked.
	Keys map[string]string
	// Addresses: a certificate that is not in Keys and names one mail address,
	// and no other, is that user's (RFC 5280 §4.2.1.6, rfc822Name). Only for
	// authorities that prove addresses, such as one's own.
	Addresses bool
}

// External implements [ExternalAuthenticator]. A certificate that is nobody's is
// ErrCredentials.
func (c Certificates) External(ctx context.Context, req Request, authzid string) (*Identity, error) {
	if c.Authorizer == nil {
		return nil, ErrUnavailable
	}
	if req.Peer.TLS == nil || len(req.Peer.TLS.VerifiedChains) == 0 {
		return nil, ErrCredentials
	}
	user, ok := c.user(req.Peer.TLS.VerifiedChains[0][0])
	if !ok {
		return nil, ErrCredentials
	}
	return c.Authorizer.Authorize(ctx, req, authzid, user)
}

// user is whose a certificate is.
func (c Certificates) user(cert *x509.Certificate) (string, bool) {
	if user, ok := c.Keys[KeyFingerprint(cert)]; ok {
		return user, user != ""
	}
	if c.Addresses && len(cert.EmailAddresses) == 1 {
		return cert.EmailAddresses[0], cert.EmailAddresses[0] != ""
	}
	return "", false
}

// KeyFingerprint is the SHA-256 of a certificate's public key (its
// SubjectPublicKeyInfo in DER, RFC 5280 §4.1.2.7) in lower-case hexadecimal.
func KeyFingerprint(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}
