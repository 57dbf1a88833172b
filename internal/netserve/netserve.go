// Package netserve is the accept, track, limit and drain loop that all
// servers of Posta share. A protocol's server embeds a Server, gives it a
// function that talks to one connection, and gets limits, shutdown and TLS
// from here.
package netserve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Why a connection is refused before the protocol begins.
var (
	ErrTooManyConns = errors.New("netserve: too many connections")
	ErrTooManyPeer  = errors.New("netserve: too many connections from this address")
	ErrRate         = errors.New("netserve: connections from this address come too fast")
	// ErrProxyHeader wraps what is wrong with a proxy's header.
	ErrProxyHeader = errors.New("netserve: no good PROXY header")
	// ErrHandshake wraps why a TLS handshake before the first byte failed.
	ErrHandshake = errors.New("netserve: TLS handshake failed")
	// ErrPanic: the handler panicked.
	ErrPanic = errors.New("netserve: handler panicked")
)

// Config is what a Serve call needs to know. Limits that are zero or negative
// do not bound.
type Config struct {
	// Name tells servers apart in logs and connection ids ("smtp").
	Name string
	// TLS, if not nil, makes the handshake before the first byte (RFC 8314).
	TLS *tls.Config
	// HandshakeTimeout bounds every TLS handshake; 30 s if zero.
	HandshakeTimeout time.Duration
	// Proxies are those whose connections begin with a header of the PROXY
	// protocol, and must; from anyone else none is looked for.
	Proxies []netip.Prefix
	// MaxConns bounds all connections of the Server together.
	MaxConns int
	// MaxConnsPerAddr bounds those of one IPv4 address or IPv6 /64.
	MaxConnsPerAddr int
	// MaxConnsPerNet bounds those of one IPv4 /24 or IPv6 /48.
	MaxConnsPerNet int
	// ConnRate is how many connections a minute one IPv4 address or IPv6 /64
	// may open.
	ConnRate int
	// Refuse tells the peer why, in the protocol's words, in one short write;
	// the connection is closed afterwards. Nil closes without a word.
	Refuse func(c net.Conn, reason error)
	// Handle talks to one connection. It is closed when Handle returns; ctx
	// ends then, and when the Server is closed.
	Handle func(ctx context.Context, c *Conn)
	// Opened and Closed, if not nil, are told of every connection, those that
	// are refused and those that never reach Handle included: once each, Opened
	// first, Closed when the socket is closed. The error
	// is one of the above, wrapped or not, or what EndedBy was given.
	Opened func(c *Conn)
	Closed func(c *Conn, err error)
	Logger *slog.Logger
}

// Server tracks the connections of one protocol server over any number of
// listeners. The zero value is ready. Safe for concurrent use.
type Server struct {
	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*Conn]struct{}
	peers     peerTable
	nets      map[netip.Prefix]int // connections of networks
	closing   bool
	stop      chan struct{} // closed when closing
	drained   chan struct{} // closed when closing and no connection is left
	serial    atomic.Uint64
	open      atomic.Int64  // len(conns)
	watching  atomic.Bool   // there is a sentinel
	unwatch   chan struct{} // ends it
}

// ErrClosed is what Serve returns after Shutdown or Close.
var ErrClosed = errors.New("netserve: server closed")

// Serve accepts connections until l fails or the server is shut down, when it
// returns ErrClosed. It closes l.
func (s *Server) Serve(l net.Listener, cfg Config) error {
	defer l.Close()
	if !s.addListener(l) {
		return ErrClosed
	}
	defer s.dropListener(l)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.HandshakeTimeout == 0 {
		cfg.HandshakeTimeout = 30 * time.Second
	}
	var wait time.Duration
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			wait = 0
		case s.isClosing():
			return ErrClosed
		case temporary(err):
			// Out of descriptors, usually: others must finish first.
			wait = min(max(2*wait, 5*time.Millisecond), time.Second)
			cfg.Logger.Warn("accept failed", "server", cfg.Name, "err", err, "retry", wait)
			select {
			case <-time.After(wait):
			case <-s.stopped():
			}
			continue
		default:
			return err
		}
		c := s.newConn(nc, &cfg)
		if err := s.admit(c); err != nil {
			go c.refused(err)
			continue
		}
		go s.serveConn(c)
	}
}

