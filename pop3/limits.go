package pop3

import (
	"math"
	"time"
)

// Limits that need no setting.
const (
	// maxCommandLine: RFC 2449 §4, with CRLF.
	maxCommandLine = 255
	// maxAuthLine is for the lines of a SASL exchange, which RFC 5034 §4 frees
	// from the limit of commands.
	maxAuthLine = 12288
	// maxSkip is how much of an overlong line is read to find its end.
	maxSkip = 64 << 10
	// maxLong is how many overlong commands end a session.
	maxLong = 2
)

// limits are a Server's fields with their defaults put in.
type limits struct {
	idle      time.Duration
	loginTime time.Duration
	maxBad    int
	maxAuth   int
}

func (s *Server) limits() limits {
	return limits{
		idle:      bound(s.IdleTimeout, 10*time.Minute, 0),
		loginTime: bound(s.LoginTimeout, 10*time.Minute, 0),
		maxBad:    bound(s.MaxBadCommands, 10, math.MaxInt),
		maxAuth:   bound(s.MaxAuthFailures, 3, math.MaxInt),
	}
}

// bound is a field's value: its default if zero, none if negative.
func bound[T int | int64 | time.Duration](v, def, none T) T {
	switch {
	case v == 0:
		return def
	case v < 0:
		return none
	}
	return v
}
