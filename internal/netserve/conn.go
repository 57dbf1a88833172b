package netserve

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Peer describes a connection. With the identity's type it has the fields of
// auth.Peer, which lies above this package: servers convert it,
// auth.Peer(netserve.PeerOf[*auth.Identity](c)).
type Peer[I any] struct {
	ID            string
	Remote, Local netip.AddrPort
	Proxy         netip.AddrPort
	Name          string
	HELO          string
	TLS           *tls.ConnectionState
	Certificate   *x509.Certificate
	Identity      I
	Since         time.Time
}

// PeerOf describes the connection as it is now. I is the type that SetIdentity
// was given a value of; its zero value stands for none.
func PeerOf[I any](c *Conn) Peer[I] {
	p := c.Peer()
	id, _ := p.Identity.(I)
	return Peer[I]{p.ID, p.Remote, p.Local, p.Proxy, p.Name, p.HELO, p.TLS, p.Certificate, id, p.Since}
}

// addrPort is an address as IPv4 or IPv6, whichever way the socket writes it.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(interface{ AddrPort() netip.AddrPort }); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// Conn is one accepted connection. Reads and writes are for the handler's
// goroutine; deadlines go through Idle, Busy and the Set methods, so that a
// shutdown is not overruled by a later deadline.
type Conn struct {
	net.Conn // the transport; replaced by its TLS layer

	server    *Server
	cfg       *Config
	key       netip.Prefix // what it is counted by, and network; the Server's lock guards them
	network   netip.Prefix
	handshake time.Duration
	end       error // why it ended; of the connection's goroutine
	// turnedAway: it was refused; of the connection's goroutine, too.
	turnedAway bool
	ctx        context.Context
	cancel     context.CancelFunc

	raw    syscall.RawConn // for Await
	waits  func(fd uintptr) bool
	peeked [1]byte

	calls atomic.Uint32 // call.go
	seen  uint32        // of calls; the sentinel's
	gone  atomic.Bool

	mu   sync.Mutex
	peer Peer[any]
	// Deadlines, as deadline.go explains them.
	readBy, readArmed, writeBy, writeArmed moment
	idle                                   bool
	shaking                                bool // a TLS handshake is under way
	woken                                  bool // by Wake
	closing                                bool
	dead                                   bool
}

// Peer describes the connection as it is now.
func (c *Conn) Peer() Peer[any] {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer
}

// SetHELO records the name the peer gave itself.
func (c *Conn) SetHELO(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer.HELO = name
}

// SetName records the name by which a trusted peer knows the client.
func (c *Conn) SetName(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer.Name = name
}

// SetIdentity records who has logged in; nil for nobody.
func (c *Conn) SetIdentity(id any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.peer.Identity = id
}

// Identity is what SetIdentity was given last.
func (c *Conn) Identity() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.peer.Identity
}

// EndedBy records why the connection ends, for Config.Closed. It is for the
// handler's goroutine.
func (c *Conn) EndedBy(err error) { c.end = err }

// Refused reports, to Config.Closed, whether the connection was over a limit,
// or too late for a Server that is shutting down.
func (c *Conn) Refused() bool { return c.turnedAway }

// StartTLS makes the server's side of a handshake and continues encrypted.
// The caller resets its reader to the Conn afterwards. After an error, or when
// the server begins to shut down meanwhile, the connection is of no more use.
func (c *Conn) StartTLS(ctx context.Context, cfg *tls.Config) error {
	ctx, cancel := context.WithTimeout(ctx, c.handshake)
	defer cancel()
	raw, err := c.beginHandshake(c.handshake)
	if err != nil {
		return err
	}
	ctx, shown := watchShown(ctx)
	t := tls.Server(raw, cfg)
	Apart(func() { err = t.HandshakeContext(ctx) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shaking = false
	if err != nil {
		return err
	}
	if c.dead {
		return net.ErrClosed
	}
	if err := c.clearDeadlines(); err != nil {
		return err
	}
	state := t.ConnectionState()
	c.Conn = t
	c.peer.TLS, c.peer.Certificate = &state, shown()
	c.peer.HELO, c.peer.Identity = "", nil // RFC 3207 §4.2
	return nil
}

// beginHandshake sets the deadline: what is left of the idle one must not cut
// the handshake, or the proxy's header, short.
func (c *Conn) beginHandshake(d time.Duration) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing || c.dead {
		return nil, ErrClosed
	}
	c.shaking = true
	return c.Conn, c.Conn.SetDeadline(time.Now().Add(d))
}

// clearDeadlines ends what beginHandshake has set.
func (c *Conn) clearDeadlines() error {
	c.readBy, c.readArmed, c.writeBy, c.writeArmed = 0, 0, 0, 0
	return c.Conn.SetDeadline(time.Time{})
}

// Bounds of Linger.
const (
	lingerBytes = 1 << 20
	lingerTime  = 2 * time.Second
)

// Linger ends the writing side and takes in for a short while what the peer
// is still sending, so that a reset does not overtake the last reply.
func (c *Conn) Linger() {
	if cw, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = cw.CloseWrite()
	}
	if c.Busy(lingerTime) == nil {
		_, _ = io.CopyN(io.Discard, c, lingerBytes)
	}
}

// Closing reports whether the server is shutting down: the session should end
// after the command at hand.
func (c *Conn) Closing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closing
}

// shutdown wakes the connection if it is idle, or ends its handshake.
func (c *Conn) shutdown() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closing = true
	switch {
	case c.dead:
	case c.shaking:
		_ = c.Conn.SetDeadline(past)
	case c.idle:
		_ = c.armRead(over)
	}
}

// kill ends the connection at once.
func (c *Conn) kill() {
	c.mu.Lock()
	c.dead = true
	nc, cancel := c.Conn, c.cancel
	c.mu.Unlock()
	cancel()
	// A TLS close would wait for the lock of a blocked write.
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	_ = nc.Close()
}
