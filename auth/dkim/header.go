package dkim

import (
	"bytes"
	"hash"
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
	ids    map[string]int32 // by name in lower case: place in last
	last   []int32          // the bottommost field of each name
}

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
		h.buf, h.fields, h.ids, h.last = nil, nil, nil, nil
	}
}

func (h *headerCollector) split() error {
	h.ids = make(map[string]int32, 32)
	h.fields = make([]headerField, 0, 48)
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
		id, ok := h.ids[string(name)]
		if ok {
			f.prev = h.last[id]
			h.last[id] = int32(len(h.fields))
		} else {
			h.ids[string(name)] = int32(len(h.last))
			h.last = append(h.last, int32(len(h.fields)))
		}
	}
	h.fields = append(h.fields, f)
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

// named returns the fields of a name (in lower case), from the top.
func (h *headerCollector) named(name string) (list []int32) {
	if id, ok := h.ids[name]; ok {
		for i := h.last[id]; i >= 0; i = h.fields[i].prev {
			list = append(list, i)
		}
		slices.Reverse(list)
	}
	return list
}

// hashFields writes the fields that names (in lower case) selects to w: for
// each mention of a name the next field from the bottom, nothing where there is
// none left (RFC 6376 §5.4.2).
func (h *headerCollector) hashFields(w hash.Hash, c Canonicalization, names []string) {
	cursor := slices.Clone(h.last)
	buf := make([]byte, 0, 1024)
	for _, name := range names {
		id, ok := h.ids[name]
		if !ok || cursor[id] < 0 {
			continue
		}
		i := cursor[id]
		cursor[id] = h.fields[i].prev
		buf = c.AppendHeader(buf[:0], h.raw(i))
		buf = append(buf, '\r', '\n')
		w.Write(buf)
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
