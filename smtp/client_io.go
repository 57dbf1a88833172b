package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Bounds of what a server may reply.
const (
	maxReplyLineIn = 4096 // RFC 5321 §4.5.3.1.5 says 512; many send more
	maxReplyLines  = 100
)

// ErrProtocol is wrapped by errors for replies that are malformed, too long,
// or not the ones asked for: client and server are out of step.
var ErrProtocol = errors.New("smtp: server broke the protocol")

// ErrOutcomeUnknown is wrapped by the error of a message whose last octet was
// sent but whose reply did not come: it may have been accepted. It is
// temporary; sending again may make a duplicate, not sending may lose the
// message (RFC 5321 §6.1).
var ErrOutcomeUnknown = errors.New("smtp: message sent, but no reply to it")

// ErrNotSent is wrapped by errors that the client itself has found before it
// asked the server.
var ErrNotSent = errors.New("smtp: not sent")

// CommandError is an error of a Client: what it was doing, and what happened.
// If the server refused, Err is an *Error.
type CommandError struct {
	// Command is the verb, or "connect", "greeting", or "message" for what
	// follows DATA.
	Command string
	Err     error
}

func (e *CommandError) Error() string {
	return "smtp: " + e.Command + ": " + strings.TrimPrefix(e.Err.Error(), "smtp: ")
}

func (e *CommandError) Unwrap() error { return e.Err }

// Temporary reports whether trying again later makes sense: after a 4yz reply
// or a failure of the connection; also after 552 to RCPT, which means too many
// recipients where it is not about the mailbox (RFC 5321 §4.5.3.1.10).
func (e *CommandError) Temporary() bool {
	var r *Error
	if !errors.As(e.Err, &r) {
		return true
	}
	if r.Code == 552 && e.Command == "RCPT" && !errors.Is(e.Err, ErrNotSent) {
		return r.Enhanced == EnhancedCode{} || r.Enhanced == EnhancedCode{5, 5, 3}
	}
	return r.Temporary()
}

// IsTemporary reports whether trying again later makes sense after an error of
// a Client: as CommandError.Temporary and Error.Temporary say, and true for
// anything else.
func IsTemporary(err error) bool {
	var t interface{ Temporary() bool }
	if errors.As(err, &t) {
		return t.Temporary()
	}
	return err != nil
}

// notSent is a refusal by the client itself.
func notSent(code int, e EnhancedCode, text string) error {
	return fmt.Errorf("%w: %w", ErrNotSent, &Error{code, e, text})
}

// deadlineConn bounds reads and writes by a time that a context can cut
// short from another goroutine.
type deadlineConn struct {
	net.Conn
	mu      sync.Mutex
	aborted bool
}

var longAgo = time.Unix(1, 0)

// within bounds reads and writes from now on; 0: no limit.
func (d *deadlineConn) within(t time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.aborted:
		_ = d.Conn.SetDeadline(longAgo)
	case t <= 0:
		_ = d.Conn.SetDeadline(time.Time{})
	default:
		_ = d.Conn.SetDeadline(time.Now().Add(t))
	}
}

func (d *deadlineConn) abort() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.aborted = true
	_ = d.Conn.SetDeadline(longAgo)
}

// replace continues on the TLS layer.
func (d *deadlineConn) replace(c net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.Conn = c
}

func (d *deadlineConn) Close() error {
	d.mu.Lock()
	c := d.Conn
	d.mu.Unlock()
	return c.Close()
}

// begin binds what follows to ctx, until the function returned is called.
func (c *Client) begin(ctx context.Context) (done func()) {
	c.ctx = ctx
	if err := ctx.Err(); err != nil && c.err == nil {
		c.err = err
	}
	stop := context.AfterFunc(ctx, c.conn.abort)
	return func() {
		if !stop() && c.err == nil {
			c.err = context.Cause(ctx) // the deadline has been spoilt
		}
	}
}

// fail notes that the connection is of no use any more.
func (c *Client) fail(command string, err error) error {
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if cerr := c.ctx.Err(); cerr != nil && !errors.Is(err, cerr) {
		err = fmt.Errorf("%w: %w", cerr, err)
	}
	if c.err == nil {
		c.err = err
	}
	return &CommandError{command, err}
}

// unexpected is the error for a reply that refuses or makes no sense.
func (c *Client) unexpected(command string, r Reply) error {
	if r.Code/100 != 4 && r.Code/100 != 5 {
		return c.fail(command, fmt.Errorf("%w: reply %d to %s", ErrProtocol, r.Code, command))
	}
	e := Error(r)
	if r.Code == 421 { // RFC 5321 §3.8: the server closes
		return c.fail(command, &e)
	}
	return &CommandError{command, &e}
}

