package ldap

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"sync/atomic"

	"github.com/go-ldap/ldap/v3"
)

// conn is a connection for one login.
type conn struct {
	*ldap.Conn
	raw  *bounded
	stop func() bool
}

// hangUp ends it, without waiting for anything.
func (c *conn) hangUp() {
	c.stop()
	c.raw.Close()
	c.Close()
}

// failed says what has gone wrong when nothing else did.
func (c *conn) failed(err error) error {
	if c.raw.full() {
		return ErrTooLong
	}
	return err
}

// connect makes a secure connection, which ends with ctx or by hangUp.
func (a *Authenticator) connect(ctx context.Context, server *url.URL) (*conn, error) {
	network, address := "tcp", ""
	switch server.Scheme {
	case "ldap":
		address = net.JoinHostPort(server.Hostname(), cmp.Or(server.Port(), "389"))
	case "ldaps":
		address = net.JoinHostPort(server.Hostname(), cmp.Or(server.Port(), "636"))
	case "ldapi":
		network, address = "unix", server.Path
	default:
		return nil, fmt.Errorf("%w: scheme %q", ErrConfig, server.Scheme)
	}
	cfg := a.TLSConfig.Clone()
	if cfg == nil {
		cfg = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	cfg.ServerName = cmp.Or(cfg.ServerName, server.Hostname())
	dial := a.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	dialled, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	startTLS := server.Scheme == "ldap" && !a.InsecurePlaintext
	raw := &bounded{Conn: dialled}
	raw.most.Store(maxAnswer)
	if startTLS {
		raw.most.Store(maxPlain)
	}
	nc := net.Conn(raw)
	if server.Scheme == "ldaps" {
		tc := tls.Client(nc, cfg)
		if err := tc.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, err
		}
		nc = tc
	}
	c := &conn{ldap.NewConn(nc, server.Scheme == "ldaps"), raw, context.AfterFunc(ctx, func() { raw.Close() })}
	c.Start()
	if startTLS {
		if err := c.StartTLS(cfg); err != nil {
			c.hangUp()
			return nil, c.failed(err)
		}
	}
	return c, nil
}

// bounded is a connection of which only so much is read: more once TLS has begun,
// as before that anybody on the way can answer, and what is nested deep takes a
// thousand times its size to decode.
type bounded struct {
	net.Conn
	read, most atomic.Int64
}

func (b *bounded) full() bool { return b.read.Load() > b.most.Load() }

func (b *bounded) Read(p []byte) (int, error) {
	if b.full() {
		return 0, ErrTooLong
	}
	n, err := b.Conn.Read(p[:min(int64(len(p)), b.most.Load()+1-b.read.Load())])
	b.read.Add(int64(n))
	return n, err
}

func (b *bounded) Write(p []byte) (int, error) {
	// A record of a handshake (RFC 9846 §5.1); LDAP's messages are sequences.
	if len(p) > 0 && p[0] == 22 {
		b.most.Store(maxAnswer)
	}
	return b.Conn.Write(p)
}