func temporary(err error) bool {
	var ne net.Error
	//lint:ignore SA1019 accept errors have no other mark of being passing
	return errors.As(err, &ne) && ne.Temporary()
}

// refused is the short life of a connection that is not let in.
func (c *Conn) refused(reason error) {
	defer c.close()
	defer c.caught()
	c.opened()
	c.refuse(reason)
}

func (c *Conn) opened() {
	if c.cfg.Opened != nil {
		c.cfg.Opened(c)
	}
}

// close is the end of every connection.
func (c *Conn) close() {
	c.cancel()
	_ = c.Conn.Close()
	if c.cfg.Closed != nil {
		defer c.caught()
		c.cfg.Closed(c, c.end)
	}
}

// caught, deferred, keeps a panic from taking the other connections down.
func (c *Conn) caught() {
	if p := recover(); p != nil {
		c.end = ErrPanic
		c.cfg.Logger.Error("connection handler panicked", "server", c.cfg.Name, "peer", c.Peer().ID, "remote", c.Conn.RemoteAddr(), "panic", p, "stack", stack())
	}
}

// refuse says why, if the protocol has words for it.
func (c *Conn) refuse(reason error) {
	c.end, c.turnedAway = reason, true
	c.cfg.Logger.Info("connection refused", "server", c.cfg.Name, "remote", c.Peer().Remote, "err", reason)
	// Under implicit TLS a plain-text word would be noise.
	if c.cfg.Refuse != nil && c.cfg.TLS == nil {
		_ = c.Conn.SetDeadline(time.Now().Add(time.Second))
		c.cfg.Refuse(c.Conn, reason)
	}
}

func (s *Server) newConn(nc net.Conn, cfg *Config) *Conn {
	now := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	id := cfg.Name + "-" + strconv.FormatUint(uint64(now.UnixMilli()), 36) + "-" + strconv.FormatUint(s.serial.Add(1), 36)
	peer := Peer[any]{ID: id, Remote: addrPort(nc.RemoteAddr()), Local: addrPort(nc.LocalAddr()), Since: now}
	return &Conn{Conn: nc, server: s, cfg: cfg, peer: peer, handshake: cfg.HandshakeTimeout, ctx: ctx, cancel: cancel}
}

// admit counts a new connection in, or says why not. That of a proxy counts by
// the address that it has yet to announce.
func (s *Server) admit(c *Conn) error {
	proxied := c.isProxy()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return ErrClosed
	}
	if c.cfg.MaxConns > 0 && len(s.conns) >= c.cfg.MaxConns {
		return ErrTooManyConns
	}
	if !proxied {
		if err := s.count(c, c.peer.Remote.Addr()); err != nil {
			return err
		}
	}
	if s.conns == nil {
		s.conns = make(map[*Conn]struct{})
	}
	s.conns[c] = struct{}{}
	s.open.Add(1)
	return nil
}

// count counts a connection to an address and off the one before. Its caller
// holds the lock.
func (s *Server) count(c *Conn, a netip.Addr) error {
	var key, network netip.Prefix
	if c.cfg.MaxConnsPerAddr > 0 || c.cfg.ConnRate > 0 {
		key = HostOf(a)
	}
	if c.cfg.MaxConnsPerNet > 0 {
		network = NetworkOf(a)
	}
	if network != c.network && network.IsValid() && s.nets[network] >= c.cfg.MaxConnsPerNet {
		return ErrTooManyPeer
	}
	if key != c.key {
		if err := s.peers.enter(key, time.Now(), c.cfg); err != nil {
			return err
		}
		s.peers.leave(c.key)
		c.key = key
	}
	if network != c.network {
		s.leaveNetwork(c.network)
		if c.network = network; network.IsValid() {
			if s.nets == nil {
				s.nets = make(map[netip.Prefix]int)
			}
			s.nets[network]++
		}
	}
	return nil
}

