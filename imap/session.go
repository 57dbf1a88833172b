package imap

import (
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/internal/inflate"
	"github.com/posta-mail/posta/internal/netserve"
	lines "github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/store"
)

// state is the state of a session (RFC 9051 §3).
type state uint8

const (
	stateGuest    state = 1 << iota // not authenticated
	stateUser                       // authenticated
	stateSelected                   //
	stateLogout                     //

	stateAny   = stateGuest | stateUser | stateSelected
	stateKnown = stateUser | stateSelected
)

// session is one connection. All of it belongs to the connection's goroutine
// and to the one that works for it meanwhile.
type session struct {
	srv  *Server
	conn *netserve.Conn
	ctx  context.Context
	in   *lines.Reader
	out  output
	zip  *compression // nil: not compressed

	wait    wait
	watches watches
	notify  *notify // nil: NOTIFY has not been used

	state    state
	login    time.Time // when the login must have happened; zero: no limit
	id       *auth.Identity
	acc      store.Account
	sel      *view            // the selected mailbox, nil without one
	saved    savedResult      // "$"
	contexts []*searchContext // searches whose results are kept up to date
	guard    store.Guard      // what the user may do with the accounts of others

	// What has been enabled, for the rest of the connection.
	rev2       bool // IMAP4rev2
	condStor   bool // CONDSTORE (RFC 7162 §3.1)
	qresync    bool // QRESYNC (RFC 7162 §3.2.3)
	utf8Accept bool // UTF8=ACCEPT (RFC 9755 §3)
	uidOnly    bool // UIDONLY (RFC 9586 §3)

	filings filings // APPENDs to be answered

	tag      []byte // of the command at hand
	filters  int    // that its search has used
	unsteady bool   // it comes to match others, by "*" or time
	began    time.Time
	cmd      []byte // a command with literals, assembled
	lent     int    // octets of the budget that cmd holds
	quiet    bool   // nothing is told when the command at hand ends
	keep     bool   // EXPUNGE is not told then
	idling   bool   // in IDLE
	badCount int
	failures int // failed logins
}

// handle talks to one connection. What its goroutine does needs little stack;
// work does all else.
func (srv *Server) handle(ctx context.Context, c *netserve.Conn) {
	s := &session{srv: srv, conn: c, ctx: ctx}
	if t := srv.Trace; t != nil && t.Disconnected != nil {
		defer func() { t.Disconnected(auth.Peer(netserve.PeerOf[*auth.Identity](c))) }()
	}
	defer s.end()
	for s.state != stateLogout {
		netserve.Apart(s.work)
		if s.wait.resting {
			s.wait.ended = c.Await()
		}
	}
}

// work goes on until the session ends or has nothing to do for a while: its
// goroutine, with the stack that commands need, goes then, and so do its buffers.
func (s *session) work() {
	if s.state == 0 {
		s.begin()
	}
	for s.state != stateLogout && (!s.settled() || s.out.err == nil) {
		if s.step(); s.wait.resting {
			return
		}
	}
	s.settle()
	_ = s.out.flush()
	s.enter(stateLogout, nil)
}

// begin is the way to the first command.
func (s *session) begin() {
	s.state = stateGuest
	s.out = output{conn: s.conn, timeout: s.srv.lim.write}
	s.in = lines.NewReader(source{s}, s.srv.budget)
	s.wait.able = s.conn.CanAwait()
	if s.srv.lim.login > 0 {
		s.login = time.Now().Add(s.srv.lim.login)
	}
	if t := s.srv.Trace; t != nil && t.Connected != nil {
		t.Connected(s.peer())
	}
	s.out.put("* OK [CAPABILITY ")
	s.out.b = s.appendCapabilities(s.out.b)
	s.out.put("] Posta ready\r\n")
}

// end releases what the session holds.
func (s *session) end() {
	s.settle()
	s.enter(stateLogout, nil)
	s.releaseCommand()
	if s.in != nil {
		s.in.Release()
	}
}

