package smtp

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/wire"
)

// auth logs the client in (RFC 4954).
func (c *session) auth(args string) {
	switch {
	case c.login == nil:
		c.refuse(502, EnhancedCode{5, 5, 1}, "AUTH is not offered")
		return
	case c.identity() != nil || !c.conn.isExtended():
		c.refuse(503, EnhancedCode{5, 5, 1}, "AUTH is not possible now")
		return
	}
	mech, initial, hasInitial := strings.Cut(strings.TrimRight(args, " "), " ")
	if mech == "" {
		c.refuse(501, EnhancedCode{5, 5, 4}, "Name a mechanism")
		return
	}
	mech = strings.ToUpper(mech)
	id, err := c.exchange(mech, initial, hasInitial)
	if c.over {
		return
	}
	if c.trace.Auth != nil {
		c.trace.Auth(c.conn.Peer(), mechanismName(mech), id, err)
	}
	if err != nil {
		c.authFailed(err)
		return
	}
	c.nc.SetIdentity(id)
	c.reply(235, EnhancedCode{2, 7, 0}, "Authentication succeeded")
}

// loginPeer is the client as far as a login goes. The certificate that a proxy has
// shown proves nothing of those whom it speaks for.
func (c *session) loginPeer() auth.Peer {
	p := c.conn.Peer()
	if c.xclients && p.TLS != nil {
		state := *p.TLS
		state.PeerCertificates, state.VerifiedChains = nil, nil
		p.TLS = &state
	}
	return p
}

var tooLongAuth = Reply{500, EnhancedCode{5, 5, 6}, "Authentication exchange line is too long"}

// Errors of the exchange's lines.
var (
	errBase64   = errors.New("smtp: malformed base64")
	errAuthLine = errors.New("smtp: authentication line too long")
)

// exchange drives one mechanism to its end.
func (c *session) exchange(mech, initial string, hasInitial bool) (*auth.Identity, error) {
	req := auth.Request{Peer: c.loginPeer(), Service: auth.SMTP, Mechanism: mech}
	var response []byte
	if hasInitial {
		var err error
		if response, err = decodeInitial(initial); err != nil {
			return nil, err
		}
	}
	c.nc.BeginCall()
	defer c.nc.EndCall()
	return c.login.Converse(c.ctx, req, response, c.challenge)
}

// decodeInitial decodes an initial response; "=" is an empty one (RFC 4954
// §4).
func decodeInitial(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	return decodeBase64(s)
}

func decodeBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	// The decoder skips line ends, which cannot be here but as garbage.
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, errBase64
	}
	return b, nil
}

// challenge sends one and reads the answer.
func (c *session) challenge(b []byte) ([]byte, error) {
	c.out.line("334 " + base64.StdEncoding.EncodeToString(b))
	c.waiting, c.began = waitAnswer, time.Time{}
	line, err := c.r.ReadLine(maxAuthLine)
	switch {
	case errors.Is(err, wire.ErrLineTooLong):
		if c.r.SkipLine(maxSkip) != nil {
			c.linger = true
			c.bye(tooLongAuth, err)
		}
		return nil, errAuthLine
	case err != nil:
		c.readFailed(err)
		return nil, err
	case string(line) == "*":
		return nil, auth.ErrCanceled
	}
	return decodeBase64(string(line))
}

// authFailed answers a failed exchange (RFC 4954 §4 and §6). What was wrong
// about the credentials is not told.
func (c *session) authFailed(err error) {
	e := authError(err)
	if errors.Is(err, auth.ErrUnavailable) { // not the client's doing
		c.send(Reply(*e))
		return
	}
	c.authFails++
	c.tarpit()
	c.send(Reply(*e))
	if c.authFails >= c.maxAuth || !c.ledger.spend(c.from, countAuth, 1) {
		c.abuse("Too many authentication failures")
	}
}

func authError(err error) *Error {
	switch {
	case errors.Is(err, errBase64):
		return &Error{501, EnhancedCode{5, 5, 2}, "Malformed base64"}
	case errors.Is(err, errAuthLine):
		e := Error(tooLongAuth)
		return &e
	case errors.Is(err, auth.ErrCanceled):
		return &Error{501, EnhancedCode{5, 7, 0}, "Authentication cancelled"}
	case errors.Is(err, auth.ErrMalformed):
		return &Error{501, EnhancedCode{5, 5, 2}, "Malformed authentication message"}
	case errors.Is(err, auth.ErrMechanism):
		return &Error{504, EnhancedCode{5, 5, 4}, "Mechanism not offered"}
	case errors.Is(err, auth.ErrEncryptionRequired):
		return &Error{538, EnhancedCode{5, 7, 11}, "Encryption required for this mechanism"}
	case errors.Is(err, auth.ErrThrottled):
		return &Error{454, EnhancedCode{4, 7, 0}, "Too many failures, try again later"}
	case errors.Is(err, auth.ErrCredentials), errors.Is(err, auth.ErrForbidden):
		return &Error{535, EnhancedCode{5, 7, 8}, "Authentication credentials invalid"}
	}
	return &Error{454, EnhancedCode{4, 7, 0}, "Temporary authentication failure"}
}
