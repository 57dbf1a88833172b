package sasl

import (
	"fmt"
	"strings"

	gosasl "github.com/emersion/go-sasl"
)

// NewLoginServer serves LOGIN, which asks for name and password by two
// prompts. An initial response is taken as the name. check is called once;
// name and password are UTF-8 without NUL and not empty.
func NewLoginServer(check func(user, password string) error) gosasl.Server {
	return &loginServer{check: check}
}

type loginServer struct {
	check func(user, password string) error
	step  int // 0 nothing said, 1 name asked for, 2 password asked for, 3 over
	user  string
}

func (s *loginServer) Next(response []byte) ([]byte, bool, error) {
	if s.step == 0 && response == nil {
		s.step = 1
		return []byte("Username:"), false, nil
	}
	err := checkText(response, false)
	if err == nil && (len(response) == 0 || s.step == 3) {
		err = fmt.Errorf("%w: empty name or password, or exchange is over", ErrMalformed)
	}
	if err != nil {
		s.step = 3
		return nil, false, err
	}
	if s.step < 2 {
		s.user, s.step = string(response), 2
		return []byte("Password:"), false, nil
	}
	s.step = 3
	if err := s.check(s.user, string(response)); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

// NewLoginClient proves user by LOGIN, which shows the password to the
// server: use it under TLS only. The prompts' texts differ between servers
// and are not looked at: the first is answered with the name, the second with
// the password.
func NewLoginClient(user, password string) gosasl.Client {
	return &loginClient{user: user, password: password}
}

type loginClient struct {
	user, password string
	step           int
}

func (c *loginClient) Start() (string, []byte, error) {
	if c.user == "" || c.password == "" || strings.Contains(c.user+c.password, "\x00") {
		return "", nil, fmt.Errorf("%w: empty value or NUL", ErrMalformed)
	}
	c.step = 0
	return Login, nil, nil
}

func (c *loginClient) Next([]byte) ([]byte, error) {
	c.step++
	switch c.step {
	case 1:
		return []byte(c.user), nil
	case 2:
		return []byte(c.password), nil
	}
	return nil, gosasl.ErrUnexpectedServerChallenge
}
