package smtp

import (
	"context"
	"errors"
	"io"
	"log/slog"
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
	srv     *Server
	ctx     context.Context
	nc      *netserve.Conn
	conn    *Conn
	handler Session
	r       *wire.Reader
	out     output
	verb    string // of the command at hand
	pending string // a command that has been read already
	why     error  // for Trace.Close

	// Small things stand together: there is one session for each connection.
	state   state
	over    bool // no further command is read
	leaving bool // a transaction has ended during a shutdown
	linger  bool // the client may still be sending when we close

	// Of XCLIENT.
	mayXClient bool
	xclients   bool           // it has been used: TLS is the proxy's
	xlogin     *auth.Identity // what LOGIN has made of the client

	// The transaction.
	ext     []Extension // of the Session, as of the last EHLO
	charged int         // octets of the budget taken for it
	rcpts   int
	utf8    bool
	binary  bool // BODY=BINARYMIME

	// Waiting.
	waiting   waiting
	mayRest   bool          // the connection can wait by itself
	brief     bool          // wait only for as long as a session stays awake
	short     bool          // the deadline in force is due to brief
	drowsy    bool          // the goroutine shall end until something comes
	woken     error         // why the connection stopped waiting; nil: something came
	patience  time.Duration // for a command line; 0: no limit
	began     time.Time     // of the wait for a line or a body
	until     time.Time     // end of the session; zero: never
	waited    time.Duration // spent waiting for the body
	bodyBytes int64         // octets of the body read from the network

	from *source // to be charged; nil without a ledger

	// Abuse budgets used up.
	bad, noops, authFails, unknown, mails int
}

// state is where in the order of commands a session is.
type state uint8

const (
	stateRefused state = 1 << iota // the greeting was 5yz (RFC 5321 §3.1)
	stateStart                     // no EHLO yet
	stateReady                     // no transaction
	stateMail                      // MAIL accepted
	stateRcpt                      // and at least one RCPT

	stateTransaction = stateMail | stateRcpt
	stateAny         = stateStart | stateReady | stateTransaction
)

// waiting is what the session expects from the network.
type waiting uint8

const (
	waitCommand waiting = iota
	waitAnswer          // of an AUTH exchange
	waitBody
)

func (s *Server) handle(ctx context.Context, nc *netserve.Conn) {
	c := &session{
		shared: s.shared, srv: s, ctx: ctx, nc: nc,
		conn: &Conn{nc: nc, hostname: s.shared.hostname, lmtp: s.LMTP},
	}
	// What this goroutine does needs little stack; work does all else.
	defer c.end()
	for !c.over {
		netserve.Apart(c.work)
		if !c.over {
			c.woken = c.nc.Await()
		}
	}
}

// work goes on until the session is over or has nothing to do for a while: its
// goroutine, with the stack that commands need, goes then, and so do its buffers.
func (c *session) work() {
	if c.state == 0 {
		c.begin()
	}
	for !c.over {
		if c.next(); c.drowsy {
			return
		}
	}
}

// begin is the way to the first command.
func (c *session) begin() {
	s := c.srv
	c.out.w = c.nc
	c.r = wire.NewReader(c, c.budget)
	c.patience = c.idle
	if c.lifetime > 0 {
		c.until = time.Now().Add(c.lifetime)
	}
	c.mayXClient = len(s.XClients) > 0 && netserve.Contains(s.XClients, c.conn.Peer().Remote.Addr())
	c.mayRest = c.nc.CanAwait()
	if s.ImplicitTLS && c.trace.TLS != nil {
		c.trace.TLS(c.conn.Peer(), nil)
	}
	if c.trace.Connect != nil {
		c.trace.Connect(c.conn.Peer())
	}
	c.greet()
}

// end releases what the connection holds, also when the Handler panicked.
func (c *session) end() {
	_ = c.flush()
	if c.linger {
		if c.out.err == nil {
			c.nc.Linger()
		}
	}
	c.discharge()
	c.r.Release()
	if !c.over && c.why == nil {
		c.why = ErrPanic
	}
	c.nc.EndedBy(c.why)
	if c.trace.Close != nil {
		defer c.trace.Close(c.conn.Peer(), c.why)
	}
	if c.handler != nil {
		defer c.handler.Close()
		c.handler.Reset()
	}
}

// next reads one command and carries it out.
func (c *session) next() {
	if c.nc.Gone() { // what it has sent ahead is of no more use
		c.over, c.why = true, io.EOF
		return
	}
	if c.nc.Closing() && c.mayLeave() {
		c.shutDown()
		return
	}
	if line := c.pending; line != "" {
		c.pending = ""
		c.command(line)
		return
	}
	if c.drowsy {
		c.drowsy = false
		if c.woken != nil {
			c.readFailed(c.woken)
			return
		}
	} else {
		c.waiting, c.began, c.verb = waitCommand, time.Time{}, ""
	}
	limit := maxCommandLine
	if c.login != nil && c.state == stateReady && c.conn.Identity() == nil {
		limit = maxAuthLine
	}
	c.brief = c.mayRest
	line, err := c.r.ReadLine(limit)
	c.brief = false
	switch {
	case err == errDrowsy:
		c.rest()
	case err != nil:
		c.readFailed(err)
	default:
		c.command(string(line))
	}
}

