package pop3

import "github.com/posta-mail/posta/auth"

// Trace has callbacks for what happens on a Server's connections, for metrics
// and debugging. Each may be nil. They are called by the connection's
// goroutine, should return soon and must be safe for concurrent use. Neither
// passwords nor messages are ever passed.
type Trace struct {
	// Connect: a connection was accepted (and its TLS made, if implicit).
	Connect func(p auth.Peer)
	// Command: a line was read. verb is upper case, args what follows it; of
	// AUTH only the mechanism, of PASS nothing. A verb that does not exist is
	// "?", without args, since it may be a password.
	Command func(p auth.Peer, verb, args string)
	// Reply: a status line was given. text begins with the response code, if
	// any; verb is empty for the greeting and for replies that no command
	// asked for.
	Reply func(p auth.Peer, verb string, ok bool, text string)
	// Login: PASS or AUTH ended. mechanism is empty for PASS. err is nil when
	// the user is in; id may be set all the same, for a mailbox that could
	// not be opened.
	Login func(p auth.Peer, mechanism string, id *auth.Identity, err error)
	// Close: the connection ended. err is nil after a QUIT that did all it
	// had to, otherwise says why. deleted is how many messages were removed.
	Close func(p auth.Peer, deleted int, err error)
}
