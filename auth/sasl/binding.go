package sasl

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
)

// ChannelBinding ties an authentication to the TLS connection it runs over, so
// that whoever sits between two connections can't pass it on (RFC 5056). The
// zero value is none.
type ChannelBinding struct {
	Type string // as registered with IANA: "tls-exporter", "tls-unique", "tls-server-end-point"
	Data []byte
}

// ErrBinding is returned where a connection has nothing to bind to.
var ErrBinding = errors.New("sasl: no channel binding")

// TLSBinding is what both ends of a connection make of it: tls-exporter for TLS
// 1.3 (RFC 9266), tls-unique for TLS 1.2 with the extended master secret, without
// which another connection could have the same (RFC 7627 §1). Otherwise, and for
// nil, it is ErrBinding. It does not block and costs one HMAC or two.
func TLSBinding(state *tls.ConnectionState) (ChannelBinding, error) {
	exporter, err := exporterBinding(state)
	if err != nil || state.Version >= tls.VersionTLS13 {
		return exporter, err
	}
	// RFC 9266 §3 leaves tls-unique the default for TLS 1.2.
	if len(state.TLSUnique) > 0 {
		return ChannelBinding{"tls-unique", state.TLSUnique}, nil
	}
	return ChannelBinding{}, ErrBinding
}

// ServerBindings are all that a server can take on a connection, as the client
// chooses: tls-exporter, tls-unique under TLS 1.2, and tls-server-end-point with
// the certificate that the server has shown, nil if that is not known. Empty:
// there is nothing to bind to.
func ServerBindings(state *tls.ConnectionState, shown *x509.Certificate) []ChannelBinding {
	var all []ChannelBinding
	if exporter, err := exporterBinding(state); err == nil {
		all = append(all, exporter)
		if b, err := TLSBinding(state); err == nil && b.Type != exporter.Type {
			all = append(all, b)
		}
	}
	if b, err := EndPointBinding(shown); err == nil && state != nil && state.HandshakeComplete {
		all = append(all, b)
	}
	return all
}

// exporterBinding is tls-exporter. Go refuses to export from TLS 1.2 without the
// extended master secret, as RFC 9266 §4 demands.
func exporterBinding(state *tls.ConnectionState) (b ChannelBinding, err error) {
	if state == nil || !state.HandshakeComplete || state.Version < tls.VersionTLS12 {
		return ChannelBinding{}, ErrBinding
	}
	defer func() {
		if recover() != nil { // a state that no handshake has made has no exporter
			b, err = ChannelBinding{}, ErrBinding
		}
	}()
	// RFC 9266 §2: 32 octets for this label, without context.
	data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
	if err != nil {
		return ChannelBinding{}, fmt.Errorf("%w: %w", ErrBinding, err)
	}
	return ChannelBinding{"tls-exporter", data}, nil
}

// EndPointBinding is tls-server-end-point (RFC 5929 §4) for a server's
// certificate: weaker, as it is the same for all connections, but it holds where
// TLS ends before the server. ErrBinding for nil, and for a signature without a
// hash of its own (Ed25519), for which the RFC defines nothing.
func EndPointBinding(cert *x509.Certificate) (ChannelBinding, error) {
	if cert == nil {
		return ChannelBinding{}, ErrBinding
	}
	var sum []byte
	switch cert.SignatureAlgorithm {
	case x509.SHA256WithRSA, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS, x509.DSAWithSHA256,
		x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1: // RFC 5929 §4.1: SHA-256 for the old ones
		h := sha256.Sum256(cert.Raw)
		sum = h[:]
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		h := sha512.Sum384(cert.Raw)
		sum = h[:]
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		h := sha512.Sum512(cert.Raw)
		sum = h[:]
	default:
		return ChannelBinding{}, fmt.Errorf("%w: certificate signed by %v", ErrBinding, cert.SignatureAlgorithm)
	}
	return ChannelBinding{"tls-server-end-point", sum}, nil
}

// usable: a name of RFC 5056 §7 and data.
func (b ChannelBinding) usable() bool {
	for i := range len(b.Type) {
		c := b.Type[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '.' || c == '-') {
			return false
		}
	}
	return b.Type != "" && len(b.Data) > 0
}
