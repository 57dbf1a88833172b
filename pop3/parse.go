package pop3

import (
	"math"
	"strings"
)

// parseCommand cuts a line into the verb, in upper case, and the rest after
// one space (RFC 1939 §3). The rest is as it was sent: a password may begin or
// end with spaces.
func parseCommand(line string) (verb, args string) {
	verb, args, _ = strings.Cut(line, " ")
	return strings.ToUpper(verb), args
}

// parseNumber reads decimal digits, and nothing but digits. What exceeds 63
// bits is the greatest number: there is no such message, and there are never
// so many lines.
func parseNumber(s string) (n int64, ok bool) {
	if s == "" {
		return 0, false
	}
	for i := range len(s) {
		d := s[i] - '0'
		if d > 9 {
			return 0, false
		}
		if n > (math.MaxInt64-int64(d))/10 {
			n = math.MaxInt64
			continue
		}
		n = n*10 + int64(d)
	}
	return n, true
}

// parseTop reads TOP's arguments: a message and a number of lines (RFC 1939
// §7).
func parseTop(args string) (msg string, lines int64, ok bool) {
	msg, count, _ := strings.Cut(args, " ")
	lines, ok = parseNumber(strings.Trim(count, " "))
	return msg, lines, ok
}
