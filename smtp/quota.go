package smtp

import (
	"math"
	"time"
)

// Quota bounds what comes from one source within a Window, over all its
// connections: the whole world, an address or a network. For each field zero
// means no bound; what one session may do is bounded besides.
type Quota struct {
	// Window is the time that is counted over; it begins with the first thing
	// counted, and all counts begin anew after it. 10 minutes if zero.
	Window time.Duration
	// Conns bounds connections begun. More get 421 4.7.0.
	Conns int
	// Messages bounds transactions begun. More get 451 4.7.1 to MAIL.
	Messages int
	// Recipients bounds recipients accepted. More get 450 4.7.1.
	Recipients int
	// Octets bounds the octets of messages received: when they are used up,
	// MAIL gets 451 4.7.1. A message under way is never cut.
	Octets int64
	// UnknownRecipients bounds recipients refused by 5yz 5.1.z, BadCommands
	// commands that are unknown, malformed or misplaced, and AuthFailures failed
	// AUTH commands. One more ends the session with 421 4.7.0, and new
	// connections get the same until the Window is over.
	UnknownRecipients, BadCommands, AuthFailures int
}

// counted is something that a Quota bounds.
type counted uint8

const (
	countConn counted = iota
	countMessage
	countRecipient
	countOctet
	countUnknown
	countBad
	countAuth
	countKinds
)

// bounds are a Quota's, by what is counted; 0: none.
type bounds struct {
	window time.Duration
	most   [countKinds]int64
	any    bool
}

func (q Quota) bounds() bounds {
	b := bounds{window: q.Window, most: [countKinds]int64{
		countConn: int64(q.Conns), countMessage: int64(q.Messages), countRecipient: int64(q.Recipients), countOctet: q.Octets,
		countUnknown: int64(q.UnknownRecipients), countBad: int64(q.BadCommands), countAuth: int64(q.AuthFailures),
	}}
	if b.window <= 0 {
		b.window = 10 * time.Minute
	}
	for i, n := range b.most {
		b.most[i] = max(n, 0)
		b.any = b.any || n > 0
	}
	return b
}

// tally is what one source has had of its window.
type tally struct {
	began  time.Time
	counts [countKinds]int64
}

// used reports whether nothing of a kind is left.
func (t *tally) used(b *bounds, kind counted) bool {
	return b.most[kind] > 0 && t.counts[kind] >= b.most[kind]
}

func (t *tally) add(kind counted, n int64) {
	t.counts[kind] = min(t.counts[kind], math.MaxInt64-n) + n
}
