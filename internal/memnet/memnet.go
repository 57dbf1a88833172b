// Package memnet is a network in memory: connections whose reads and writes
// block on channels only, so that testing/synctest sees them idle, with
// buffers, so that both ends may write at once, and deadlines.
package memnet

import (
	"context"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Listener accepts the connections that Dial makes. It implements
// net.Listener.
type Listener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
	port   atomic.Int32
}

// Listen returns a new Listener.
func Listen() *Listener {
	return &Listener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

// Accept implements net.Listener.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close implements net.Listener.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *Listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1} }

// Dial connects to the listener from 127.0.0.1.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	return l.DialFrom(ctx, net.IPv4(127, 0, 0, 1))
}

// DialFrom connects to the listener from a given address.
func (l *Listener) DialFrom(ctx context.Context, ip net.IP) (net.Conn, error) {
	port := 1024 + int(l.port.Add(1))%60000
	client, server := Pipe(&net.TCPAddr{IP: ip, Port: port}, l.Addr())
	select {
	case l.conns <- server:
		return client, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "mem", Addr: l.Addr(), Err: os.NewSyscallError("connect", net.ErrClosed)}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Pipe returns the two ends of a connection between the given addresses.
func Pipe(client, server net.Addr) (net.Conn, net.Conn) {
	up, down := newStream(), newStream()
	return &conn{in: down, out: up, local: client, remote: server}, &conn{in: up, out: down, local: server, remote: client}
}

// chunks is how many writes of at most chunkSize a direction buffers.
const (
	chunks    = 16
	chunkSize = 16 << 10
)

// stream is one direction.
type stream struct {
	data       chan []byte
	wclosed    chan struct{} // the writer is done
	rclosed    chan struct{} // the reader is gone
	wonce      sync.Once
	ronce      sync.Once
	rest       []byte // of the reader
	read, sent deadline
}

func newStream() *stream {
	s := &stream{data: make(chan []byte, chunks), wclosed: make(chan struct{}), rclosed: make(chan struct{})}
	s.read.init()
	s.sent.init()
	return s
}

type conn struct {
	in, out       *stream
	local, remote net.Addr
}

func (c *conn) Read(p []byte) (int, error) {
	s := c.in
	if isClosed(s.rclosed) {
		return 0, net.ErrClosed
	}
	if isClosed(s.read.wait()) {
		return 0, os.ErrDeadlineExceeded
	}
	if len(s.rest) == 0 {
		select {
		case s.rest = <-s.data:
		case <-s.rclosed:
			return 0, net.ErrClosed
		case <-s.read.wait():
			return 0, os.ErrDeadlineExceeded
		case <-s.wclosed:
			select {
			case s.rest = <-s.data:
			default:
				return 0, io.EOF
			}
		}
	}
	n := copy(p, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

// Await waits until Read would not have to.
func (c *conn) Await() error {
	s := c.in
	if len(s.rest) > 0 {
		return nil
	}
	if isClosed(s.read.wait()) {
		return os.ErrDeadlineExceeded
	}
	select {
	case s.rest = <-s.data:
	case <-s.rclosed:
	case <-s.wclosed:
	case <-s.read.wait():
		return os.ErrDeadlineExceeded
	}
	return nil
}

func (c *conn) Write(p []byte) (int, error) {
	s := c.out
	for n := 0; n < len(p); {
		if isClosed(s.wclosed) {
			return n, net.ErrClosed
		}
		if isClosed(s.rclosed) {
			return n, io.ErrClosedPipe
		}
		if isClosed(s.sent.wait()) {
			return n, os.ErrDeadlineExceeded
		}
		chunk := append([]byte(nil), p[n:min(len(p), n+chunkSize)]...)
		select {
		case s.data <- chunk:
			n += len(chunk)
		case <-s.wclosed:
			return n, net.ErrClosed
		case <-s.rclosed:
			return n, io.ErrClosedPipe
		case <-s.sent.wait():
			return n, os.ErrDeadlineExceeded
		}
	}
	return len(p), nil
}

// CloseWrite ends this direction, as a TCP connection's does.
func (c *conn) CloseWrite() error {
	c.out.wonce.Do(func() { close(c.out.wclosed) })
	return nil
}

func (c *conn) Close() error {
	_ = c.CloseWrite()
	c.in.ronce.Do(func() { close(c.in.rclosed) })
	c.in.read.set(time.Time{})
	c.out.sent.set(time.Time{})
	return nil
}

// PeerGone reports whether the other end has closed, at least the direction to
// here, whatever has yet to be read.
func (c *conn) PeerGone() bool { return isClosed(c.in.wclosed) || isClosed(c.out.rclosed) }

func (c *conn) LocalAddr() net.Addr  { return c.local }
func (c *conn) RemoteAddr() net.Addr { return c.remote }

func (c *conn) SetDeadline(t time.Time) error {
	_ = c.SetReadDeadline(t)
	return c.SetWriteDeadline(t)
}

func (c *conn) SetReadDeadline(t time.Time) error {
	if isClosed(c.in.rclosed) {
		return net.ErrClosed
	}
	c.in.read.set(t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	if isClosed(c.out.wclosed) {
		return net.ErrClosed
	}
	c.out.sent.set(t)
	return nil
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// deadline is a channel that closes at a time that can be moved. A call that
// is already waiting when the deadline moves is woken and fails only if the
// old channel closes, so set closes and replaces it for a time in the past.
type deadline struct {
	mu     sync.Mutex
	timer  *time.Timer
	cancel chan struct{}
}

func (d *deadline) init() { d.cancel = make(chan struct{}) }

func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cancel
}

func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil && !d.timer.Stop() {
		<-d.cancel // the timer's function has run or is about to
	}
	d.timer = nil
	fired := isClosed(d.cancel)
	if t.IsZero() || time.Until(t) > 0 {
		if fired {
			d.cancel = make(chan struct{})
		}
		if !t.IsZero() {
			c := d.cancel
			d.timer = time.AfterFunc(time.Until(t), func() { close(c) })
		}
		return
	}
	if !fired {
		close(d.cancel)
	}
}
