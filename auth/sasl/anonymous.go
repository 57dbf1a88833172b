package sasl

import (
	"fmt"
	"unicode"
	"unicode/utf8"

	gosasl "github.com/emersion/go-sasl"
)

// maxTrace is the longest trace information, in characters (RFC 4505 §2).
const maxTrace = 255

// NewAnonymousServer serves ANONYMOUS (RFC 4505), which proves nothing. check,
// called once, gets what the client says of itself: UTF-8 of at most 255
// characters without control characters, and maybe nothing. Its error ends the
// exchange.
func NewAnonymousServer(check func(trace string) error) gosasl.Server {
	return &anonymousServer{check: check}
}

type anonymousServer struct {
	check    func(trace string) error
	prompted bool
	over     bool
}

func (s *anonymousServer) Next(response []byte) ([]byte, bool, error) {
	if s.over {
		return nil, false, fmt.Errorf("%w: exchange is over", ErrMalformed)
	}
	if response == nil && !s.prompted {
		s.prompted = true
		return []byte{}, false, nil
	}
	s.over = true
	if err := checkTrace(response); err != nil {
		return nil, false, err
	}
	if err := s.check(string(response)); err != nil {
		return nil, false, err
	}
	return nil, true, nil
}

// checkTrace applies RFC 4505 §2 and the profile of its §3: what SASLprep prohibits
// but spaces (RFC 3454 table C.1.2) and ideographic descriptions (C.7).
func checkTrace(b []byte) error {
	if err := checkText(b, false); err != nil {
		return err
	}
	for _, r := range string(b) {
		allowed := unicode.Is(otherSpace, r) && r != 0x200b || r >= 0x2ff0 && r <= 0x2ffb
		if unicode.Is(prohibited, r) && !allowed || r&0xfffe == 0xfffe {
			return fmt.Errorf("%w: %U in trace information", ErrMalformed, r)
		}
	}
	if !directionOK(string(b)) {
		return fmt.Errorf("%w: mixed directions in trace information", ErrMalformed)
	}
	if utf8.RuneCount(b) > maxTrace {
		return fmt.Errorf("%w: trace information is longer than %d characters", ErrMalformed, maxTrace)
	}
	return nil
}

// NewAnonymousClient comes in as a guest (RFC 4505). trace says who comes, as an
// email address or a word without meaning outside; it may be empty. Start fails
// with ErrMalformed if it is longer than 255 characters or holds control
// characters.
func NewAnonymousClient(trace string) gosasl.Client { return &anonymousClient{trace} }

type anonymousClient struct{ trace string }

func (c *anonymousClient) Start() (string, []byte, error) {
	if err := checkTrace([]byte(c.trace)); err != nil {
		return "", nil, err
	}
	return Anonymous, []byte(c.trace), nil
}

func (c *anonymousClient) Next([]byte) ([]byte, error) {
	return nil, gosasl.ErrUnexpectedServerChallenge
}
