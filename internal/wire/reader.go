// Package wire is the one strict reader and writer for line protocols: only
// CRLF ends a line, every read has a limit, and body bytes are never taken
// for commands. SMTP, LMTP, IMAP, POP3 and ManageSieve all read through it.
package wire

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// Reasons why a line or a body is refused. After any of them the stream is out
// of step unless the comment says otherwise, and the session should end.
var (
	// ErrLineTooLong: no CRLF within the limit. SkipLine resynchronises.
	ErrLineTooLong = errors.New("wire: line too long")
	// ErrBareLF and ErrBareCR: a line feed without carriage return, or the
	// other way round (RFC 5321 §2.3.8). In a body, Drain resynchronises.
	ErrBareLF = errors.New("wire: bare LF")
	ErrBareCR = errors.New("wire: bare CR")
	// ErrTooBig: a body exceeds its limit. Drain resynchronises.
	ErrTooBig = errors.New("wire: too big")
	// ErrBudget: the memory shared by all connections is used up.
	ErrBudget = errors.New("wire: memory budget exhausted")
)

// baseSize is the size of a connection's buffer while nothing long is read.
const baseSize = 4096

// Reader reads lines and counted octets from a stream. Not safe for
// concurrent use.
type Reader struct {
	src    io.Reader
	budget *Budget
	buf    []byte  // of baseSize, or larger while a long line is read; nil: at rest
	r, w   int     // unread bytes are buf[r:w]
	lent   int     // octets of the budget that buf holds; 0: it is of baseSize
	pooled *[]byte // buf, if it is to go back to its pool
	err    error   // of src, to be returned when the buffer is empty
}

// NewReader returns a Reader on src. Lines longer than 4 KiB take their memory
// from budget; nil means no common bound.
func NewReader(src io.Reader, budget *Budget) *Reader {
	return &Reader{src: src, budget: budget}
}

// Reset continues on another stream, as after STARTTLS, and forgets whatever
// was buffered: bytes sent ahead of the handshake must never be executed
// (RFC 3207 §6, RFC 9051 §11.1, RFC 2595 §2.4).
func (r *Reader) Reset(src io.Reader) {
	r.Release()
	r.src, r.err = src, nil
}

// Release returns what the Reader holds of the budget. It is the last call.
func (r *Reader) Release() { r.r, r.w = 0, 0; r.Rest() }

// Buffered is the number of octets that can be read without waiting.
func (r *Reader) Buffered() int { return r.w - r.r }

// shrink gives a long line's buffer back once its rest fits the base again.
func (r *Reader) shrink() {
	if r.lent == 0 || r.w-r.r > baseSize {
		return
	}
	old, pooled := r.buf[r.r:r.w], r.pooled
	r.buf, r.pooled, r.r, r.w = nil, nil, 0, 0
	if len(old) > 0 {
		r.take()
		r.w = copy(r.buf, old)
	}
	if pooled != nil {
		bodyPool.Put(pooled)
	}
	r.budget.release(r.lent)
	r.lent = 0
}

// The pools keep buffers of the two sizes that every message takes for a moment.
var (
	basePool = sync.Pool{New: func() any { b := make([]byte, baseSize); return &b }}
	bodyPool = sync.Pool{New: func() any { b := make([]byte, bodySize); return &b }}
)

func (r *Reader) take() {
	r.pooled = basePool.Get().(*[]byte)
	r.buf = *r.pooled
}

// Rest gives the buffer back, if there is nothing in it: who waits for long
// needs none. The next read takes another.
func (r *Reader) Rest() {
	r.shrink()
	if r.lent == 0 && r.r == r.w {
		r.recycle()
		r.buf, r.r, r.w = nil, 0, 0
	}
}

// recycle gives buf away; nothing of it may be used any more.
func (r *Reader) recycle() {
	switch {
	case r.pooled == nil:
	case r.lent == 0:
		basePool.Put(r.pooled)
	default:
		bodyPool.Put(r.pooled)
	}
	r.pooled = nil
}

