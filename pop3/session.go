package pop3

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/netserve"
	"github.com/posta-mail/posta/internal/wire"
)

// session is one connection's protocol state. It belongs to the connection's
// goroutine.
type session struct {
	*shared
	ctx    context.Context
	nc     *netserve.Conn
	r      *wire.Reader
	out    output
	state  state
	verb   string // of the command at hand
	user   string // given by USER, for PASS
	drop   *maildrop
	over   bool  // no further command is read
	linger bool  // the client may still be sending when we close
	why    error // for Trace.Close
	gone   int   // messages removed

	// Abuse budgets used up.
	bad, long, failures int

	began time.Time // of the wait for a line
	until time.Time // end of the wait for a login; zero: never
}

// state is the state of a session (RFC 1939 §3). UPDATE is quit alone.
type state uint8

const (
	stateAuthorization state = 1 << iota
	stateTransaction

	stateAny = stateAuthorization | stateTransaction
)

// Reasons for ending a session, as Trace.Close tells them.
var (
	errAbuse     = errors.New("pop3: too many errors")
	errViolation = errors.New("pop3: protocol violation")
	errShutdown  = errors.New("pop3: server shutting down")
	errRefused   = errors.New("pop3: no store or no authentication")
)

func (s *Server) handle(ctx context.Context, nc *netserve.Conn) {
	c := &session{shared: s.shared, ctx: ctx, nc: nc, state: stateAuthorization}
	c.out = output{w: conn{nc, c.idle}, max: outputSize}
	c.r = wire.NewReader(c, c.budget)
	if c.loginTime > 0 {
		c.until = time.Now().Add(c.loginTime)
	}
	defer c.end()
	if c.trace.Connect != nil {
		c.trace.Connect(c.peer())
	}
	c.greet()
	for !c.over {
		c.next()
	}
}

func (c *session) peer() auth.Peer { return auth.Peer(netserve.PeerOf[*auth.Identity](c.nc)) }

func (c *session) greet() {
	if c.store == nil || c.login == nil {
		c.bye(refusal{codePerm, "No mail service here"}, errRefused)
		return
	}
	c.ok(c.hostname, " POP3 ready")
}

// end releases what the connection holds, also after a panic. The lock goes
// before the last reply, so that who has read it can log in again.
func (c *session) end() {
	if c.drop != nil {
		c.drop.close(c.budget)
	}
	_ = c.out.flush()
	if c.linger {
		if c.out.err == nil {
			c.nc.Linger()
		}
	}
	c.r.Release()
	if c.trace.Close != nil {
		c.trace.Close(c.peer(), c.gone, c.why)
	}
}

// next reads one command and carries it out.
func (c *session) next() {
	c.began, c.verb = time.Time{}, ""
	if c.nc.Closing() {
		c.shutdown()
		return
	}
	line, err := c.r.ReadLine(maxCommandLine)
	if err != nil {
		c.readFailed(err)
		return
	}
	if c.drop != nil && c.drop.lock.lost() {
		c.bye(refusalOf(errLock), errLock)
		return
	}
	c.command(string(line))
}

func (c *session) shutdown() {
	c.bye(refusal{codeTemp, "Server is shutting down, nothing was deleted"}, errShutdown)
}

// readFailed ends the session with the reply that fits, or skips a long line.
func (c *session) readFailed(err error) {
	switch {
	case errors.Is(err, wire.ErrLineTooLong):
		c.tooLong(err)
	case errors.Is(err, wire.ErrBareLF), errors.Is(err, wire.ErrBareCR):
		// What follows may be meant to be read differently by someone else.
		c.linger = true
		c.bye(refusal{codeNone, "Lines must end with CRLF, found a bare CR or LF"}, err)
	case errors.Is(err, wire.ErrBudget):
		c.linger = true
		c.bye(refusal{codeTemp, "Out of memory, try again later"}, err)
	case errors.Is(err, os.ErrDeadlineExceeded) && c.nc.Closing():
		c.shutdown()
	default:
		// The client is gone, or idle for too long: then there is no answer,
		// and nothing is deleted (RFC 1939 §3).
		c.over, c.why = true, err
	}
}

