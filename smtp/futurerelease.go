package smtp

import (
	"strconv"
	"strings"
	"time"
)

// FutureRelease says that a Session holds messages back until a time that the
// client names (RFC 4865), at most this long from now, in whole seconds from 1 to
// 999,999,999. It is for submission (§3): only a Server with RequireAuth, or a
// client that has logged in before EHLO, finds it. Both its parameters arrive as
// MailOptions.HoldUntil, which may have passed. Make it anew for each call of
// Extensions, since its line names the latest date.
func FutureRelease(most time.Duration) Extension {
	seconds := min(max(int64(most/time.Second), 1), maxHold)
	hold := func(c *session, opts *MailOptions, until time.Time) *Error {
		switch {
		case !opts.HoldUntil.IsZero():
			return badParam("HOLDFOR and HOLDUNTIL exclude each other") // §4.2
		case time.Until(until) > time.Duration(seconds)*time.Second:
			return badParam("Message cannot be held so long") // §4.2
		}
		opts.HoldUntil = until
		return nil
	}
	return Extension{
		Keyword: "FUTURERELEASE " + strconv.FormatInt(seconds, 10) + " " +
			time.Now().Add(time.Duration(seconds)*time.Second).UTC().Format(time.RFC3339),
		usable: func(c *session) bool {
			return !c.srv.LMTP && (c.srv.RequireAuth || c.identity() != nil)
		},
		known: map[string]typedParam{
			"HOLDFOR": {mail: func(c *session, opts *MailOptions, p param) *Error {
				n, ok := parseSeconds(p.value)
				if !ok || n == 0 {
					return badParam("Malformed HOLDFOR")
				}
				return hold(c, opts, time.Now().Add(time.Duration(n)*time.Second))
			}},
			"HOLDUNTIL": {mail: func(c *session, opts *MailOptions, p param) *Error {
				// An Internet date and time (erratum 2040).
				t, ok := parseDateTime(p.value)
				if !ok {
					return badParam("Malformed HOLDUNTIL")
				}
				return hold(c, opts, t)
			}},
		},
	}
}

// maxHold is the largest number of nine digits.
const maxHold = 999_999_999

// parseSeconds reads one to nine digits.
func parseSeconds(s string) (int64, bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil && len(s) <= 9
}

// parseDateTime reads a date-time of RFC 3339 §5.6, whose letters may be of
// either case. The year 1, which would stand for no time at all, is refused.
func parseDateTime(s string) (t time.Time, ok bool) {
	s = strings.ToUpper(s)
	// Package time takes an hour of one digit, a comma, and zones of 24 hours or
	// 60 minutes.
	const hour, zone = len("2006-01-02T15"), len("+00:00")
	if len(s) < len("2006-01-02T15:04:05Z") || len(s) > 64 || s[hour] != ':' || strings.Contains(s, ",") {
		return t, false
	}
	if z := s[len(s)-zone:]; s[len(s)-1] != 'Z' && (z[1:] > "23:59" || z[4] > '5') {
		return t, false
	}
	t, err := time.Parse(time.RFC3339, s)
	return t.UTC(), err == nil && t.Year() > 1
}
