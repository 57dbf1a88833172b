package transfer

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/posta-mail/posta/internal/wire"
)

// Reasons of failure of an IMAP server.
var (
	// ErrProtocol: it said what the protocol does not allow.
	ErrProtocol = errors.New("transfer: IMAP server breaks the protocol")
	// ErrRefused: it answered NO or BAD.
	ErrRefused = errors.New("transfer: IMAP server refuses")
	// ErrInsecure: it offers no STARTTLS, or no login.
	ErrInsecure = errors.New("transfer: IMAP server offers no secure login")
)

// IMAPSecurity says when a connection is encrypted.
type IMAPSecurity uint8

// The kinds of connections. Passwords are sent in the clear only with
// IMAPPlaintext.
const (
	IMAPTLS       IMAPSecurity = iota // from the beginning (RFC 8314 §3.2)
	IMAPStartTLS                      // STARTTLS, or no connection
	IMAPPlaintext                     // never
)

// IMAP says how to reach an IMAP server (RFC 3501, RFC 9051), to copy from or
// to it over an IMAPSession.
type IMAP struct {
	// Addr is host and port; the port may be missing: 993, or 143.
	Addr     string
	Security IMAPSecurity
	// TLS, if not nil, replaces the default, which is to verify the host's
	// name and to take TLS 1.2 and newer.
	TLS            *tls.Config
	User, Password string
	// Prefix stands before the names of mailboxes on the server, as in
	// "INBOX.", other than INBOX: those without it are not copied. Default
	// none.
	Prefix string
	// Dial, if not nil, replaces net.Dialer.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Timeout is how long the server may say nothing. Default 5 minutes.
	Timeout time.Duration
}

// Connect opens a connection and logs in.
//
// Whatever the server says is bounded, else the error is ErrLimit or
// ErrProtocol: lines have at most 64 KiB, names of mailboxes 16 KiB each and 16
// MiB in all, lists 32 levels, mailboxes at most 10 million messages, of which 4
// octets each are held to read them and 8 to append. Messages are as large as
// Options.MaxMessage allows; none is held in memory. Answers may take Timeout,
// and a second more for each KiB.
//
// Errors besides those: ErrRefused, ErrInsecure, those of the network and of
// crypto/tls, and ctx's. None of them holds the password.
func (c IMAP) Connect(ctx context.Context) (*IMAPSession, error) {
	host, port, err := net.SplitHostPort(c.Addr)
	if err != nil {
		host, port = strings.Trim(c.Addr, "[]"), "143"
		if c.Security == IMAPTLS {
			port = "993"
		}
	}
	addr := net.JoinHostPort(host, port)
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Minute
	}
	dial := c.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: c.Timeout}).DialContext
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != nil {
		tlsConfig = c.TLS.Clone()
	}
	if tlsConfig.ServerName == "" {
		tlsConfig.ServerName = host
	}
	conn, err := dial(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	s := &IMAPSession{config: c, base: conn, identity: "imap:" + c.User + "@" + addr}
	if c.Security == IMAPTLS {
		conn = tls.Client(conn, tlsConfig)
	}
	s.use(conn)
	s.r = wire.NewReader(&s.in, nil)
	defer s.during(ctx)()
	if err := s.begin(c, tlsConfig); err != nil {
		s.conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, err
	}
	return s, nil
}

// begin takes the greeting, encrypts, and logs in.
func (s *IMAPSession) begin(c IMAP, tlsConfig *tls.Config) error {
	preauth, err := s.greeting()
	if err != nil {
		return err
	}
	if err := s.capability(); err != nil {
		return err
	}
	if c.Security == IMAPStartTLS {
		// A connection that is logged in already cannot be encrypted any more
		// (RFC 9051 §6.2.1).
		if !s.caps["STARTTLS"] || preauth {
			return fmt.Errorf("%w: no STARTTLS", ErrInsecure)
		}
		if err := s.exec("STARTTLS", nil); err != nil {
			return err
		}
		// What came ahead of the handshake was in the clear, from anyone
		// (RFC 9051 §11.1).
		if s.r.Buffered() > 0 {
			return fmt.Errorf("%w: data ahead of TLS", ErrProtocol)
		}
		s.use(tls.Client(s.conn, tlsConfig))
		s.r.Reset(&s.in)
		if err := s.capability(); err != nil {
			return err
		}
	}
	if !preauth {
		if err := s.login(c.User, c.Password); err != nil {
			return err
		}
	}
	if err := s.capability(); err != nil {
		return err
	}
	return s.acceptUTF8()
}

// acceptUTF8 enables UTF8=ACCEPT, without which a server that has it refuses
// messages with 8-bit headers (RFC 9755 §4). Names are UTF-8 then.
func (s *IMAPSession) acceptUTF8() error {
	if !s.caps["UTF8=ACCEPT"] || !s.caps["ENABLE"] {
		return nil
	}
	return s.each("ENABLE UTF8=ACCEPT", nil, func(r *imapResponse) error {
		if r.kind == "ENABLED" {
			s.utf8Accept = s.utf8Accept || slices.Contains(strings.Fields(strings.ToUpper(string(r.b))), "UTF8=ACCEPT")
		}
		return nil
	})
}

// login tries AUTHENTICATE PLAIN, or LOGIN.
func (s *IMAPSession) login(user, password string) error {
	if strings.ContainsAny(user+password, "\r\n\x00") {
		return fmt.Errorf("%w: user or password", ErrProtocol)
	}
	switch {
	case s.caps["AUTH=PLAIN"]:
		ir := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
		if s.caps["SASL-IR"] {
			return s.exec("AUTHENTICATE PLAIN "+ir, nil)
		}
		return s.exec("AUTHENTICATE PLAIN", []string{ir})
	case s.caps["LOGINDISABLED"]:
		return fmt.Errorf("%w: LOGINDISABLED", ErrInsecure)
	}
	// Literals carry what quoted strings may not (RFC 9051 §4.3).
	return s.exec(fmt.Sprintf("LOGIN {%d}", len(user)), []string{fmt.Sprintf("%s {%d}", user, len(password)), password})
}

// capability asks what the server can do.
func (s *IMAPSession) capability() error {
	caps := make(map[string]bool)
	err := s.each("CAPABILITY", nil, func(r *imapResponse) error {
		if r.kind == "CAPABILITY" {
			for _, c := range strings.Fields(string(r.b)) {
				caps[strings.ToUpper(c)] = true
			}
		}
		return nil
	})
	s.caps = caps
	return err
}

// Identity implements Source and Sink.
func (s *IMAPSession) Identity() string { return s.identity }

// Close ends the connection.
func (s *IMAPSession) Close() error {
	if s.broken == nil {
		s.w.WriteString("Z LOGOUT\r\n")
		s.w.Flush()
	}
	s.fail(net.ErrClosed)
	return s.conn.Close()
}
