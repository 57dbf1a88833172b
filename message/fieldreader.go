package message

import (
	"slices"
	"strings"
	"unsafe"
)

// Which fields of a header are wanted.
const (
	wantEnvelope fieldSet = 1<<fkDate | 1<<fkSubject | 1<<fkInReplyTo | 1<<fkMessageID |
		1<<fkFrom | 1<<fkSender | 1<<fkReplyTo | 1<<fkTo | 1<<fkCc | 1<<fkBcc
	wantMIME fieldSet = 1<<fkContentType | 1<<fkContentEncoding | 1<<fkContentID | 1<<fkContentDescription |
		1<<fkContentDisposition | 1<<fkContentLanguage | 1<<fkContentLocation | 1<<fkContentMD5
)

// fieldReader collects the values of wanted fields of one header after the
// other. The values of one header are one string, of which all strings in the
// outline are slices; work space is kept from header to header.
type fieldReader struct {
	lim    Limits
	budget int64 // octets of text that may still be kept
	found  findings

	arena []byte
	at    [fkCount]struct{ start, end int }
	off   [fkCount]int64 // where the field begins in the message
	seen  fieldSet       // of this header
	base  int64          // where the header begins in the message
	text  string         // the arena, frozen

	addrs  addressParser
	params paramParser
}

// reset makes ready for the next header.
func (r *fieldReader) reset(base int64) {
	r.arena, r.seen, r.text, r.base = r.arena[:0], 0, "", base
}

// take notes a field; it reports false for a second one of a known kind.
func (r *fieldReader) take(k fieldKind, f Field, want fieldSet) bool {
	if k == fkOther {
		return true
	}
	if !r.seen.add(k) {
		return false
	}
	if !want.has(k) {
		return true
	}
	start := len(r.arena)
	r.arena = appendUnfolded(r.arena, f.raw[f.colon+1:])
	end := len(r.arena)
	for start < end && isWSP(r.arena[start]) {
		start++
	}
	for end > start && isWSP(r.arena[end-1]) {
		end--
	}
	r.at[k] = struct{ start, end int }{start, end}
	r.off[k] = r.base + int64(f.off)
	return true
}

// freeze ends the collection for one header. When the outline has all the text
// it may have, only what decides the structure is kept.
func (r *fieldReader) freeze() {
	if int64(len(r.arena)) > r.budget {
		r.found.first(TooMuchText, r.base, "")
		const most = 1024
		for k := fieldKind(1); k < fkCount; k++ {
			keep := k == fkContentType || k == fkContentEncoding
			if a := &r.at[k]; r.seen.has(k) && (!keep || a.end-a.start > most) {
				a.start, a.end = 0, 0
			}
		}
		ct, ce := r.get(fkContentType), r.get(fkContentEncoding)
		r.text = ct + ce
		r.at[fkContentType].start, r.at[fkContentType].end = 0, len(ct)
		r.at[fkContentEncoding].start, r.at[fkContentEncoding].end = len(ct), len(ct)+len(ce)
	} else {
		r.text = string(r.arena)
	}
	r.budget -= int64(len(r.text))
}

// get is the value of a field, "" without one.
func (r *fieldReader) get(k fieldKind) string {
	if !r.seen.has(k) {
		return ""
	}
	a := r.at[k]
	if r.text == "" {
		return string(r.arena[a.start:a.end])
	}
	return r.text[a.start:a.end]
}

// report adds the defects of one value, one of each kind, at the place of its
// field. Limits concern the whole message.
func (r *fieldReader) report(k fieldKind, defects []Defect) {
	var seen uint64
	for _, d := range defects {
		if seen&(1<<d.Kind) != 0 {
			continue
		}
		seen |= 1 << d.Kind
		switch d.Kind {
		case TooDeep, TooManyParams, TooManyAddresses:
			r.found.first(d.Kind, r.off[k], k.name())
		default:
			r.found.add(d.Kind, r.off[k], d.Detail)
		}
	}
}

var addressFields = [...]fieldKind{fkFrom, fkSender, fkReplyTo, fkTo, fkCc, fkBcc}

const addressCost = int64(unsafe.Sizeof(Address{}))

