package message

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// ErrOutline is the kind of all errors of reading and writing stored outlines.
var ErrOutline = errors.New("message: bad outline")

// The stored form of an outline, version 1. Numbers are varints, strings are a
// length and octets.
//
//	version
//	envelope: presence bits, the present strings, the number of addresses of
//	          all lists, then each list: its length, its addresses
//	size, header offset, header size, traits
//	root:     see appendPart
//	defects:  number, then kind, offset, detail
const outlineVersion = 1

// maxCodecDepth bounds the recursion over parts.
const maxCodecDepth = 10000

// commonTypes and commonEncodings are stored as one octet: the index, from 1.
// Entries are only ever added at the end.
var (
	commonTypes = [...][2]string{
		{"text", "plain"}, {"text", "html"}, {"multipart", "alternative"}, {"multipart", "mixed"},
		{"multipart", "related"}, {"multipart", "signed"}, {"multipart", "report"}, {"multipart", "digest"},
		{"message", "rfc822"}, {"message", "delivery-status"}, {"application", "octet-stream"},
		{"application", "pdf"}, {"image", "jpeg"}, {"image", "png"}, {"image", "gif"}, {"text", "calendar"},
		{"application", "pgp-signature"}, {"application", "zip"}, {"text", "rfc822-headers"},
	}
	commonEncodings = [...]string{"7bit", "8bit", "quoted-printable", "base64", "binary"}
)

// Bits of a part: which optional members follow.
const (
	pbParams = 1 << iota
	pbID
	pbDescription
	pbMD5
	pbDisposition
	pbDispositionParams
	pbLanguage
	pbLocation
	pbEnvelope
	pbParts
	pbAll = 1<<iota - 1
)

// AppendBinary appends the stored form to b (encoding.BinaryAppender). The
// error is [ErrOutline]: an outline that breaks the promises of [Part], which
// Parse never makes.
func (o *Outline) AppendBinary(b []byte) ([]byte, error) {
	if err := o.valid(); err != nil {
		return b, err
	}
	b = append(b, outlineVersion)
	b = appendEnvelope(b, &o.Envelope)
	b = appendNumbers(b, o.Size, o.Header.Offset, o.Header.Size)
	b = append(b, byte(o.Traits))
	b = appendPart(b, o.Root, 0)
	b = binary.AppendUvarint(b, uint64(len(o.Defects)))
	for _, d := range o.Defects {
		b = append(b, byte(d.Kind))
		b = binary.AppendVarint(b, d.Offset)
		b = appendString(b, d.Detail)
	}
	return b, nil
}

