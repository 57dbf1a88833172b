package testdns

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	mdns "github.com/miekg/dns"
)

// TB is the part of testing.TB that New uses.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Server answers DNS messages from its DB.
type Server struct {
	*DB
	addr   string
	ctx    context.Context
	cancel context.CancelFunc
	udp    *net.UDPConn
	tcp    net.Listener
	wg     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// New serves a zone on a free loopback port until the test ends.
func New(t TB, z Zone) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", z)
	if err != nil {
		t.Fatalf("testdns: %v", err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// Listen serves a zone over UDP and TCP on addr, host:port; port 0 takes one
// that is free for both.
func Listen(addr string, z Zone) (*Server, error) {
	s, err := newServer(z)
	if err != nil {
		return nil, err
	}
	for range 20 { // the port that TCP got may be taken for UDP
		if err = s.listen(addr); err == nil {
			break
		}
	}
	if err != nil {
		s.cancel()
		return nil, err
	}
	s.wg.Go(s.serveUDP)
	s.wg.Go(s.serveTCP)
	return s, nil
}

// InMemory is a server without a socket: its Addr is a name only, and Dial the
// one way to reach it. It panics when a record does not parse.
func InMemory(z Zone) *Server {
	s, err := newServer(z)
	if err != nil {
		panic(err)
	}
	s.addr = "192.0.2.53:53"
	return s
}

func newServer(z Zone) (*Server, error) {
	db, err := newDB(z)
	if err != nil {
		return nil, err
	}
	s := &Server{DB: db, conns: map[net.Conn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

func (s *Server) listen(addr string) error {
	tcp, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	ap := tcp.Addr().(*net.TCPAddr)
	udp, err := net.ListenUDP("udp", &net.UDPAddr{IP: ap.IP, Port: ap.Port, Zone: ap.Zone})
	if err != nil {
		tcp.Close()
		return err
	}
	s.tcp, s.udp, s.addr = tcp, udp, tcp.Addr().String()
	return nil
}

// Addr is the server's address with port, for UDP and TCP.
func (s *Server) Addr() string { return s.addr }

// Close stops the server, ends its connections and waits for both.
func (s *Server) Close() error {
	s.cancel()
	if s.tcp != nil {
		s.tcp.Close()
		s.udp.Close()
	}
	s.mu.Lock()
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.wg.Wait()
	return nil
}

// Dial opens an in-memory connection to the server, whatever the address; it
// fits the Dial fields of dns.Resolver and net.Resolver{PreferGo: true}. For
// network "udp" one Write is one datagram.
func (s *Server) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if s.ctx.Err() != nil {
		return nil, fmt.Errorf("testdns: dial %s %s: %w", network, address, net.ErrClosed)
	}
	client, server := net.Pipe()
	if network == "tcp" || network == "tcp4" || network == "tcp6" {
		if !s.start(server, s.serveStream) {
			return nil, net.ErrClosed
		}
		return client, nil
	}
	if !s.start(server, s.serveDatagrams) {
		return nil, net.ErrClosed
	}
	return datagramConn{client}, nil
}

// datagramConn makes net.Resolver see a packet connection.
type datagramConn struct{ net.Conn }

func (c datagramConn) ReadFrom(p []byte) (int, net.Addr, error) {
	n, err := c.Read(p)
	return n, c.RemoteAddr(), err
}

func (c datagramConn) WriteTo(p []byte, _ net.Addr) (int, error) { return c.Write(p) }

// start serves a connection unless the server has been closed.
func (s *Server) start(c net.Conn, serve func(net.Conn)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ctx.Err() != nil {
		c.Close()
		return false
	}
	s.conns[c] = struct{}{}
	s.wg.Go(func() { serve(c) }) // under the lock: never while Close waits
	return true
}

func (s *Server) release(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

func (s *Server) serveUDP() {
	buf := make([]byte, 65535)
	for {
		n, from, err := s.udp.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error about an earlier answer
		}
		q := append([]byte(nil), buf[:n]...)
		s.wg.Go(func() {
			for _, out := range s.respond(s.ctx, q, false) {
				s.udp.WriteToUDPAddrPort(out, from)
			}
		})
	}
}

func (s *Server) serveTCP() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.start(c, s.serveStream)
	}
}

func (s *Server) serveStream(c net.Conn) {
	defer s.release(c)
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		q := make([]byte, binary.BigEndian.Uint16(size[:]))
		if _, err := io.ReadFull(c, q); err != nil {
			return
		}
		for _, out := range s.respond(s.ctx, q, true) {
			m := binary.BigEndian.AppendUint16(nil, uint16(len(out)))
			if _, err := c.Write(append(m, out...)); err != nil {
				return
			}
		}
	}
}

func (s *Server) serveDatagrams(c net.Conn) {
	defer s.release(c)
	buf := make([]byte, 65535)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		for _, out := range s.respond(s.ctx, buf[:n], false) {
			if _, err := c.Write(out); err != nil {
				return
			}
		}
	}
}

// respond gives the messages that answer one query; none for a time-out.
func (s *Server) respond(ctx context.Context, wire []byte, stream bool) [][]byte {
	q := new(mdns.Msg)
	if q.Unpack(wire) != nil || q.Response || len(q.Question) != 1 {
		return nil
	}
	a := s.ask(plainName(q.Question[0].Name), q.Question[0].Qtype)
	if wait(ctx, a.delay) != nil || a.failure == Timeout {
		return nil
	}
	m := compose(q, a)
	limit := 512
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(1232, opt.Do())
		limit = max(limit, int(opt.UDPSize()))
	}
	if !stream && a.failure != Oversize {
		if a.failure == Truncate {
			m.Answer, m.Ns, m.Truncated = nil, nil, true
		}
		m.Truncate(limit)
		m.Truncated = m.Truncated || a.failure == Truncate
	}
	out, err := m.Pack()
	if err != nil {
		return nil
	}
	return disturb(q, m, out, a.failure, stream)
}

