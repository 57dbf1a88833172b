package pop3

// command is what a verb does and when it may be said.
type command struct {
	run    func(c *session, args string)
	states state
	args   arity
}

// arity is what a command wants after its verb.
type arity uint8

const (
	argsNone arity = iota
	argsSome       // must not be missing; spaces around it do not count
	argsMay        // may be missing; spaces around it do not count
	argsRaw        // handed over as sent
)

// commands is the whole protocol (RFC 1939 §4 to §7, RFC 2449 §5, RFC 2595
// §4, RFC 5034 §4). A verb that is not here, or is in the wrong state, is
// -ERR.
var commands = map[string]command{
	"USER": {(*session).userCmd, stateAuthorization, argsSome},
	"PASS": {(*session).pass, stateAuthorization, argsRaw},
	"AUTH": {(*session).auth, stateAuthorization, argsSome},
	"STLS": {(*session).stls, stateAuthorization, argsNone},
	"CAPA": {(*session).capa, stateAny, argsNone},
	"STAT": {(*session).stat, stateTransaction, argsNone},
	"LIST": {(*session).list, stateTransaction, argsMay},
	"UIDL": {(*session).uidl, stateTransaction, argsMay},
	"RETR": {(*session).retr, stateTransaction, argsSome},
	"TOP":  {(*session).top, stateTransaction, argsSome},
	"DELE": {(*session).dele, stateTransaction, argsSome},
	"RSET": {(*session).rset, stateTransaction, argsNone},
	"NOOP": {(*session).noop, stateTransaction, argsNone},
	"QUIT": {(*session).quit, stateAny, argsNone},
}

// isHTTP tells a web client, which may have been made to talk to us.
func isHTTP(verb string) bool {
	switch verb {
	case "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "PRI":
		return true
	}
	return false
}
