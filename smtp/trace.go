package smtp

import (
	"time"

	"github.com/posta-mail/posta/auth"
)

// Trace has callbacks for what happens on a Server's connections, for metrics
// and debugging. Each may be nil. They are called by the connection's
// goroutine, in the order in which things happen, should return soon and must
// be safe for concurrent use: connections do not wait for each other. Neither
// credentials nor messages are ever passed. [JoinTraces] makes one of several;
// [Transcript] and [LogTranscript] are ready ones. Connections that end before
// Connect are told of by [Server.ConnState].
type Trace struct {
	// TLS: a handshake ended. If err is nil, p.TLS says what was agreed on.
	// With ImplicitTLS it comes before Connect, and alone if it failed.
	TLS func(p auth.Peer, err error)
	// Connect: a connection was accepted (and its TLS made, if implicit).
	Connect func(p auth.Peer)
	// Command: a line was read. verb is upper case, args what follows it; of
	// AUTH only the mechanism, or "?" if there is no such mechanism. A line
	// whose verb is unknown, or a Session's own, may hold anything: its args
	// are "(12 octets)", and an unknown verb is "?".
	Command func(p auth.Peer, verb, args string)
	// Reply: a reply was given; verb is empty for the greeting and for replies
	// that no command asked for. The challenges of AUTH are left out.
	Reply func(p auth.Peer, verb string, r Reply)
	// Auth: an AUTH command ended. id is nil if it failed, err nil if not.
	// mechanism is as in Command.
	Auth func(p auth.Peer, mechanism string, id *auth.Identity, err error)
	// Message: the Session is through with a message, which may be incomplete;
	// the reply follows.
	Message func(p auth.Peer, m Transfer)
	// Close: the connection ended. err is nil after QUIT, otherwise says why;
	// see ErrAbuse and the others there. It follows each Connect.
	Close func(p auth.Peer, err error)
	// Stress: the Server comes under stress, or is over it; see
	// Server.StressTimeout. Whichever connection notices tells.
	Stress func(on bool)
}

// Transfer is what a Trace is told of a message.
type Transfer struct {
	// Recipients is how many were accepted for it.
	Recipients int
	// Octets are those of the message, as the Session could read it, that
	// arrived: with CRLF, dots unstuffed, without the final dot.
	Octets int64
	// Chunked: it came by BDAT.
	Chunked bool
	// Duration is from the reply to DATA, or the first BDAT command, to the
	// Session's answer: the network's time and the Handler's together.
	Duration time.Duration
	// Result is the Session's answer if Err is nil.
	Result Result
	// Err is why the message was not accepted: an error of the Session, or
	// what was wrong with the octets, or of the network.
	Err error
}

// transferBegins is the beginning of a Transfer's Duration.
func (c *session) transferBegins() time.Time {
	if c.trace.Message == nil {
		return time.Time{}
	}
	return time.Now()
}

// transferred tells of a message. received is the error of its octets, which
// counts before the Session's.
func (c *session) transferred(t Transfer, began time.Time, received, err error) {
	c.ledger.spend(c.from, countOctet, t.Octets)
	if c.trace.Message == nil {
		return
	}
	t.Recipients, t.Duration = c.rcpts, time.Since(began)
	if t.Err = received; received == nil {
		t.Err = err
	}
	if t.Err != nil {
		t.Result = Result{}
	}
	c.trace.Message(c.conn.Peer(), t)
}

// JoinTraces makes one Trace that calls those of all, in order. Nil ones are
// left out; without any it is nil.
func JoinTraces(traces ...*Trace) *Trace {
	var joined *Trace
	for _, t := range traces {
		switch {
		case t == nil:
		case joined == nil:
			joined = t
		default:
			joined = joined.and(t)
		}
	}
	return joined
}

func (t *Trace) and(u *Trace) *Trace {
	return &Trace{
		TLS:     both2(t.TLS, u.TLS),
		Connect: both1(t.Connect, u.Connect),
		Command: both3(t.Command, u.Command),
		Reply:   both3(t.Reply, u.Reply),
		Auth:    both4(t.Auth, u.Auth),
		Message: both2(t.Message, u.Message),
		Close:   both2(t.Close, u.Close),
		Stress:  both1(t.Stress, u.Stress),
	}
}

// both1 to both4 call two functions, of which either may be nil.
func both1[A any](f, g func(A)) func(A) {
	if f == nil || g == nil {
		return either(f, g, f == nil)
	}
	return func(a A) { f(a); g(a) }
}

func both2[A, B any](f, g func(A, B)) func(A, B) {
	if f == nil || g == nil {
		return either(f, g, f == nil)
	}
	return func(a A, b B) { f(a, b); g(a, b) }
}

func both3[A, B, C any](f, g func(A, B, C)) func(A, B, C) {
	if f == nil || g == nil {
		return either(f, g, f == nil)
	}
	return func(a A, b B, c C) { f(a, b, c); g(a, b, c) }
}

func both4[A, B, C, D any](f, g func(A, B, C, D)) func(A, B, C, D) {
	if f == nil || g == nil {
		return either(f, g, f == nil)
	}
	return func(a A, b B, c C, d D) { f(a, b, c, d); g(a, b, c, d) }
}

func either[F any](f, g F, second bool) F {
	if second {
		return g
	}
	return f
}
