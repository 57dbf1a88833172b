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
	run     []byte // octets of the body, not given out yet; they stand in r's buffer
	left    int64  // octets the body may still have
	maxLine int
	line    int // octets of the current line so far
	inLine  bool
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
	for n < len(p) && d.more(n == 0) {
		m := copy(p[n:], d.run)
		d.run = d.run[m:]
		n += m
	}
	if n > 0 || len(p) == 0 {
		return n, nil
	}
	return 0, d.err
}

// WriteTo implements io.WriterTo: what Read would give, in pieces as large as
// they come and without a copy.
func (d *DotReader) WriteTo(w io.Writer) (n int64, err error) {
	for d.more(true) {
		m, err := w.Write(d.run)
		n += int64(m)
		if err == nil && m < len(d.run) {
			err = io.ErrShortWrite
		}
		d.run = d.run[m:]
		if err != nil {
			return n, err
		}
	}
	if d.err != io.EOF {
		err = d.err
	}
	return n, err
}

// more makes run hold something. It reports false when there is an error, or
// when it would have to wait and may not.
func (d *DotReader) more(wait bool) bool {
	for len(d.run) == 0 && d.err == nil {
		if !d.have(1, wait) {
			break
		}
		if !d.inLine && d.r.buf[d.r.r] == '.' && !d.dot(wait) {
			break
		}
		n := d.lines()
		if n == 0 && !d.piece(&n, wait) {
			break
		}
		d.run = d.r.buf[d.r.r : d.r.r+n]
		d.r.r += n
		d.left -= int64(n)
	}
	return len(d.run) > 0
}

// dot takes a line's leading dot, or the terminator.
func (d *DotReader) dot(wait bool) bool {
	r := d.r
	if !d.have(2, wait) {
		return false
	}
	if r.buf[r.r+1] == '\r' {
		if !d.have(3, wait) {
			return false
		}
		if r.buf[r.r+2] == '\n' {
			r.r += 3
			d.ended, d.err = true, io.EOF
			return false
		}
	}
	r.r++ // RFC 5321 §4.5.2: the first of a line's leading dots goes
	d.inLine = true
	return true
}

// lines is the length of the whole lines in the buffer that need no closer
// look: properly ended, within the limits, without leading dot.
func (d *DotReader) lines() int {
	b := d.r.buf[d.r.r:d.r.w]
	b = b[:min(int64(len(b)), d.left)]
	n, count, line := 0, 0, d.line
	for {
		i := bytes.IndexByte(b[n:], '\n')
		if i < 1 || b[n+i-1] != '\r' || i+1 > d.maxLine-line {
			break
		}
		n += i + 1
		count++
		line = 0
		if n < len(b) && b[n] == '.' {
			break
		}
	}
	if bytes.Count(b[:n], []byte{'\r'}) != count {
		n = beforeBareCR(b[:n])
	}
	if n > 0 {
		d.line, d.inLine = 0, false
	}
	return n
}

// beforeBareCR is the length of the lines of b before the one with a bare CR.
func beforeBareCR(b []byte) int {
	i := 0
	for ; i+1 < len(b); i++ {
		if b[i] == '\r' && b[i+1] != '\n' {
			break
		}
	}
	return bytes.LastIndexByte(b[:i], '\n') + 1
}

// piece finds in *n the length of the text up to the next line end or limit, or
// of a line end, or sets err.
func (d *DotReader) piece(n *int, wait bool) bool {
	r := d.r
	d.inLine = true
	b := r.buf[r.r:r.w]
	if cr := bytes.IndexByte(b, '\r'); cr >= 0 {
		b = b[:cr]
	}
	if lf := bytes.IndexByte(b, '\n'); lf == 0 {
		return d.fail(ErrBareLF)
	} else if lf > 0 {
		b = b[:lf]
	}
	size := 2
	if len(b) > 0 {
		// Up to the limit first: which one is hit must not depend on how the
		// octets arrived.
		size = max(1, int(min(int64(len(b)), d.left, int64(d.maxLine-d.line))))
	} else if !d.have(2, wait) {
		return false
	} else if r.buf[r.r+1] != '\n' {
		return d.fail(ErrBareCR)
	}
	switch {
	case d.left < int64(size):
		return d.fail(ErrTooBig)
	case d.maxLine-d.line < size:
		return d.fail(ErrLineTooLong)
	case len(b) == 0:
		d.line, d.inLine = 0, false
	default:
		d.line += size
	}
	*n = size
	return true
}

func (d *DotReader) fail(err error) bool {
	d.err = err
	return false
}

// have is want, unless it would have to wait and may not.
func (d *DotReader) have(n int, wait bool) bool {
	return d.r.w-d.r.r >= n || (wait && d.want(n))
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

// Err is why nothing more can be read: nil while something may come, io.EOF
// after the end.
func (d *DotReader) Err() error { return d.err }

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
		b := d.r.buf[d.r.r:d.r.w]
		if matched == 0 {
			// Only a CR can begin the end.
			skip := bytes.IndexByte(b, '\r')
			if skip < 0 {
				skip = len(b)
			}
			skip = int(min(int64(skip), max-1))
			if skip > 0 {
				d.r.r += skip
				max -= int64(skip) - 1
				continue
			}
		}
		c := b[0]
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
