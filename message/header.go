package message

import (
	"bytes"
	"errors"
	"io"
	"iter"
	"unicode/utf8"
)

// Header is a header block: its octets and where the fields in them are. The
// zero value is an empty header. A Header does not change after it was made,
// so it is safe for concurrent use.
type Header struct {
	raw     []byte
	spans   []span
	cut     bool // the reader stopped before the header's end
	tooLong int  // octets from here on were not looked at; 0: all were
	tooMany int  // fields from here on were not looked at; 0: all were
}

// span is one field inside raw.
type span struct{ start, end, nameEnd, colon int32 }

// ParseHeader reads the header at the start of b, with default limits. It ends
// after the first empty line, or with b; what follows in b is not looked at.
// The header refers to b, which must not be changed while it is in use.
func ParseHeader(b []byte) *Header {
	h := new(Header)
	lim := (*Limits)(nil).withDefaults()
	h.parse(b, &lim)
	return h
}

// parse fills h from b. All octets up to the empty line belong to h; those
// beyond a limit are one field without a name.
func (h *Header) parse(b []byte, lim *Limits) {
	most := int(min(lim.HeaderBytes, int64(len(b))))
	pos := 0
	h.spans = make([]span, 0, min(24, 1+len(b)/32))
	for pos < len(b) {
		if n := blankLine(b[pos:]); n > 0 {
			pos += n
			break
		}
		if len(h.spans) >= lim.Fields || pos >= most {
			end := skipHeader(b, pos)
			if pos >= most {
				h.tooLong = pos
			} else {
				h.tooMany = pos
			}
			h.spans = append(h.spans, span{int32(pos), int32(min(end, maxHeaderBytes)), 0, -1})
			pos = end + blankLine(b[end:])
			break
		}
		s := scanField(b, pos)
		h.spans = append(h.spans, s)
		pos = int(s.end)
	}
	h.raw = b[:pos:pos]
}

// blankLine returns the length of the line end that b starts with, or 0.
func blankLine(b []byte) int {
	switch {
	case len(b) > 0 && b[0] == '\n':
		return 1
	case len(b) > 1 && b[0] == '\r' && b[1] == '\n':
		return 2
	}
	return 0
}

// skipHeader returns where the empty line begins, seen from a line start.
func skipHeader(b []byte, pos int) int {
	for pos < len(b) && blankLine(b[pos:]) == 0 {
		n := bytes.IndexByte(b[pos:], '\n')
		if n < 0 {
			return len(b)
		}
		pos += n + 1
	}
	return pos
}

// scanField finds the field that begins at pos: its first line and all
// continuation lines (RFC 5322 §2.2.3).
func scanField(b []byte, pos int) span {
	end := pos
	for {
		n := bytes.IndexByte(b[end:], '\n')
		if n < 0 {
			end = len(b)
			break
		}
		end += n + 1
		if end >= len(b) || !isWSP(b[end]) {
			break
		}
	}
	s := span{int32(pos), int32(end), 0, -1}
	s.nameEnd, s.colon = scanName(b[pos:end])
	return s
}

// scanName finds the name at the start of a field. With CR or NUL in it, it is
// none. A name is rarely longer than a few dozen octets: the loop stops early.
func scanName(b []byte) (nameEnd, colon int32) {
	if len(b) == 0 || isWSP(b[0]) {
		return 0, -1
	}
	for i, c := range b {
		if c == '\n' || c == '\r' || c == 0 {
			break
		}
		if c == ':' {
			n := i
			for n > 0 && isWSP(b[n-1]) {
				n--
			}
			if n == 0 {
				break
			}
			return int32(n), int32(i)
		}
	}
	return 0, -1
}

// errNoProgress mirrors bufio: a reader that keeps returning nothing.
var errNoProgress = io.ErrNoProgress

