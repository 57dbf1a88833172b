package message

import (
	"bytes"
	"io"
	"unicode/utf8"
)

// Parse reads a message of size octets once, from front to back, through a
// window of 64 KiB, and returns its outline. Memory depends on the limits and
// on the structure, not on the size. lim may be nil.
//
// The error is one of r; io.ErrUnexpectedEOF when r is shorter than size.
// Whatever the octets are, there is an outline without error.
func Parse(r io.ReaderAt, size int64, lim *Limits) (*Outline, error) {
	size = max(size, 0)
	p := newParser(lim)
	p.s.r, p.s.size = r, size
	p.s.buf = make([]byte, min(size, int64(p.s.window)))
	p.run()
	if p.s.err != nil {
		return nil, p.s.err
	}
	return p.o, nil
}

// ParseBytes is [Parse] for a message in memory. The outline does not refer to b.
func ParseBytes(b []byte, lim *Limits) *Outline {
	p := newParser(lim)
	p.s.buf, p.s.size = b, int64(len(b))
	p.run()
	return p.o
}

// maxBoundary is the longest boundary that is looked for. RFC 2046 §5.1.1
// allows 70; a delimiter line of a longer one than this could not be legal.
const maxBoundary = maxLine - 4

// parser builds the tree while lines go by. The open parts, from the root to
// the one whose octets are read, are the stack.
type parser struct {
	s      scanner
	fields fieldReader
	o      *Outline
	stack  []frame
	open   map[string]int // boundary → the innermost frame that has it
	parts  int
	header []byte
}

// frame is an open part.
type frame struct {
	part     *Part
	boundary string // of a multipart, until its closing delimiter
	shadowed int    // the frame that had the same boundary before, -1
	lines    int64  // line ends before the body
	message  bool
	digest   bool
	labelled bool // octets above 127 are announced, or are not judged here
}

// delimiter is what ended a header or a body: the line of an open boundary.
type delimiter struct {
	frame int // -1: the end of the message
	last  bool
	off   int64 // of the line
	eol   int   // of the line end before it, which belongs to it
}

func newParser(lim *Limits) *parser {
	p := &parser{o: new(Outline)}
	p.fields.lim = lim.withDefaults()
	p.fields.budget = 4 * p.fields.lim.HeaderBytes
	p.s.window = windowSize
	p.s.report = func(k DefectKind, off int64) { p.fields.found.first(k, off, "") }
	return p
}

func (p *parser) run() {
	p.o.Size = p.s.size
	p.o.Root = new(Part)
	p.parts = 1
	next := p.o.Root // the part whose header comes next
	for {
		d, done := p.part(next)
		if !done {
			d = p.body()
		}
		for {
			if p.close(d); d.frame < 0 {
				p.finish()
				return
			}
			if next = p.child(d); next != nil {
				break
			}
			d = p.body()
		}
	}
}

// finish completes the outline.
func (p *parser) finish() {
	o := p.o
	o.Header = Span{o.Root.HeaderOffset, o.Root.HeaderSize}
	o.Traits = p.s.traits
	o.Defects = p.fields.found.list()
}

// part reads the header of a part and opens it, and so on into embedded
// messages. done is true when a delimiter ended a header.
func (p *parser) part(n *Part) (d delimiter, done bool) {
	for {
		d, done = p.readHeader(n)
		root := n == p.o.Root
		embedded := len(p.stack) > 0 && p.stack[len(p.stack)-1].message
		want := wantMIME
		if root || embedded {
			want |= wantEnvelope
		}
		p.scanHeader(n, want, root)
		switch {
		case root:
			p.fields.envelope(&p.o.Envelope, false)
			p.checkMessage()
		case embedded:
			p.fields.envelope(p.stack[len(p.stack)-1].part.Envelope, true)
		}
		if !p.push(n) || done {
			return d, done
		}
		if n = p.newPart(); n == nil {
			return d, done
		}
		top := p.stack[len(p.stack)-1].part
		top.Parts = []*Part{n}
	}
}

// checkMessage looks for what every message must have (RFC 5322 §3.6).
func (p *parser) checkMessage() {
	for _, k := range [...]fieldKind{fkDate, fkFrom} {
		if !p.fields.seen.has(k) {
			p.fields.found.always(MissingField, 0, k.name())
		}
	}
	if e := &p.o.Envelope; e.HasDate {
		if _, err := ParseDate(e.Date); err != nil {
			p.fields.found.first(BadDate, p.fields.off[fkDate], e.Date)
		}
	}
}