// enter is the only place where the state changes.
func (s *session) enter(st state, sel *view) {
	if s.acc != nil && st&stateKnown == 0 {
		s.srv.sharing.leave(s.acc.Name())
	}
	if sel != s.sel {
		_ = s.save(nil) // RFC 9051 §6.4.4.1: "$" is reset by SELECT
		s.dropContexts(func(*searchContext) bool { return true })
	}
	s.state, s.sel = st, sel
	if st&stateKnown == 0 {
		s.notify, s.idling = nil, false
		s.acc, s.id, s.guard = nil, nil, store.Guard{}
	}
	s.rewatch()
	if st == stateGuest {
		s.conn.SetIdentity(nil)
	}
}

func (s *session) accountName() string {
	if s.acc == nil {
		return ""
	}
	return s.acc.Name()
}

// source is what the reader reads from: responses are flushed whenever it would
// have to wait for the client.
type source struct{ s *session }

func (r source) Read(p []byte) (int, error) {
	if r.s.settled() {
		if err := r.s.out.flush(); err != nil {
			return 0, err
		}
	}
	if z := r.s.zip; z != nil {
		return z.Read(p)
	}
	return r.s.conn.Read(p)
}

// bye ends the session with an untagged BYE (RFC 9051 §7.1.5).
func (s *session) bye(code, text string) reply {
	s.settle()
	s.out.begin()
	s.out.b = reply{"BYE", code, text}.append(s.out.b, []byte("*"))
	s.enter(stateLogout, nil)
	return gone
}

// untagged appends an untagged status response.
func (s *session) untagged(r reply) {
	s.out.begin()
	s.out.b = r.append(s.out.b, []byte("*"))
}

// readFailed ends the session after a failure to read.
func (s *session) readFailed(err error) {
	s.settle()
	var ne net.Error
	switch {
	case errors.As(err, &ne) && ne.Timeout() && s.conn.Closing():
		s.bye("UNAVAILABLE", "Shutting down")
	case errors.As(err, &ne) && ne.Timeout() && s.state == stateGuest:
		s.bye("", "Login took too long")
	case errors.As(err, &ne) && ne.Timeout():
		s.bye("", "Idle for too long") // RFC 9051 §5.4
	case errors.Is(err, lines.ErrLineTooLong):
		s.bye("", "Command too long")
	case errors.Is(err, lines.ErrBareLF), errors.Is(err, lines.ErrBareCR):
		s.bye("", "Lines must end with CRLF")
	case errors.Is(err, lines.ErrBudget):
		s.bye("UNAVAILABLE", "Too much to do, try again later")
	case errors.Is(err, errBomb), errors.Is(err, inflate.ErrCorrupt):
		s.bye("", "Compressed data is not acceptable")
	case errors.Is(err, errTooMuch):
		s.bye("TOOBIG", "Too large")
	default:
		if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			s.srv.log.Debug("connection lost", "server", "imap", "peer", s.peer(), "err", err)
		}
		s.enter(stateLogout, nil)
	}
}

// step reads and executes one command, unless none comes for a while.
func (s *session) step() {
	if s.conn.Closing() {
		s.wait.resting = false
		s.bye("UNAVAILABLE", "Shutting down")
		return
	}
	line, err := s.next()
	switch {
	case err == errNothing:
		return
	case err != nil:
		s.readFailed(err)
		return
	case s.idling:
		s.endIdle(line)
		return
	}
	s.began = time.Now()
	p := wire.NewParser(line, s.srv.lim.parse)
	s.tag = append(s.tag[:0], p.Tag()...)
	p.Space()
	name := p.Command()
	if p.Err() != nil {
		if s.state == stateGuest && isHTTP(line) {
			s.notHTTP()
			return
		}
		s.unreadable(line)
		s.traceCommand("", "BAD", s.began)
		return
	}
	r := s.execute(name, line)
	if _, known := commands[name]; !known {
		name = "" // a client out of step may have sent anything, a password too
	}
	switch r {
	case gone:
		s.traceCommand(name, "", s.began)
	case pending:
	default:
		s.finish(name, r)
	}
}

