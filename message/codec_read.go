package message

import (
	"encoding/binary"
	"fmt"
)

// UnmarshalBinary sets o from its stored form (encoding.BinaryUnmarshaler). b
// is not kept. The error is [ErrOutline]; o is then undefined. Any octets are
// safe to read: memory is bounded by a multiple of their number, and the
// promises of [Part] are checked.
func (o *Outline) UnmarshalBinary(b []byte) error {
	d := outlineReader{s: string(b)}
	*o = Outline{}
	d.version()
	d.envelope(&o.Envelope)
	o.Size = d.number()
	o.Header = Span{d.number(), d.number()}
	o.Traits = Traits(d.octet())
	o.Root = new(Part)
	d.part(o.Root, 0, 0)
	if n := d.count(3); n > 0 {
		o.Defects = make([]Defect, n)
		for i := range o.Defects {
			o.Defects[i] = Defect{DefectKind(d.octet()), d.signed(), d.str()}
		}
	}
	if d.bad == "" && d.i != len(d.s) {
		d.fail("octets behind it")
	}
	if d.bad != "" {
		return fmt.Errorf("%w: %s at octet %d", ErrOutline, d.bad, d.i)
	}
	return o.valid()
}

// UnmarshalEnvelope reads only the envelope of a stored outline, which is at its
// start, without looking at the rest.
func UnmarshalEnvelope(b []byte) (*Envelope, error) {
	d := outlineReader{s: string(b)}
	e := new(Envelope)
	d.version()
	d.envelope(e)
	if d.bad != "" {
		return nil, fmt.Errorf("%w: %s at octet %d", ErrOutline, d.bad, d.i)
	}
	return e, nil
}

// outlineReader reads a stored outline. All strings are slices of s. After the
// first error everything read is zero.
type outlineReader struct {
	s     string
	i     int
	parts int
	bad   string
}

// minPart is the least number of octets of a stored part.
const minPart = 8

func (d *outlineReader) fail(why string) {
	if d.bad == "" {
		d.bad = why
	}
}

func (d *outlineReader) version() {
	if d.octet() != outlineVersion {
		d.fail("unknown version")
	}
}

func (d *outlineReader) octet() byte {
	if d.bad != "" || d.i >= len(d.s) {
		d.fail("cut short")
		return 0
	}
	d.i++
	return d.s[d.i-1]
}

func (d *outlineReader) uvarint() uint64 {
	if d.bad != "" {
		return 0
	}
	var v uint64
	for n := 0; n < binary.MaxVarintLen64 && d.i < len(d.s); n++ {
		c := d.s[d.i]
		d.i++
		if c < 0x80 {
			if n == binary.MaxVarintLen64-1 && c > 1 {
				break
			}
			return v | uint64(c)<<(7*n)
		}
		v |= uint64(c&0x7f) << (7 * n)
	}
	d.fail("bad number")
	return 0
}

// number is a size or an offset.
func (d *outlineReader) number() int64 {
	v := d.uvarint()
	if v > 1<<61 {
		d.fail("number too large")
		return 0
	}
	return int64(v)
}

// signed is a difference of offsets.
func (d *outlineReader) signed() int64 {
	u := d.uvarint()
	v := int64(u >> 1)
	if u&1 != 0 {
		v = ^v
	}
	if v > 1<<61 || v < -1<<61 {
		d.fail("number too large")
		return 0
	}
	return v
}

// count is the number of things that follow, each of at least size octets.
func (d *outlineReader) count(size int) int {
	v := d.uvarint()
	if v > uint64(len(d.s)-d.i)/uint64(size) {
		d.fail("count too large")
		return 0
	}
	return int(v)
}

// some is a count that is not zero: an empty list is not stored.
func (d *outlineReader) some(size int) int {
	n := d.count(size)
	if n == 0 {
		d.fail("empty list")
	}
	return n
}

func (d *outlineReader) str() string {
	n := d.count(1)
	s := d.s[d.i : d.i+n]
	d.i += n
	return s
}