// ReadHeader reads a header from r, through the empty line that ends it. rest
// yields what follows, octets already read included: h.Raw() and rest together
// are always exactly what r gave. The error is never about syntax; it is that
// of r, io.EOF excepted (a short header is a header).
//
// A header beyond lim.HeaderBytes is cut before the first field that does not
// fit (or within it, when it is the only one), Truncated reports true, and rest
// begins with the remaining header octets.
func ReadHeader(r io.Reader, lim *Limits) (h *Header, rest io.Reader, err error) {
	l := lim.withDefaults()
	most := int(l.HeaderBytes)
	buf := make([]byte, 0, min(4096, most+2))
	var line, scanned, empty int // line: start of the current line
	end := -1                    // after the empty line
	for end < 0 {
		if len(buf) == cap(buf) {
			if len(buf) >= most+2 {
				break
			}
			buf = append(make([]byte, 0, min(4*cap(buf), most+2)), buf...)
		}
		n, rerr := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n == 0 && rerr == nil {
			if empty++; empty == 100 {
				rerr = errNoProgress
			}
		} else {
			empty = 0
		}
		for end < 0 {
			i := bytes.IndexByte(buf[scanned:], '\n')
			if i < 0 {
				scanned = len(buf)
				break
			}
			scanned += i + 1
			if blankLine(buf[line:scanned]) > 0 {
				end = scanned
			}
			line = scanned
		}
		if rerr != nil {
			if end < 0 {
				end = len(buf)
			}
			if !errors.Is(rerr, io.EOF) {
				err = rerr
			}
			r = eofReader{err}
		}
	}
	h = new(Header)
	if end < 0 || end > most+2 {
		h.cut, end = true, cutHeader(buf, most)
	}
	l.HeaderBytes = maxHeaderBytes // already applied
	h.parse(buf[:end], &l)
	if end < len(buf) {
		return h, io.MultiReader(bytes.NewReader(buf[end:]), r), err
	}
	return h, r, err
}

// eofReader stands for a reader that has ended.
type eofReader struct{ err error }

func (e eofReader) Read([]byte) (int, error) {
	if e.err != nil {
		return 0, e.err
	}
	return 0, io.EOF
}

// cutHeader returns the end of the last field that lies wholly before most.
func cutHeader(b []byte, most int) int {
	b = b[:min(len(b), most)]
	for end := len(b); end > 0; {
		end = bytes.LastIndexByte(b[:end], '\n')
		if end+1 < len(b) && end >= 0 && !isWSP(b[end+1]) {
			return end + 1
		}
	}
	return len(b)
}

// Raw is the header as received, with the empty line if there was one. Do not
// modify it.
func (h *Header) Raw() []byte { return h.raw }

// Len is the number of octets of the header, the empty line included.
func (h *Header) Len() int { return len(h.raw) }

// Truncated reports whether [ReadHeader] stopped at Limits.HeaderBytes, before
// the end of the header.
func (h *Header) Truncated() bool { return h.cut }

func (h *Header) field(i int) Field {
	s := h.spans[i]
	return Field{h.raw[s.start:s.end:s.end], int(s.start), int(s.nameEnd), int(s.colon)}
}

// Fields yields the fields from top to bottom, nameless lines included.
func (h *Header) Fields() iter.Seq[Field] {
	return func(yield func(Field) bool) {
		for i := range h.spans {
			if !yield(h.field(i)) {
				return
			}
		}
	}
}

// find returns the index of the first field with this name at or after i, or -1.
func (h *Header) find(i int, name string) int {
	for ; i < len(h.spans); i++ {
		s := h.spans[i]
		if int(s.nameEnd) == len(name) && s.nameEnd > 0 && equalFold(h.raw[s.start:s.start+s.nameEnd], name) {
			return i
		}
	}
	return -1
}

// Get is the Value of the first field with this name, "" without one.
func (h *Header) Get(name string) string {
	if i := h.find(0, name); i >= 0 {
		return h.field(i).Value()
	}
	return ""
}