// newPart counts a part; nil when there are enough.
func (p *parser) newPart() *Part {
	if p.parts >= p.fields.lim.Parts {
		p.fields.found.first(TooManyParts, p.s.offset(), "")
		return nil
	}
	p.parts++
	return new(Part)
}

// readHeader collects the octets of a header, the empty line excluded.
func (p *parser) readHeader(n *Part) (d delimiter, done bool) {
	s := &p.s
	n.HeaderOffset = s.offset()
	p.header = p.header[:0]
	most := int(p.fields.lim.HeaderBytes)
	cut, field := false, 0 // field: where the last one begins
	for {
		off := s.offset()
		line := s.next()
		if line == nil {
			d, done = delimiter{frame: -1, off: off}, true
			break
		}
		if s.start {
			if d, done = p.match(line, off); done {
				p.fields.found.add(NoBlankLine, off, "")
				break
			}
			if blankLine(line) == len(line) {
				break
			}
		}
		if s.high && !isASCII(line) {
			s.traits |= HasEightBitHeader
		}
		if s.start && !isWSP(line[0]) && !cut {
			field = len(p.header)
		}
		if cut = cut || len(p.header)+len(line) > most; !cut {
			p.header = append(p.header, line...)
		}
	}
	if cut { // the field that is not whole stays raw
		p.header = p.header[:field]
		p.fields.found.first(HeaderTooLong, n.HeaderOffset+int64(field), "")
	}
	n.BodyOffset = s.offset()
	if done {
		n.BodyOffset = d.off
	}
	n.HeaderSize = n.BodyOffset - n.HeaderOffset
	if s.traits&HasEightBitHeader != 0 && !isASCII(p.header) && !utf8.Valid(p.header) {
		p.fields.found.first(UnlabelledEightBit, n.HeaderOffset+int64(firstHigh(p.header)), "")
	}
	return d, done
}

// scanHeader takes the wanted fields out of the collected header. Only the
// message's own header is examined for defects of names; what is wrong inside
// an embedded message does not count against this one.
func (p *parser) scanHeader(n *Part, want fieldSet, root bool) {
	r := &p.fields
	r.reset(n.HeaderOffset)
	b := p.header
	var doubled fieldSet
	for pos, count := 0, 0; pos < len(b); count++ {
		if count >= r.lim.Fields {
			p.fields.found.first(TooManyFields, n.HeaderOffset+int64(pos), "")
			break
		}
		sp := scanField(b, pos)
		f := Field{b[pos:sp.end], pos, int(sp.nameEnd), int(sp.colon)}
		if root {
			r.found.name(f, n.HeaderOffset)
		}
		k := fieldOf(f.raw[:f.nameEnd])
		switch {
		case r.take(k, f, want):
		case root && doubled.add(k):
			r.found.always(DuplicateField, n.HeaderOffset+int64(pos), k.name())
		case !root && wantMIME.has(k):
			r.found.add(DuplicateField, n.HeaderOffset+int64(pos), k.name())
		}
		pos = int(sp.end)
	}
	r.freeze()
}

// push opens a part after its header; it reports true when the part is an
// embedded message, whose header comes next.
func (p *parser) push(n *Part) (message bool) {
	digest := false
	if len(p.stack) > 0 {
		digest = p.stack[len(p.stack)-1].digest
	}
	f := frame{part: n, shadowed: -1, lines: p.s.lines}
	boundary := p.fields.mime(n, digest)
	identity := n.Encoding == "7bit" || n.Encoding == "8bit" || n.Encoding == "binary"
	container := n.Type == "multipart" ||
		n.Type == "message" && (n.Subtype == "rfc822" || n.Subtype == "global")
	if container && !identity {
		p.fields.found.add(BadEncoding, n.HeaderOffset, n.Encoding) // RFC 2045 §6.4
	}
	switch {
	case !container:
		f.labelled = n.Encoding == "8bit" || n.Encoding == "binary"
	case len(p.stack) >= p.fields.lim.Depth:
		p.fields.found.first(TooDeep, n.HeaderOffset, n.MediaType())
		n.opaque()
	case p.parts >= p.fields.lim.Parts:
		p.fields.found.first(TooManyParts, n.HeaderOffset, n.MediaType())
		n.opaque()
	case n.Type == "multipart":
		n.Encoding = "7bit" // never decoded, whatever it says
		f.labelled = true
		f.digest = n.Subtype == "digest"
		f.boundary = trimRightWSP(boundary)
		if f.boundary == "" || len(f.boundary) > maxBoundary {
			f.boundary = ""
			p.fields.found.add(MissingBoundary, n.HeaderOffset, "no boundary")
		}
	case !identity:
		n.opaque()
	default:
		f.message, f.labelled = true, true
		n.Envelope = new(Envelope)
	}
	if f.boundary != "" {
		if p.open == nil {
			p.open = make(map[string]int)
		}
		if i, ok := p.open[f.boundary]; ok {
			f.shadowed = i
		}
		p.open[f.boundary] = len(p.stack)
	}
	p.stack = append(p.stack, f)
	return f.message
}

