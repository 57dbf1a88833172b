package transfer

import "io"

// crlfReader gives text whose lines end in LF or CRLF with CRLF alone.
type crlfReader struct {
	r    io.Reader
	in   []byte // not converted yet
	buf  []byte
	last byte // given last
	lf   bool // a LF is to follow the CR given last
	err  error
}

func newCRLFReader(r io.Reader) *crlfReader { return &crlfReader{r: r, buf: make([]byte, 32<<10)} }

func (c *crlfReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		if c.lf {
			p[n], c.last, c.lf = '\n', '\n', false
			n++
			continue
		}
		if len(c.in) == 0 {
			if n > 0 {
				return n, nil
			}
			if c.err != nil {
				return 0, c.err
			}
			var m int
			m, c.err = c.r.Read(c.buf)
			c.in = c.buf[:m]
			if m == 0 && c.err == nil {
				return 0, nil
			}
			continue
		}
		b := c.in[0]
		c.in = c.in[1:]
		if b == '\n' && c.last != '\r' {
			b, c.lf = '\r', true
		}
		p[n], c.last = b, b
		n++
	}
	return n, nil
}

// lfWriter writes text with LF where there is CRLF.
type lfWriter struct {
	w   io.Writer
	buf []byte
	cr  bool // held back
}

func (l *lfWriter) Write(p []byte) (int, error) {
	l.buf = l.buf[:0]
	for _, b := range p {
		if l.cr && b != '\n' {
			l.buf = append(l.buf, '\r')
		}
		if l.cr = b == '\r'; !l.cr {
			l.buf = append(l.buf, b)
		}
	}
	if _, err := l.w.Write(l.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

// end writes what was held back.
func (l *lfWriter) end() error {
	if !l.cr {
		return nil
	}
	l.cr = false
	_, err := l.w.Write([]byte{'\r'})
	return err
}