func appendNumbers(b []byte, v ...int64) []byte {
	for _, n := range v {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// appendPart writes type, encoding, presence bits, places, optional members.
// from is the body offset of the part around it.
func appendPart(b []byte, p *Part, from int64) []byte {
	b = appendType(b, p)
	var bits uint64
	set := func(bit uint64, on bool) {
		if on {
			bits |= bit
		}
	}
	set(pbParams, len(p.Params) > 0)
	set(pbID, p.ID != "")
	set(pbDescription, p.Description != "")
	set(pbMD5, p.MD5 != "")
	set(pbDisposition, p.Disposition != "")
	set(pbDispositionParams, len(p.DispositionParams) > 0)
	set(pbLanguage, len(p.Language) > 0)
	set(pbLocation, p.Location != "")
	set(pbEnvelope, p.Envelope != nil)
	set(pbParts, len(p.Parts) > 0)
	b = binary.AppendUvarint(b, bits)
	b = binary.AppendVarint(b, p.HeaderOffset-from)
	b = appendNumbers(b, p.HeaderSize)
	b = binary.AppendVarint(b, p.BodyOffset-p.HeaderOffset-p.HeaderSize)
	b = appendNumbers(b, p.BodySize, p.Lines)
	b = appendParams(b, p.Params)
	for _, s := range [...]string{p.ID, p.Description, p.MD5, p.Disposition} {
		if s != "" {
			b = appendString(b, s)
		}
	}
	b = appendParams(b, p.DispositionParams)
	if len(p.Language) > 0 {
		b = binary.AppendUvarint(b, uint64(len(p.Language)))
		for _, s := range p.Language {
			b = appendString(b, s)
		}
	}
	if p.Location != "" {
		b = appendString(b, p.Location)
	}
	if p.Envelope != nil {
		b = appendEnvelope(b, p.Envelope)
	}
	if len(p.Parts) > 0 {
		b = binary.AppendUvarint(b, uint64(len(p.Parts)))
		for _, c := range p.Parts {
			b = appendPart(b, c, p.BodyOffset)
		}
	}
	return b
}

func appendType(b []byte, p *Part) []byte {
	code := 0
	for i, t := range commonTypes {
		if t[0] == p.Type && t[1] == p.Subtype {
			code = i + 1
			break
		}
	}
	b = append(b, byte(code))
	if code == 0 {
		b = appendString(appendString(b, p.Type), p.Subtype)
	}
	code = 0
	for i, e := range commonEncodings {
		if e == p.Encoding {
			code = i + 1
			break
		}
	}
	b = append(b, byte(code))
	if code == 0 {
		b = appendString(b, p.Encoding)
	}
	return b
}

func appendParams(b []byte, list []Param) []byte {
	if len(list) == 0 {
		return b
	}
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, q := range list {
		b = appendString(appendString(b, q.Name), q.Value)
	}
	return b
}

// Bits of an envelope and of an address.
const (
	ebDate = 1 << iota
	ebSubject
	ebInReplyTo
	ebMessageID
)

const (
	abRaw    = 1 << iota // a raw name follows; the name is the same
	abDecode             // the name is the raw name decoded
	abName               // a name follows
	abRoute              // a route follows
	abNoHost             // the host is NoHost
)

func appendEnvelope(b []byte, e *Envelope) []byte {
	var bits byte
	for i, on := range [...]bool{e.HasDate, e.HasSubject, e.HasInReplyTo, e.HasMessageID} {
		if on {
			bits |= 1 << i
		}
	}
	b = append(b, bits)
	for i, s := range [...]string{e.Date, e.Subject, e.InReplyTo, e.MessageID} {
		if bits&(1<<i) != 0 {
			b = appendString(b, s)
		}
	}
	lists := [...][]Address{e.From, e.Sender, e.ReplyTo, e.To, e.Cc, e.Bcc}
	total := 0
	for _, l := range lists {
		total += len(l)
	}
	b = binary.AppendUvarint(b, uint64(total))
	for _, l := range lists {
		b = binary.AppendUvarint(b, uint64(len(l)))
		for i := range l {
			b = appendAddress(b, &l[i])
		}
	}
	return b
}

func appendAddress(b []byte, a *Address) []byte {
	var bits byte
	if a.RawName != "" {
		bits |= abRaw
	}
	switch {
	case a.Name == a.RawName:
	case a.Name == DecodeWords(a.RawName):
		bits |= abDecode
	default:
		bits |= abName
	}
	if a.Route != "" {
		bits |= abRoute
	}
	if a.Host == NoHost {
		bits |= abNoHost
	}
	b = append(b, bits)
	b = appendString(b, a.Mailbox)
	if bits&abNoHost == 0 {
		b = appendString(b, a.Host)
	}
	if bits&abRaw != 0 {
		b = appendString(b, a.RawName)
	}
	if bits&abName != 0 {
		b = appendString(b, a.Name)
	}
	if bits&abRoute != 0 {
		b = appendString(b, a.Route)
	}
	return b
}

// valid checks what readers of an outline rely on.
func (o *Outline) valid() error {
	const most = math.MaxInt64 / 4
	if o.Root == nil || o.Size < 0 || o.Size > most ||
		o.Header.Offset < 0 || o.Header.Size < 0 || o.Header.Offset > o.Size || o.Header.Size > o.Size-o.Header.Offset {
		return fmt.Errorf("%w: size", ErrOutline)
	}
	return o.Root.valid(o.Size, 0)
}

func (p *Part) valid(size int64, depth int) error {
	in := func(off, n int64) bool { return off >= 0 && n >= 0 && off <= size && n <= size-off }
	if !in(p.HeaderOffset, p.HeaderSize) || !in(p.BodyOffset, p.BodySize) || p.Lines < 0 || depth > maxCodecDepth {
		return fmt.Errorf("%w: part outside of the message", ErrOutline)
	}
	n := len(p.Parts)
	switch {
	case p.IsMessage():
		if n != 1 || p.IsMultipart() {
			return fmt.Errorf("%w: embedded message", ErrOutline)
		}
	case p.IsMultipart() != (n > 0):
		return fmt.Errorf("%w: multipart", ErrOutline)
	}
	for _, c := range p.Parts {
		if c == nil {
			return fmt.Errorf("%w: missing part", ErrOutline)
		}
		if err := c.valid(size, depth+1); err != nil {
			return err
		}
	}
	return nil
}
