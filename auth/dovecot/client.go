package dovecot

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/posta-mail/posta/auth"
)

// Defaults of a Client.
const (
	DefaultTimeout  = 30 * time.Second
	DefaultMaxIdle  = 4
	DefaultMaxConns = 256
)

// Limits of what the server may send.
const (
	maxLine      = 16 << 10 // what the protocol's description expects to be enough
	maxHandshake = 200      // lines
	maxOthers    = 200      // lines about other requests
)

// maxResponse bounds names and password together, in octets: the server hangs up
// at longer lines, also on those who wait on the connection.
const maxResponse = 2048

// ErrBusy: all of MaxConns were in use as long as the login could wait; the login
// is auth.ErrUnavailable.
var ErrBusy = errors.New("dovecot: too many logins at one time")

// ErrProtocol: the server does not speak the protocol, or not in this version.
var ErrProtocol = errors.New("dovecot: unexpected answer")

// Client is an auth.Authenticator that asks Dovecot. Address must be set. Its
// fields must not change once it is in use; it is then safe for concurrent use.
// Each login takes a connection of its own, which the next one takes over.
type Client struct {
	// Address is the path of a Unix socket, or host:port, where passwords go in the
	// clear unless Dial sees to it that they do not.
	Address string
	// Dial makes connections; nil: net.Dialer.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Timeout bounds a login; Dovecot delays its answer to a wrong password by
	// some two seconds. 0: DefaultTimeout.
	Timeout time.Duration
	// MaxIdle is how many connections are kept. 0: DefaultMaxIdle; negative:
	// none.
	MaxIdle int
	// MaxConns bounds the connections in use at one time; further logins wait,
	// within Timeout. Refused ones take Dovecot's two seconds each. 0 or negative:
	// DefaultMaxConns.
	MaxConns int
	// Throttle is the governor shared by all servers over these users. Nil: one
	// with defaults.
	Throttle *auth.Governor
	// Identity makes an identity of a user as Dovecot calls him. Nil: the user
	// is the account, and if it is an address, what he may send from. Returning
	// nil, or an identity without an account, is auth.ErrCredentials.
	Identity func(user string) (*auth.Identity, error)

	governor auth.Governor
	once     sync.Once
	places   chan struct{}

	mu   sync.Mutex
	idle []*conn
}

// Governor implements auth.Governed.
func (c *Client) Governor() *auth.Governor {
	if c.Throttle != nil {
		return c.Throttle
	}
	return &c.governor
}

// Close ends the connections that are kept.
func (c *Client) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cn := range c.idle {
		cn.nc.Close()
	}
	c.idle = nil
	return nil
}

// Password implements auth.Authenticator: auth.ErrCredentials if Dovecot
// refuses, auth.ErrForbidden if it does not let user act as authzid, and
// auth.ErrUnavailable if it cannot be asked or has a problem of its own. Names and
// password of more than 2,048 octets together are refused here. That an account is
// disabled or its password has expired is auth.ErrCredentials as well: Dovecot may
// say so whatever the password was. So are users whom Dovecot would not let in
// itself, by its fields proxy and nologin: the password is then checked by another
// server, or not at all.
func (c *Client) Password(ctx context.Context, req auth.Request, authzid, user, password string) (*auth.Identity, error) {
	if user == "" || password == "" || strings.ContainsRune(authzid+user+password, 0) || len(authzid)+len(user)+len(password) > maxResponse {
		return nil, auth.ErrCredentials // RFC 4616 §2: NUL separates them
	}
	timeout := c.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c.once.Do(func() {
		most := c.MaxConns
		if most <= 0 {
			most = DefaultMaxConns
		}
		c.places = make(chan struct{}, most)
	})
	select {
	case c.places <- struct{}{}:
		defer func() { <-c.places }()
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", auth.ErrUnavailable, ErrBusy)
	}
	name, err := c.ask(ctx, &req, authzid+"\x00"+user+"\x00"+password)
	if err != nil {
		return nil, err
	}
	if c.Identity != nil {
		id, err := c.Identity(name)
		if err == nil && (id == nil || id.Account == "") {
			err = auth.ErrCredentials
		}
		if err != nil {
			return nil, err
		}
		return id, nil
	}
	id := &auth.Identity{Account: name, Login: name}
	if strings.Contains(name, "@") {
		id.Senders = []string{name}
	}
	return id, nil
}

// ask asks on a connection that is kept, and if that has gone, on a new one.
func (c *Client) ask(ctx context.Context, req *auth.Request, response string) (string, error) {
	for {
		cn, kept, err := c.get(ctx)
		if err != nil {
			return "", fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
		}
		name, err := cn.login(ctx, req, response)
		var refused refusal
		switch {
		case err == nil:
			c.put(cn)
			return name, nil
		case errors.As(err, &refused):
			c.put(cn)
			return "", refused.kind
		}
		cn.nc.Close()
		if !kept || ctx.Err() != nil {
			return "", fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
		}
	}
}

// refusal is an answer, unlike other errors.
type refusal struct{ kind error }

func (r refusal) Error() string { return "dovecot: " + r.kind.Error() }

func (c *Client) get(ctx context.Context) (cn *conn, kept bool, err error) {
	c.mu.Lock()
	if n := len(c.idle); n > 0 {
		cn = c.idle[n-1]
		c.idle = c.idle[:n-1]
	}
	c.mu.Unlock()
	if cn != nil {
		return cn, true, nil
	}
	network := "tcp"
	if strings.HasPrefix(c.Address, "/") || strings.HasPrefix(c.Address, ".") {
		network = "unix"
	}
	dial := c.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	nc, err := dial(ctx, network, c.Address)
	if err != nil {
		return nil, false, err
	}
	cn = &conn{nc: nc, r: bufio.NewReaderSize(nc, maxLine)}
	if err := cn.within(ctx, cn.handshake); err != nil {
		nc.Close()
		return nil, false, err
	}
	return cn, false, nil
}