// compose builds the honest answer.
func compose(q *mdns.Msg, a answer) *mdns.Msg {
	m := new(mdns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	m.Rcode = a.rcode
	wantsAD := q.AuthenticatedData || q.IsEdns0() != nil && q.IsEdns0().Do() // RFC 6840 §5.8
	m.AuthenticatedData = (a.authentic != (a.failure == FlipAD)) && wantsAD
	switch a.failure {
	case ServFail:
		m.Rcode, m.AuthenticatedData = mdns.RcodeServerFailure, false
		return m
	case Refused:
		m.Rcode, m.AuthenticatedData = mdns.RcodeRefused, false
		return m
	case NoEDNS:
		if q.IsEdns0() != nil {
			m.Rcode, m.AuthenticatedData = mdns.RcodeFormatError, false
			return m
		}
	case Referral:
		m.RecursionAvailable, m.Rcode = false, mdns.RcodeSuccess
		m.Ns = owned([]mdns.RR{rootNS()}, "")
		return m
	case HalfChain:
		if len(a.chain) > 0 {
			m.Rcode = mdns.RcodeSuccess
			m.Answer = a.chain[:1]
			return m
		}
	}
	m.Answer = append(append(m.Answer, a.chain...), a.rrs...)
	if len(a.rrs) == 0 && a.negTTL >= 0 {
		m.Ns = []mdns.RR{soa(a.negTTL)}
	}
	return m
}

// disturb turns the honest message into what a broken server or a forger sends.
func disturb(q, m *mdns.Msg, honest []byte, f Failure, stream bool) [][]byte {
	wrongID := append([]byte(nil), honest...)
	binary.BigEndian.PutUint16(wrongID, q.Id+1)
	other := m.Copy()
	other.Question = []mdns.Question{{Name: "forged.invalid.", Qtype: q.Question[0].Qtype, Qclass: mdns.ClassINET}}
	wrongQuestion, err := other.Pack()
	if err != nil {
		wrongQuestion = nil
	}
	switch f {
	case Spoof:
		if !stream {
			return [][]byte{wrongID, wrongQuestion, honest}
		}
	case WrongID:
		return [][]byte{wrongID}
	case WrongQuestion:
		return [][]byte{wrongQuestion}
	case Garbage:
		junk := append([]byte(nil), honest[:12]...)
		return [][]byte{append(junk, 0xc0, 0x0c, 0xff, 0xff)}
	}
	return [][]byte{honest}
}