// Has reports whether there is a field with this name.
func (h *Header) Has(name string) bool { return h.find(0, name) >= 0 }

// All returns the fields with this name, from top to bottom.
func (h *Header) All(name string) []Field {
	var all []Field
	for i := h.find(0, name); i >= 0; i = h.find(i+1, name) {
		all = append(all, h.field(i))
	}
	return all
}

// Without returns the octets of the header without the fields for which drop
// reports true; all others, nameless lines and the empty line keep their octets
// and order. The result shares memory with the header when nothing is dropped.
func (h *Header) Without(drop func(Field) bool) []byte {
	var out []byte
	kept := 0 // octets before it are in out or dropped
	for i, s := range h.spans {
		if drop(h.field(i)) {
			if out == nil {
				out = make([]byte, 0, len(h.raw))
			}
			out = append(out, h.raw[kept:s.start]...)
			kept = int(s.end)
		}
	}
	if out == nil {
		return h.raw
	}
	return append(out, h.raw[kept:]...)
}

// NeedsUTF8 reports whether the header has octets above 127, which need
// SMTPUTF8 to be sent (RFC 6531 §3.2, RFC 6532 §3.2).
func (h *Header) NeedsUTF8() bool { return !isASCII(h.raw) }

// Defects examines the header and returns what is wrong with its lines, by
// place, at most 100. Octet defects are reported once, at their first place,
// and so is a field that occurs more than twice. Missing fields are not looked
// for: a part's header has no From.
func (h *Header) Defects() []Defect {
	var found findings
	if h.cut {
		found.first(HeaderTooLong, int64(len(h.raw)), "")
	}
	if h.tooLong > 0 {
		found.first(HeaderTooLong, int64(h.tooLong), "")
	}
	if h.tooMany > 0 {
		found.first(TooManyFields, int64(h.tooMany), "")
	}
	found.octets(h.raw)
	var seen, doubled fieldSet
	for i, s := range h.spans {
		off := int(s.start)
		if h.tooLong > 0 && off == h.tooLong || h.tooMany > 0 && off == h.tooMany {
			break
		}
		found.name(h.field(i), 0)
		k := fieldOf(h.raw[s.start : s.start+s.nameEnd])
		if k != fkOther && !seen.add(k) && doubled.add(k) {
			found.always(DuplicateField, int64(off), k.name())
		}
	}
	return found.list()
}

// name examines the name of one field; base is the header's offset.
func (f *findings) name(field Field, base int64) {
	off := base + int64(field.off)
	switch {
	case field.nameEnd == 0:
		f.add(NoColon, off, string(trimEOL(field.raw[:min(len(field.raw), 80)])))
	case !validFieldName(field.raw[:field.nameEnd]):
		f.add(BadFieldName, off, string(field.raw[:min(field.nameEnd, 80)]))
	}
}

// octets examines all octets of a header.
func (f *findings) octets(b []byte) {
	if i := bytes.IndexByte(b, 0); i >= 0 {
		f.first(NUL, int64(i), "")
	}
	for pos := 0; pos < len(b); {
		line, next := b[pos:], len(b)
		if n := bytes.IndexByte(line, '\n'); n >= 0 {
			line, next = line[:n], pos+n+1
			if n > 0 && line[n-1] == '\r' {
				line = line[:n-1]
			} else {
				f.first(BareLF, int64(pos+n), "")
			}
		}
		if i := bytes.IndexByte(line, '\r'); i >= 0 {
			f.first(BareCR, int64(pos+i), "")
		}
		if len(line) > maxLine {
			f.first(LongLine, int64(pos), "")
		}
		pos = next
	}
	if !isASCII(b) && !utf8.Valid(b) {
		f.first(UnlabelledEightBit, int64(firstHigh(b)), "")
	}
}

// maxLine is the longest line without its line end (RFC 5322 §2.1.1).
const maxLine = 998