func (c *Client) put(cn *conn) {
	most := c.MaxIdle
	if most == 0 {
		most = DefaultMaxIdle
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.idle) >= most {
		cn.nc.Close()
		return
	}
	c.idle = append(c.idle, cn)
}

// conn is a connection to the server.
type conn struct {
	nc   net.Conn
	r    *bufio.Reader
	last uint32 // request
}

// within runs what reads and writes until ctx ends.
func (cn *conn) within(ctx context.Context, do func() error) error {
	if d, ok := ctx.Deadline(); ok {
		_ = cn.nc.SetDeadline(d)
	}
	stop := context.AfterFunc(ctx, func() { _ = cn.nc.SetDeadline(time.Unix(1, 0)) })
	err := do()
	if !stop() && err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = cn.nc.SetDeadline(time.Time{})
	}
	return err
}

// line reads a line without its end, split at tabs.
func (cn *conn) line() ([]string, error) {
	b, err := cn.r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, fmt.Errorf("%w: a line over %d octets", ErrProtocol, maxLine)
	}
	if err != nil {
		return nil, err
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\t"), nil
}

// handshake tells versions; the server tells its mechanisms, too.
func (cn *conn) handshake() error {
	if _, err := fmt.Fprintf(cn.nc, "VERSION\t1\t1\nCPID\t%d\n", os.Getpid()); err != nil {
		return err
	}
	plain := false
	for range maxHandshake {
		f, err := cn.line()
		if err != nil {
			return err
		}
		switch f[0] {
		case "VERSION":
			if len(f) < 2 || f[1] != "1" {
				return fmt.Errorf("%w: version", ErrProtocol)
			}
		case "MECH":
			plain = plain || len(f) > 1 && f[1] == "PLAIN"
		case "DONE":
			if !plain {
				return fmt.Errorf("%w: PLAIN is not offered", ErrProtocol)
			}
			return nil
		}
	}
	return fmt.Errorf("%w: no end of the handshake", ErrProtocol)
}

// login asks for one user and returns his name.
func (cn *conn) login(ctx context.Context, req *auth.Request, response string) (name string, err error) {
	cn.last++
	id := strconv.FormatUint(uint64(cn.last), 10)
	var b strings.Builder
	b.WriteString("AUTH\t" + id + "\tPLAIN\tservice=" + service(req.Service))
	if req.Peer.Secure() {
		b.WriteString("\tsecured")
	}
	// A zone is this machine's own, and may be any text.
	if a := req.Peer.Addr(); a.IsValid() {
		b.WriteString("\trip=" + a.WithZone("").String())
	}
	if l := req.Peer.Local; l.IsValid() {
		b.WriteString("\tlip=" + l.Addr().Unmap().WithZone("").String())
	}
	b.WriteString("\tresp=" + base64.StdEncoding.EncodeToString([]byte(response)) + "\n") // the last one
	err = cn.within(ctx, func() error {
		if _, err := cn.nc.Write([]byte(b.String())); err != nil {
			return err
		}
		for range maxOthers {
			f, err := cn.line()
			if err != nil {
				return err
			}
			if len(f) < 2 || f[1] != id {
				continue // about another request, or nothing of ours
			}
			switch f[0] {
			case "OK":
				if elsewhere(f[2:]) {
					return refusal{fmt.Errorf("%w: not let in here (proxy, nologin)", auth.ErrCredentials)}
				}
				name = parameter(f[2:], "user")
				if name == "" {
					return fmt.Errorf("%w: OK without a user", ErrProtocol)
				}
				return nil
			case "FAIL":
				return refusal{reason(f[2:])}
			default:
				return fmt.Errorf("%w: %.20q", ErrProtocol, f[0])
			}
		}
		return fmt.Errorf("%w: no end of other answers", ErrProtocol)
	})
	return name, err
}

// service is the name Dovecot has for a service.
func service(s auth.Service) string {
	if s == auth.POP3 {
		return "pop3"
	}
	if s == "" {
		return "posta"
	}
	return string(s)
}

// reason is why a login failed.
func reason(f []string) error {
	for _, p := range f {
		switch {
		case p == "temp", p == "code=temp_fail":
			return auth.ErrUnavailable
		case p == "authz", p == "code=authz_fail": // the password was right
			return auth.ErrForbidden
		}
	}
	return auth.ErrCredentials
}

// elsewhere reports whether Dovecot would not let the user in itself. With proxy, a
// password database often takes any password (nopassword) and leaves it to the
// other server to check it.
func elsewhere(f []string) bool {
	return slices.ContainsFunc(f, func(p string) bool {
		name, _, _ := strings.Cut(p, "=")
		return name == "proxy" || name == "nologin"
	})
}

// unescape undoes what keeps tabs and line ends out of values.
var unescape = strings.NewReplacer("\x010", "\x00", "\x011", "\x01", "\x01t", "\t", "\x01r", "\r", "\x01n", "\n")

// parameter returns a value, "" without.
func parameter(f []string, name string) string {
	for _, p := range f {
		if n, value, ok := strings.Cut(p, "="); ok && n == name {
			return unescape.Replace(value)
		}
	}
	return ""
}

var (
	_ auth.Authenticator = (*Client)(nil)
	_ auth.Governed      = (*Client)(nil)
)
