package smtp

import "github.com/posta-mail/posta/auth"

// Trace has callbacks for what happens on a Server's connections, for metrics
// and debugging. Each may be nil. They are called by the connection's
// goroutine, should return soon and must be safe for concurrent use. Neither
// credentials nor messages are ever passed.
type Trace struct {
	// Connect: a connection was accepted (and its TLS made, if implicit).
	Connect func(p auth.Peer)
	// Command: a line was read. verb is upper case, args what follows it; of
	// AUTH only the mechanism. Unknown verbs are included.
	Command func(p auth.Peer, verb, args string)
	// Reply: a reply was given; verb is empty for the greeting and for replies
	// that no command asked for.
	Reply func(p auth.Peer, verb string, r Reply)
	// Auth: an AUTH command ended. id is nil if it failed, err nil if not.
	Auth func(p auth.Peer, mechanism string, id *auth.Identity, err error)
	// Close: the connection ended. err is nil after QUIT, otherwise says why.
	Close func(p auth.Peer, err error)
}
