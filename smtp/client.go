package smtp

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/internal/wire"
)

// ClientConfig configures a Client. The zero value, and nil, speak SMTP as
// "localhost", encrypted where that is offered.
type ClientConfig struct {
	// Hostname is given in EHLO: a domain or an address literal (RFC 5321
	// §4.1.4); "localhost" if empty.
	Hostname string
	// LMTP speaks LMTP (RFC 2033).
	LMTP bool
	// TLS says when to encrypt and whom to take for the server.
	TLS TLSPolicy
	// ServerName is the host's name, for the handshake and to verify. Dial
	// takes the host dialled if it is empty.
	ServerName string
	// Auth, if not nil, logs in after EHLO and TLS. It serves one connection.
	Auth gosasl.Client
	// Credentials, if not nil and Auth is, log in the same way, by the strongest
	// mechanism that the server offers.
	Credentials *sasl.Credentials
	// InsecureAuth allows mechanisms that show the password without TLS, and
	// to a server that has not been verified.
	InsecureAuth bool
	// Allow8Bit sends messages declared 8BITMIME also to servers without that
	// extension, as most mail systems do; otherwise they are refused with 554
	// 5.6.3 (RFC 6152 §3).
	Allow8Bit bool
	// NoChunking keeps to DATA with servers that have BDAT (RFC 3030) but get it
	// wrong. Messages of BodyBinary still need it.
	NoChunking bool
	// Timeouts are the waits; zero fields have the RFC's values.
	Timeouts Timeouts
	// DialContext replaces net.Dialer's. network is "tcp", or "unix" for an
	// address that begins with "/".
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	// LocalAddr is the address that net.Dialer connects from; the zero value
	// leaves it to the system.
	LocalAddr netip.Addr
	// Trace is told what happens; nil for none.
	Trace *ClientTrace
}

// Timeouts are how long a Client waits; a context may end a wait earlier. For
// each field zero means the value of RFC 5321 §4.5.3.2, negative no limit.
type Timeouts struct {
	Dial      time.Duration // TCP connection; 1 minute
	Handshake time.Duration // TLS; 1 minute
	Greeting  time.Duration // 5 minutes (§4.5.3.2.1)
	Command   time.Duration // reply to a command; 5 minutes (§4.5.3.2.2, 3)
	Data      time.Duration // reply to DATA; 2 minutes (§4.5.3.2.4)
	Block     time.Duration // sending one block of the message; 3 minutes (§4.5.3.2.5)
	Final     time.Duration // reply to the message; 10 minutes (§4.5.3.2.6)
	Quit      time.Duration // reply to QUIT; 5 seconds
}

func (t Timeouts) withDefaults() Timeouts {
	return Timeouts{
		Dial:      bound(t.Dial, time.Minute, 0),
		Handshake: bound(t.Handshake, time.Minute, 0),
		Greeting:  bound(t.Greeting, 5*time.Minute, 0),
		Command:   bound(t.Command, 5*time.Minute, 0),
		Data:      bound(t.Data, 2*time.Minute, 0),
		Block:     bound(t.Block, 3*time.Minute, 0),
		Final:     bound(t.Final, 10*time.Minute, 0),
		Quit:      bound(t.Quit, 5*time.Second, 0),
	}
}

// Client is a connection to an SMTP or LMTP server on which EHLO has been
// said. It sends any number of messages, one after the other. Not safe for
// concurrent use, but for Close.
type Client struct {
	cfg      ClientConfig
	conn     *deadlineConn
	r        *wire.Reader
	w        *bufio.Writer
	ext      map[string]string
	greeting Reply
	tls      *tls.ConnectionState
	verified error // nil: the server has proved who it is
	loggedIn bool
	open     bool            // a transaction has been left open
	ctx      context.Context // of the method under way
	copyBuf  []byte
	chunkBuf []byte
	mails    int   // MAIL commands said
	unsure   bool  // the server may have gone: no message before MAIL is answered
	err      error // why the connection can't be used any more
}

