package smtp

import (
	"strconv"
	"strings"
	"time"
)

// DeliverByDeadline says that a Session takes deadlines (RFC 2852): BY of
// MAIL, which arrives as MailOptions.DeliverBy, counted from when it was read.
// least is the shortest time it accepts for messages to be returned at their
// deadline, in whole seconds; 0 means that there is none.
func DeliverByDeadline(least time.Duration) Extension {
	seconds := min(max(int64(least/time.Second), 0), maxHold)
	e := Extension{Keyword: "DELIVERBY", known: map[string]typedParam{
		"BY": {mail: func(_ *session, opts *MailOptions, p param) *Error {
			by, n, ok := parseBy(p.value, time.Now())
			switch {
			case !ok, by.Return && n <= 0: // §4
				return badParam("Malformed BY")
			case by.Return && n < seconds:
				return &Error{555, EnhancedCode{5, 5, 4}, "Time given by BY is too short"}
			}
			opts.DeliverBy = by
			return nil
		}},
	}}
	if seconds > 0 {
		e.Keyword += " " + strconv.FormatInt(seconds, 10)
	}
	return e
}

// parseBy reads by-time ";" by-mode [by-trace] (RFC 2852 §4).
func parseBy(s string, now time.Time) (by DeliverBy, seconds int64, ok bool) {
	number, mode, _ := strings.Cut(s, ";")
	digits, negative := strings.CutPrefix(number, "-")
	if !negative {
		digits = strings.TrimPrefix(number, "+")
	}
	n, ok := parseSeconds(digits)
	if negative {
		n = -n
	}
	switch strings.ToUpper(mode) {
	case "N":
	case "NT":
		by.Trace = true
	case "R":
		by.Return = true
	case "RT":
		by.Return, by.Trace = true, true
	default:
		ok = false
	}
	by.Deadline = now.Add(time.Duration(n) * time.Second)
	return by, n, ok
}
