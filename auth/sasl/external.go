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
