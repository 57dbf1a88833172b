package smtp

import (
	"errors"
	"fmt"
	"io"

	"github.com/posta-mail/posta/internal/wire"
)

// message sends the message and reads the answer.
func (t *transaction) message(src *bodySource) error {
	c := t.c
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
	return t.answer()
}

// answer reads the reply to the message, or the replies.
func (t *transaction) answer() error {
	c := t.c
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
