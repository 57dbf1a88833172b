package smtptest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/posta-mail/posta/internal/memnet"
)

// Peer is a server that plays a script to everyone who connects, to show a
// client what servers do:
//
//	# a comment; blank lines are skipped
//	S: 220 hi           send the line with CRLF
//	S- "220 a\n"        send a Go string literal as it is
//	S* 1000 250-x       send the line with CRLF so many times
//	C: EHLO .*          read a line, all of which must match the expression
//	DATA                read through CRLF.CRLF
//	TLS                 make the server's side of a handshake
//	WAIT 10s            do nothing for so long
//	STALL               read and discard until the client goes away
//	CLOSE               close the connection, as the script's end does
//
// The first connection gets the first script, the second the second and so
// on; the last script is for all that follow. Its methods are safe for
// concurrent use.
type Peer struct {
	// TLSConfig is for the TLS directive. Set it before the first Dial.
	TLSConfig *tls.Config

	scripts  [][]directive
	listener *memnet.Listener
	closed   chan struct{}
	once     sync.Once
	wg       sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	data  []string
	err   error
}

type directive struct {
	line int
	verb string
	arg  string
	re   *regexp.Regexp
	n    int
	d    time.Duration
}

// NewPeer returns a Peer for its scripts, of which there must be at least
// one, and serves connections made by Dial.
func NewPeer(scripts ...string) (*Peer, error) {
	if len(scripts) == 0 {
		return nil, errors.New("smtptest: no script")
	}
	p := &Peer{listener: memnet.Listen(), closed: make(chan struct{})}
	for i, s := range scripts {
		list, err := parseScript(s)
		if err != nil {
			return nil, fmt.Errorf("smtptest: script %d: %w", i+1, err)
		}
		p.scripts = append(p.scripts, list)
	}
	p.wg.Add(1)
	go p.serve(p.listener)
	return p, nil
}

func parseScript(s string) ([]directive, error) {
	var list []directive
	for i, line := range strings.Split(s, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		verb, arg, _ := strings.Cut(line, " ")
		d := directive{line: i + 1, verb: verb, arg: arg}
		var err error
		switch verb {
		case "S:", "DATA", "TLS", "STALL", "CLOSE":
		case "S-":
			d.arg, err = strconv.Unquote(arg)
		case "S*":
			n, rest, _ := strings.Cut(arg, " ")
			d.arg = rest
			d.n, err = strconv.Atoi(n)
		case "C:":
			d.re, err = regexp.Compile("^(?:" + arg + ")$")
		case "WAIT":
			d.d, err = time.ParseDuration(arg)
		default:
			err = errors.New("not a directive")
		}
		if err != nil {
			return nil, fmt.Errorf("line %d: %s: %w", i+1, line, err)
		}
		list = append(list, d)
	}
	return list, nil
}

// Dial connects in memory, whatever the address. It fits
// smtp.ClientConfig.DialContext.
func (p *Peer) Dial(ctx context.Context, _, _ string) (net.Conn, error) { return p.listener.Dial(ctx) }

// ListenTCP also serves on a port of the loopback interface and returns its
// address. Close ends it.
func (p *Peer) ListenTCP() (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	p.wg.Add(2)
	go p.serve(l)
	go func() { // until Close
		defer p.wg.Done()
		<-p.closed
		_ = l.Close()
	}()
	return l.Addr().String(), nil
}

// Close closes all connections and waits for their scripts to end.
func (p *Peer) Close() error {
	p.once.Do(func() { close(p.closed) })
	_ = p.listener.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
	return nil
}

// Err is how the first client that did something unexpected departed from its
// script: a line that did not match, or a connection that ended early.
func (p *Peer) Err() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

// Conns is the number of connections accepted so far.
func (p *Peer) Conns() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.conns)
}

// Data are the bodies that DATA directives have read, as they were sent: dots
// stuffed, with the final dot.
func (p *Peer) Data() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.data...)
}

func (p *Peer) serve(l net.Listener) {
	defer p.wg.Done()
	for {
		nc, err := l.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		script := p.scripts[min(len(p.conns), len(p.scripts)-1)]
		p.conns = append(p.conns, nc)
		p.mu.Unlock()
		p.wg.Add(1)
		go func() {
			defer p.wg.Done()
			if err := p.play(nc, script); err != nil {
				p.mu.Lock()
				if p.err == nil {
					p.err = err
				}
				p.mu.Unlock()
			}
		}()
	}
}

// play runs one script on one connection.
func (p *Peer) play(nc net.Conn, script []directive) error {
	c := newPeerConn(nc)
	defer func() { _ = c.Close() }()
	for _, d := range script {
		if d.verb == "CLOSE" {
			return nil
		}
		if err := p.do(c, d); err != nil {
			return fmt.Errorf("smtptest: script line %d: %s %s: %w", d.line, d.verb, d.arg, err)
		}
	}
	return nil
}

func (p *Peer) do(c *peerConn, d directive) error {
	switch d.verb {
	case "S:":
		_, err := io.WriteString(c, d.arg+"\r\n")
		return err
	case "S-":
		_, err := io.WriteString(c, d.arg)
		return err
	case "S*":
		for range d.n {
			if _, err := io.WriteString(c, d.arg+"\r\n"); err != nil {
				return nil // to be cut off is what this is for
			}
		}
	case "C:":
		line, err := c.r.ReadString('\n')
		if err != nil {
			return fmt.Errorf("got %q and %w", line, err)
		}
		if !d.re.MatchString(strings.TrimSuffix(line, "\r\n")) {
			return fmt.Errorf("got %q", line)
		}
	case "DATA":
		return p.readData(c)
	case "TLS":
		t := tls.Server(c.Conn, p.TLSConfig)
		if err := t.Handshake(); err != nil {
			return err
		}
		c.encrypted(t)
	case "WAIT":
		select {
		case <-time.After(d.d):
		case <-p.closed:
			return net.ErrClosed
		}
	case "STALL":
		_, _ = io.Copy(io.Discard, c.r)
	}
	return nil
}

func (p *Peer) readData(c *peerConn) error {
	var b strings.Builder
	for b.String() != ".\r\n" && !strings.HasSuffix(b.String(), "\r\n.\r\n") {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return err
		}
		b.WriteString(line)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.data = append(p.data, b.String())
	return nil
}