// envelope fills e from the collected fields. Addresses of an embedded message
// are judged by nobody: bad ones are no defect of the message around it.
func (r *fieldReader) envelope(e *Envelope, embedded bool) {
	e.Date, e.HasDate = r.get(fkDate), r.seen.has(fkDate)
	e.Subject, e.HasSubject = r.get(fkSubject), r.seen.has(fkSubject)
	e.InReplyTo, e.HasInReplyTo = r.get(fkInReplyTo), r.seen.has(fkInReplyTo)
	e.MessageID, e.HasMessageID = r.get(fkMessageID), r.seen.has(fkMessageID)
	total := 0
	for _, k := range addressFields {
		if v := r.get(k); v != "" {
			total += 1 + strings.Count(v, ",")
		}
	}
	if total == 0 {
		return
	}
	p := &r.addrs
	p.out = make([]Address, 0, min(total, 64)) // one array for all lists
	lists := [...]*[]Address{&e.From, &e.Sender, &e.ReplyTo, &e.To, &e.Cc, &e.Bcc}
	var ends [len(addressFields)]int
	for i, k := range addressFields {
		if v := r.get(k); v != "" {
			lim := r.lim
			lim.Addresses = int(min(int64(lim.Addresses), r.budget/addressCost))
			p.defects = p.defects[:0]
			before := len(p.out)
			p.parse(v, &lim)
			r.budget -= int64(len(p.out)-before) * addressCost
			if embedded {
				p.defects = slices.DeleteFunc(p.defects, func(d Defect) bool { return d.Kind == BadAddress })
			}
			r.report(k, p.defects)
		}
		ends[i] = len(p.out)
	}
	start := 0
	for i, end := range ends {
		if end > start {
			*lists[i] = p.out[start:end:end]
		}
		start = end
	}
	p.out = nil
}

// mime fills the part's MIME fields; digest says that the part is in a
// multipart/digest. It returns the boundary of a multipart, as octets.
func (r *fieldReader) mime(p *Part, digest bool) (boundary string) {
	boundary = r.contentType(p, digest)
	p.Encoding = "7bit" // RFC 2045 §6.1
	if v := lowerASCII(firstToken(r.get(fkContentEncoding))); v != "" {
		p.Encoding = v
	}
	p.ID = r.get(fkContentID)
	p.Description = r.get(fkContentDescription)
	p.MD5 = r.get(fkContentMD5)
	p.Location = r.get(fkContentLocation)
	if v := r.get(fkContentDisposition); v != "" {
		first, params := r.parse(fkContentDisposition, v)
		p.Disposition, p.DispositionParams = lowerASCII(firstToken(first)), cleanParams(params)
		if p.Disposition == "" {
			p.Disposition = "attachment" // RFC 2183 §2.8: the unknown is an attachment
		}
	}
	if v := r.get(fkContentLanguage); v != "" {
		for tag := range strings.SplitSeq(v, ",") {
			if tag = trimSpace(tag); tag != "" && len(p.Language) < r.lim.Params {
				p.Language = append(p.Language, tag)
			}
		}
	}
	return boundary
}

// parse reads a field with parameters; the values are still octets.
func (r *fieldReader) parse(k fieldKind, v string) (first string, params []Param) {
	r.params.defects = r.params.defects[:0]
	first, params = r.params.parse(v, &r.lim)
	r.report(k, r.params.defects)
	return first, params
}

// contentType reads Content-Type (RFC 2045 §5).
func (r *fieldReader) contentType(p *Part, digest bool) (boundary string) {
	if !r.seen.has(fkContentType) {
		defaultType(p)
		if digest { // RFC 2046 §5.1.5
			p.Type, p.Subtype, p.Params = "message", "rfc822", nil
		}
		return ""
	}
	first, params := r.parse(fkContentType, r.get(fkContentType))
	typ, sub, _ := strings.Cut(first, "/")
	typ, sub = lowerASCII(trimSpace(typ)), lowerASCII(firstToken(trimSpace(sub)))
	if !isToken(typ) || !isToken(sub) {
		r.found.add(BadContentType, r.off[fkContentType], first)
		defaultType(p)
		return ""
	}
	p.Type, p.Subtype, p.Params = typ, sub, params
	if typ == "multipart" {
		boundary = param(params, "boundary")
	}
	cleanParams(params)
	return boundary
}

// cleanParams makes the values presentable, in place.
func cleanParams(params []Param) []Param {
	for i := range params {
		params[i].Value = cleanLine(params[i].Value)
	}
	return params
}

// defaultType: RFC 2045 §5.2.
func defaultType(p *Part) {
	p.Type, p.Subtype, p.Params = "text", "plain", []Param{{"charset", "us-ascii"}}
}

// firstToken is s up to white space, a comment or a semicolon.
func firstToken(s string) string {
	s = strings.TrimLeft(s, " \t")
	if s != "" && s[0] == '(' {
		if end, _ := commentEnd(s, 0, 64); end > 0 {
			s = strings.TrimLeft(s[end:], " \t")
		}
	}
	if i := strings.IndexAny(s, " \t(;"); i >= 0 {
		s = s[:i]
	}
	return s
}
