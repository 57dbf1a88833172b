package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"crypto/tls"

	gosasl "github.com/emersion/go-sasl"
)

// ErrTransportClosed is wrapped by errors of a Transport after Shutdown or
// Close.
var ErrTransportClosed = errors.New("smtp: Transport closed")

// Transport sends messages, and keeps connections for the next message to the
// same place. Two messages share a connection only if all of their [Target]
// says the same: address, names, login, and what TLS has to prove. The zero
// value is ready. Set the fields before the first use; its methods are safe for
// concurrent use.
//
// For the fields of type int and time.Duration zero means the default, negative
// no bound, but for MaxIdle and MaxIdlePerHost, where it means that none is kept.
type Transport struct {
	// Client is how connections are made. TLS, ServerName, LocalAddr and Auth
	// are the Target's.
	Client ClientConfig
	// Dial, if not nil, makes the connections instead of Client.DialContext: from
	// to.LocalAddr, through a proxy, or otherwise. network is as there. Names
	// are resolved by whoever dials.
	Dial func(ctx context.Context, network string, to *Target) (net.Conn, error)
	// Trace, if not nil, is asked for the trace of each new connection; it may
	// return nil. Without it Client.Trace is for all.
	Trace func(to *Target) *ClientTrace
	// MaxConns is how many connections are open at most, with those being made;
	// 500. Whoever needs one more waits.
	MaxConns int
	// MaxConnsPerHost is the same for one Addr; 20.
	MaxConnsPerHost int
	// MaxIdle is how many connections are kept while nobody uses them; 100.
	MaxIdle int
	// MaxIdlePerHost is the same for one Addr; 5.
	MaxIdlePerHost int
	// IdleTimeout is how long they are kept; 30 seconds. Servers have patience
	// for 5 minutes (RFC 5321 §4.5.3.2.7), but not for all who come.
	IdleTimeout time.Duration
	// MaxMessages is how many transactions one connection is used for; 100, and no
	// more than the server says (MAILMAX, RFC 9422).
	MaxMessages int
	// MaxAge is how old a connection may be when a message begins; 5 minutes.
	MaxAge time.Duration

	once sync.Once
	pool pool
}

// Target is where a Transport sends a message, and how.
type Target struct {
	// Addr is "host:port" or the path of a Unix socket. Limits "per host" are
	// for one Addr.
	Addr string
	// ServerName is the host's name, for the handshake and to verify, if Addr
	// has an address in its place; the host of Addr if empty.
	ServerName string
	// LocalAddr is the address to connect from; the zero value leaves it to the
	// system.
	LocalAddr netip.Addr
	// TLS says when to encrypt and whom to take for the server. Under
	// TLSOpportunistic without Auth, a handshake that fails leads to plain text on
	// another connection: it would have proved nothing (RFC 7435 §3).
	TLS TLSPolicy
	// Auth, if not nil, makes what to log in with on a new connection.
	Auth func() (gosasl.Client, error)
	// Login names what Auth logs in as, to tell connections apart. Without it a
	// connection with Auth is for one message.
	Login string
}

// ConnInfo tells about the connection that a message went over.
type ConnInfo struct {
	Local, Remote net.Addr
	// TLS is the state of the encryption, nil in plain text.
	TLS *tls.ConnectionState
	// Unverified is Client.Verified: nil if the server has proved who it is.
	Unverified error
	// TLSFailure is why a handshake failed on an earlier connection, which has
	// led to this one in plain text; nil otherwise.
	TLSFailure error
	// Messages is how many others were sent over it before.
	Messages int
}

func (t *Transport) init() {
	none := func(v, def int) int { return bound(v, def, math.MaxInt) }
	p := &t.pool
	p.init()
	p.maxOpen, p.maxOpenHost = none(t.MaxConns, 500), none(t.MaxConnsPerHost, 20)
	p.maxIdle, p.maxIdleHost = bound(t.MaxIdle, 100, 0), bound(t.MaxIdlePerHost, 5, 0)
	p.idleTimeout = bound(t.IdleTimeout, 30*time.Second, math.MaxInt64)
	p.maxAge = bound(t.MaxAge, 5*time.Minute, math.MaxInt64)
}