// finish answers a command.
func (s *session) finish(name string, r reply) {
	s.settle()
	s.out.begin()
	s.out.b = r.append(s.out.b, s.tag)
	s.traceCommand(name, r.status, s.began)
	s.count(r)
}

// unreadable answers a line without tag or command.
func (s *session) unreadable(line []byte) {
	if err := s.discard(line); err != nil {
		s.readFailed(err)
		return
	}
	s.settle()
	if len(s.tag) == 0 {
		s.tag = append(s.tag, '*')
	}
	r := bad("Command expected")
	s.out.begin()
	s.out.b = r.append(s.out.b, s.tag)
	s.count(r)
}

// count ends sessions that make too many mistakes, after login in a row.
func (s *session) count(r reply) {
	switch {
	case r.status == "BAD":
		s.badCount++
	case r.status == "OK" && s.state != stateGuest:
		s.badCount = 0
	}
	switch {
	case s.state == stateLogout:
	case s.badCount >= s.srv.lim.bad, s.state == stateGuest && s.badCount >= guestBad:
		s.bye("", "Too many bad commands")
	case s.failures >= s.srv.lim.failures:
		s.bye("", "Too many failed logins")
	}
}

// patience is how long to wait for a command.
func (s *session) patience() time.Duration {
	if s.state != stateGuest {
		return s.srv.lim.idle
	}
	if s.login.IsZero() {
		return 0
	}
	return max(time.Until(s.login), time.Nanosecond)
}

// execute runs one command whose first line is given.
func (s *session) execute(name string, line []byte) reply {
	c, known := commands[name]
	if c.traits&(streams|ahead) == 0 {
		s.settle()
	}
	var refusal reply
	switch {
	case !known && s.state == stateGuest && isHTTP(line):
		return s.notHTTP()
	case !known, c.needs != "" && !s.can(c.needs):
		refusal = bad("Unknown command")
	case c.states&s.state == 0:
		refusal = bad(wrongState(s.state, c.states))
	case s.uidOnly && c.traits&numbers != 0: // RFC 9586 §3.1
		refusal = reply{"BAD", "UIDREQUIRED", "Messages are named by UID only"}
	}
	if refusal != (reply{}) {
		if err := s.discard(line); err != nil {
			s.readFailed(err)
			return gone
		}
		return refusal
	}
	p := s.parser(line)
	if c.traits&streams == 0 {
		var fault reply
		var err error
		if p, fault, err = s.assemble(line); err != nil {
			s.readFailed(err)
			return gone
		}
		if fault != (reply{}) {
			return fault
		}
	}
	if c.traits&refresh != 0 && !s.sync(false) {
		return gone
	}
	r := c.run(s, p)
	if r == pending {
		return r
	}
	s.settle()
	quiet, keep := s.quiet, s.keep
	s.quiet, s.keep = false, false
	if r.status == "BAD" || s.state == stateLogout {
		return r
	}
	if !quiet && !s.sync(c.traits&removes != 0 && !keep) {
		return gone
	}
	s.tellHighest()
	return r
}

func wrongState(now, allowed state) string {
	switch {
	case now == stateGuest:
		return "Log in first"
	case allowed == stateGuest:
		return "Already logged in"
	}
	return "Select a mailbox first"
}

// notHTTP ends the session: nothing of a request that a browser was tricked into
// sending may be taken for commands.
func (s *session) notHTTP() reply { return s.bye("", "This is an IMAP server") }

// isHTTP recognises the first line of an HTTP request.
func isHTTP(line []byte) bool {
	n := len(line)
	return n > 9 && (string(line[n-9:n-1]) == " HTTP/1." || string(line[n-7:]) == " HTTP/2" || string(line[n-9:]) == " HTTP/2.0")
}

// peer describes the connection as it is now.
func (s *session) peer() auth.Peer { return auth.Peer(netserve.PeerOf[*auth.Identity](s.conn)) }
