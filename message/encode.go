package message

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
)

// copyLines copies r with CRLF as the only line end. A lone CR becomes a line
// end too. strict refuses what 7bit cannot carry (RFC 2045 §2.7).
func copyLines(w io.Writer, r io.Reader, strict bool) error {
	in, out := bufio.NewReader(r), bufio.NewWriter(w)
	col, cr := 0, false
	for {
		c, err := in.ReadByte()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		if cr && c == '\n' { // its line end is written
			cr = false
			continue
		}
		cr = c == '\r'
		if c == '\n' || c == '\r' {
			out.WriteString("\r\n")
			col = 0
			continue
		}
		if col++; strict {
			if c == 0 || c >= 0x80 {
				return fmt.Errorf("%w: octet %d in 7bit", ErrBody, c)
			}
			if col > maxLine {
				return fmt.Errorf("%w in 7bit body", ErrLineTooLong)
			}
		}
		out.WriteByte(c)
	}
	return out.Flush()
}

// encodeBase64 writes lines of 76 characters (RFC 2045 §6.8).
func encodeBase64(w io.Writer, r io.Reader) error {
	const lines = 64
	in := make([]byte, lines*57)
	out := make([]byte, 0, lines*78)
	for {
		n, err := io.ReadFull(r, in)
		out = out[:0]
		for b := in[:n]; len(b) > 0; b = b[min(57, len(b)):] {
			out = base64.StdEncoding.AppendEncode(out, b[:min(57, len(b))])
			out = append(out, '\r', '\n')
		}
		if _, werr := w.Write(out); werr != nil {
			return werr
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// qpWriter encodes quoted-printable (RFC 2045 §6.7).
type qpWriter struct {
	out *bufio.Writer
	col int
	ws  byte // white space not written yet: it is encoded at the end of a line
}

// encodeQP encodes text; CRLF and lone LF are line ends, a lone CR is content.
func encodeQP(w io.Writer, r io.Reader) error {
	q := qpWriter{out: bufio.NewWriter(w)}
	in := bufio.NewReader(r)
	for {
		c, err := in.ReadByte()
		if err == io.EOF {
			q.space(true)
			return q.out.Flush()
		}
		if err != nil {
			return err
		}
		if c == '\r' {
			if next, _ := in.Peek(1); len(next) == 1 && next[0] == '\n' {
				continue
			}
		}
		switch {
		case c == '\n':
			q.space(true)
			q.out.WriteString("\r\n")
			q.col = 0
		case isWSP(c):
			q.space(false)
			q.ws = c
		case c > ' ' && c <= '~' && c != '=':
			q.space(false)
			q.literal(c)
		default:
			q.space(false)
			q.escape(c)
		}
	}
}

// space writes the white space that waits.
func (q *qpWriter) space(lineEnd bool) {
	c := q.ws
	q.ws = 0
	switch {
	case c == 0:
	case lineEnd:
		q.escape(c)
	default:
		q.literal(c)
	}
}

// room breaks the line softly unless n characters and "=" still fit into 76.
func (q *qpWriter) room(n int) {
	if q.col+n > 75 {
		q.out.WriteString("=\r\n")
		q.col = 0
	}
	q.col += n
}

func (q *qpWriter) literal(c byte) {
	q.room(1)
	q.out.WriteByte(c)
}

func (q *qpWriter) escape(c byte) {
	q.room(3)
	q.out.Write([]byte{'=', hexDigits[c>>4], hexDigits[c&15]})
}