// Send makes one transaction as Client.Send does, with the same results, over an
// idle connection or a new one. ctx also bounds the wait for it. If a connection
// turns out to have ended while it was idle, the message is sent over a new
// one: only if MAIL got no answer, or 421, 503 or x.5.3, and of body nothing has been read or
// it is an io.Seeker that can go back.
//
// What happens before MAIL counts for all recipients, as a *CommandError. The
// SendResult is never nil; its Conn tells about the connection if there was one.
func (t *Transport) Send(ctx context.Context, to *Target, env *Envelope, body io.Reader) (*SendResult, error) {
	t.once.Do(t.init)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	defer context.AfterFunc(t.pool.ctx, func() { cancel(ErrTransportClosed) })()
	key, shared := to.key()
	c, err := t.pool.get(ctx, key, shared)
	if err != nil {
		return noConnection(env, &CommandError{"connect", err})
	}
	res, err := t.send(ctx, c, to, env, body)
	t.pool.put(c)
	if err != nil && context.Cause(ctx) == ErrTransportClosed && !errors.Is(err, ErrTransportClosed) {
		err = fmt.Errorf("%w: %w", ErrTransportClosed, err)
	}
	return res, err
}

// surely is for how long a connection that has been good still is.
const surely = time.Second

func (t *Transport) send(ctx context.Context, c *pooled, to *Target, env *Envelope, body io.Reader) (*SendResult, error) {
	if c.client != nil {
		// A message that goes out with MAIL (BDAT) has an unknown outcome if the
		// connection is dead. So it does not on one that has never been used
		// twice, or has been idle for long.
		c.client.unsure = c.messages < 2 || time.Since(c.used) >= surely
		again, src := rewindable(body)
		res, err := t.transact(ctx, c, env, src)
		if !wasDead(err) || ctx.Err() != nil || !again() {
			return res, err
		}
		_ = c.client.Close()
		c.client = nil
	}
	if err := t.connect(ctx, c, to); err != nil {
		return noConnection(env, err)
	}
	return t.transact(ctx, c, env, body)
}

func (t *Transport) transact(ctx context.Context, c *pooled, env *Envelope, body io.Reader) (*SendResult, error) {
	info := ConnInfo{
		Local: c.client.conn.LocalAddr(), Remote: c.client.conn.RemoteAddr(), TLS: c.client.TLS(),
		Unverified: c.client.Verified(), TLSFailure: c.fallback, Messages: c.messages,
	}
	res, err := c.client.Send(ctx, env, body)
	c.messages++
	c.used = time.Now()
	res.Conn = info
	return res, err
}

// connect makes the connection of a slot.
func (t *Transport) connect(ctx context.Context, c *pooled, to *Target) error {
	cfg := t.Client
	cfg.TLS, cfg.ServerName, cfg.LocalAddr, cfg.Auth = to.TLS, to.ServerName, to.LocalAddr, nil
	if t.Dial != nil {
		cfg.DialContext = func(ctx context.Context, network, _ string) (net.Conn, error) { return t.Dial(ctx, network, to) }
	}
	if t.Trace != nil {
		cfg.Trace = t.Trace(to)
	}
	if to.Auth != nil {
		mech, err := to.Auth()
		if err != nil {
			return &CommandError{"AUTH", err}
		}
		cfg.Auth = mech
	}
	client, err := Dial(ctx, to.Addr, &cfg)
	c.fallback = nil
	if err != nil && to.TLS.Mode == TLSOpportunistic && !to.TLS.Implicit && to.Auth == nil && handshakeFailed(err) && ctx.Err() == nil {
		c.fallback = err
		cfg.TLS = TLSPolicy{Mode: TLSNone}
		client, err = Dial(ctx, to.Addr, &cfg)
	}
	if err != nil {
		return err
	}
	c.client, c.born, c.messages, c.max = client, time.Now(), 0, t.maxMessages(client)
	return nil
}

