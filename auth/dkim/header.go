package dkim

import (
	"bytes"
	"hash"
	"hash/maphash"
	"slices"
)

const (
	defaultHeaderBytes  = 1 << 20
	defaultHeaderFields = 5000
)

// headerField is one field of the header as received.
type headerField struct {
	start, end int32 // without the final CRLF
	prev       int32 // the next field of the same name above this one, or -1
}

// headerCollector gathers the header of a message that comes in pieces.
type headerCollector struct {
	maxBytes, maxFields int

	buf    []byte
	done   bool
	err    error
	fields []headerField
	names  []headerName
	index  []int32 // open addressing by hash: place in names + 1, 0 for free
	cursor []int32 // of hashFields
	line   []byte  // of hashFields
}

// reset makes a collector ready for another message; what it holds is kept for
// that.
func (h *headerCollector) reset() {
	clear(h.index)
	*h = headerCollector{buf: h.buf[:0], fields: h.fields[:0], names: h.names[:0], index: h.index, cursor: h.cursor, line: h.line}
}

// headerName is a name that the header has.
type headerName struct {
	start, end int32 // where it stands first
	last       int32 // the bottommost field
	hash       uint32
}

// seed makes hashes of names unpredictable, so that nobody can send names that
// collide.
var seed = maphash.MakeSeed()

// write takes the next piece and returns the part of it that belongs to the
// body, once the header is complete. It copies in small steps, so that a body
// in the same piece is not copied.
func (h *headerCollector) write(p []byte) (body []byte) {
	const step = 4096
	before := len(h.buf)
	for rest := p; len(rest) > 0 && !h.done; {
		n := min(len(rest), step)
		from := max(0, len(h.buf)-3)
		h.buf = append(h.buf, rest[:n]...)
		rest = rest[n:]
		if end := headerEnd(h.buf, from); end >= 0 {
			h.buf = h.buf[:end]
			h.close()
			return p[end-before:]
		}
		if len(h.buf) > h.maxBytes {
			h.close()
		}
	}
	return nil
}

// headerEnd finds the end of the empty line that closes a header, or -1.
func headerEnd(b []byte, from int) int {
	if from == 0 && bytes.HasPrefix(b, crlf) {
		return 2
	}
	if i := bytes.Index(b[from:], crlfcrlf); i >= 0 {
		return from + i + 4
	}
	return -1
}

var crlfcrlf = []byte("\r\n\r\n")

// close ends the header, at its empty line or at the end of the message, and
// finds the fields.
func (h *headerCollector) close() {
	if h.done {
		return
	}
	h.done = true
	if len(h.buf) > h.maxBytes {
		h.err = ErrHeaderTooLarge
	} else {
		h.err = h.split()
	}
	if h.err != nil {
		h.buf, h.fields, h.names, h.index = nil, nil, nil, nil
	}
}

func (h *headerCollector) split() error {
	if h.index == nil {
		h.fields, h.names, h.index = make([]headerField, 0, 48), make([]headerName, 0, 48), make([]int32, 128)
	}
	for pos := 0; pos < len(h.buf); {
		next := len(h.buf)
		end := next
		if i := bytes.IndexByte(h.buf[pos:], '\n'); i >= 0 {
			next = pos + i + 1
			end = next - 2
			if i == 0 || h.buf[end] != '\r' {
				return ErrBareNewline
			}
		}
		if bytes.IndexByte(h.buf[pos:end], '\r') >= 0 {
			return ErrBareNewline
		}
		switch {
		case end == pos: // the empty line
		case (h.buf[pos] == ' ' || h.buf[pos] == '\t') && len(h.fields) > 0:
			h.fields[len(h.fields)-1].end = int32(end)
		default:
			if len(h.fields) == h.maxFields {
				return ErrHeaderTooLarge
			}
			h.add(pos, end)
		}
		pos = next
	}
	return nil
}

// add notes the field that starts with the line buf[start:end]. A line that is
// no field is kept under no name.
func (h *headerCollector) add(start, end int) {
	f := headerField{start: int32(start), end: int32(end), prev: -1}
	var lower [80]byte
	name := appendFieldName(lower[:0], h.buf[start:end])
	if len(name) > 0 {
		n, slot, hash := h.find(name)
		if n != nil {
			f.prev = n.last
			n.last = int32(len(h.fields))
		} else {
			h.names = append(h.names, headerName{int32(start), int32(start + len(name)), int32(len(h.fields)), hash})
			h.index[slot] = int32(len(h.names))
			if len(h.names) > len(h.index)/2 {
				h.grow()
			}
		}
	}
	h.fields = append(h.fields, f)
}

