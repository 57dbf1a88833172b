package smtp

import (
	"context"
	"strings"
)

// Extender is implemented by a Session that adds to the protocol (RFC 5321
// §2.2): EHLO keywords and verbs of its own.
type Extender interface {
	Session
	// Keywords are lines for the reply to EHLO or LHLO, each a keyword and
	// its parameters in printable ASCII; others are left out. Called after the
	// HELO name is known.
	Keywords() []string
	// Command carries out a command that the Server does not have. verb is in
	// upper case, args what follows it. ok is false for a verb that is unknown
	// here too, which is answered 500 5.5.1. It is called after EHLO, not
	// between the chunks of a message, and counts against MaxNoops.
	Command(ctx context.Context, verb, args string) (r Reply, ok bool)
}

// keywords are the Session's own lines of the EHLO reply.
func (c *session) keywords() []string {
	x, ok := c.handler.(Extender)
	if !ok {
		return nil
	}
	var good []string
	for _, l := range x.Keywords() {
		word, _, _ := strings.Cut(l, " ")
		if isKeyword(word) && isPrintable(l) && len(l) <= maxReplyLine-len("250-\r\n") {
			good = append(good, l)
		}
	}
	return good
}

// extended carries out a command of the Session's own.
func (c *session) extended(verb, args string) bool {
	x, ok := c.handler.(Extender)
	if !ok || c.state&(stateReady|stateTransaction) == 0 || !isKeyword(verb) {
		return false
	}
	r, ok := x.Command(c.ctx, verb, args)
	if !ok {
		return false
	}
	if !c.idled() {
		r = r.sound()
		c.sendError((*Error)(&r))
	}
	return true
}

// isPrintable: printable ASCII and space.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
