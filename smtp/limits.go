package smtp

import (
	"math"
	"time"
)

// Limits that need no setting.
const (
	// maxCommandLine: RFC 5321 §4.5.3.1.4 wants 512 octets and room for each
	// extension; that is at most about 1,600.
	maxCommandLine = 4096
	// maxAuthLine: RFC 4954 §4.
	maxAuthLine = 12288
	// maxSkip is how much of an overlong line is read to find its end.
	maxSkip = 64 << 10
	// pathOverhead is what one recipient is counted for besides its octets.
	pathOverhead = 64
	// dataGrace is how long a body may be slower than DataMinRate.
	dataGrace = 5 * time.Minute
	// awake is how long a session keeps its buffers and its stack for the next
	// command.
	awake = 250 * time.Millisecond
	// refusedTimeout is how long a refused client may take to say QUIT.
	refusedTimeout = time.Minute
)

// limits are a Server's fields with their defaults put in.
type limits struct {
	maxMessage    int64
	maxLine       int
	maxRcpts      int
	maxMessages   int
	idle          time.Duration
	lifetime      time.Duration
	stressTimeout time.Duration
	dataTimeout   time.Duration
	dataMax       time.Duration
	dataRate      int64
	maxConns      int
	maxBad        int
	maxNoops      int
	maxAuth       int
	maxUnknown    int
}

func (s *Server) limits() limits {
	return limits{
		maxMessage:    bound(s.MaxMessageBytes, 50<<20, math.MaxInt64),
		maxLine:       bound(s.MaxLineLength, 64<<10, math.MaxInt),
		maxRcpts:      bound(s.MaxRecipients, 1000, math.MaxInt),
		maxMessages:   bound(s.MaxMessages, math.MaxInt, math.MaxInt),
		idle:          bound(s.IdleTimeout, 5*time.Minute, 0),
		lifetime:      bound(s.SessionTimeout, 6*time.Hour, 0),
		dataTimeout:   bound(s.DataTimeout, 3*time.Minute, 0),
		dataMax:       bound(s.DataMaxTime, 2*time.Hour, 0),
		dataRate:      bound(s.DataMinRate, 128, 0),
		maxConns:      bound(s.MaxConns, 2000, 0),
		stressTimeout: bound(s.StressTimeout, 10*time.Second, 0),
		maxBad:        bound(s.MaxBadCommands, 10, math.MaxInt),
		maxNoops:      bound(s.MaxNoops, 100, math.MaxInt),
		maxAuth:       bound(s.MaxAuthFailures, 3, math.MaxInt),
		maxUnknown:    bound(s.MaxUnknownRecipients, 20, math.MaxInt),
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
