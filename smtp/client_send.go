package smtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/internal/wire"
)

// SendResult is what became of a message.
type SendResult struct {
	// Reply is the server's answer to the message; zero if it came to none, and
	// in LMTP.
	Reply Reply
	// Recipients has one entry for each recipient of the envelope, in order.
	// Nil means that the server took responsibility for it; anything else is a
	// *CommandError.
	Recipients []error
	// Conn tells about the connection, if a Transport has sent the message.
	Conn ConnInfo
}

// Send makes one transaction: sender, recipients, message. Of env it takes
// From, To and MailOptions; a Size of 0 is filled in if body knows its length
// (Len or Size method). A nil body is an empty one. MailOptions.Auth is passed on after Login only. Line
// ends of body become CRLF, so that no bare CR or LF is ever sent. With
// PIPELINING, commands go out together (RFC 2920).
//
// A recipient may fail alone; see SendResult, which is never nil. err is nil
// if at least one recipient was accepted. Otherwise it is a *CommandError:
// what all failed of, or the first recipient's error. After an error Alive tells
// whether the Client can be used for another message.
func (c *Client) Send(ctx context.Context, env *Envelope, body io.Reader) (*SendResult, error) {
	defer c.begin(ctx)()
	if body == nil {
		body = strings.NewReader("")
	}
	t := &transaction{c: c, env: env, res: &SendResult{Recipients: make([]error, len(env.To))}}
	err := t.run(body)
	ok := false
	for i, e := range t.res.Recipients {
		if e == nil {
			t.res.Recipients[i] = err
		}
		ok = ok || t.res.Recipients[i] == nil
	}
	switch {
	case ok:
		return t.res, nil
	case err == nil && len(env.To) > 0:
		err = t.res.Recipients[0]
	case err == nil:
		err = &CommandError{"RCPT", notSent(554, EnhancedCode{5, 5, 1}, "no recipients")}
	}
	return t.res, err
}

// pipelineWindow is how many replies may be outstanding: few enough for them
// to fit the buffers of the network while we are still writing (RFC 2920
// §3.1).
const pipelineWindow = 100

// transaction is one Send.
type transaction struct {
	c        *Client
	env      *Envelope
	res      *SendResult
	accepted []int // recipients, by index
	mailErr  error
	dataErr  error // nil: 354 was read
	asked    bool  // DATA was sent
}

// step is a command whose reply is outstanding.
type step struct {
	verb string
	rcpt int
}

func (t *transaction) run(body io.Reader) error {
	c := t.c
	if c.open {
		if err := c.simple("RSET"); err != nil {
			return err
		}
	}
	mail, err := t.mailArgs(body)
	if err != nil {
		return &CommandError{"MAIL", err}
	}
	if err := t.envelope(mail); err != nil {
		return err
	}
	switch {
	case t.asked && t.dataErr == nil && len(t.accepted) == 0:
		return t.sendNothing()
	case t.mailErr != nil && t.asked && t.dataErr == nil:
		// Recipients without a sender: neither a message nor a command comes next.
		_ = t.c.fail("DATA", fmt.Errorf("%w: DATA accepted without a sender", ErrProtocol))
		return t.mailErr
	case t.mailErr != nil:
		return t.mailErr
	case len(t.accepted) == 0:
		return nil // each has its own error
	case t.dataErr != nil:
		return t.dataErr
	}
	return t.message(body)
}

// envelope sends MAIL, RCPT and DATA and sorts the replies.
func (t *transaction) envelope(mail string) error {
	_, pipelining := t.c.ext["PIPELINING"]
	window := 1
	if pipelining {
		window = pipelineWindow
	}
	todo := t.steps()
	for len(todo) > 0 {
		group := todo[:min(window, len(todo))]
		todo = todo[len(group):]
		if last := group[len(group)-1]; last.verb == "DATA" && len(group) == 1 && len(t.accepted) == 0 {
			return nil // everybody has been refused before
		}
		for _, s := range group {
			if err := t.writeStep(s, mail); err != nil {
				return err
			}
		}
		if err := t.c.send(group[0].verb); err != nil {
			return err
		}
		for _, s := range group {
			if err := t.readStep(s); err != nil {
				return err
			}
		}
		if t.mailErr != nil {
			return nil
		}
	}
	return nil
}

