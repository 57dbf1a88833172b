package smtptest

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/smtp"
)

// network is how clients get to a server: in memory or by TCP, straight or
// through faults. The zero value is ready after start.
type network struct {
	lmtp   bool
	config func() *tls.Config // of the server; nil or returning nil: no TLS
	tls    bool               // from the first octet

	listener *memnet.Listener // of the server
	closed   chan struct{}
	wg       sync.WaitGroup

	mu     sync.Mutex
	ended  bool
	faults *faults // nil: none
	open   map[net.Conn]struct{}
}

// start prepares to serve connections of srv, whose fields are set.
func (n *network) start(srv *smtp.Server) {
	n.lmtp, n.tls, n.config = srv.LMTP, srv.ImplicitTLS, func() *tls.Config { return srv.TLSConfig }
	n.listener, n.closed, n.open = memnet.Listen(), make(chan struct{}), make(map[net.Conn]struct{})
}

// misbehave sets the faults of connections to come.
func (n *network) misbehave(f Faults) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = nil
	if len(f.Rules) > 0 {
		n.faults = newFaults(f)
	}
}

// misbehaved is how often each rule has taken effect.
func (n *network) misbehaved() []int {
	n.mu.Lock()
	f := n.faults
	n.mu.Unlock()
	if f == nil {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]int(nil), f.effects...)
}

// visit is the visitor that a new connection is; nil without faults.
func (n *network) visit() *visitor {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.faults == nil {
		return nil
	}
	return n.faults.visit()
}

// dial connects in memory from an address.
func (n *network) dial(ctx context.Context, from net.IP) (net.Conn, error) {
	v := n.visit()
	if v == nil {
		return n.listener.DialFrom(ctx, from)
	}
	if f := v.at(AtConnect, ""); f != nil {
		select {
		case <-time.After(f.Delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-n.closed:
		}
		if f.Drop != DropNever {
			return nil, &net.OpError{Op: "dial", Net: "mem", Addr: n.listener.Addr(), Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
		}
	}
	server, err := n.listener.DialFrom(ctx, from)
	if err != nil {
		return nil, err
	}
	client, front := memnet.Pipe(server.LocalAddr(), server.RemoteAddr())
	n.relay(v, front, server)
	return client, nil
}

// relay puts faults between a client's connection and one to the server.
func (n *network) relay(v *visitor, client, server net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		_, _ = client.Close(), server.Close()
		return
	}
	n.open[client], n.open[server] = struct{}{}, struct{}{}
	n.wg.Add(1)
	go func() {
		defer n.wg.Done()
		r := &relay{network: n, visitor: v, client: newPeerConn(client), server: newPeerConn(server)}
		var config *tls.Config
		if n.tls {
			config = n.config()
		}
		r.left, r.gone = context.WithCancel(context.Background())
		defer r.gone()
		r.run(config)
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.open, client)
		delete(n.open, server)
	}()
}

// close ends what stands before the server, and waits for it.
func (n *network) close() {
	n.mu.Lock()
	if !n.ended {
		n.ended = true
		close(n.closed)
	}
	for c := range n.open {
		_ = c.Close()
	}
	n.mu.Unlock()
	n.wg.Wait()
}

// tcp is a listener on the loopback interface whose connections pass the faults
// if there are any.
func (n *network) tcp() (net.Listener, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return &tcpListener{l, n}, nil
}

type tcpListener struct {
	net.Listener
	n *network
}

func (l *tcpListener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		v := l.n.visit()
		if v == nil {
			return nc, nil
		}
		// To refuse a connection of TCP is to close it at once.
		if f := v.at(AtConnect, ""); f != nil && f.Drop != DropNever {
			_ = nc.Close()
			continue
		}
		server, err := l.n.listener.Dial(context.Background())
		if err != nil {
			_ = nc.Close()
			continue
		}
		l.n.relay(v, nc, server)
	}
}

// peerConn is a connection with what has been read ahead.
type peerConn struct {
	net.Conn
	r   *bufio.Reader
	raw net.Conn // below TLS
}

func newPeerConn(c net.Conn) *peerConn { return &peerConn{c, bufio.NewReader(c), c} }

// encrypted continues on the TLS layer.
func (c *peerConn) encrypted(t net.Conn) { c.Conn, c.r = t, bufio.NewReader(t) }

// watch calls f once if something can be read, with nil, or else with the error,
// until the function returned is called, which waits for f. Nobody else reads
// meanwhile.
func (c *peerConn) watch(f func(err error)) (stop func()) {
	var mu sync.Mutex
	stopped, called := false, false
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, err := c.r.Peek(1)
		mu.Lock()
		called = !stopped
		mu.Unlock()
		if called {
			f(err)
		}
	}()
	return func() {
		mu.Lock()
		stopped = true
		if !called {
			_ = c.SetReadDeadline(time.Unix(1, 0))
		}
		mu.Unlock()
		<-done
		_ = c.SetReadDeadline(time.Time{})
	}
}

// part closes a connection of TCP so that what was said last arrives, which a
// reset would prevent.
func (c *peerConn) part() {
	t, ok := c.raw.(*net.TCPConn)
	if !ok {
		return
	}
	_ = t.CloseWrite()
	_ = t.SetReadDeadline(time.Now().Add(time.Second))
	_, _ = io.Copy(io.Discard, t)
}
