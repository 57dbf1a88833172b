package smtp

import (
	"math"
	"strconv"
)

// limitsLine is what LIMITS tells in the reply to EHLO (RFC 9422 §4): the
// limits of one session that the Server will hold to. Empty: there are none.
func (c *session) limitsLine() string {
	line := "LIMITS"
	if c.maxMessages != math.MaxInt {
		line += " MAILMAX=" + strconv.Itoa(c.maxMessages)
	}
	if c.maxRcpts != math.MaxInt {
		line += " RCPTMAX=" + strconv.Itoa(c.maxRcpts)
	}
	if line == "LIMITS" {
		return ""
	}
	return line
}
