package auth

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"time"
)

// Peer describes one connection: who is at the other end, as far as the
// network knows. It is a value; servers copy it into callbacks, and a copy
// does not change any more. The zero value is a peer of whom nothing is known.
type Peer struct {
	// ID names the connection in logs and traces; unique within the process.
	ID string
	// Remote and Local are the two ends. Remote is the client's own address
	// even behind a proxy. Both are invalid for a connection that is not IP, and
	// where a proxy does not know them.
	Remote, Local netip.AddrPort
	// Proxy is the socket's far end when a trusted proxy announced Remote
	// (PROXY protocol, XCLIENT); invalid otherwise.
	Proxy netip.AddrPort
	// Name is the client's host name as a trusted proxy has verified it
	// (XCLIENT); empty otherwise: servers look nothing up.
	Name string
	// HELO is the name given by EHLO, HELO or LHLO; empty before, and in
	// protocols that have none. It is the peer's claim and nothing more.
	HELO string
	// TLS is the state of the encrypted connection, nil in plain text. Behind a
	// proxy it is the proxy's connection that is meant.
	TLS *tls.ConnectionState
	// Certificate is the one that this server has shown in the handshake; nil in
	// plain text, and where it is not known, as after a resumption under TLS 1.3.
	// What it points to is not to be changed.
	Certificate *x509.Certificate
	// Identity is who has logged in; nil for nobody. What it points to is not
	// to be changed.
	Identity *Identity
	// Since is when the connection was accepted.
	Since time.Time
}

// Secure reports whether the connection is encrypted.
func (p Peer) Secure() bool { return p.TLS != nil }

// Addr is the remote IP address, 4-in-6 unmapped; invalid when unknown.
func (p Peer) Addr() netip.Addr { return p.Remote.Addr().Unmap() }

// LogValue gives the fields that identify a peer in a log line: id, remote and
// tls, and proxy where there is one.
func (p Peer) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("id", p.ID),
		slog.String("remote", p.Remote.String()),
		slog.Bool("tls", p.Secure()),
	}
	if p.Proxy.IsValid() {
		attrs = append(attrs, slog.String("proxy", p.Proxy.String()))
	}
	return slog.GroupValue(attrs...)
}
