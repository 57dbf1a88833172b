package smtp

// command is what a verb does and when it may be said.
type command struct {
	run    func(c *session, args string)
	states state
	not    exclusion
	noArgs bool // arguments are refused with 501 5.5.4
	idle   bool // gets nothing done: counted against MaxNoops
}

// exclusion is a protocol that does not have a command.
type exclusion uint8

const (
	notSMTP exclusion = 1 << iota
	notLMTP
)

// commands is the whole protocol. A verb that is not here is 500 5.5.1, one
// in the wrong state 503 5.5.1. NOOP, RSET, VRFY, EXPN and HELP need no EHLO
// (RFC 5321 §4.1.4).
var commands = map[string]command{
	"EHLO":     {run: (*session).ehlo, states: stateAny, not: notLMTP, idle: true},
	"HELO":     {run: (*session).helo, states: stateAny, not: notLMTP, idle: true},
	"LHLO":     {run: (*session).ehlo, states: stateAny, not: notSMTP, idle: true},
	"STARTTLS": {run: (*session).startTLS, states: stateAny, noArgs: true, idle: true},
	"AUTH":     {run: (*session).auth, states: stateReady},
	"MAIL":     {run: (*session).mail, states: stateReady},
	"RCPT":     {run: (*session).rcpt, states: stateTransaction},
	"DATA":     {run: (*session).data, states: stateTransaction, noArgs: true},
	"BDAT":     {run: (*session).bdat, states: stateAny},
	"XCLIENT":  {run: (*session).xclient, states: stateStart | stateReady},
	"RSET":     {run: (*session).rset, states: stateAny, noArgs: true, idle: true},
	"NOOP":     {run: (*session).noop, states: stateAny, idle: true},
	"VRFY":     {run: (*session).vrfy, states: stateAny, idle: true},
	"EXPN":     {run: (*session).expn, states: stateAny, idle: true},
	"HELP":     {run: (*session).help, states: stateAny, idle: true},
	"QUIT":     {run: (*session).quit, states: stateAny | stateRefused, noArgs: true},
}

// isHTTP tells a web client, which may have been made to talk to us.
func isHTTP(verb string) bool {
	switch verb {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI":
		return true
	}
	return false
}
