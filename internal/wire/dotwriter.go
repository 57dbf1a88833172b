package wire

import (
	"bytes"
	"io"
)

// DotWriter writes a body for DATA, LMTP or POP3: every line end becomes
// CRLF, so that no bare CR or LF leaves, leading dots are doubled, and Close
// ends it with CRLF.CRLF (RFC 5321 §4.5.2, RFC 1939 §3). It does not buffer;
// give it a buffered writer. Not safe for concurrent use.
type DotWriter struct {
	w     io.Writer
	state dotState
	plain bool // no dots
}

type dotState uint8

const (
	dotLineStart dotState = iota
	dotInLine
	dotAfterCR
)

// NewDotWriter returns a DotWriter on w.
func NewDotWriter(w io.Writer) *DotWriter { return &DotWriter{w: w} }

var crlf = []byte("\r\n")

// Write implements io.Writer. The count is of p's own octets.
func (d *DotWriter) Write(p []byte) (int, error) {
	for b := p; len(b) > 0; {
		if d.state == dotAfterCR {
			d.state = dotLineStart
			if err := d.put(crlf); err != nil {
				return len(p) - len(b), err
			}
			if b[0] == '\n' {
				b = b[1:]
				continue
			}
		}
		if d.state == dotLineStart && b[0] == '.' && !d.plain {
			if err := d.put([]byte(".")); err != nil {
				return len(p) - len(b), err
			}
		}
		n := textLen(b[:min(len(b), textWindow)])
		if n > 0 {
			d.state = dotInLine
			if err := d.put(b[:n]); err != nil {
				return len(p) - len(b), err
			}
			b = b[n:]
			continue
		}
		if b[0] == '\r' {
			d.state, b = dotAfterCR, b[1:]
			continue
		}
		if err := d.put(crlf); err != nil {
			return len(p) - len(b), err
		}
		d.state, b = dotLineStart, b[1:]
	}
	return len(p), nil
}

// textWindow bounds how far textLen looks, and so the work that a body of
// nothing but line ends can cause.
const textWindow = 512

// textLen is how many octets stand in front of the first CR or LF.
func textLen(b []byte) int {
	if i := bytes.IndexByte(b, '\n'); i >= 0 {
		b = b[:i]
	}
	if i := bytes.IndexByte(b, '\r'); i >= 0 {
		b = b[:i]
	}
	return len(b)
}

func (d *DotWriter) put(b []byte) error {
	_, err := d.w.Write(b)
	return err
}

// Close ends the last line if it is open and writes the terminator. It does
// not close the underlying writer.
func (d *DotWriter) Close() error {
	end := ".\r\n"
	if d.state != dotLineStart {
		end = "\r\n.\r\n"
	}
	d.state = dotLineStart
	return d.put([]byte(end))
}

// LineWriter writes a text for BDAT with the line ends that a DotWriter gives
// it, but with neither dots nor terminator: Close ends the last line if it is
// open. Not safe for concurrent use.
type LineWriter struct{ d DotWriter }

// NewLineWriter returns a LineWriter on w.
func NewLineWriter(w io.Writer) *LineWriter { return &LineWriter{DotWriter{w: w, plain: true}} }

// Write implements io.Writer. The count is of p's own octets.
func (l *LineWriter) Write(p []byte) (int, error) { return l.d.Write(p) }

// Close ends the last line. It does not close the underlying writer.
func (l *LineWriter) Close() error {
	if l.d.state == dotLineStart {
		return nil
	}
	l.d.state = dotLineStart
	return l.d.put(crlf)
}
