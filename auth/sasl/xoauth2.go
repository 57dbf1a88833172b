package sasl

import (
	"fmt"
	"strings"

	gosasl "github.com/emersion/go-sasl"
)

// NewXOAuth2Server serves XOAUTH2 as [NewOAuthBearerServer] does OAUTHBEARER, for
// the many clients that know only this. The name is never empty.
func NewXOAuth2Server(check func(user, token string) error) gosasl.Server {
	return &oauthServer{check: check, parse: parseXOAuth2, report: xoauth2Report}
}

// parseXOAuth2 reads user=name, 0x01, auth=Bearer token, and 0x01 twice.
func parseXOAuth2(response []byte) (user, token string, err error) {
	if err := checkText(response, false); err != nil {
		return "", "", err
	}
	bad := fmt.Errorf("%w: XOAUTH2", ErrMalformed)
	body, ended := strings.CutSuffix(string(response), "\x01\x01")
	name, value, found := strings.Cut(body, "\x01")
	user, named := strings.CutPrefix(name, "user=")
	value, authorized := strings.CutPrefix(value, "auth=")
	scheme, token, _ := strings.Cut(value, " ")
	if !ended || !found || !named || !authorized || user == "" || hasControl(user) ||
		!strings.EqualFold(scheme, "Bearer") || !isToken(token) {
		return "", "", bad
	}
	return user, token, nil
}

// xoauth2Report is what Google's and Microsoft's servers say: a status of HTTP.
func xoauth2Report(e *TokenError) any {
	status := "401"
	switch e.status() {
	case "invalid_request":
		status = "400"
	case "insufficient_scope":
		status = "403"
	}
	return struct {
		Status  string `json:"status"`
		Schemes string `json:"schemes"`
		Scope   string `json:"scope,omitempty"`
	}{status, "bearer", e.Scope}
}

// hasControl tells whether s holds control characters.
func hasControl(s string) bool {
	return strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f })
}

// NewXOAuth2Client presents a bearer token by XOAUTH2, the form before
// OAUTHBEARER that some large providers still offer alone: use it under TLS
// only. user names the account. Start fails with ErrMalformed if it is empty, or
// holds control characters, or the token is none.
func NewXOAuth2Client(user, token string) gosasl.Client {
	return &xoauth2Client{user: user, token: token}
}

type xoauth2Client struct {
	user, token string
	told        bool // of an error
}

func (c *xoauth2Client) Start() (string, []byte, error) {
	if c.user == "" || !isToken(c.token) || hasControl(c.user) {
		return "", nil, fmt.Errorf("%w: name or token", ErrMalformed)
	}
	c.told = false
	return XOAuth2, []byte("user=" + c.user + "\x01auth=Bearer " + c.token + "\x01\x01"), nil
}

// Next answers the server's report of an error with nothing, so that it can
// fail the exchange, and nothing further.
func (c *xoauth2Client) Next([]byte) ([]byte, error) {
	if c.told {
		return nil, gosasl.ErrUnexpectedServerChallenge
	}
	c.told = true
	return []byte{}, nil
}
