package sasl

import (
	"fmt"
	"strings"

	gosasl "github.com/emersion/go-sasl"
)

// NewXOAuth2Client presents a bearer token by XOAUTH2, the form before
// OAUTHBEARER that some large providers still offer alone: use it under TLS
// only. user names the account. Start fails with ErrMalformed if it is empty, or
// holds control characters, or the token is none.
func NewXOAuth2Client(user, token string) gosasl.Client { return &xoauth2Client{user, token} }

type xoauth2Client struct{ user, token string }

func (c *xoauth2Client) Start() (string, []byte, error) {
	if c.user == "" || !isToken(c.token) || strings.IndexFunc(c.user, func(r rune) bool { return r < ' ' }) >= 0 {
		return "", nil, fmt.Errorf("%w: name or token", ErrMalformed)
	}
	return XOAuth2, []byte("user=" + c.user + "\x01auth=Bearer " + c.token + "\x01\x01"), nil
}

// Next answers the server's report of an error with nothing, so that it can
// fail the exchange.
func (c *xoauth2Client) Next([]byte) ([]byte, error) { return []byte{}, nil }
