package sasl

import (
	"fmt"

	gosasl "github.com/emersion/go-sasl"
)

// NewExternalServer serves EXTERNAL (RFC 4422 appendix A), which proves
// nothing by itself: check, called once, decides by what the connection has
// proved already, such as a TLS client certificate. authzid is UTF-8 without
// NUL and may be empty.
func NewExternalServer(check func(authzid string) error) gosasl.Server {
	return &externalServer{check: check}
}

type externalServer struct {
	check    func(authzid string) error
	prompted bool
	over     bool
}

func (s *externalServer) Next(response []byte) ([]byte, bool, error) {
	if s.over {
		return nil, false, fmt.Errorf("%w: exchange is over", ErrMalformed)
	}
	if response == nil && !s.prompted {
		s.prompted = true
		return []byte{}, false, nil
	}
	s.over = true
	if err := checkText(response, false); err != nil {
		return nil, false, err
	}
	if err := s.check(string(response)); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

// NewExternalClient asks to be taken for whom the connection proves it to be,
// such as by a TLS client certificate (RFC 4422 appendix A). authzid is usually
// empty. Start fails with ErrMalformed if it contains NUL.
func NewExternalClient(authzid string) gosasl.Client { return &externalClient{authzid} }

type externalClient struct{ authzid string }

func (c *externalClient) Start() (string, []byte, error) {
	if err := checkText([]byte(c.authzid), false); err != nil {
		return "", nil, err
	}
	return External, []byte(c.authzid), nil
}

func (c *externalClient) Next([]byte) ([]byte, error) {
	return nil, gosasl.ErrUnexpectedServerChallenge
}
