package transfer

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

const (
	mboxBuffer = 64 << 10
	// maxHeader is how many octets of a header are looked at for flags.
	maxHeader = 1 << 20
	// maxFromLine is the longest separator.
	maxFromLine = 1024
)

// mboxReader reads an mbox file message by message.
type mboxReader struct {
	src    readSeeker
	br     *bufio.Reader
	format MboxFormat

	off  int64 // of what br gives next
	from int64 // of the separator of the message being read
	date time.Time

	head   []byte // of the message, to be given before the rest
	out    []byte // converted, to be given next
	buf    []byte
	left   int64 // octets of body by Content-Length; -1: none
	inHead bool
	cont   bool // the next octets continue a line
	blank  bool // an empty line is held back: it may belong to the separator
	ended  bool // the message is
	eof    bool
}

// readSeeker is what mboxReader needs of a file.
type readSeeker interface {
	io.ReadSeeker
	io.ReaderAt
}

// start finds the separator at a position, or at the beginning.
func (r *mboxReader) start(position string) error {
	if position != "" {
		off, err := strconv.ParseInt(position, 10, 64)
		if err != nil || off < 0 {
			return fmt.Errorf("%w: position %q", ErrCheckpoint, position)
		}
		r.off = off
	}
	if _, err := r.src.Seek(r.off, io.SeekStart); err != nil {
		return err
	}
	r.br.Reset(r.src)
	r.left = -1
	if !r.separator() {
		b, err := r.br.Peek(1)
		switch {
		case len(b) == 0 && err == io.EOF && r.off == 0:
			r.eof = true
		case len(b) == 0 && err == io.EOF:
			// At the end, unless the file has become shorter.
			if end, err := r.src.Seek(0, io.SeekEnd); err != nil || end != r.off {
				return errors.Join(ErrChanged, err)
			}
			r.eof = true
		case len(b) == 0:
			return err
		case r.off == 0:
			return fmt.Errorf("%w: not an mbox file", ErrBroken)
		default:
			return fmt.Errorf("%w: no message begins at octet %d", ErrChanged, r.off)
		}
	}
	return nil
}

// separator reports whether a separator is next, and reads its date.
func (r *mboxReader) separator() bool {
	b, _ := r.br.Peek(5)
	if string(b) != "From " {
		return false
	}
	b, _ = r.br.Peek(maxFromLine)
	line, _, ok := bytes.Cut(b, []byte("\n"))
	if !ok && len(b) == maxFromLine {
		return false
	}
	date, ok := parseFrom(strings.TrimSuffix(string(line), "\r"))
	if ok {
		r.date = date
	}
	return ok
}

// next begins the next message, io.EOF if there is none. The one before has
// been read to its end.
func (r *mboxReader) next() (*Message, error) {
	if r.eof {
		return nil, io.EOF
	}
	m := &Message{ID: strconv.FormatInt(r.off, 10), Date: r.date, Size: -1}
	r.from = r.off
	line, err := r.br.ReadSlice('\n')
	r.off += int64(len(line))
	if err != nil && err != io.EOF {
		return nil, err
	}
	r.head, r.out, r.left = r.head[:0], nil, -1
	r.inHead, r.cont, r.blank, r.ended = true, false, false, false
	h := statusFields{}
	drop := false
	for r.inHead && !r.ended && len(r.head) < maxHeader {
		start := len(r.head)
		whole := !r.cont
		if r.head, err = r.line(r.head); err != nil {
			return nil, err
		}
		if r.ended || !whole {
			if drop {
				r.head = r.head[:start]
			}
			continue
		}
		field := r.head[start:]
		if len(field) > 0 && field[0] != ' ' && field[0] != '\t' {
			drop = h.take(field, r.format >= MboxCL)
		} else if drop {
			h.fold(field)
		}
		if drop {
			r.head = r.head[:start]
		}
	}
	m.Flags = h.flags()
	if r.format >= MboxCL && h.length > 0 && !r.inHead && !r.ended && r.plausible(h.length-1) {
		r.left, r.blank = h.length-1, false
		r.head = append(r.head, "\r\n"...)
	}
	r.out = r.head
	m.Body = mboxBody{r, m}
	return m, nil
}