// opaque shows a part that is not taken apart as a leaf.
func (n *Part) opaque() {
	n.Type, n.Subtype, n.Params = "application", "octet-stream", nil
}

func trimRightWSP(s string) string {
	for len(s) > 0 && isWSP(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// body moves over lines until a delimiter or the end of the message.
func (p *parser) body() delimiter {
	s := &p.s
	labelled := p.stack[len(p.stack)-1].labelled
	for {
		line := s.next()
		if line == nil {
			return delimiter{frame: -1, off: s.offset()}
		}
		if line[0] == '-' && s.start && len(p.open) > 0 {
			if d, ok := p.match(line, s.offset()-int64(len(line))); ok {
				return d
			}
		}
		if s.high && !isASCII(line) {
			s.traits |= HasEightBitBody
			if !labelled && !p.fields.found.has(UnlabelledEightBit) {
				p.fields.found.first(UnlabelledEightBit, s.offset()-int64(len(line)-firstHigh(line)), "")
			}
		}
	}
}

// match compares a line with all open boundaries at once: the whole line, but
// for white space at its end (RFC 2046 §5.1.1).
func (p *parser) match(line []byte, off int64) (delimiter, bool) {
	if len(p.open) == 0 || len(line) < 3 || line[0] != '-' || line[1] != '-' || len(line) > 2*maxLine {
		return delimiter{}, false
	}
	b := bytes.TrimRight(line[2:], " \t\r\n")
	d := delimiter{off: off, eol: p.s.lastEOL}
	i, ok := p.open[string(b)]
	if !ok && len(b) > 2 && b[len(b)-1] == '-' && b[len(b)-2] == '-' {
		i, ok = p.open[string(b[:len(b)-2])]
		d.last = true
	}
	d.frame = i
	return d, ok
}

// close ends the parts that a delimiter ends: all inside its multipart. At the
// end of the message all parts end.
func (p *parser) close(d delimiter) {
	for len(p.stack) > d.frame+1 {
		i := len(p.stack) - 1
		p.closePart(&p.stack[i], i, d)
		p.stack = p.stack[:i]
	}
	if d.last {
		p.closeBoundary(&p.stack[d.frame], d.frame)
	}
}

// closeBoundary forgets the boundary of a multipart.
func (p *parser) closeBoundary(f *frame, i int) {
	if f.boundary == "" {
		return
	}
	if f.shadowed >= 0 {
		p.open[f.boundary] = f.shadowed
	} else if p.open[f.boundary] == i {
		delete(p.open, f.boundary)
	}
	f.boundary = ""
}

func (p *parser) closePart(f *frame, i int, d delimiter) {
	n := f.part
	if f.boundary != "" {
		p.fields.found.add(MissingBoundary, d.off, "no closing delimiter")
		p.closeBoundary(f, i)
	}
	lines := p.s.lines
	if d.frame >= 0 && p.s.eol > 0 {
		lines-- // of the delimiter itself
	}
	end := d.off
	// The line end before a delimiter belongs to it (RFC 2046 §5.1.1), but the
	// empty line that ends the header of an empty part stays with the part. All
	// that a delimiter ends, ends at the same place.
	if d.eol > 0 && end-int64(d.eol) >= p.stack[d.frame+1].part.BodyOffset {
		end -= int64(d.eol)
		lines--
	}
	n.HeaderOffset, n.BodyOffset = min(n.HeaderOffset, end), min(n.BodyOffset, end)
	n.HeaderSize = n.BodyOffset - n.HeaderOffset
	n.BodySize = end - n.BodyOffset
	n.Lines = max(lines-f.lines, 0)
	if len(n.Parts) > 0 || !n.IsMultipart() && !f.message {
		return
	}
	c := &Part{Encoding: "7bit", HeaderOffset: n.BodyOffset, BodyOffset: n.BodyOffset, BodySize: n.BodySize, Lines: n.Lines}
	defaultType(c)
	n.Parts = []*Part{c}
}

// child makes the part that begins behind a delimiter; nil when there is none.
func (p *parser) child(d delimiter) *Part {
	if d.last {
		return nil
	}
	n := p.newPart()
	if n != nil {
		parent := p.stack[d.frame].part
		parent.Parts = append(parent.Parts, n)
	}
	return n
}
