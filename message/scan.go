package message

import (
	"bytes"
	"io"
)

// windowSize is the memory the scanner reads a message through.
const windowSize = 64 << 10

// scanner gives the lines of a message one after the other, out of a window
// that moves over it, and notes what octets it has seen. A line that is longer
// than the window comes in pieces.
type scanner struct {
	r      io.ReaderAt // nil: buf is the whole message
	size   int64
	window int // of octets; a delimiter line must fit in
	buf    []byte
	pos    int   // of the next octet in buf
	end    int   // of the octets in buf that may be looked at
	base   int64 // where buf begins in the message
	err    error

	start   bool  // the last piece began a line
	midLine bool  // the next piece does not
	eol     int   // length of the line end of the last piece, 0 without
	lastEOL int   // of the piece before
	lines   int64 // line ends seen
	lineLen int   // of the current line so far

	checked int  // octets of buf before it are checked
	crlf    int  // CRLFs since checked
	high    bool // the window has octets above 127
	traits  Traits
	report  func(k DefectKind, off int64)
}

// offset is the place of the next octet in the message.
func (s *scanner) offset() int64 { return s.base + int64(s.pos) }

// next returns the next line with its line end, or a piece of one. It is nil
// at the end of the message.
func (s *scanner) next() []byte {
	from := s.pos
	for {
		if i := bytes.IndexByte(s.buf[from:s.end], '\n'); i >= 0 {
			return s.take(from + i + 1)
		}
		from = s.end - s.pos
		if s.end-s.pos >= s.window || !s.fill() {
			break
		}
		from += s.pos
	}
	if s.pos == s.end {
		s.check()
		return nil
	}
	n := s.end
	if s.buf[n-1] == '\r' && n-s.pos > 1 && !s.atEnd() {
		n-- // its LF may follow
	}
	return s.take(n)
}

func (s *scanner) atEnd() bool { return s.base+int64(s.end) >= s.size }

// take consumes the octets up to end, the end of a line or of a piece.
func (s *scanner) take(end int) []byte {
	b := s.buf[s.pos:end]
	n := len(b)
	s.start = !s.midLine
	s.lastEOL, s.eol = s.eol, 0
	s.lineLen += n
	s.midLine = b[n-1] != '\n'
	if !s.midLine {
		s.lines++
		if n > 1 && b[n-2] == '\r' {
			s.eol = 2
			s.crlf++
		} else {
			s.eol = 1
			s.note(HasBareLF, BareLF, s.base+int64(end-1))
		}
	}
	if s.lineLen-s.eol > maxLine {
		s.note(HasLongLine, LongLine, s.base+int64(end-s.lineLen))
	}
	if !s.midLine {
		s.lineLen = 0
	}
	s.pos = end
	return b
}

// note records a trait, and the defect that goes with it at its first place.
func (s *scanner) note(t Traits, k DefectKind, off int64) {
	if s.traits&t == 0 {
		s.traits |= t
		s.report(k, off)
	}
}

// check looks at the octets consumed since the last check for CR without LF.
// Counting is much faster than looking at each line.
func (s *scanner) check() {
	b := s.buf[s.checked:s.pos]
	if s.traits&HasBareCR == 0 && bytes.Count(b, crByte) != s.crlf {
		for i, c := range b {
			if c == '\r' && (i+1 == len(b) || b[i+1] != '\n') {
				s.note(HasBareCR, BareCR, s.base+int64(s.checked+i))
				break
			}
		}
	}
	s.checked, s.crlf = s.pos, 0
}

var crByte = []byte{'\r'}

// fill moves the window on; it reports false at the end of the message.
func (s *scanner) fill() bool {
	if s.err != nil || s.atEnd() {
		return false
	}
	s.check()
	if s.r == nil {
		s.seen(s.end, min(s.pos+s.window, len(s.buf)))
		return true
	}
	if s.pos > 0 {
		copy(s.buf, s.buf[s.pos:s.end])
		s.base += int64(s.pos)
		s.end -= s.pos
		s.pos, s.checked = 0, 0
	}
	want := int(min(int64(len(s.buf)-s.end), s.size-s.base-int64(s.end)))
	n, err := s.r.ReadAt(s.buf[s.end:s.end+want], s.base+int64(s.end))
	if n < want {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		s.err = err
		s.size = s.base + int64(s.end+n)
	}
	s.seen(s.end, s.end+n)
	return n > 0
}

// seen examines new octets [from, to) and adds them to the window.
func (s *scanner) seen(from, to int) {
	b := s.buf[from:to]
	if s.traits&HasNUL == 0 {
		if i := bytes.IndexByte(b, 0); i >= 0 {
			s.note(HasNUL, NUL, s.base+int64(from+i))
		}
	}
	s.high = !isASCII(b) || s.high && s.pos < from
	s.end = to
}
