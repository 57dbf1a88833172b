package sasl

import (
	"crypto/tls"
	"errors"
	"fmt"
)

// ChannelBinding ties an authentication to the TLS connection it runs over, so
// that whoever sits between two connections can't pass it on (RFC 5056). The
// zero value is none.
type ChannelBinding struct {
	Type string // as registered with IANA: "tls-exporter", "tls-unique"
	Data []byte
}

// ErrBinding is returned where a connection has nothing to bind to.
var ErrBinding = errors.New("sasl: no channel binding")

// TLSBinding is the channel binding of a connection: tls-exporter for TLS 1.3
// (RFC 9266), tls-unique for TLS 1.2 (RFC 5929 §3), which Go has for connections
// that were not resumed. Otherwise, and for nil, it is ErrBinding.
func TLSBinding(state *tls.ConnectionState) (ChannelBinding, error) {
	switch {
	case state == nil || !state.HandshakeComplete:
		return ChannelBinding{}, ErrBinding
	case state.Version >= tls.VersionTLS13:
		// RFC 9266 §2: 32 octets for this label, without context.
		data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32)
		if err != nil {
			return ChannelBinding{}, fmt.Errorf("%w: %w", ErrBinding, err)
		}
		return ChannelBinding{"tls-exporter", data}, nil
	case state.Version == tls.VersionTLS12 && len(state.TLSUnique) > 0:
		return ChannelBinding{"tls-unique", state.TLSUnique}, nil
	}
	return ChannelBinding{}, ErrBinding
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
