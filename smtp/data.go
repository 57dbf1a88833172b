package smtp

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"

	"github.com/posta-mail/posta/internal/wire"
)

// data receives the message (RFC 5321 §4.1.1.4).
func (c *session) data(string) {
	if c.r.Buffered() > 0 {
		// DATA ends a group (RFC 2920 §3.1). Whoever sends on without waiting
		// for 354 has something else in mind.
		c.violation(503, "Wait for the reply to DATA")
		return
	}
	if c.rcpts == 0 {
		code := 554 // RFC 2920 §3.2
		if c.srv.LMTP {
			code = 503 // RFC 2033 §4.2
		}
		c.refuse(code, EnhancedCode{5, 5, 1}, "No valid recipients")
		return
	}
	if c.binary { // RFC 3030 §3
		c.refuse(503, EnhancedCode{5, 5, 1}, "A binary message comes by BDAT")
		return
	}
	c.reply(354, EnhancedCode{}, "End with <CRLF>.<CRLF>")
	c.waiting, c.began, c.waited, c.bodyBytes = waitBody, time.Now(), 0, 0
	began := c.transferBegins()
	body := &bodyReader{dot: *c.r.Dot(c.maxMessage, c.maxLine)}
	c.nc.BeginCall()
	result, err := c.handler.Data(c.ctx, body)
	c.nc.EndCall()
	failed := c.finishBody(body)
	if failed != nil {
		c.transferred(Transfer{Octets: body.n}, began, failed.err, err)
	} else {
		c.transferred(Transfer{Octets: body.n, Result: result}, began, nil, err)
	}
	switch {
	case failed != nil && failed.reply.Code == 0: // the client is gone
		c.over, c.why = true, failed.err
	case failed != nil:
		if err == nil {
			c.log.Debug("handler accepted a message that was not received", "peer", c.conn.Peer(), "err", failed.err)
		}
		c.bodyFailed(failed)
	case err != nil:
		c.answer(Reply(*c.asError(err)))
	default:
		c.accepted(result)
	}
	c.reset()
}

// bodyReader is what a Session reads a message from. It locks, so that one who
// reads on in another goroutine cannot take what follows the message.
type bodyReader struct {
	mu     sync.Mutex
	dot    wire.DotReader
	n      int64 // octets read
	err    error // the first error but io.EOF
	closed bool
}

// errBodyClosed is for a Session that reads on after Data has returned.
var errBodyClosed = errors.New("smtp: read of message after Data has returned")

func (b *bodyReader) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errBodyClosed
	}
	n, err := b.dot.Read(p)
	b.n += int64(n)
	return n, b.failed(err)
}

// WriteTo implements io.WriterTo: io.Copy needs no buffer of its own.
func (b *bodyReader) WriteTo(w io.Writer) (int64, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, errBodyClosed
	}
	n, err := b.dot.WriteTo(w)
	b.n += n
	if err == b.dot.Err() { // not w's
		err = b.failed(err)
	}
	return n, err
}

// failed remembers an error of the message and makes it the reply for it.
func (b *bodyReader) failed(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	if b.err == nil {
		b.err = err
	}
	if f := bodyFailure(err); f.reply.Code != 0 {
		err = (*Error)(&f.reply)
	}
	return err
}

func (b *bodyReader) ended() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.dot.Ended()
}

// failedBody is why a message was not received.
type failedBody struct {
	err   error
	reply Reply // zero: the client is gone
	close bool  // the session ends after the reply
}

// bodyFailure is what a read error means.
func bodyFailure(err error) failedBody {
	f := failedBody{err: err}
	switch {
	case errors.Is(err, wire.ErrTooBig):
		f.reply = Reply{552, EnhancedCode{5, 3, 4}, "Message too big"}
	case errors.Is(err, wire.ErrLineTooLong):
		f.reply = Reply{554, EnhancedCode{5, 6, 0}, "Message has a line that is too long"}
	case errors.Is(err, wire.ErrBareLF), errors.Is(err, wire.ErrBareCR):
		f.reply = Reply{550, EnhancedCode{5, 5, 2}, "Message has a bare CR or LF (RFC 5321 section 2.3.8)"}
		f.close = true
	case errors.Is(err, os.ErrDeadlineExceeded):
		f.reply = Reply{421, EnhancedCode{4, 4, 2}, "Timeout while receiving the message"}
		f.close = true
	}
	return f
}

// finishBody reads what the Session has left, to CRLF.CRLF. It returns nil if
// all of the message has been received and was in order.
func (c *session) finishBody(b *bodyReader) *failedBody {
	if !b.ended() {
		_, _ = b.WriteTo(io.Discard)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	if b.err == nil {
		return nil
	}
	f := bodyFailure(b.err)
	if f.reply.Code != 0 && f.reply.Code != 421 {
		// Body octets must never be taken for commands.
		if err := b.dot.Drain(c.drainLimit()); err != nil {
			f.close = true
			if !errors.Is(err, wire.ErrTooBig) {
				if f = bodyFailure(err); f.reply.Code == 0 {
					f.err = err
				}
			}
		}
	}
	return &f
}

// drainLimit is how much of a refused message is read on to its end.
func (c *session) drainLimit() int64 {
	return min(max(c.maxMessage, 1<<20), 256<<20)
}

func (c *session) bodyFailed(f *failedBody) {
	c.answer(f.reply)
	if f.close {
		c.over, c.why = true, f.err
		c.linger = f.reply.Code != 421 // nobody sends any more
	}
}

// accepted answers a message that the Session has taken.
func (c *session) accepted(res Result) {
	c.noops = 0
	r := res.Reply.or(250, EnhancedCode{2, 0, 0}, "OK")
	if !c.srv.LMTP || len(res.Recipients) == 0 {
		c.answer(r)
		return
	}
	for i := range c.rcpts { // RFC 2033 §4.2: one for each, in order
		switch {
		case i >= len(res.Recipients):
			c.sendError(AsError(nil)) // nobody has taken responsibility
		case res.Recipients[i] != nil:
			c.sendError(c.asError(res.Recipients[i]))
		default:
			c.send(r)
		}
	}
}

// answer sends the reply to a message: in LMTP once for each recipient.
func (c *session) answer(r Reply) {
	n := 1
	if c.srv.LMTP {
		n = c.rcpts
	}
	for range n {
		c.send(r)
	}
	if r.Code == 421 && !c.over {
		c.over, c.why = true, ErrHandlerRefused
	}
}
