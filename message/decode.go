package message

import (
	"bytes"
	"io"
)

// DecodeBody undoes a Content-Transfer-Encoding (RFC 2045 §6), given in any
// case. It reads as it is read, in constant memory, and never fails on content:
//
//   - base64: octets outside the alphabet are skipped, the first "=" ends the
//     data (§6.8); a torn last group gives the octets that are complete.
//   - quoted-printable: what is no escape stays as it is, white space at the end
//     of a line is removed (§6.7 rule 3).
//   - everything else: the octets as they are.
//
// The only errors are those of r.
func DecodeBody(encoding string, r io.Reader) io.Reader {
	switch {
	case equalFold(encoding, "base64"):
		return &decodingReader{r: r, decoder: new(base64Decoder)}
	case equalFold(encoding, "quoted-printable"):
		return &decodingReader{r: r, decoder: new(qpDecoder)}
	}
	return r
}

// decoder turns encoded octets into content, in pieces of any size.
type decoder interface {
	// decode appends what in gives to out; done means nothing will follow.
	decode(out, in []byte) (_ []byte, done bool)
	// end appends what is left at the end of the data.
	end(out []byte) []byte
}

// decodingReader feeds a decoder.
type decodingReader struct {
	r       io.Reader
	decoder decoder
	in      []byte
	out     []byte // decoded, from pos on not yet given out
	pos     int
	err     error
	empty   int
}

const decodeBuffer = 8 << 10

func (d *decodingReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for d.pos == len(d.out) {
		if d.err != nil {
			return 0, d.err
		}
		if d.in == nil {
			d.in = make([]byte, decodeBuffer)
			d.out = make([]byte, 0, decodeBuffer)
		}
		n, err := d.r.Read(d.in)
		if n == 0 && err == nil {
			if d.empty++; d.empty >= 100 {
				err = io.ErrNoProgress
			}
		} else {
			d.empty = 0
		}
		var done bool
		d.pos = 0
		d.out, done = d.decoder.decode(d.out[:0], d.in[:n])
		switch {
		case done:
			d.err = io.EOF
		case err == io.EOF:
			d.out = d.decoder.end(d.out)
			d.err = err
		case err != nil:
			d.err = err
		}
	}
	n := copy(p, d.out[d.pos:])
	d.pos += n
	return n, nil
}

// base64Decoder: RFC 2045 §6.8.
type base64Decoder struct {
	acc uint32
	n   int // characters in acc
}

func (d *base64Decoder) decode(out, in []byte) (_ []byte, done bool) {
	acc, n := d.acc, d.n
	for i := 0; i < len(in); i++ {
		if n == 0 { // whole groups, as long as nothing else is between
			for i+4 <= len(in) {
				a, b, c, e := base64Table[in[i]], base64Table[in[i+1]], base64Table[in[i+2]], base64Table[in[i+3]]
				if a|b|c|e > 63 {
					break
				}
				v := uint32(a)<<18 | uint32(b)<<12 | uint32(c)<<6 | uint32(e)
				out = append(out, byte(v>>16), byte(v>>8), byte(v))
				i += 4
			}
			if i == len(in) {
				break
			}
		}
		v := base64Table[in[i]]
		if v > 63 {
			if in[i] == '=' {
				d.acc, d.n = acc, n
				return d.end(out), true
			}
			continue
		}
		acc = acc<<6 | uint32(v)
		if n++; n == 4 {
			out = append(out, byte(acc>>16), byte(acc>>8), byte(acc))
			acc, n = 0, 0
		}
	}
	d.acc, d.n = acc, n
	return out, false
}

func (d *base64Decoder) end(out []byte) []byte {
	switch d.n {
	case 2:
		out = append(out, byte(d.acc>>4))
	case 3:
		out = append(out, byte(d.acc>>10), byte(d.acc>>2))
	}
	d.n = 0
	return out
}

// qpDecoder: RFC 2045 §6.7. What cannot be decided yet waits in pending: white
// space that may end a line, or an equals sign and what follows it.
type qpDecoder struct {
	state   qpState
	pending []byte
}

type qpState uint8

const (
	qpText     qpState = iota // pending: white space
	qpCR                      // pending: white space and CR
	qpEquals                  // pending: =
	qpHex                     // pending: = and a digit
	qpSoft                    // pending: = and white space
	qpSoftCR                  // the same and CR
	maxPending = 1024         // longer white space is let through
)

func (d *qpDecoder) decode(out, in []byte) (_ []byte, done bool) {
	for i := 0; i < len(in); {
		c := in[i]
		switch d.state {
		case qpText:
			if len(d.pending) == 0 {
				n := plainRun(in[i:])
				out = append(out, in[i:i+n]...)
				if i += n; i == len(in) {
					return out, false
				}
				c = in[i]
			}
			out = d.text(out, c)
			i++
		case qpCR:
			d.state = qpText
			if c == '\n' {
				out = append(out, '\r', '\n')
				d.pending = d.pending[:0]
				i++
				continue
			}
			out = d.flush(out)
		default:
			var used bool
			if out, used = d.escape(out, c); used {
				i++
			}
		}
	}
	return out, false
}

// plainRun is the number of octets that stand for themselves.
func plainRun(b []byte) int {
	for i, c := range b {
		if c <= ' ' && c != 0 || c == '=' {
			return i
		}
	}
	return len(b)
}

func (d *qpDecoder) flush(out []byte) []byte {
	out = append(out, d.pending...)
	d.pending = d.pending[:0]
	return out
}

// text handles one octet outside of an escape.
func (d *qpDecoder) text(out []byte, c byte) []byte {
	switch c {
	case '=':
		out = d.flush(out)
		d.pending = append(d.pending, c)
		d.state = qpEquals
	case ' ', '\t':
		if len(d.pending) >= maxPending {
			out = d.flush(out)
		}
		d.pending = append(d.pending, c)
	case '\r':
		d.pending = append(d.pending, c)
		d.state = qpCR
	case '\n':
		d.pending = d.pending[:0]
		out = append(out, c)
	default:
		out = append(d.flush(out), c)
	}
	return out
}

// escape handles one octet after an equals sign; it reports whether the octet
// is used up.
func (d *qpDecoder) escape(out []byte, c byte) (_ []byte, used bool) {
	soft := d.state == qpEquals || d.state == qpSoft
	switch {
	case c == '\n' && d.state != qpHex: // a soft line break
		d.pending, d.state = d.pending[:0], qpText
		return out, true
	case c == '\r' && soft:
		d.state = qpSoftCR
	case (c == ' ' || c == '\t') && soft && len(d.pending) < maxPending:
		d.state = qpSoft
	case d.state == qpEquals && hexTable[c] < 16:
		d.state = qpHex
	case d.state == qpHex && hexTable[c] < 16:
		out = append(out, hexTable[d.pending[1]]<<4|hexTable[c])
		d.pending, d.state = d.pending[:0], qpText
		return out, true
	default: // no escape after all
		d.state = qpText
		return d.flush(out), false
	}
	d.pending = append(d.pending, c)
	return out, true
}

func (d *qpDecoder) end(out []byte) []byte {
	switch d.state {
	case qpHex:
		out = d.flush(out)
	case qpCR, qpText: // white space at the end of a line; a CR is content
		if bytes.IndexByte(d.pending, '\r') >= 0 {
			out = d.flush(out)
		}
	}
	d.pending, d.state = d.pending[:0], qpText
	return out
}
