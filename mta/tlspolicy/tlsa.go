package tlspolicy

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"fmt"

	"github.com/posta-mail/posta/dns"
)

// Usable tells whether a mail client can use a TLSA record: usage 2 (DANE-TA)
// or 3 (DANE-EE), a known selector and matching type, and data of the right
// length. Usages 0 and 1 are not for mail (RFC 7672 §3.1.3). The error is
// ErrUnusable with the reason, nil for one that can be used. A host whose
// records are all unusable still demands TLS (RFC 7672 §2.2).
func Usable(r dns.TLSA) error {
	switch {
	case r.Usage != 2 && r.Usage != 3:
		return fmt.Errorf("%w: usage %d", ErrUnusable, r.Usage)
	case r.Selector > 1:
		return fmt.Errorf("%w: selector %d", ErrUnusable, r.Selector)
	case r.MatchingType > 2:
		return fmt.Errorf("%w: matching type %d", ErrUnusable, r.MatchingType)
	}
	switch want := [...]int{0, sha256.Size, sha512.Size}[r.MatchingType]; {
	case want > 0 && len(r.Data) != want:
		return fmt.Errorf("%w: %d octets of digest", ErrUnusable, len(r.Data))
	case want > 0:
		return nil
	}
	// The whole certificate or key: what cannot be parsed matches nothing.
	var err error
	if r.Selector == 0 {
		_, err = x509.ParseCertificate(r.Data)
	} else {
		_, err = x509.ParsePKIXPublicKey(r.Data)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnusable, err)
	}
	return nil
}

// Matches reports whether a certificate is the one a usable record names. For
// usage 3 that is the server's own, and neither its names nor its dates count
// (RFC 7672 §3.1.1); for usage 2 it is a certificate above it, and the chain
// and the name are still to be checked (§3.1.2).
func Matches(r dns.TLSA, cert *x509.Certificate) bool {
	if cert == nil || Usable(r) != nil {
		return false
	}
	data := cert.Raw
	if r.Selector == 1 {
		data = cert.RawSubjectPublicKeyInfo
	}
	switch r.MatchingType {
	case 1:
		sum := sha256.Sum256(data)
		data = sum[:]
	case 2:
		sum := sha512.Sum512(data)
		data = sum[:]
	}
	return string(data) == string(r.Data)
}

// RecordFor returns the TLSA record to publish for a server's certificate:
// "3 1 1", its key by SHA-256, which survives the certificate's renewal (RFC
// 7672 §3.1.1 recommends it).
func RecordFor(cert *x509.Certificate) dns.TLSA {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return dns.TLSA{Usage: 3, Selector: 1, MatchingType: 1, Data: sum[:]}
}