// steps are the commands, without recipients that can't be sent.
func (t *transaction) steps() []step {
	todo := make([]step, 1, len(t.env.To)+2)
	todo[0] = step{verb: "MAIL"}
	for i, to := range t.env.To {
		switch err := to.check(); {
		case err != nil || to.IsNull():
			t.res.Recipients[i] = &CommandError{"RCPT", notSent(501, EnhancedCode{5, 1, 3}, "bad recipient address")}
		case to.NeedsSMTPUTF8() && !t.env.SMTPUTF8:
			t.res.Recipients[i] = &CommandError{"RCPT", notSent(553, EnhancedCode{5, 6, 7}, "address needs SMTPUTF8")}
		default:
			todo = append(todo, step{"RCPT", i})
		}
	}
	if len(todo) == 1 {
		return nil
	}
	return append(todo, step{verb: "DATA"})
}

func (t *transaction) writeStep(s step, mail string) error {
	args := ""
	switch s.verb {
	case "MAIL":
		args = mail
		t.c.open = true
	case "RCPT":
		args = "TO:" + t.env.To[s.rcpt].String()
	case "DATA":
		t.asked = true
	}
	return t.c.write(s.verb, args)
}

// readStep reads one reply. The error ends the transaction; a refusal is noted
// where it belongs.
func (t *transaction) readStep(s step) error {
	d := t.c.cfg.Timeouts.Command
	if s.verb == "DATA" {
		d = t.c.cfg.Timeouts.Data
	}
	r, err := t.c.readReply(s.verb, d)
	if err != nil {
		return err
	}
	good := r.Code/100 == 2
	if s.verb == "DATA" {
		good = r.Code == 354
	}
	if !good {
		if err = t.c.unexpected(s.verb, r); !t.c.Alive() {
			return err
		}
	}
	switch s.verb {
	case "MAIL":
		t.mailErr = err
	case "DATA":
		t.dataErr = err
	case "RCPT":
		if err != nil && t.mailErr != nil {
			break // what RCPT says to that (503) is not why
		}
		if err != nil {
			t.res.Recipients[s.rcpt] = err
		} else {
			t.accepted = append(t.accepted, s.rcpt)
		}
	}
	return nil
}

// sendNothing ends a DATA that was accepted although nobody is to get it
// (RFC 2920 §3.1).
func (t *transaction) sendNothing() error {
	if t.c.cfg.LMTP { // how many replies would there be?
		return t.c.fail("DATA", fmt.Errorf("%w: DATA accepted without recipients", ErrProtocol))
	}
	_, err := t.c.command(".", "")
	t.c.open = false
	if err != nil {
		return err
	}
	return t.mailErr
}

// message sends the message and reads the answer.
func (t *transaction) message(body io.Reader) error {
	c := t.c
	src := &bodySource{r: body}
	dot := wire.NewDotWriter(c.w)
	c.conn.within(c.cfg.Timeouts.Block)
	if c.copyBuf == nil {
		c.copyBuf = make([]byte, clientBuffer)
	}
	_, err := io.CopyBuffer(blockWriter{c, dot}, src, c.copyBuf)
	if src.err != nil {
		// The dot would make half a message whole.
		err = c.fail("message", fmt.Errorf("reading the message: %w", src.err))
		_ = c.conn.Close()
		return err
	}
	if err == nil {
		c.conn.within(c.cfg.Timeouts.Block)
		err = dot.Close()
	}
	if err == nil {
		err = c.w.Flush()
	}
	if err != nil {
		return c.lastWords("message", err)
	}
	c.open = false
	if c.cfg.LMTP {
		return t.lmtpReplies()
	}
	r, err := c.readReply("message", c.cfg.Timeouts.Final)
	if err != nil {
		return unknownOutcome(err)
	}
	if r.Code/100 != 2 {
		return c.unexpected("message", r)
	}
	t.res.Reply = r
	return nil
}

