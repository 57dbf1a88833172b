package smtp

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
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

// LoginAs authenticates by the strongest mechanism that the server offers and
// the credentials are good for; see [sasl.Credentials.Client]. Password and token
// are only shown to a server verified under TLS unless the configuration says
// otherwise. Without a mechanism the error wraps sasl.ErrNoMechanism.
func (c *Client) LoginAs(ctx context.Context, who sasl.Credentials) error {
	defer c.begin(ctx)()
	return c.loginAs(who)
}

func (c *Client) loginAs(who sasl.Credentials) error {
	offered := strings.Fields(c.ext["AUTH"])
	mech, err := who.Client(offered, c.tls, c.verified == nil || c.cfg.InsecureAuth)
	if errors.Is(err, sasl.ErrNoMechanism) {
		refusal := notSent(504, EnhancedCode{5, 5, 4}, "no mechanism for these credentials is offered")
		if _, insecure := who.Client(offered, c.tls, true); insecure == nil {
			refusal = notSent(538, EnhancedCode{5, 7, 11}, "what is offered needs a verified server: "+c.verified.Error())
		}
		err = fmt.Errorf("%w: %w", err, refusal)
	}
	if err != nil {
		return &CommandError{"AUTH", err}
	}
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
		r.Text = withoutSecrets(r.Text, initial)
		return c.unexpected("AUTH", r)
	}
	if v, ok := mech.(sasl.Verifier); ok && !v.Verified() {
		return c.fail("AUTH", errors.Join(ErrProtocol, sasl.ErrServer))
	}
	c.loggedIn = true
	return nil
}

// withoutSecrets is what a server says to a failed login, without the message
// that it may repeat in it.
func withoutSecrets(text string, message []byte) string {
	if len(message) == 0 {
		return text
	}
	text = strings.ReplaceAll(text, base64.StdEncoding.EncodeToString(message), "(hidden)")
	for part := range strings.FieldsFuncSeq(string(message), func(r rune) bool { return r < ' ' }) {
		part = strings.TrimPrefix(part, "auth=Bearer ")
		if len(part) >= 4 {
			text = strings.ReplaceAll(text, part, "(hidden)")
		}
	}
	return text
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
	case sasl.Plain, sasl.Login, sasl.OAuthBearer, sasl.XOAuth2:
		return true
	}
	return false
}
