package wire

import (
	"bytes"
	"io"
)

// DotReader reads a body that ends with CRLF.CRLF and has its leading dots
// doubled (RFC 5321 §4.1.1.4, §4.5.2; RFC 1939 §3). Nothing else ends it: a
// bare CR or LF is an error, never a line end. Not safe for concurrent use.
type DotReader struct {
	r       *Reader
	left    int64 // octets the body may still have
	maxLine int
	line    int // octets of the current line so far
	inLine  bool
	crlf    int // octets of a CRLF still to be given out
	ended   bool
	err     error
}

// bodySize is the buffer used while a body is read.
const bodySize = 32 << 10

// Dot returns a reader for a body of at most max octets (without stuffed dots
// and terminator) in lines of at most maxLine octets, CRLF included.
func (r *Reader) Dot(max int64, maxLine int) *DotReader {
	// A larger buffer saves system calls; without budget the small one does.
	if len(r.buf) < bodySize {
		_ = r.grow(bodySize)
	}
	return &DotReader{r: r, left: max, maxLine: maxLine}
}

// Read implements io.Reader: the body with CRLF line ends, dots unstuffed. It
// returns io.EOF only after CRLF.CRLF; ErrBareCR, ErrBareLF, ErrTooBig or
// ErrLineTooLong, after which Drain finds the real end; or the stream's error,
// with io.EOF as io.ErrUnexpectedEOF.
func (d *DotReader) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) && d.err == nil {
		m := d.step(p[n:], n > 0)
		if m < 0 {
			break // more would have to wait
		}
		n += m
	}
	if n > 0 {
		return n, nil
	}
	return 0, d.err
}

// step gives out some octets, or sets err, or returns -1 if it would have to
// wait and may not.
func (d *DotReader) step(p []byte, dontWait bool) int {
	if d.crlf > 0 {
		n := copy(p, "\r\n"[2-d.crlf:])
		d.crlf -= n
		return n
	}
	r := d.r
	if r.r == r.w {
		if dontWait || !d.want(1) {
			return -1
		}
	}
	if !d.inLine && r.buf[r.r] == '.' {
		if !d.want(2) {
			return -1
		}
		if r.buf[r.r+1] == '\r' {
			if !d.want(3) {
				return -1
			}
			if r.buf[r.r+2] == '\n' {
				r.r += 3
				d.ended, d.err = true, io.EOF
				return 0
			}
		}
		r.r++ // RFC 5321 §4.5.2: the first of a line's leading dots goes
	}
	d.inLine = true
	b := r.buf[r.r:r.w]
	cr := bytes.IndexByte(b, '\r')
	if cr >= 0 {
		b = b[:cr]
	}
	if lf := bytes.IndexByte(b, '\n'); lf == 0 {
		return d.fail(ErrBareLF)
	} else if lf > 0 {
		b = b[:lf]
	}
	if len(b) > 0 {
		return d.text(p, b)
	}
	if !d.want(2) {
		return -1
	}
	if r.buf[r.r+1] != '\n' {
		return d.fail(ErrBareCR)
	}
	if d.left < 2 {
		return d.fail(ErrTooBig)
	}
	if d.line+2 > d.maxLine {
		return d.fail(ErrLineTooLong)
	}
	r.r += 2
	d.left -= 2
	d.line, d.inLine, d.crlf = 0, false, 2
	return 0
}

// text gives out octets of b, which holds no line end, up to the limits.
func (d *DotReader) text(p, b []byte) int {
	// Up to the limit first: which one is hit must not depend on how the
	// octets arrived.
	room := min(d.left, int64(d.maxLine-d.line))
	n := copy(p, b[:min(int64(len(b)), room)])
	switch {
	case n > 0:
	case d.left == 0:
		return d.fail(ErrTooBig)
	default:
		return d.fail(ErrLineTooLong)
	}
	d.r.r += n
	d.line += n
	d.left -= int64(n)
	return n
}

func (d *DotReader) fail(err error) int {
	d.err = err
	return -1
}

// want makes n octets available, or sets err.
func (d *DotReader) want(n int) bool {
	for d.r.w-d.r.r < n {
		if d.r.err != nil && !isEOF(d.r.err) {
			d.r.err = nil
		}
		if err := d.r.fill(baseSize); err != nil {
			if isEOF(err) {
				err = io.ErrUnexpectedEOF
			}
			d.err = err
			return false
		}
	}
	return true
}

// Ended reports whether CRLF.CRLF has been read.
func (d *DotReader) Ended() bool { return d.ended }

// Drain discards through CRLF.CRLF, at most max octets, beyond which it
// returns ErrTooBig. A nil error means that the stream is in step again.
func (d *DotReader) Drain(max int64) error {
	if d.ended {
		return nil
	}
	if d.err != nil && d.err != ErrBareCR && d.err != ErrBareLF && d.err != ErrTooBig && d.err != ErrLineTooLong {
		return d.err
	}
	d.err = nil
	// matched counts how much of CRLF.CRLF the stream's end so far matches.
	const end = "\r\n.\r\n"
	matched := 0
	if !d.inLine {
		matched = 2
	}
	for ; max > 0; max-- {
		if d.r.r == d.r.w && !d.want(1) {
			return d.err
		}
		c := d.r.buf[d.r.r]
		d.r.r++
		switch {
		case c == end[matched]:
			matched++
		case c == '\r':
			matched = 1
		default:
			matched = 0
		}
		if matched == len(end) {
			d.ended, d.err = true, io.EOF
			return nil
		}
	}
	return ErrTooBig
}
