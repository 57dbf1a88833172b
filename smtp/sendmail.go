package smtp

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/posta-mail/posta/auth/sasl"
)

// SendMail connects to addr, sends one message and quits. See Dial and
// Client.Send. The result is nil if there was no connection.
func SendMail(ctx context.Context, addr string, cfg *ClientConfig, env *Envelope, body io.Reader) (*SendResult, error) {
	c, err := Dial(ctx, addr, cfg)
	if err != nil {
		return nil, err
	}
	res, err := c.Send(ctx, env, body)
	_ = c.Quit(ctx)
	return res, err
}

// Mailer sends messages through a server that relays for its users, or accepts
// mail for its own: the provider's, the company's, the one on this machine. It
// is for those who send now and then; [Transport] keeps connections. It may be
// copied, and used concurrently.
type Mailer struct {
	// Server is "host", "host:port", or the path of a Unix socket. Without a port
	// and with a User it is 465, and 587 where nobody answers there in 10 seconds
	// (RFC 8314 §3); without a User it is 25.
	Server string
	// User and Password log in, with the best of SCRAM-SHA-256, SCRAM-SHA-1,
	// PLAIN and LOGIN that the server offers. The connection is then encrypted and
	// the server verified, or nothing is sent; Client.InsecureAuth lifts that. No
	// User: no login, and TLS where it is offered.
	User, Password string
	// Client has further settings, such as TLS.Config.RootCAs. TLS.Implicit is set
	// for port 465. Auth is used instead of User and Password.
	Client ClientConfig
}

// maxFirstPort is how long port 465 may take to answer.
const maxFirstPort = 10 * time.Second

// Send sends a message, as it is on paper: header, empty line, body, with LF or
// CRLF at the ends of lines. from and to are addresses as "alice@example.org",
// without names; an empty from is the null reverse-path. All that is not ASCII is declared as such, and is an error
// before anything is sent if the server cannot take it.
//
// The error is nil if all recipients were accepted. Otherwise it joins one for
// each that was not; the others do get the message.
func (m Mailer) Send(ctx context.Context, from string, to []string, msg []byte) error {
	env, err := simpleEnvelope(from, to, msg)
	if err != nil {
		return err
	}
	c, err := m.dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if m.User != "" && m.Client.Auth == nil {
		if err := c.LoginAs(ctx, sasl.Credentials{User: m.User, Password: m.Password}); err != nil {
			return err
		}
	}
	res, err := c.Send(ctx, env, bytes.NewReader(msg))
	if c.Alive() {
		_ = c.Quit(ctx)
	}
	if err != nil && len(to) == 0 {
		return err
	}
	var all []error
	for i, err := range res.Recipients {
		if err != nil {
			all = append(all, fmt.Errorf("%s: %w", to[i], err))
		}
	}
	return errors.Join(all...)
}

// simpleEnvelope is the envelope of a message whose needs are to be found out.
func simpleEnvelope(from string, to []string, msg []byte) (*Envelope, error) {
	env := &Envelope{}
	var err error
	if from != "" {
		if env.From, err = ParseAddress(from); err != nil {
			return nil, fmt.Errorf("%q: %w", from, err)
		}
	}
	env.SMTPUTF8 = env.From.NeedsSMTPUTF8()
	for _, s := range to {
		p, err := ParseAddress(s)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		env.To = append(env.To, Recipient{Path: p})
		env.SMTPUTF8 = env.SMTPUTF8 || p.NeedsSMTPUTF8()
	}
	header := msg
	for _, blank := range []string{"\n\n", "\n\r\n"} {
		if i := bytes.Index(header, []byte(blank)); i >= 0 {
			header = header[:i]
		}
	}
	env.SMTPUTF8 = env.SMTPUTF8 || !isASCII(string(header)) // RFC 6532 §3
	if !isASCII(string(msg)) {
		env.Body = Body8BitMIME
	}
	return env, nil
}

func (m Mailer) dial(ctx context.Context) (*Client, error) {
	cfg := m.Client
	login := m.User != "" || cfg.Auth != nil
	if login && !cfg.InsecureAuth {
		cfg.TLS.Mode = TLSVerified
	}
	if strings.HasPrefix(m.Server, "/") {
		return Dial(ctx, m.Server, &cfg)
	}
	switch _, port, err := net.SplitHostPort(m.Server); {
	case err == nil:
		cfg.TLS.Implicit = cfg.TLS.Implicit || port == "465"
		return Dial(ctx, m.Server, &cfg)
	case !login:
		return Dial(ctx, joinPort(m.Server, "25"), &cfg)
	}
	// RFC 8314 §3.3: TLS from the start is to be preferred. Only where nobody
	// listens the other way is tried; it proves and hides the same.
	first := cfg
	first.TLS.Implicit = true
	if first.Timeouts.Dial <= 0 || first.Timeouts.Dial > maxFirstPort {
		first.Timeouts.Dial = maxFirstPort
	}
	c, err := Dial(ctx, joinPort(m.Server, "465"), &first)
	var ce *CommandError
	if err == nil || ctx.Err() != nil || !errors.As(err, &ce) || ce.Command != "connect" {
		return c, err
	}
	return Dial(ctx, joinPort(m.Server, "587"), &cfg)
}

// joinPort allows for an IPv6 address with brackets.
func joinPort(host, port string) string {
	return net.JoinHostPort(strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), port)
}