// Dial connects to addr, "host:port" or the path of a Unix socket, and makes a
// Client of it.
func Dial(ctx context.Context, addr string, cfg *ClientConfig) (*Client, error) {
	conf := ClientConfig{}
	if cfg != nil {
		conf = *cfg
	}
	network := "tcp"
	if strings.HasPrefix(addr, "/") {
		network = "unix"
	}
	dial := conf.DialContext
	if dial == nil {
		var d net.Dialer
		if conf.LocalAddr.IsValid() && network == "tcp" {
			d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(conf.LocalAddr, 0))
		}
		dial = d.DialContext
	}
	dialCtx := ctx
	if d := conf.Timeouts.withDefaults().Dial; d > 0 {
		var cancel context.CancelFunc
		dialCtx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	nc, err := dial(dialCtx, network, addr)
	if err != nil {
		return nil, &CommandError{"connect", err}
	}
	if conf.ServerName == "" {
		conf.ServerName, _, _ = net.SplitHostPort(addr)
	}
	return NewClient(ctx, nc, &conf)
}

// NewClient makes a Client of a connection: TLS, greeting, EHLO, STARTTLS and
// login as cfg says. It owns nc from then on and closes it on error. Errors
// are *CommandError.
func NewClient(ctx context.Context, nc net.Conn, cfg *ClientConfig) (*Client, error) {
	c := &Client{conn: &deadlineConn{Conn: nc}, verified: fmt.Errorf("%w: plain text", ErrUnverified)}
	if cfg != nil {
		c.cfg = *cfg
	}
	if c.cfg.Hostname == "" {
		c.cfg.Hostname = "localhost"
	}
	c.cfg.Timeouts = c.cfg.Timeouts.withDefaults()
	c.r = wire.NewReader(c.conn, nil)
	c.w = bufio.NewWriterSize(c.conn, clientBuffer)
	done := c.begin(ctx)
	err := c.start(ctx)
	done()
	if err != nil {
		_ = c.conn.Close()
		return nil, err
	}
	return c, nil
}

// clientBuffer is how much is written at once.
const clientBuffer = 16 << 10

func (c *Client) start(ctx context.Context) error {
	if name, ok := heloName(c.cfg.Hostname); !ok || name != c.cfg.Hostname {
		return &CommandError{"EHLO", notSent(501, EnhancedCode{5, 5, 4}, "own host name is malformed")}
	}
	if c.cfg.TLS.Implicit {
		if err := c.handshake(ctx, c.cfg.TLS); err != nil {
			return err
		}
	}
	r, err := c.readReply("greeting", c.cfg.Timeouts.Greeting)
	if err == nil && r.Code != 220 {
		err = c.unexpected("greeting", r)
	}
	if err != nil {
		return err
	}
	c.greeting = r
	if err := c.hello(); err != nil {
		return err
	}
	_, offered := c.ext["STARTTLS"]
	if c.tls == nil && (c.cfg.TLS.required() || (c.cfg.TLS.Mode == TLSOpportunistic && offered)) {
		if err := c.startTLS(ctx, c.cfg.TLS); err != nil {
			return err
		}
	}
	switch {
	case c.cfg.Auth != nil:
		return c.login(c.cfg.Auth)
	case c.cfg.Credentials != nil:
		return c.loginAs(*c.cfg.Credentials)
	}
	return nil
}

// hello says EHLO, or HELO to a server that does not know it (RFC 5321 §3.2),
// or LHLO.
func (c *Client) hello() error {
	verb := "EHLO"
	if c.cfg.LMTP {
		verb = "LHLO"
	}
	c.ext = nil
	r, err := c.command(verb, c.cfg.Hostname)
	if err != nil {
		return err
	}
	if r.Code/100 == 5 && !c.cfg.LMTP {
		verb = "HELO"
		if r, err = c.command(verb, c.cfg.Hostname); err != nil {
			return err
		}
	}
	if r.Code != 250 {
		return c.unexpected(verb, r)
	}
	if verb != "HELO" {
		c.ext = parseExtensions(r.Text)
	}
	return nil
}

// parseExtensions reads the keywords of an EHLO reply, after its first line.
func parseExtensions(text string) map[string]string {
	ext := make(map[string]string)
	lines := strings.Split(text, "\n")
	for _, l := range lines[1:] {
		keyword, params, _ := strings.Cut(strings.TrimSpace(l), " ")
		if old, ok := strings.CutPrefix(strings.ToUpper(keyword), "AUTH="); ok {
			// The form before RFC 4954, still sent beside the other.
			if _, ok := ext["AUTH"]; !ok {
				ext["AUTH"] = strings.TrimSpace(old + " " + params)
			}
			continue
		}
		if isKeyword(keyword) {
			ext[strings.ToUpper(keyword)] = strings.TrimSpace(params)
		}
	}
	return ext
}