// maxMessages is how many transactions a connection is good for.
func (t *Transport) maxMessages(c *Client) int {
	n := bound(t.MaxMessages, 100, math.MaxInt)
	if limit := c.Limits().Mails; limit > 0 {
		n = min(n, limit)
	}
	return n
}

// CloseIdle ends the connections that nobody uses. It waits for their servers'
// replies to QUIT, all together no longer than Client.Timeouts.Quit.
func (t *Transport) CloseIdle() {
	t.once.Do(t.init)
	var wg sync.WaitGroup
	for _, c := range t.pool.takeIdle(false) {
		wg.Go(func() { t.pool.end(c) })
	}
	wg.Wait()
}

// Shutdown lets the messages under way be sent, ends all connections with QUIT,
// and waits until none is left. Who still waits for a connection gets
// ErrTransportClosed, as do all later calls. When ctx ends first it does what
// Close does and returns the error of ctx.
func (t *Transport) Shutdown(ctx context.Context) error {
	t.once.Do(t.init)
	for _, c := range t.pool.takeIdle(true) {
		t.pool.retire(c)
	}
	select {
	case <-t.pool.drained:
		t.pool.stop()
		return nil
	case <-ctx.Done():
		t.Close()
		return ctx.Err()
	}
}

// Close ends all connections at once. Messages under way fail.
func (t *Transport) Close() {
	t.once.Do(t.init)
	idle := t.pool.takeIdle(true)
	t.pool.stop()
	for _, c := range idle {
		_ = c.client.Close()
		t.pool.end(c)
	}
}

// key is what a Target's connections have in common; shared is false if no
// other message can have them.
func (to *Target) key() (k poolKey, shared bool) {
	k = poolKey{addr: to.Addr, serverName: strings.ToLower(to.ServerName), login: to.Login, local: to.LocalAddr}
	k.tls, shared = to.TLS.key()
	return k, shared && (to.Auth == nil || to.Login != "")
}

// noConnection is the result where nothing could be sent.
func noConnection(env *Envelope, err error) (*SendResult, error) {
	res := &SendResult{Recipients: make([]error, len(env.To))}
	for i := range res.Recipients {
		res.Recipients[i] = err
	}
	return res, err
}

// handshakeFailed reports whether STARTTLS or its handshake failed. It is not
// that if somebody spoke in plain text where TLS should have been.
func handshakeFailed(err error) bool {
	var ce *CommandError
	return errors.As(err, &ce) && ce.Command == "STARTTLS" && !errors.Is(err, ErrProtocol)
}

// wasDead reports whether a connection was of no use any more before the
// message: RSET failed, or MAIL got no answer, or that the server closes (RFC
// 5321 §3.8) or has taken too many over it: 503, or x.5.3.
func wasDead(err error) bool {
	var ce *CommandError
	if !errors.As(err, &ce) || errors.Is(err, ErrNotSent) || errors.Is(err, ErrOutcomeUnknown) {
		return false
	}
	var e *Error
	switch {
	case ce.Command == "RSET":
		return true
	case ce.Command != "MAIL":
		return false
	case !errors.As(err, &e):
		return true
	}
	return e.Code == 421 || e.Code == 503 || (e.Enhanced[1] == 5 && e.Enhanced[2] == 3)
}

// rewindable is a body that can be sent again: again makes it so, or says that
// it cannot.
func rewindable(body io.Reader) (again func() bool, r io.Reader) {
	if s, ok := body.(io.Seeker); ok {
		if start, err := s.Seek(0, io.SeekCurrent); err == nil {
			return func() bool { _, err := s.Seek(start, io.SeekStart); return err == nil }, body
		}
	}
	if body == nil {
		return func() bool { return true }, nil
	}
	w := &watched{Reader: body}
	return func() bool { return !w.read }, w
}

// watched tells whether anything has been read.
type watched struct {
	io.Reader
	read bool
}

func (w *watched) Read(p []byte) (int, error) {
	w.read = true
	return w.Reader.Read(p)
}

// Size is that of a body which knows it, 0 otherwise; see bodySize.
func (w *watched) Size() int64 { return bodySize(w.Reader) }