// errDrowsy: nothing has come for as long as a session stays awake.
var errDrowsy = errors.New("smtp: nothing to do")

// rest prepares for a longer wait.
func (c *session) rest() {
	if err := c.arm(time.Now()); err != nil {
		c.readFailed(err)
		return
	}
	c.r.Rest()
	c.drowsy = true
}

// readFailed ends the session with the reply that fits, or skips a long line.
func (c *session) readFailed(err error) {
	switch {
	case errors.Is(err, wire.ErrLineTooLong):
		c.tooLong(err)
	case errors.Is(err, wire.ErrBareLF), errors.Is(err, wire.ErrBareCR):
		// What follows may be meant to be read differently by someone else.
		c.linger = true
		c.bye(Reply{500, EnhancedCode{5, 5, 2}, "Lines must end with CRLF, found a bare CR or LF (RFC 5321 section 2.3.8)"}, err)
	case errors.Is(err, wire.ErrBudget):
		c.linger = true
		c.bye(Reply{421, EnhancedCode{4, 3, 1}, c.hostname + " Out of memory, try again later"}, err)
	case errors.Is(err, os.ErrDeadlineExceeded):
		c.timedOut()
	default:
		c.over, c.why = true, err // the client is gone
	}
}

// tooLong skips a line that is too long, or ends the session if it does not
// end.
func (c *session) tooLong(err error) {
	r := Reply{500, EnhancedCode{5, 5, 2}, "Line too long"}
	var verb [5]byte
	if n, _ := io.ReadFull(c.r, verb[:]); n == len(verb) && strings.EqualFold(string(verb[:]), "AUTH ") {
		r = tooLongAuth // RFC 4954 §4
	}
	if c.r.SkipLine(maxSkip) != nil {
		c.linger = true
		c.bye(r, err)
		return
	}
	c.refuse(r.Code, r.Enhanced, r.Text)
}

func (c *session) timedOut() {
	if c.nc.Closing() {
		c.shutDown()
		return
	}
	c.bye(Reply{421, EnhancedCode{4, 4, 2}, c.hostname + " Timeout, closing connection"}, os.ErrDeadlineExceeded)
}

// command carries out one command line.
func (c *session) command(line string) {
	verb, args, _ := strings.Cut(line, " ")
	verb = strings.ToUpper(verb)
	c.traceCommand(verb, args)
	cmd, known := commands[verb]
	switch {
	case c.state == stateRefused && verb != "QUIT":
		c.refuse(503, EnhancedCode{5, 5, 1}, "No service here, say QUIT")
	case len(line)+2 > maxCommandLine && verb != "AUTH":
		c.refuse(500, EnhancedCode{5, 5, 2}, "Line too long")
	case !known && isHTTP(verb):
		c.violation(554, "This is a mail server")
	case !known && c.extended(verb, args):
	case !known || (c.srv.LMTP && cmd.not&notLMTP != 0) || (!c.srv.LMTP && cmd.not&notSMTP != 0):
		c.refuse(500, EnhancedCode{5, 5, 1}, "Command not recognized")
	case cmd.noArgs && strings.Trim(args, " ") != "":
		c.refuse(501, EnhancedCode{5, 5, 4}, "No arguments allowed")
	case cmd.states&c.state == 0:
		c.refuseState(verb)
	default:
		if cmd.idle && c.idled() {
			return
		}
		cmd.run(c, args)
	}
}

// traceCommand notes a command and tells the Trace of it.
func (c *session) traceCommand(verb, args string) {
	c.verb = verb
	if c.trace.Command == nil && c.trace.Reply == nil {
		return
	}
	c.verb, args = c.redact(verb, args)
	if c.trace.Command != nil {
		c.trace.Command(c.conn.Peer(), c.verb, args)
	}
}

// refuseState says why a command is out of order.
func (c *session) refuseState(verb string) {
	text := "Bad sequence of commands"
	switch {
	case c.state == stateStart:
		text = "Say EHLO first"
		if c.srv.LMTP {
			text = "Say LHLO first"
		}
	case verb == "MAIL":
		text = "A transaction is under way"
	case verb == "RCPT" || verb == "DATA":
		text = "Say MAIL first"
	}
	c.refuse(503, EnhancedCode{5, 5, 1}, text)
}

// abuse ends a session that has used up one of its allowances.
func (c *session) abuse(text string) {
	c.linger = true
	c.bye(Reply{421, EnhancedCode{4, 7, 0}, c.hostname + " " + text}, ErrAbuse)
}