func (d *outlineReader) envelope(e *Envelope) {
	bits := d.octet()
	if bits >= 1<<4 {
		d.fail("unknown envelope bits")
	}
	e.HasDate, e.HasSubject = bits&ebDate != 0, bits&ebSubject != 0
	e.HasInReplyTo, e.HasMessageID = bits&ebInReplyTo != 0, bits&ebMessageID != 0
	for i, s := range [...]*string{&e.Date, &e.Subject, &e.InReplyTo, &e.MessageID} {
		if bits&(1<<i) != 0 {
			*s = d.str()
		}
	}
	total := d.count(2)
	if total == 0 {
		for range addressFields {
			if d.uvarint() != 0 {
				d.fail("address count")
			}
		}
		return
	}
	all := make([]Address, total) // one array for all lists
	used := 0
	for _, l := range [...]*[]Address{&e.From, &e.Sender, &e.ReplyTo, &e.To, &e.Cc, &e.Bcc} {
		n := d.count(2)
		if n > total-used {
			d.fail("address count")
			return
		}
		if n == 0 {
			continue
		}
		*l = all[used : used+n : used+n]
		used += n
		for i := range *l {
			d.address(&(*l)[i])
		}
	}
	if used != total {
		d.fail("address count")
	}
}

func (d *outlineReader) address(a *Address) {
	bits := d.octet()
	if bits >= 1<<5 || bits&abName != 0 && bits&abDecode != 0 {
		d.fail("unknown address bits")
	}
	a.Mailbox = d.str()
	if bits&abNoHost != 0 {
		a.Host = NoHost
	} else {
		a.Host = d.str()
	}
	if bits&abRaw != 0 {
		a.RawName = d.str()
		a.Name = a.RawName
	}
	if bits&abDecode != 0 {
		a.Name = DecodeWords(a.RawName)
	}
	if bits&abName != 0 {
		a.Name = d.str()
	}
	if bits&abRoute != 0 {
		a.Route = d.str()
	}
}

func (d *outlineReader) partType(p *Part) {
	switch code := int(d.octet()); {
	case code == 0:
		p.Type, p.Subtype = d.str(), d.str()
	case code <= len(commonTypes):
		p.Type, p.Subtype = commonTypes[code-1][0], commonTypes[code-1][1]
	default:
		d.fail("unknown type code")
	}
	switch code := int(d.octet()); {
	case code == 0:
		p.Encoding = d.str()
	case code <= len(commonEncodings):
		p.Encoding = commonEncodings[code-1]
	default:
		d.fail("unknown encoding code")
	}
}

// part reads one part and those below it.
func (d *outlineReader) part(p *Part, from int64, depth int) {
	d.partType(p)
	bits := d.uvarint()
	if bits > pbAll || depth > maxCodecDepth {
		d.fail("unknown part bits")
		return
	}
	p.HeaderOffset = from + d.signed()
	p.HeaderSize = d.number()
	p.BodyOffset = p.HeaderOffset + p.HeaderSize + d.signed()
	p.BodySize, p.Lines = d.number(), d.number()
	if p.HeaderOffset < 0 || p.HeaderOffset > 1<<61 || p.BodyOffset < 0 || p.BodyOffset > 1<<61 {
		d.fail("offset")
		return
	}
	if bits&pbParams != 0 {
		p.Params = d.params()
	}
	for i, s := range [...]*string{&p.ID, &p.Description, &p.MD5, &p.Disposition} {
		if bits&(pbID<<i) != 0 {
			*s = d.str()
		}
	}
	if bits&pbDispositionParams != 0 {
		p.DispositionParams = d.params()
	}
	if bits&pbLanguage != 0 {
		p.Language = make([]string, d.some(1))
		for i := range p.Language {
			p.Language[i] = d.str()
		}
	}
	if bits&pbLocation != 0 {
		p.Location = d.str()
	}
	if bits&pbEnvelope != 0 {
		p.Envelope = new(Envelope)
		d.envelope(p.Envelope)
	}
	if bits&pbParts == 0 {
		return
	}
	n := d.some(minPart)
	if d.parts += n; d.parts > len(d.s)/minPart { // all counts together
		d.fail("count too large")
		return
	}
	nodes := make([]Part, n) // one array for all parts of a multipart
	p.Parts = make([]*Part, n)
	for i := range nodes {
		if d.bad != "" {
			return
		}
		p.Parts[i] = &nodes[i]
		d.part(p.Parts[i], p.BodyOffset, depth+1)
	}
}

func (d *outlineReader) params() []Param {
	list := make([]Param, d.some(2))
	for i := range list {
		list[i] = Param{d.str(), d.str()}
	}
	return list
}
