package smtp

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"strings"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posta-mail/posta/auth/sasl"
)

// Login authenticates (RFC 4954). A mechanism that shows the password is only
// used with a server verified under TLS unless the configuration says otherwise. A server that has to
// prove itself too (SCRAM) and did not is an error, although it said 235.
func (c *Client) Login(ctx context.Context, mech gosasl.Client) error {
	defer c.begin(ctx)()
	return c.login(mech)
}

func (c *Client) login(mech gosasl.Client) error {
	name, initial, err := mech.Start()
	if err != nil {
		return &CommandError{"AUTH", err}
	}
	offered, _ := c.Extension("AUTH")
	switch {
	case !slices.Contains(strings.Fields(strings.ToUpper(offered)), name):
		return &CommandError{"AUTH", notSent(504, EnhancedCode{5, 5, 4}, "mechanism "+name+" is not offered")}
	case c.verified != nil && !c.cfg.InsecureAuth && showsSecret(name):
		return &CommandError{"AUTH", notSent(538, EnhancedCode{5, 7, 11}, "mechanism "+name+" needs a verified server: "+c.verified.Error())}
	}
	args := name
	if initial != nil {
		args += " " + encodeInitial(initial)
	}
	tooLong := len("AUTH "+args)+2 > maxAuthLine
	if tooLong { // RFC 4954 §4: then without initial response
		args = name
	}
	r, err := c.command("AUTH", args)
	for err == nil && r.Code == 334 {
		if tooLong {
			tooLong = false
			r, err = c.answer(base64.StdEncoding.EncodeToString(initial))
			continue
		}
		r, err = c.respond(mech, r.Text)
	}
	switch {
	case err != nil:
		return err
	case r.Code != 235:
		return c.unexpected("AUTH", r)
	}
	if v, ok := mech.(sasl.Verifier); ok && !v.Verified() {
		return c.fail("AUTH", errors.Join(ErrProtocol, sasl.ErrServer))
	}
	c.loggedIn = true
	return nil
}

// respond answers a challenge.
func (c *Client) respond(mech gosasl.Client, text string) (Reply, error) {
	challenge, err := decodeBase64(text)
	var response []byte
	if err == nil {
		response, err = mech.Next(challenge)
	}
	if err != nil {
		// RFC 4954 §4: "*" takes the exchange back.
		if _, cerr := c.answer("*"); cerr != nil {
			return Reply{}, cerr
		}
		return Reply{}, &CommandError{"AUTH", err}
	}
	return c.answer(base64.StdEncoding.EncodeToString(response))
}

// answer sends a line of the exchange.
func (c *Client) answer(line string) (Reply, error) {
	if _, err := c.w.WriteString(line + "\r\n"); err != nil {
		return Reply{}, c.fail("AUTH", err)
	}
	if err := c.send("AUTH"); err != nil {
		return Reply{}, err
	}
	return c.readReply("AUTH", c.cfg.Timeouts.Command)
}

func encodeInitial(b []byte) string {
	if len(b) == 0 {
		return "=" // RFC 4954 §4
	}
	return base64.StdEncoding.EncodeToString(b)
}

// showsSecret tells mechanisms whose messages are as good as the password.
func showsSecret(mech string) bool {
	switch mech {
	case sasl.Plain, sasl.Login, sasl.OAuthBearer, "XOAUTH2":
		return true
	}
	return false
}
