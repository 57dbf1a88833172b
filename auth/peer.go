package auth

import (
	"crypto/tls"
	"log/slog"
	"net"
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
	// even behind a proxy. Both are invalid for a connection that is not IP.
	Remote, Local netip.AddrPort
	// Proxy is the socket's far end when a trusted proxy announced Remote
	// (PROXY protocol, XCLIENT); invalid otherwise.
	Proxy netip.AddrPort
	// HELO is the name given by EHLO, HELO or LHLO; empty before, and in
	// protocols that have none. It is the peer's claim and nothing more.
	HELO string
	// TLS is the state of the encrypted connection, nil in plain text.
	TLS *tls.ConnectionState
	// Since is when the connection was accepted.
	Since time.Time
}

// Secure reports whether the connection is encrypted.
func (p Peer) Secure() bool { return p.TLS != nil }

// Addr is the remote IP address, 4-in-6 unmapped; invalid when unknown.
func (p Peer) Addr() netip.Addr { return p.Remote.Addr().Unmap() }

// LogValue gives the fields that identify a peer in a log line.
func (p Peer) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("id", p.ID),
		slog.String("remote", p.Remote.String()),
		slog.Bool("tls", p.Secure()),
	)
}

// NewPeer describes a fresh connection. A TLS state is not looked for: the
// server that made the handshake sets it, whatever wraps the connection.
func NewPeer(id string, c net.Conn, now time.Time) Peer {
	return Peer{ID: id, Remote: addrPort(c.RemoteAddr()), Local: addrPort(c.LocalAddr()), Since: now}
}

func addrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		return a.AddrPort()
	case interface{ AddrPort() netip.AddrPort }:
		return a.AddrPort()
	case nil:
		return netip.AddrPort{}
	}
	ap, _ := netip.ParseAddrPort(a.String())
	return ap
}