// find returns what is known of a name in lower case; nil if the header does
// not have it, with the place in index where it belongs.
func (h *headerCollector) find(name []byte) (n *headerName, slot int, hash uint32) {
	if len(h.index) == 0 {
		return nil, 0, 0
	}
	sum := maphash.Bytes(seed, name)
	hash = uint32(sum >> 32)
	mask := len(h.index) - 1
	for slot = int(sum) & mask; h.index[slot] != 0; slot = (slot + 1) & mask {
		n = &h.names[h.index[slot]-1]
		if n.hash == hash && equalLower(h.buf[n.start:n.end], name) {
			return n, slot, hash
		}
	}
	return nil, slot, hash
}

// grow doubles the index.
func (h *headerCollector) grow() {
	h.index = make([]int32, 2*len(h.index))
	for i := range h.names {
		n := &h.names[i]
		var lower [80]byte
		_, slot, _ := h.find(appendLower(lower[:0], h.buf[n.start:n.end]))
		h.index[slot] = int32(i + 1)
	}
}

// equalLower reports whether b in lower case is lower.
func equalLower(b, lower []byte) bool {
	if len(b) != len(lower) {
		return false
	}
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

func appendLower(dst, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// appendFieldName appends the name of a field in lower case, or nothing where
// the line has none (RFC 5322 §2.2; §4.5 allows white space before the colon).
func appendFieldName(dst, line []byte) []byte {
	colon := bytes.IndexByte(line, ':')
	if colon < 0 {
		return nil
	}
	for _, c := range bytes.TrimRight(line[:colon], " \t") {
		if c <= ' ' || c >= 0x7f {
			return nil
		}
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

func (h *headerCollector) raw(i int32) []byte {
	f := h.fields[i]
	return h.buf[f.start:f.end]
}

// folded reports whether the header begins with white space: it then goes on
// with whatever is put above it (RFC 5322 §2.2.3).
func (h *headerCollector) folded() bool {
	return len(h.buf) > 0 && (h.buf[0] == ' ' || h.buf[0] == '\t')
}

// named returns the fields of a name (in lower case), from the top.
func (h *headerCollector) named(name string) (list []int32) {
	if n, _, _ := h.find([]byte(name)); n != nil {
		for i := n.last; i >= 0; i = h.fields[i].prev {
			list = append(list, i)
		}
		slices.Reverse(list)
	}
	return list
}

// from returns the bottommost field of a name (in lower case), which there is.
func (h *headerCollector) from(name string) int32 {
	n, _, _ := h.find([]byte(name))
	return n.last
}

// count is how many fields of a name (in lower case) there are.
func (h *headerCollector) count(name string) (total int) {
	if n, _, _ := h.find([]byte(name)); n != nil {
		for i := n.last; i >= 0; i = h.fields[i].prev {
			total++
		}
	}
	return total
}

// hashFields writes the fields that names (in lower case) selects to w: for
// each mention of a name the next field from the bottom, nothing where there is
// none left (RFC 6376 §5.4.2).
func (h *headerCollector) hashFields(w hash.Hash, c Canonicalization, names []string) {
	h.cursor = h.cursor[:0]
	for i := range h.names {
		h.cursor = append(h.cursor, h.names[i].last)
	}
	for _, name := range names {
		var lower [80]byte
		n, slot, _ := h.find(append(lower[:0], name...))
		if n == nil {
			continue
		}
		next := &h.cursor[h.index[slot]-1]
		if *next < 0 {
			continue
		}
		h.line = c.AppendHeader(h.line[:0], h.raw(*next))
		h.line = append(h.line, '\r', '\n')
		w.Write(h.line)
		*next = h.fields[*next].prev
	}
}

// lfConverter makes CRLF of each bare LF.
type lfConverter struct {
	buf    []byte
	lastCR bool
}

// convert returns p with CRLF line ends; the result is valid until the next
// call.
func (c *lfConverter) convert(p []byte) []byte {
	c.buf = c.buf[:0]
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		if i < 0 {
			c.buf = append(c.buf, p...)
			c.lastCR = p[len(p)-1] == '\r'
			break
		}
		c.buf = append(c.buf, p[:i]...)
		if i > 0 {
			c.lastCR = p[i-1] == '\r'
		} // else what the last piece ended with
		if !c.lastCR {
			c.buf = append(c.buf, '\r')
		}
		c.buf = append(c.buf, '\n')
		c.lastCR = false
		p = p[i+1:]
	}
	return c.buf
}
