// Package netserve is the accept, track, limit and drain loop that all
// servers of Posta share. A protocol's server embeds a Server, gives it a
// function that talks to one connection, and gets limits, shutdown and TLS
// from here.
package netserve

import (
	"context"
	"crypto/tls"
	"errors"
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
	// MaxConns bounds all connections of the Server together.
	MaxConns int
	// MaxConnsPerAddr bounds those of one IPv4 address or IPv6 /64.
	MaxConnsPerAddr int
	// ConnRate is how many connections a minute one IPv4 address or IPv6 /64
	// may open.
	ConnRate int
	// Refuse tells the peer why, in the protocol's words, in one short write;
	// the connection is closed afterwards. Nil closes without a word.
	Refuse func(c net.Conn, reason error)
	// Handle talks to one connection. It is closed when Handle returns; ctx
	// ends then, and when the Server is closed.
	Handle func(ctx context.Context, c *Conn)
	Logger *slog.Logger
}

// Server tracks the connections of one protocol server over any number of
// listeners. The zero value is ready. Safe for concurrent use.
type Server struct {
	mu        sync.Mutex
	listeners map[net.Listener]struct{}
	conns     map[*Conn]struct{}
	peers     peerTable
	closing   bool
	stop      chan struct{} // closed when closing
	drained   chan struct{} // closed when closing and no connection is left
	serial    atomic.Uint64
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
		c, err := s.admit(nc, &cfg)
		if err != nil {
			go refuse(nc, &cfg, err)
			continue
		}
		go s.serveConn(c, &cfg)
	}
}

func temporary(err error) bool {
	var ne net.Error
	//lint:ignore SA1019 accept errors have no other mark of being passing
	return errors.As(err, &ne) && ne.Temporary()
}

func refuse(nc net.Conn, cfg *Config, reason error) {
	defer nc.Close()
	cfg.Logger.Info("connection refused", "server", cfg.Name, "remote", nc.RemoteAddr(), "err", reason)
	// Under implicit TLS a plain-text word would be noise.
	if cfg.Refuse != nil && cfg.TLS == nil {
		_ = nc.SetDeadline(time.Now().Add(time.Second))
		cfg.Refuse(nc, reason)
	}
}

// admit counts a new connection in, or says why not.
func (s *Server) admit(nc net.Conn, cfg *Config) (*Conn, error) {
	now := time.Now()
	ctx, cancel := context.WithCancel(context.Background())
	id := cfg.Name + "-" + strconv.FormatUint(uint64(now.UnixMilli()), 36) + "-" + strconv.FormatUint(s.serial.Add(1), 36)
	c := &Conn{Conn: nc, server: s, peer: Peer{ID: id, Remote: addrPort(nc.RemoteAddr()), Local: addrPort(nc.LocalAddr()), Since: now}, handshake: cfg.HandshakeTimeout, ctx: ctx, cancel: cancel}
	if cfg.MaxConnsPerAddr > 0 || cfg.ConnRate > 0 {
		c.key = peerKey(c.peer.Remote.Addr().Unmap())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil, ErrClosed
	}
	if cfg.MaxConns > 0 && len(s.conns) >= cfg.MaxConns {
		return nil, ErrTooManyConns
	}
	if err := s.peers.enter(c.key, now, cfg); err != nil {
		return nil, err
	}
	if s.conns == nil {
		s.conns = make(map[*Conn]struct{})
	}
	s.conns[c] = struct{}{}
	return c, nil
}

func (s *Server) serveConn(c *Conn, cfg *Config) {
	defer func() {
		// A panic in a handler must not take the other connections down.
		if p := recover(); p != nil {
			cfg.Logger.Error("connection handler panicked", "server", cfg.Name, "peer", c.Peer().ID, "remote", c.Conn.RemoteAddr(), "panic", p, "stack", stack())
		}
		c.cancel()
		_ = c.Conn.Close()
		s.leave(c)
	}()
	if cfg.TLS != nil {
		if err := c.StartTLS(c.ctx, cfg.TLS); err != nil {
			cfg.Logger.Info("TLS handshake failed", "server", cfg.Name, "peer", c.Peer().ID, "remote", c.Conn.RemoteAddr(), "err", err)
			return
		}
	}
	cfg.Handle(c.ctx, c)
}

func (s *Server) leave(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
	s.peers.leave(c.key)
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
func (s *Server) Conns() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.conns)
}

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

// peerKey is what per-address limits count by: an IPv4 address or an IPv6
// /64, which is what one customer gets. Connections without an IP address
// (sockets in memory or on disk) are not counted.
func peerKey(a netip.Addr) netip.Prefix {
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, err := a.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return p
}
