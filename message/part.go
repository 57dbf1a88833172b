package message

import (
	"io"
	"iter"
	"strings"
)

// Param is a parameter of a MIME field: the name in lower case, the value
// without quoting, RFC 2231 pieces joined and decoded to UTF-8.
type Param struct{ Name, Value string }

// Part is one node of the tree of parts of a message: a leaf, a multipart with
// its parts, or an embedded message with its one root. Every multipart has at
// least one part and every embedded message exactly one, whatever the octets
// were; what cannot be given that shape is shown as application/octet-stream.
//
// Offsets count from the start of the message that was parsed. Strings are
// unfolded and free of CR, LF and NUL.
type Part struct {
	// Type and Subtype are the media type in lower case; text/plain when there
	// is none or it is unreadable (RFC 2045 §5.2), message/rfc822 inside a
	// multipart/digest (RFC 2046 §5.1.5).
	Type, Subtype string
	// Params are the parameters of the Content-Type.
	Params []Param
	// ID and Description are the values of Content-ID and Content-Description,
	// undecoded; "" when missing.
	ID, Description string
	// Encoding is the Content-Transfer-Encoding in lower case; "7bit" when
	// missing (RFC 2045 §6.1).
	Encoding string
	// MD5 is the value of Content-MD5 (RFC 1864).
	MD5 string
	// Disposition is the type of Content-Disposition in lower case, "" when
	// missing (RFC 2183).
	Disposition       string
	DispositionParams []Param
	// Language holds the tags of Content-Language (RFC 3282).
	Language []string
	// Location is the value of Content-Location (RFC 2557).
	Location string

	// The header, empty line included, and the body, in octets as they are in
	// the message. The line end before a boundary belongs to the boundary.
	HeaderOffset, HeaderSize, BodyOffset, BodySize int64
	// Lines is the number of line ends in the body.
	Lines int64

	// Envelope is set for an embedded message (message/rfc822 and
	// message/global) and nil for all others, the root of a message included.
	Envelope *Envelope
	// Parts are the parts of a multipart, or the one root of an embedded
	// message.
	Parts []*Part
}

// IsMultipart reports whether the part is a multipart with its parts.
func (p *Part) IsMultipart() bool { return p.Type == "multipart" }

// IsMessage reports whether the part is an embedded message: Envelope is set
// and Parts[0] is its root.
func (p *Part) IsMessage() bool { return p.Envelope != nil }

// Param is the value of a Content-Type parameter; name in lower case. It is ""
// without one.
func (p *Part) Param(name string) string { return param(p.Params, name) }

func param(list []Param, name string) string {
	for _, q := range list {
		if q.Name == name {
			return q.Value
		}
	}
	return ""
}

// FileName is the name the sender gave a part: the filename of the disposition,
// else the name of the content type, decoded (RFC 2231, else RFC 2047), cut to
// its last path element (RFC 2183 §2.3) and without control characters. It is
// "" without a usable one. It is still a stranger's text.
func (p *Part) FileName() string {
	name := param(p.DispositionParams, "filename")
	if name == "" {
		name = param(p.Params, "name")
	}
	if strings.Contains(name, "=?") {
		name = DecodeWords(name)
	}
	name = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || 0x80 <= r && r < 0xa0 || 0x202a <= r && r <= 0x202e || 0x2066 <= r && r <= 0x2069 {
			return -1 // control characters and overrides of the writing direction
		}
		return r
	}, strings.ToValidUTF8(name, "\uFFFD"))
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	if name = strings.TrimSpace(name); name == "." || name == ".." {
		return ""
	}
	return name
}

// MediaType is "type/subtype".
func (p *Part) MediaType() string { return p.Type + "/" + p.Subtype }

// HeaderReader reads the octets of the part's header from the message.
func (p *Part) HeaderReader(message io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(message, p.HeaderOffset, p.HeaderSize)
}

// BodyReader reads the octets of the part's body from the message, still
// encoded; see [DecodeBody] and [Text].
func (p *Part) BodyReader(message io.ReaderAt) *io.SectionReader {
	return io.NewSectionReader(message, p.BodyOffset, p.BodySize)
}

// Walk yields the part and all parts below it, parents first, embedded
// messages included.
func (p *Part) Walk() iter.Seq[*Part] {
	return func(yield func(*Part) bool) { p.walk(yield) }
}

func (p *Part) walk(yield func(*Part) bool) bool {
	if !yield(p) {
		return false
	}
	for _, c := range p.Parts {
		if !c.walk(yield) {
			return false
		}
	}
	return true
}

// Section finds a part by its number (RFC 9051 §6.4.5.1), seen from the root of
// a message: the numbers of an embedded message's parts follow its own, and a
// message that is no multipart has its body as part 1. An empty path is the
// root itself. It is nil when there is no such part.
func (p *Part) Section(path ...int) *Part {
	cur, root := p, true // root: cur is the root of a message
	for _, n := range path {
		if cur.IsMessage() && !root {
			cur, root = cur.Parts[0], true
		}
		switch {
		case cur.IsMultipart():
			if n < 1 || n > len(cur.Parts) {
				return nil
			}
			cur = cur.Parts[n-1]
		case !root || n != 1:
			return nil
		}
		root = false
	}
	return cur
}
