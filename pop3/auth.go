package pop3

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/wire"
)

// auth logs in by SASL (RFC 5034 §4).
func (c *session) auth(args string) {
	c.user = ""
	mech, initial, hasInitial := strings.Cut(args, " ")
	mech = strings.ToUpper(mech)
	id, err := c.exchange(mech, initial, hasInitial)
	if c.over {
		return
	}
	c.enter(mech, id, err)
}

// Errors of the exchange's lines.
var (
	errBase64   = errors.New("pop3: malformed base64")
	errAuthLine = errors.New("pop3: authentication line too long")
)

// exchange drives one mechanism to its end.
func (c *session) exchange(mech, initial string, hasInitial bool) (*auth.Identity, error) {
	req := auth.Request{Peer: c.peer(), Service: auth.POP3, Mechanism: mech}
	var response []byte
	if hasInitial {
		var err error
		if response, err = decodeInitial(initial); err != nil {
			return nil, err
		}
	}
	return c.login.Converse(c.ctx, req, response, c.challenge)
}

// decodeInitial decodes an initial response; "=" is an empty one (RFC 5034
// §4).
func decodeInitial(s string) ([]byte, error) {
	if s == "=" {
		return []byte{}, nil
	}
	return decodeBase64(s)
}

// decodeBase64 never returns nil without an error: nil is no response at all.
func decodeBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().AppendDecode([]byte{}, []byte(s))
	if err != nil {
		return nil, errBase64
	}
	return b, nil
}

// challenge sends one and reads the answer.
func (c *session) challenge(b []byte) ([]byte, error) {
	c.out.line("+ ", base64.StdEncoding.EncodeToString(b))
	c.began = time.Time{}
	line, err := c.r.ReadLine(maxAuthLine)
	switch {
	case errors.Is(err, wire.ErrLineTooLong):
		if c.r.SkipLine(maxSkip) != nil {
			c.linger = true
			c.bye(refusalOf(errAuthLine), err)
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
