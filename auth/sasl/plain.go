package sasl

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"

	gosasl "github.com/emersion/go-sasl"
)

// NewPlainServer serves PLAIN (RFC 4616). check is called once, with the
// authorization identity (may be empty), the name and the password; both are
// UTF-8 without NUL and not empty. Its error ends the exchange.
func NewPlainServer(check func(authzid, user, password string) error) gosasl.Server {
	return &plainServer{check: check}
}

type plainServer struct {
	check    func(authzid, user, password string) error
	prompted bool
	over     bool
}

func (s *plainServer) Next(response []byte) ([]byte, bool, error) {
	if s.over {
		return nil, false, fmt.Errorf("%w: exchange is over", ErrMalformed)
	}
	if response == nil && !s.prompted {
		s.prompted = true // RFC 4422 §3: no initial response, empty challenge
		return []byte{}, false, nil
	}
	s.over = true
	if err := checkText(response, true); err != nil {
		return nil, false, err
	}
	// RFC 4616 §2: message = [authzid] NUL authcid NUL passwd.
	if bytes.Count(response, []byte{0}) != 2 {
		return nil, false, fmt.Errorf("%w: PLAIN needs exactly two NULs", ErrMalformed)
	}
	authzid, rest, _ := strings.Cut(string(response), "\x00")
	user, password, _ := strings.Cut(rest, "\x00")
	if user == "" || password == "" {
		return nil, false, fmt.Errorf("%w: empty name or password", ErrMalformed)
	}
	if err := s.check(authzid, user, password); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

// checkText tells whether a message is UTF-8 of allowed length.
func checkText(b []byte, nul bool) error {
	switch {
	case len(b) > MaxMessage:
		return fmt.Errorf("%w: longer than %d octets", ErrMalformed, MaxMessage)
	case !utf8.Valid(b):
		return fmt.Errorf("%w: not UTF-8", ErrMalformed)
	case !nul && bytes.IndexByte(b, 0) >= 0:
		return fmt.Errorf("%w: contains NUL", ErrMalformed)
	}
	return nil
}

// NewPlainClient proves user by PLAIN (RFC 4616), which shows the password
// to the server: use it under TLS only. authzid is usually empty. Start
// fails with ErrMalformed when a value contains NUL or name or password is
// empty.
func NewPlainClient(authzid, user, password string) gosasl.Client {
	return &plainClient{authzid, user, password}
}

type plainClient struct{ authzid, user, password string }

func (c *plainClient) Start() (string, []byte, error) {
	if c.user == "" || c.password == "" || strings.Contains(c.authzid+c.user+c.password, "\x00") {
		return "", nil, fmt.Errorf("%w: empty value or NUL", ErrMalformed)
	}
	return Plain, []byte(c.authzid + "\x00" + c.user + "\x00" + c.password), nil
}

func (c *plainClient) Next([]byte) ([]byte, error) {
	return nil, gosasl.ErrUnexpectedServerChallenge
}