// leaveNetwork counts a connection off a network, if it is one. Its caller
// holds the lock.
func (s *Server) leaveNetwork(network netip.Prefix) {
	if n, ok := s.nets[network]; ok && n > 1 {
		s.nets[network] = n - 1
	} else {
		delete(s.nets, network)
	}
}

func (s *Server) serveConn(c *Conn) {
	defer s.leave(c)
	defer c.close()
	defer c.caught()
	ready := make(chan bool, 1)
	// The stack of this goroutine stays small, so that Handle can wait on it.
	Apart(func() { ready <- c.prepare() })
	if <-ready {
		c.cfg.Handle(c.ctx, c)
	}
}

// prepare does what comes before the protocol.
func (c *Conn) prepare() bool {
	c.opened()
	if c.isProxy() && c.readProxyHeader() != nil {
		return false
	}
	if c.cfg.TLS == nil {
		return true
	}
	err := c.StartTLS(c.ctx, c.cfg.TLS)
	if err != nil {
		c.end = fmt.Errorf("%w: %w", ErrHandshake, err)
		c.cfg.Logger.Info("TLS handshake failed", "server", c.cfg.Name, "peer", c.Peer().ID, "remote", c.Peer().Remote, "err", err)
	}
	return err == nil
}

func (s *Server) leave(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.open.Add(-1)
	s.peers.leave(c.key)
	s.leaveNetwork(c.network)
	if len(s.conns) == 0 {
		s.endWatch()
	}
	s.checkDrained()
}

func (s *Server) checkDrained() {
	if s.closing && len(s.conns) == 0 {
		select {
		case <-s.drained:
		default:
			close(s.drained)
		}
	}
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	if s.listeners == nil {
		s.listeners = make(map[net.Listener]struct{})
	}
	s.listeners[l] = struct{}{}
	return true
}

func (s *Server) dropListener(l net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

// stopped is closed when the server begins to shut down.
func (s *Server) stopped() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stop == nil {
		s.stop = make(chan struct{})
		if s.closing {
			close(s.stop)
		}
	}
	return s.stop
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// Conns is the number of connections.
func (s *Server) Conns() int { return int(s.open.Load()) }

// begin stops accepting and wakes the idle connections, which see
// Conn.Closing and take their leave in the protocol's words.
func (s *Server) begin() <-chan struct{} {
	s.mu.Lock()
	if s.drained == nil {
		s.drained = make(chan struct{})
	}
	if !s.closing && s.stop != nil {
		close(s.stop)
	}
	s.closing = true
	var idle []*Conn
	for c := range s.conns {
		idle = append(idle, c)
	}
	for l := range s.listeners {
		_ = l.Close()
	}
	s.checkDrained()
	s.mu.Unlock()
	for _, c := range idle {
		c.shutdown()
	}
	return s.drained
}

// Shutdown stops accepting, lets busy connections finish their command, and
// returns when all have ended. When ctx ends first the rest is closed by force
// and ctx's error returned.
func (s *Server) Shutdown(ctx context.Context) error {
	drained := s.begin()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		_ = s.Close()
		return ctx.Err()
	}
}

// Close closes listeners and connections at once and waits for no one.
func (s *Server) Close() error {
	s.begin()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.kill()
	}
	return nil
}

// HostOf is what per-address limits count by: an IPv4 address or an IPv6 /64,
// which is what one customer gets. Connections without an IP address (sockets
// in memory or on disk) are not counted: it is invalid for them.
func HostOf(a netip.Addr) netip.Prefix { return prefixOf(a, 32, 64) }

// NetworkOf is what limits of networks count by: an IPv4 /24 or an IPv6 /48.
func NetworkOf(a netip.Addr) netip.Prefix { return prefixOf(a, 24, 48) }

func prefixOf(a netip.Addr, v4, v6 int) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := v4
	if a.Is6() {
		bits = v6
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