// Extension returns the parameters with which the server offers an extension,
// as it said after TLS if that is in use.
func (c *Client) Extension(keyword string) (params string, ok bool) {
	params, ok = c.ext[strings.ToUpper(keyword)]
	return params, ok
}

// Greeting is the server's first reply.
func (c *Client) Greeting() Reply { return c.greeting }

// TLS is the state of the encryption, nil in plain text.
func (c *Client) TLS() *tls.ConnectionState { return c.tls }

// Alive reports whether another command makes sense: false after an I/O error,
// a broken protocol, a 421, Quit or Close.
func (c *Client) Alive() bool { return c.err == nil }

// Verified is nil if the server has proved who it is, as the policy's Names or
// Verify ask, whether or not its Mode demands that. Otherwise it says why not:
// in plain text it wraps ErrUnverified, and without Verify it is a
// *tls.CertificateVerificationError.
func (c *Client) Verified() error { return c.verified }

// StartTLS encrypts the connection and says EHLO anew (RFC 3207). Under any Mode
// plain text is an error. After an error of the handshake the connection is not
// to be used.
func (c *Client) StartTLS(ctx context.Context, policy TLSPolicy) error {
	defer c.begin(ctx)()
	return c.startTLS(ctx, policy)
}

func (c *Client) startTLS(ctx context.Context, policy TLSPolicy) error {
	if _, ok := c.ext["STARTTLS"]; !ok || c.tls != nil {
		return &CommandError{"STARTTLS", notSent(454, EnhancedCode{4, 7, 0}, "STARTTLS is not offered")}
	}
	r, err := c.command("STARTTLS", "")
	if err == nil && r.Code != 220 {
		err = c.unexpected("STARTTLS", r)
	}
	if err == nil && c.r.Buffered() > 0 {
		// RFC 3207 §6: someone speaks in plain text where TLS should be.
		err = c.fail("STARTTLS", errors.Join(ErrProtocol, errors.New("plain text after the reply to STARTTLS")))
	}
	if err != nil {
		return err
	}
	if err := c.handshake(ctx, policy); err != nil {
		return err
	}
	return c.hello() // RFC 3207 §4.2: what was offered before does not count
}

func (c *Client) handshake(ctx context.Context, policy TLSPolicy) error {
	if d := c.cfg.Timeouts.Handshake; d > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, d)
		defer cancel()
	}
	c.conn.within(0)
	verified := ErrUnverified
	t := tls.Client(c.conn.Conn, policy.config(c.cfg.ServerName, func(err error) { verified = err }))
	if err := t.HandshakeContext(ctx); err != nil {
		c.traceTLS(err)
		return c.fail("STARTTLS", err)
	}
	c.conn.replace(t)
	state := t.ConnectionState()
	c.tls, c.verified = &state, verified
	c.traceTLS(nil)
	c.r.Reset(c.conn)
	c.w.Reset(c.conn)
	return nil
}

// Reset ends a transaction (RSET). It also tells whether the connection is
// still good.
func (c *Client) Reset(ctx context.Context) error {
	defer c.begin(ctx)()
	return c.simple("RSET")
}

// Noop asks for nothing (NOOP).
func (c *Client) Noop(ctx context.Context) error {
	defer c.begin(ctx)()
	return c.simple("NOOP")
}

func (c *Client) simple(verb string) error {
	r, err := c.command(verb, "")
	if err == nil && r.Code != 250 {
		err = c.unexpected(verb, r)
	}
	if err == nil && verb == "RSET" {
		c.open = false
	}
	return err
}

// Quit says QUIT, waits shortly for the reply and closes the connection. The
// error is only of interest to the curious.
func (c *Client) Quit(ctx context.Context) error {
	defer c.Close()
	defer c.begin(ctx)()
	if err := c.write("QUIT", ""); err != nil {
		return err
	}
	if err := c.send("QUIT"); err != nil {
		return err
	}
	_, err := c.readReply("QUIT", c.cfg.Timeouts.Quit)
	if c.err == nil {
		c.err = net.ErrClosed
	}
	return err
}

// Close closes the connection without a word. It may be called while another
// method runs, which then fails.
func (c *Client) Close() error { return c.conn.Close() }