// fill reads once more from the stream, making room first, up to limit octets
// of buffer.
func (r *Reader) fill(limit int) error {
	if r.err != nil {
		return r.err
	}
	switch {
	case r.buf == nil:
		r.take()
	case r.r > 0 && (r.r == r.w || r.w == len(r.buf)):
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	if r.w == len(r.buf) {
		if len(r.buf) >= limit {
			return ErrLineTooLong
		}
		if err := r.grow(min(2*len(r.buf), limit)); err != nil {
			return err
		}
	}
	for range 16 {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		if err != nil {
			r.err = err
		}
		if n > 0 {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

func (r *Reader) grow(size int) error {
	extra := size - len(r.buf)
	if r.lent == 0 {
		extra = size // the base stays allocated beside the new buffer
	}
	if !r.budget.acquire(extra) {
		return ErrBudget
	}
	var b []byte
	var pooled *[]byte
	if size == bodySize {
		pooled = bodyPool.Get().(*[]byte)
		b = *pooled
	} else {
		b = make([]byte, size)
	}
	r.w = copy(b, r.buf[r.r:r.w])
	r.recycle()
	r.buf, r.r, r.pooled = b, 0, pooled
	r.lent += extra
	return nil
}

// ReadLine returns the next line without its CRLF; it is valid until the next
// call. A line of more than max octets, CRLF included, is ErrLineTooLong; it
// stays unread for SkipLine. A bare CR or LF is reported as soon as it is
// seen, so that a client that ends lines with LF gets an answer. A stream that
// ends within a line is io.ErrUnexpectedEOF, between lines io.EOF.
//
// After a timeout the partial line stays and the next call continues it.
func (r *Reader) ReadLine(max int) ([]byte, error) {
	r.shrink()
	if r.err != nil && !isEOF(r.err) {
		r.err = nil // a deadline that has been moved on
	}
	for seen := 0; ; {
		// What stands beyond the limit must not decide which error it is.
		b := r.buf[r.r:min(r.w, r.r+max)]
		i, err := endOfLine(b, seen)
		if err != nil {
			return nil, err
		}
		if i >= 0 {
			r.r += i + 2
			return b[:i], nil
		}
		if len(b) >= max {
			return nil, ErrLineTooLong
		}
		// Everything but a CR at the very end has been looked at.
		seen = len(b)
		if seen > 0 && b[seen-1] == '\r' {
			seen--
		}
		if err := r.fill(max); err != nil {
			if isEOF(err) && r.w > r.r {
				return nil, io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

// endOfLine finds the first CRLF at or after from; -1 if there is none yet.
func endOfLine(b []byte, from int) (int, error) {
	i := bytes.IndexByte(b[from:], '\n')
	line := b[from:]
	if i >= 0 {
		line = line[:i]
	}
	cr := bytes.IndexByte(line, '\r')
	switch {
	case cr >= 0 && cr < len(line)-1:
		return -1, ErrBareCR
	case i >= 0 && cr < 0:
		return -1, ErrBareLF
	case i >= 0:
		return from + cr, nil
	}
	return -1, nil
}

// SkipLine discards through the next CRLF, at most max octets beyond which it
// returns ErrLineTooLong.
func (r *Reader) SkipLine(max int) error {
	prev := byte(0)
	for n := 0; n < max; n++ {
		if r.r == r.w {
			r.shrink()
			if err := r.fill(len(r.buf)); err != nil {
				return err
			}
		}
		c := r.buf[r.r]
		r.r++
		if c == '\n' && prev == '\r' {
			return nil
		}
		prev = c
	}
	return ErrLineTooLong
}

// Read reads raw octets: what is buffered first, then from the stream.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if r.r < r.w {
		n := copy(p, r.buf[r.r:r.w])
		r.r += n
		return n, nil
	}
	r.shrink()
	if r.err != nil && isEOF(r.err) {
		return 0, r.err
	}
	r.err = nil
	return r.src.Read(p)
}

// Exactly returns a reader of the next n octets: a literal or a BDAT chunk. A
// stream that ends early is io.ErrUnexpectedEOF.
func (r *Reader) Exactly(n int64) *Counted { return &Counted{r: r, left: n} }

// Counted reads an announced number of octets.
type Counted struct {
	r    *Reader
	left int64
}

// Left is how many octets have not been read yet.
func (c *Counted) Left() int64 { return c.left }

// Read implements io.Reader; io.EOF comes after exactly the announced number.
func (c *Counted) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	c.left -= int64(n)
	if isEOF(err) && c.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// Drain discards what is left, so that it is never parsed as commands.
func (c *Counted) Drain() error {
	_, err := io.Copy(io.Discard, c)
	return err
}

func isEOF(err error) bool { return err == io.EOF }