// idled counts a command that gets nothing done and reports whether that was
// one too many.
func (c *session) idled() bool {
	if c.noops++; c.noops > c.maxNoops {
		c.abuse("Too many commands without a message")
		return true
	}
	return false
}

// putOff answers a command for which there is no room now, and counts it: who
// goes on gets nothing done.
func (c *session) putOff(code int, e EnhancedCode, text string) {
	if !c.idled() {
		c.reply(code, e, text)
	}
}

// refuse answers a command that is the client's mistake.
func (c *session) refuse(code int, e EnhancedCode, text string) {
	if c.bad++; c.bad > c.maxBad || c.bad > stressBadCommands && c.stressed() || !c.ledger.spend(c.from, countBad, 1) {
		c.abuse("Too many bad commands")
		return
	}
	c.tarpit()
	c.reply(code, e, text)
}

func (c *session) refuseError(e *Error) { c.refuse(e.Code, e.Enhanced, e.Text) }

// violation answers what no mail client does and ends the session.
func (c *session) violation(code int, text string) {
	c.linger = true
	c.bye(Reply{code, EnhancedCode{5, 5, 1}, text}, ErrViolation)
}

// bye sends a last reply.
func (c *session) bye(r Reply, why error) {
	c.over, c.why = true, why
	c.send(r)
}

func (c *session) reply(code int, e EnhancedCode, text string) { c.send(Reply{code, e, text}) }

func (c *session) send(r Reply) {
	if c.trace.Reply != nil {
		c.trace.Reply(c.conn.Peer(), c.verb, r)
	}
	c.out.reply(r, c.utf8)
}

// sendError sends a Handler's refusal; 421 ends the session (RFC 5321 §3.8).
func (c *session) sendError(e *Error) {
	c.send(Reply(*e))
	if e.Code == 421 {
		c.over, c.why = true, ErrHandlerRefused
	}
}

// asError is the reply for a Handler's error. What is no *Error is logged.
func (c *session) asError(err error) *Error {
	var e *Error
	if !errors.As(err, &e) {
		level := slog.LevelError
		if c.nc.Gone() && errors.Is(err, context.Canceled) {
			level = slog.LevelDebug
		}
		c.log.LogAttrs(c.ctx, level, "handler failed",
			slog.String("verb", c.verb), slog.Any("peer", c.conn.Peer()), slog.Any("err", err))
	}
	r := Reply(*AsError(err)).sound()
	if r.Code/100 == 2 {
		r = Reply(*AsError(nil)) // an error is no success
	}
	return (*Error)(&r)
}

// reset ends the transaction, if there is one.
func (c *session) reset() {
	if c.state&stateTransaction != 0 {
		c.handler.Reset()
		c.leaving = c.nc.Closing()
		c.enter(stateReady)
	}
	c.utf8, c.binary, c.rcpts = false, false, 0
	c.discharge()
}

// Read implements io.Reader for the wire.Reader: replies go out before the
// session waits, and every wait is bounded.
func (c *session) Read(p []byte) (int, error) {
	if err := c.flush(); err != nil {
		return 0, err
	}
	now := time.Now()
	if c.began.IsZero() {
		c.began = now
	}
	if err := c.arm(now); err != nil {
		return 0, err
	}
	n, err := c.nc.Read(p)
	switch {
	case c.waiting == waitBody:
		c.waited += time.Since(now)
		c.bodyBytes += int64(n)
	case n == 0 && c.short && errors.Is(err, os.ErrDeadlineExceeded):
		err = errDrowsy
	}
	return n, err
}

func (c *session) flush() error {
	if len(c.out.buf) == 0 {
		return c.out.err
	}
	_ = c.nc.WriteTimeout(c.idle)
	return c.out.flush()
}

// arm sets the deadline for one read.
func (c *session) arm(now time.Time) error {
	d := c.patience
	if c.waiting == waitBody {
		d = c.dataTimeout
		if c.waited > dataGrace && c.dataRate > 0 && c.bodyBytes < c.dataRate*int64(c.waited/time.Second) {
			return os.ErrDeadlineExceeded
		}
		if c.dataMax > 0 {
			left := c.dataMax - c.waited
			if left <= 0 {
				return os.ErrDeadlineExceeded
			}
			if d == 0 || left < d {
				d = left
			}
		}
		return c.nc.Busy(d)
	}
	end := c.until
	d = c.shortened(d)
	if d > 0 && (end.IsZero() || c.began.Add(d).Before(end)) {
		end = c.began.Add(d)
	}
	d = 0
	if !end.IsZero() {
		if d = end.Sub(now); d <= 0 {
			return os.ErrDeadlineExceeded
		}
	}
	if c.short = c.brief && (d == 0 || d > awake); c.short {
		d = awake
	}
	if c.waiting == waitAnswer || c.state&stateTransaction != 0 {
		return c.nc.Busy(d) // a shutdown waits for it
	}
	return c.nc.Idle(d)
}

// identity is who has logged in.
func (c *session) identity() *auth.Identity { return c.conn.Identity() }
