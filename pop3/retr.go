package pop3

import (
	"errors"
	"io"
	"strconv"

	"github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/store"
)

// retr sends a message (RFC 1939 §5).
func (c *session) retr(args string) {
	if _, row, ok := c.message(args); ok {
		c.send(row, nil)
	}
}

// send streams a message, all of it if cut is nil. Whatever the store does,
// the client never takes a part of a message for the whole: an error of the
// first read is -ERR, a later one ends the connection before the final dot.
func (c *session) send(row store.Row, cut *topCut) {
	body, err := c.drop.mb.Open(c.ctx, row)
	if err != nil {
		c.storeFailed(err)
		return
	}
	defer body.Close()
	buf, done := c.bulk()
	defer done()
	off, size := int64(0), body.Size()
	b, err := readChunk(body, buf, off, size)
	if err != nil {
		c.storeFailed(err)
		return
	}
	c.ok(strconv.FormatInt(size, 10), " octets")
	w := wire.NewDotWriter(&c.out)
	for {
		off += int64(len(b))
		last := off >= size
		if cut != nil {
			n := cut.take(b)
			b, last = b[:n], last || cut.done
		}
		if _, err = w.Write(b); err != nil || last {
			break
		}
		if b, err = readChunk(body, buf, off, size); err != nil {
			c.log.Error("store failed within a message", "server", "pop3", "peer", c.peer(), "uid", row.UID, "err", err)
			break
		}
	}
	if err != nil {
		c.over, c.why = true, err
		return
	}
	_ = w.Close() // an error stays in c.out
}

// readChunk reads the next octets of a message: none only at its end.
func readChunk(body store.Body, buf []byte, off, size int64) ([]byte, error) {
	b := buf[:min(int64(len(buf)), size-off)]
	n, err := body.ReadAt(b, off)
	switch {
	case n == len(b):
		return b, nil
	case err == nil || errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF // shorter than it claims
	}
	return nil, err
}

// bulk lends large buffers for sending, or small ones if the budget is used
// up: one for reading, and one that is the output's until done.
func (c *session) bulk() (read []byte, done func()) {
	if !c.budget.Acquire(2 * bulkSize) {
		return make([]byte, outputSize), func() {}
	}
	b := bulks.Get().(*bulk)
	c.out.enlarge(b.out)
	return b.in, func() {
		c.out.reduce()
		bulks.Put(b)
		c.budget.Release(2 * bulkSize)
	}
}
