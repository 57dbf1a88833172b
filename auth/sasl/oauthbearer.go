package sasl

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	gosasl "github.com/emersion/go-sasl"
)

// TokenError is what a token's check may return to say more than that it has
// failed: what the client is told (RFC 7628 §3.2.2). The zero value says
// "invalid_token" and nothing else.
type TokenError struct {
	// Status is a code of the OAuth error registry: "invalid_token",
	// "insufficient_scope", "invalid_request". Empty: the first of them.
	Status string
	// Scope is what a token needs to be taken, empty to leave it open.
	Scope string
	// Configuration is the URL of the OpenID provider's configuration, where a
	// client finds out how to get a token; empty to leave it open.
	Configuration string
	// Err is the reason, which the client is not told.
	Err error
}

func (e *TokenError) Error() string {
	if e.Err == nil {
		return "sasl: token refused: " + e.status()
	}
	return "sasl: token refused: " + e.status() + ": " + e.Err.Error()
}

// Unwrap is Err.
func (e *TokenError) Unwrap() error { return e.Err }

func (e *TokenError) status() string {
	if e.Status == "" {
		return "invalid_token"
	}
	return e.Status
}

// ErrUnchecked is wrapped by the error of a token's check that could not be made:
// the exchange then ends at once, as a client told that its token is bad would
// throw it away.
var ErrUnchecked = errors.New("sasl: token could not be checked")

// NewOAuthBearerServer serves OAUTHBEARER (RFC 7628). check is called once
// with the name the client wants to act as, which may be empty, and the
// bearer token. When it fails, the client is first told so in the form of
// RFC 7628 §3.2.2, with what a [TokenError] says, and has to answer; then its
// error ends the exchange. One that wraps [ErrUnchecked] ends it at once.
func NewOAuthBearerServer(check func(user, token string) error) gosasl.Server {
	return &oauthServer{check: check, parse: parseBearer, report: bearerReport}
}

type oauthServer struct {
	check  func(user, token string) error
	parse  func(message []byte) (user, token string, err error)
	report func(*TokenError) any // what becomes the JSON text
	step   int                   // 0 nothing said, 1 prompted, 2 failure reported, 3 over
	failed error
}

func (s *oauthServer) Next(response []byte) ([]byte, bool, error) {
	if s.step == 0 && response == nil {
		s.step = 1
		return []byte{}, false, nil
	}
	step := s.step
	s.step = 3
	if step == 2 {
		return nil, false, s.failed // whatever the client answered
	}
	if step == 3 {
		return nil, false, fmt.Errorf("%w: exchange is over", ErrMalformed)
	}
	user, token, err := s.parse(response)
	if err != nil {
		return nil, false, err
	}
	s.failed = s.check(user, token)
	if s.failed == nil {
		return nil, true, nil
	}
	if errors.Is(s.failed, ErrUnchecked) {
		return nil, false, s.failed
	}
	told := new(TokenError)
	errors.As(s.failed, &told)
	text, err := json.Marshal(s.report(told))
	if err != nil || len(text) > MaxMessage {
		return nil, false, s.failed
	}
	s.step = 2
	return text, false, nil
}

func bearerReport(e *TokenError) any {
	return struct {
		Status        string `json:"status"`
		Schemes       string `json:"schemes"` // not of RFC 7628, but what clients of XOAUTH2 know
		Scope         string `json:"scope,omitempty"`
		Configuration string `json:"openid-configuration,omitempty"`
	}{e.status(), "bearer", e.Scope, e.Configuration}
}

// parseBearer reads a client's first message: gs2-header, 0x01, pairs of
// key=value each ended by 0x01, and a last 0x01 (RFC 7628 §3.1).
func parseBearer(response []byte) (user, token string, err error) {
	if err := checkText(response, false); err != nil {
		return "", "", err
	}
	bad := fmt.Errorf("%w: OAUTHBEARER", ErrMalformed)
	header, pairs, found := strings.Cut(string(response), "\x01")
	body, ended := strings.CutSuffix(pairs, "\x01\x01")
	parts := strings.Split(header, ",")
	if !found || !ended || len(parts) != 3 || parts[2] != "" || (parts[0] != "n" && parts[0] != "y") {
		return "", "", bad
	}
	if parts[1] != "" {
		name, err := attribute(parts[1], 'a')
		if err != nil {
			return "", "", err
		}
		if user, err = decodeName(name); err != nil {
			return "", "", err
		}
	}
	for pair := range strings.SplitSeq(body, "\x01") {
		key, value, ok := strings.Cut(pair, "=")
		if !ok || key == "" || (key == "auth" && token != "") {
			return "", "", bad
		}
		if key != "auth" {
			continue // host, port and what may come: RFC 7628 §3.1
		}
		scheme, rest, _ := strings.Cut(value, " ")
		token = strings.TrimLeft(rest, " ")
		if !strings.EqualFold(scheme, "Bearer") || !isToken(token) {
			return "", "", bad
		}
	}
	if token == "" {
		return "", "", bad
	}
	return user, token, nil
}

// isToken tells whether s is a b64token (RFC 6750 §2.1).
func isToken(s string) bool {
	s = strings.TrimRight(s, "=")
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~+/", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// NewOAuthBearerClient presents a bearer token (RFC 7628): use it under TLS
// only. user names the account to act as and may be empty.
func NewOAuthBearerClient(user, token string) gosasl.Client {
	return &oauthClient{user: user, token: token}
}

type oauthClient struct {
	user, token string
	told        bool // of an error
}

func (c *oauthClient) Start() (string, []byte, error) {
	if !isToken(c.token) || strings.ContainsAny(c.user, "\x00\x01") {
		return "", nil, fmt.Errorf("%w: name or token", ErrMalformed)
	}
	c.told = false
	user := c.user
	if user != "" {
		user = "a=" + nameEncoder.Replace(user)
	}
	return OAuthBearer, []byte("n," + user + ",\x01auth=Bearer " + c.token + "\x01\x01"), nil
}

// Next answers the server's report of an error, so that it can fail the
// exchange (RFC 7628 §3.2.3), and nothing further: a server could ask for ever.
func (c *oauthClient) Next([]byte) ([]byte, error) {
	if c.told {
		return nil, gosasl.ErrUnexpectedServerChallenge
	}
	c.told = true
	return []byte{1}, nil
}