// plausible reports whether a message ends that many octets from here.
func (r *mboxReader) plausible(length int64) bool {
	at := r.off + length
	if at < r.off {
		return false
	}
	var b [7]byte
	n, err := r.src.ReadAt(b[:], at)
	if err == io.EOF && n == 0 {
		// Exactly at the end or beyond?
		if length == 0 {
			return true
		}
		_, err := r.src.ReadAt(b[:1], at-1)
		return err == nil
	}
	if err != nil && err != io.EOF {
		return false
	}
	rest := bytes.TrimPrefix(bytes.TrimPrefix(b[:n], []byte("\r")), []byte("\n"))
	return len(rest) == 0 || bytes.HasPrefix(rest, []byte("From "))
}

// line appends the next line, or as much of it as the buffer holds, with CRLF
// at its end and without quotes. At the end of the message it sets ended.
func (r *mboxReader) line(dst []byte) ([]byte, error) {
	for {
		if r.left == 0 {
			r.finish()
			return dst, nil
		}
		if r.left < 0 && !r.cont && r.blank && r.separator() {
			r.blank, r.ended = false, true
			return dst, nil
		}
		b, err := r.br.ReadSlice('\n')
		r.off += int64(len(b))
		if err != nil && err != io.EOF && err != bufio.ErrBufferFull {
			return dst, err
		}
		if len(b) == 0 { // EOF
			r.blank, r.ended, r.eof = false, true, true
			return dst, nil
		}
		if r.left > 0 {
			if int64(len(b)) > r.left { // the length ends within a line
				r.off -= int64(len(b)) - r.left
				b = b[:r.left]
				if err = r.reseek(); err != nil {
					return dst, err
				}
			}
			r.left -= int64(len(b))
		}
		first := !r.cont
		r.cont = b[len(b)-1] != '\n'
		text, end := b, []byte(nil)
		if !r.cont {
			text, end = bytes.TrimSuffix(b[:len(b)-1], []byte("\r")), []byte("\r\n")
		} else if err == bufio.ErrBufferFull && text[len(text)-1] == '\r' {
			// The CR may belong to the end of the line.
			text = text[:len(text)-1]
			r.br.UnreadByte()
			r.off--
			if r.left >= 0 {
				r.left++
			}
		}
		empty := first && !r.cont && len(text) == 0
		if r.blank {
			dst = append(dst, "\r\n"...)
			r.blank = false
		}
		if empty && r.left < 0 {
			// Held back; the header ends here all the same.
			r.blank = true
			if r.inHead {
				r.inHead = false
				return dst, nil
			}
			continue
		}
		if empty {
			r.inHead = false
		}
		if first {
			text = r.unquote(text)
		}
		return append(append(dst, text...), end...), nil
	}
}

// reseek goes on reading at off.
func (r *mboxReader) reseek() error {
	if _, err := r.src.Seek(r.off, io.SeekStart); err != nil {
		return err
	}
	// What ReadSlice returned is overwritten only by the next read.
	r.br.Reset(r.src)
	return nil
}

// finish ends a message by its length: the empty line behind it is skipped.
func (r *mboxReader) finish() {
	r.ended, r.left = true, -1
	for _, c := range []byte("\r\n") {
		if b, _ := r.br.Peek(1); len(b) == 1 && b[0] == c {
			r.br.Discard(1)
			r.off++
		}
	}
	if b, _ := r.br.Peek(1); len(b) == 0 {
		r.eof = true
	} else if !r.separator() {
		r.date = time.Time{}
	}
}

// unquote takes the quote from a line that looks like a separator.
func (r *mboxReader) unquote(line []byte) []byte {
	if len(line) == 0 || line[0] != '>' || r.format == MboxCL2 {
		return line
	}
	rest := line[1:]
	if r.format == MboxRD {
		rest = bytes.TrimLeft(rest, ">")
	}
	if bytes.HasPrefix(rest, []byte("From ")) {
		return line[1:]
	}
	return line
}

// mboxBody reads one message.
type mboxBody struct {
	r *mboxReader
	m *Message
}

func (b mboxBody) Read(p []byte) (int, error) {
	r := b.r
	for len(r.out) == 0 {
		if r.ended {
			b.m.Position = strconv.FormatInt(r.off, 10)
			return 0, io.EOF
		}
		var err error
		if r.buf, err = r.line(r.buf[:0]); err != nil {
			return 0, err
		}
		r.out = r.buf
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}