// lmtpReplies reads one reply for each accepted recipient (RFC 2033 §4.2).
func (t *transaction) lmtpReplies() error {
	for n, i := range t.accepted {
		r, err := t.c.readReply("message", t.c.cfg.Timeouts.Final)
		if err == nil && r.Code/100 != 2 {
			err = t.c.unexpected("message", r)
		} else if err != nil {
			err = unknownOutcome(err)
		}
		t.res.Recipients[i] = err
		if !t.c.Alive() {
			for _, j := range t.accepted[n+1:] {
				t.res.Recipients[j] = err
			}
			break
		}
	}
	return nil
}

// unknownOutcome marks the loss of the reply to a message.
func unknownOutcome(err error) error {
	var ce *CommandError
	if errors.As(err, &ce) {
		ce.Err = fmt.Errorf("%w: %w", ErrOutcomeUnknown, ce.Err)
	}
	return err
}

// bodySource tells errors of the message from those of the connection.
type bodySource struct {
	r   io.Reader
	err error
}

func (b *bodySource) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if err != nil && err != io.EOF {
		b.err = err
	}
	return n, err
}

// blockWriter gives every block its time (RFC 5321 §4.5.3.2.5).
type blockWriter struct {
	c   *Client
	dot *wire.DotWriter
}

func (w blockWriter) Write(p []byte) (int, error) {
	w.c.conn.within(w.c.cfg.Timeouts.Block)
	return w.dot.Write(p)
}

// mailArgs are the arguments of MAIL; an error says what the server lacks.
func (t *transaction) mailArgs(body io.Reader) (string, error) {
	c, env := t.c, t.env
	if err := env.From.check(); err != nil {
		return "", notSent(501, EnhancedCode{5, 1, 7}, "bad sender address")
	}
	args := "FROM:" + env.From.String()
	size := env.Size
	if size <= 0 {
		size = bodySize(body)
	}
	if limit, ok := c.ext["SIZE"]; ok {
		if n, err := strconv.ParseInt(limit, 10, 64); err == nil && n > 0 && size > n {
			return "", notSent(552, EnhancedCode{5, 3, 4}, "message is bigger than the server takes ("+limit+")")
		}
		if size > 0 {
			args += " SIZE=" + strconv.FormatInt(size, 10)
		}
	}
	if _, ok := c.ext["8BITMIME"]; ok && env.Body != "" {
		args += " BODY=" + string(env.Body)
	} else if !ok && env.Body == Body8BitMIME && !c.cfg.Allow8Bit {
		return "", notSent(554, EnhancedCode{5, 6, 3}, "server does not take 8-bit messages")
	}
	if env.From.NeedsSMTPUTF8() && !env.SMTPUTF8 {
		return "", notSent(553, EnhancedCode{5, 6, 7}, "address needs SMTPUTF8")
	}
	if env.SMTPUTF8 {
		if _, ok := c.ext["SMTPUTF8"]; !ok { // RFC 6531 §3.5
			return "", notSent(553, EnhancedCode{5, 6, 7}, "server does not take internationalised mail")
		}
		args += " SMTPUTF8"
	}
	if _, ok := c.ext["AUTH"]; ok && env.Auth != nil && c.loggedIn {
		mailbox := *env.Auth
		if mailbox == "" {
			mailbox = "<>"
		}
		args += " AUTH=" + encodeXtext(mailbox)
	}
	if !env.Body.valid() || strings.ContainsAny(args, "\r\n\x00") {
		return "", notSent(501, EnhancedCode{5, 5, 2}, "malformed value")
	}
	return args, nil
}

func (b BodyType) valid() bool { return b == "" || b == Body7Bit || b == Body8BitMIME }

// bodySize is the length of a body that knows it; 0 otherwise.
func bodySize(body io.Reader) int64 {
	switch b := body.(type) {
	case interface{ Len() int }:
		return int64(b.Len())
	case interface{ Size() int64 }:
		return b.Size()
	}
	return 0
}