// write puts a command into the buffer.
func (c *Client) write(verb, args string) error {
	if c.err != nil {
		return &CommandError{verb, c.err}
	}
	if strings.ContainsAny(args, "\r\n\x00") {
		return &CommandError{verb, notSent(501, EnhancedCode{5, 5, 2}, "control character in a value")}
	}
	c.traceCommand(verb, args)
	_, err := c.w.WriteString(verb)
	if args != "" {
		_ = c.w.WriteByte(' ')
		_, err = c.w.WriteString(args)
	}
	if err == nil {
		_, err = c.w.WriteString("\r\n")
	}
	if err != nil {
		return c.fail(verb, err)
	}
	return nil
}

// send lets the buffered commands out. Nothing may have come unasked for: it
// would be taken for the reply to what is sent now.
func (c *Client) send(command string) error {
	if c.r.Buffered() > 0 || inputWaits(c.conn.Conn) {
		r, err := c.readReply(command, time.Second)
		switch {
		case err != nil:
			return err
		case r.Code == 421:
			return c.unexpected(command, r)
		}
		return c.fail(command, fmt.Errorf("%w: reply %d that nothing asked for", ErrProtocol, r.Code))
	}
	c.conn.within(c.cfg.Timeouts.Command)
	if err := c.w.Flush(); err != nil {
		return c.lastWords(command, err)
	}
	return nil
}

// lastWords looks, after a failed write, for the reply of a server that has
// stopped reading. It is the better error.
func (c *Client) lastWords(command string, werr error) error {
	err := c.fail(command, werr)
	c.conn.within(5 * time.Second)
	if r, rerr := readReply(c.r.ReadLine); rerr == nil && (r.Code/100 == 4 || r.Code/100 == 5) {
		e := Error(r)
		return &CommandError{command, &e}
	}
	return err
}

// command sends one command and reads its reply.
func (c *Client) command(verb, args string) (Reply, error) {
	if err := c.write(verb, args); err != nil {
		return Reply{}, err
	}
	if err := c.send(verb); err != nil {
		return Reply{}, err
	}
	return c.readReply(verb, c.cfg.Timeouts.Command)
}

// readReply reads one reply within a time.
func (c *Client) readReply(command string, d time.Duration) (Reply, error) {
	if c.err != nil {
		return Reply{}, &CommandError{command, c.err}
	}
	c.conn.within(d)
	r, err := readReply(c.r.ReadLine)
	if err != nil {
		return Reply{}, c.fail(command, err)
	}
	c.traceReply(command, r)
	return r, nil
}

// readReply reads the lines of a reply (RFC 5321 §4.2.1).
func readReply(readLine func(int) ([]byte, error)) (Reply, error) {
	var r Reply
	var text strings.Builder
	for n := 0; ; n++ {
		line, err := readLine(maxReplyLineIn)
		if err != nil {
			return r, err
		}
		code, rest, more, ok := cutReply(line)
		switch {
		case !ok:
			return r, fmt.Errorf("%w: malformed reply line", ErrProtocol)
		case n > 0 && code != r.Code:
			return r, fmt.Errorf("%w: a reply with two codes", ErrProtocol)
		case n == maxReplyLines:
			return r, fmt.Errorf("%w: reply has too many lines", ErrProtocol)
		}
		r.Code = code
		e, rest := cutEnhanced(code, rest)
		if n == 0 {
			r.Enhanced = e
		} else {
			text.WriteByte('\n')
		}
		writeReplyText(&text, rest)
		if !more {
			r.Text = text.String()
			return r, nil
		}
	}
}

// cutReply takes a reply line apart.
func cutReply(line []byte) (code int, text []byte, more, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' {
		return 0, nil, false, false
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, nil, false, false
		}
		code = code*10 + int(c-'0')
	}
	if len(line) == 3 {
		return code, nil, false, true
	}
	switch line[3] {
	case ' ':
		return code, line[4:], false, true
	case '-':
		return code, line[4:], true, true
	}
	return 0, nil, false, false
}

// cutEnhanced takes the enhanced code off a reply's text, if there is one that
// fits the code (RFC 2034 §4).
func cutEnhanced(code int, text []byte) (EnhancedCode, []byte) {
	var e EnhancedCode
	i := 0
	for part := range e {
		start := i
		for i < len(text) && i-start < 3 && text[i] >= '0' && text[i] <= '9' {
			e[part] = e[part]*10 + int(text[i]-'0')
			i++
		}
		if i == start {
			return EnhancedCode{}, text
		}
		if part < 2 {
			if i == len(text) || text[i] != '.' {
				return EnhancedCode{}, text
			}
			i++
		}
	}
	if e[0] != code/100 || e[0] == 3 || (i < len(text) && text[i] != ' ') {
		return EnhancedCode{}, text
	}
	if i < len(text) {
		i++
	}
	return e, text[i:]
}

// writeReplyText keeps what may be shown and logged: text without controls.
func writeReplyText(b *strings.Builder, text []byte) {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		switch {
		case r == utf8.RuneError && n == 1:
			b.WriteByte('?')
		case isControl(r) || (0x80 <= r && r < 0xa0):
			b.WriteByte(' ')
		default:
			b.Write(text[:n])
		}
		text = text[n:]
	}
}