// tooLong skips a command that is too long; a repeated or endless one ends the
// session.
func (c *session) tooLong(err error) {
	r := refusal{codeNone, "Command too long"}
	if c.long++; c.long >= maxLong || c.r.SkipLine(maxSkip) != nil {
		c.linger = true
		c.bye(r, err)
		return
	}
	c.refuse(r)
}

// command carries out one command line.
func (c *session) command(line string) {
	verb, args := parseCommand(line)
	cmd, known := commands[verb]
	trimmed := strings.Trim(args, " ")
	if c.verb = verb; !known {
		c.verb = "?" // perhaps a password
	}
	if c.trace.Command != nil {
		c.trace.Command(c.peer(), c.verb, shown(verb, trimmed, known))
	}
	if cmd.args != argsRaw {
		args = trimmed
	}
	switch {
	case !known && c.state == stateAuthorization && isHTTP(verb):
		c.linger = true
		c.bye(refusal{codeNone, "This is a mail server"}, errViolation)
	case !known:
		c.refuse(refusal{codeNone, "Unknown command"})
	case cmd.states&c.state == 0 && c.state == stateAuthorization:
		c.refuse(refusal{codeNone, "Log in first"})
	case cmd.states&c.state == 0:
		c.refuse(refusal{codeNone, "Not possible after login"})
	case cmd.args == argsNone && args != "":
		c.refuse(refusal{codeNone, "No arguments allowed"})
	case cmd.args == argsSome && args == "":
		c.refuse(refusal{codeNone, "Arguments missing"})
	default:
		cmd.run(c, args)
	}
}

// shown is what a Trace may see of a command's arguments.
func shown(verb, args string, known bool) string {
	switch {
	case !known, verb == "PASS":
		return ""
	case verb == "AUTH":
		args, _, _ = strings.Cut(args, " ")
	}
	return args
}

// ok sends a positive reply.
func (c *session) ok(parts ...string) {
	if c.trace.Reply != nil {
		c.trace.Reply(c.peer(), c.verb, true, strings.Join(parts, ""))
	}
	c.out.buf = append(c.out.buf, "+OK "...)
	c.out.line(parts...)
}

// fail sends a negative reply.
func (c *session) fail(r refusal) {
	if c.trace.Reply != nil {
		c.trace.Reply(c.peer(), c.verb, false, r.code+r.text)
	}
	c.out.line("-ERR ", r.code, r.text)
}

// refuse answers a command that is the client's mistake.
func (c *session) refuse(r refusal) {
	if c.bad++; c.bad > c.maxBad {
		c.linger = true
		c.bye(refusal{codeNone, "Too many bad commands"}, errAbuse)
		return
	}
	c.fail(r)
}

// storeFailed answers a command that the store could not carry out.
func (c *session) storeFailed(err error) {
	c.log.Warn("store failed", "server", "pop3", "peer", c.peer(), "verb", c.verb, "err", err)
	c.fail(refusalOf(err))
}

// bye sends a last, negative reply.
func (c *session) bye(r refusal, why error) {
	c.over, c.why = true, why
	c.fail(r)
}

// Read implements io.Reader for the wire.Reader: replies go out before the
// session waits, and every wait is bounded, from the first octet of a line.
func (c *session) Read(p []byte) (int, error) {
	if err := c.out.flush(); err != nil {
		return 0, err
	}
	now := time.Now()
	if c.began.IsZero() {
		c.began = now
	}
	var end time.Time
	if c.idle > 0 {
		end = c.began.Add(c.idle)
	}
	if c.state == stateAuthorization && !c.until.IsZero() && (end.IsZero() || c.until.Before(end)) {
		end = c.until
	}
	var d time.Duration
	if !end.IsZero() {
		if d = end.Sub(now); d <= 0 {
			return 0, os.ErrDeadlineExceeded
		}
	}
	if err := c.nc.Idle(d); err != nil {
		return 0, err
	}
	return c.nc.Read(p)
}
