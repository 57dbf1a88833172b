package smtp

import "strings"

// RRVS says that a Session knows since when a mailbox belongs to whom (RFC
// 7293): RRVS of RCPT. It refuses a recipient whose mailbox has changed hands
// after ValidSince.Time with 550 5.7.17 (§3.2, §14.2).
func RRVS() Extension {
	return Extension{Keyword: "RRVS", known: map[string]typedParam{
		"RRVS": {rcpt: func(_ *session, opts *RcptOptions, p param) *Error {
			v, ok := parseValidSince(p.value)
			if !ok {
				return badParam("Malformed RRVS")
			}
			opts.ValidSince = v
			return nil
		}},
	}}
}

// parseValidSince reads date-time [";" ("C" / "R")] (RFC 7293 §3.1).
func parseValidSince(s string) (v ValidSince, ok bool) {
	date, action, more := strings.Cut(s, ";")
	t, ok := parseDateTime(date)
	switch strings.ToUpper(action) {
	case "C":
		v.Continue = true
	case "R":
	default:
		if more {
			return v, false
		}
	}
	v.Time = t
	return v, ok
}
