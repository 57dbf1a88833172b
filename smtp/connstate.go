package smtp

import (
	"errors"
	"fmt"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/netserve"
)

// ConnState is a stage in the life of a connection, as [Server.ConnState]
// tells of it:
//
//	StateNew ─┬─► StateGreeted ─► StateIdle ◄─► StateActive ─┬─► StateClosed
//	          └─► StateRefused ──────────────────────────────┘
//
// StateClosed may follow any other, StateGreeted any but StateRefused (after
// STARTTLS and XCLIENT the client says EHLO again), and StateRefused also
// comes after StateGreeted, if XCLIENT makes the Handler refuse.
type ConnState int

const (
	// StateNew: a connection was accepted from the network. A PROXY header and,
	// with ImplicitTLS, the handshake are still to come.
	StateNew ConnState = iota
	// StateRefused: there will be no service: a connection limit, a bad PROXY
	// header, a client that spoke before the greeting, or the Handler.
	StateRefused
	// StateGreeted: a Session was made and the greeting is given; the client
	// has not said EHLO.
	StateGreeted
	// StateIdle: no transaction is under way.
	StateIdle
	// StateActive: MAIL was accepted.
	StateActive
	// StateClosed: the connection is closed and its Session, if it had one, too.
	StateClosed
)

// String is the name of the state in lower case, such as "idle".
func (s ConnState) String() string {
	switch s {
	case StateNew:
		return "new"
	case StateRefused:
		return "refused"
	case StateGreeted:
		return "greeted"
	case StateIdle:
		return "idle"
	case StateActive:
		return "active"
	case StateClosed:
		return "closed"
	}
	return fmt.Sprintf("state %d", int(s))
}

// Reasons why a connection was refused or came to its end, told to
// [Server.ConnState] and [Trace].Close and found by errors.Is. Others are io.EOF
// for a client that left without QUIT, os.ErrDeadlineExceeded for one that was
// too slow (421 4.4.2), ErrServerClosed for one told of a shutdown (421 4.3.2),
// and whatever else the network has to say.
var (
	// ErrConnLimit: there are too many connections, or too many from there.
	ErrConnLimit = errors.New("smtp: over a limit of connections")
	// ErrProxyHeader: a proxy's connection did not begin with a good header.
	ErrProxyHeader = errors.New("smtp: no good PROXY header")
	// ErrHandshake: TLS could not be agreed on.
	ErrHandshake = errors.New("smtp: TLS handshake failed")
	// ErrHandlerRefused: the Handler refused the connection, or said 421.
	ErrHandlerRefused = errors.New("smtp: refused by handler")
	// ErrAbuse: one of the allowances of a session is used up (421 4.7.0).
	ErrAbuse = errors.New("smtp: too many errors or idle commands")
	// ErrViolation: the client broke the protocol in a way that no mail client
	// does.
	ErrViolation = errors.New("smtp: protocol violation")
	// ErrPanic: the Handler panicked.
	ErrPanic = errors.New("smtp: handler panicked")
)

// connReason is what err, of netserve, is called here. A connection that was
// refused was over a limit, unless it came too late.
func connReason(err error, refused bool) error {
	is := err
	switch {
	case err == nil:
		return nil
	case errors.Is(err, netserve.ErrProxyHeader):
		is = ErrProxyHeader
	case errors.Is(err, netserve.ErrHandshake):
		is = ErrHandshake
	case errors.Is(err, netserve.ErrPanic):
		is = ErrPanic
	case errors.Is(err, netserve.ErrClosed):
		is = ErrServerClosed
	case refused:
		is = ErrConnLimit
	default:
		return err
	}
	return fmt.Errorf("%w: %w", is, err)
}

// opened and closed are of every connection, also of those that handle never
// sees.
func (s *Server) opened(c *netserve.Conn) { s.connState(c, StateNew, nil) }

func (s *Server) closed(c *netserve.Conn, err error) {
	err = connReason(err, c.Refused())
	switch {
	case c.Refused(), errors.Is(err, ErrProxyHeader):
		s.connState(c, StateRefused, err)
	case s.ImplicitTLS && errors.Is(err, ErrHandshake) && s.shared.trace.TLS != nil:
		s.shared.trace.TLS(auth.Peer(netserve.PeerOf[*auth.Identity](c)), err)
	}
	s.connState(c, StateClosed, err)
}

func (s *Server) connState(c *netserve.Conn, state ConnState, err error) {
	if s.ConnState != nil {
		s.ConnState(auth.Peer(netserve.PeerOf[*auth.Identity](c)), state, err)
	}
}

// enter changes the state.
func (c *session) enter(to state) {
	from := c.state.public()
	c.state = to
	if p := to.public(); p != from && (!c.over || p == StateRefused) {
		var why error
		if p == StateRefused {
			why = c.why
		}
		c.srv.connState(c.nc, p, why)
	}
}

// public is what ConnState calls a state.
func (s state) public() ConnState {
	switch s {
	case stateRefused:
		return StateRefused
	case stateStart:
		return StateGreeted
	case stateReady:
		return StateIdle
	case stateMail, stateRcpt:
		return StateActive
	}
	return StateNew
}
