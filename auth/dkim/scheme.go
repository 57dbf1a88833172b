package dkim

import (
	"hash"
	"strings"
)

// What signature schemes besides DKIM need that sign headers and bodies in the
// same way, as ARC does.

// Header gathers the header of one message that comes in pieces and hashes
// fields of it. It keeps the header in memory and is not safe for concurrent
// use; make one with NewHeader.
type Header struct {
	c headerCollector
}

// NewHeader starts a header. maxBytes bounds its size in octets and maxFields
// the number of its fields; zero or less means 1 MiB and 5000.
func NewHeader(maxBytes, maxFields int) *Header {
	h := new(Header)
	h.c.maxBytes = orDefault(maxBytes, defaultHeaderBytes)
	h.c.maxFields = orDefault(maxFields, defaultHeaderFields)
	return h
}

// Take takes the next piece of the message and returns what of it is body: nil
// until the empty line behind the header, and everything from then on.
func (h *Header) Take(p []byte) (body []byte) {
	if h.c.done {
		return p
	}
	return h.c.write(p)
}

// Done reports whether the header is complete.
func (h *Header) Done() bool { return h.c.done }

// Close ends the header if the message ended in it. The error is
// ErrHeaderTooLarge or ErrBareNewline; the header then has no fields.
func (h *Header) Close() error {
	h.c.close()
	return h.c.err
}

// Fields returns the fields of a name in lower case, from the top, as received
// but for the final CRLF. They must not be changed. Call it after Close.
func (h *Header) Fields(name string) [][]byte {
	list := h.c.named(name)
	out := make([][]byte, len(list))
	for i, n := range list {
		out[i] = h.c.raw(n)
	}
	return out
}

// HashFields writes the fields that names in lower case select to w, each with
// CRLF: for each mention of a name the next field from the bottom, nothing
// where there is none left (RFC 6376 §5.4.2). Call it after Close.
func (h *Header) HashFields(w hash.Hash, c Canonicalization, names []string) {
	h.c.hashFields(w, c, names)
}

// CanonicalDomain returns a domain name in lower case with A-labels (RFC 8616
// §5) and without final dot; ok is false where it is no name of at least so
// many labels that a key could be published under.
func CanonicalDomain(name string, labels int) (canonical string, ok bool) {
	return canonicalDomain(name, labels)
}

// SchemeKey is a Signer that has been checked, for schemes of other fields than
// DKIM-Signature. It may be used by several goroutines at once if the key may.
type SchemeKey struct {
	// Algorithm is what the key signs with.
	Algorithm Algorithm
	// Domain and Selector are canonical.
	Domain, Selector string
	// HeaderCanon and BodyCanon are never empty.
	HeaderCanon, BodyCanon Canonicalization

	signing signing
}

// SchemeKey checks a Signer; the error is ErrConfig.
func (s *Signer) SchemeKey() (*SchemeKey, error) {
	g, err := s.prepare()
	if err != nil {
		return nil, err
	}
	return &SchemeKey{g.algorithm, g.domain, g.selector, g.headerC, g.bodyC, g}, nil
}

// Names are the names in lower case of the fields to sign in a header, as h=
// lists them (see Signer.Headers and Signer.Oversign).
func (k *SchemeKey) Names(h *Header) []string {
	s := Signing{header: h.c}
	return s.names(&k.signing)
}

// Sign signs a SHA-256 hash. The error is the key's.
func (k *SchemeKey) Sign(sum []byte) ([]byte, error) {
	return k.signing.signSum(sum)
}

// AppendTags appends a field of a tag list to dst, folded and without final
// CRLF. Values are broken behind ":" and, where that is not enough, not at all.
// The values must fit RFC 6376 §3.2 and hold no line ends.
func AppendTags(dst []byte, name string, tags Tags) []byte {
	f := folder{buf: append(dst, name...), width: len(name) + 1}
	f.buf = append(f.buf, ':')
	for i, t := range tags {
		end := ";"
		if i == len(tags)-1 {
			end = ""
		}
		rest := " " + t.Name + "=" + t.Value + end
		for {
			colon := strings.IndexByte(rest, ':') + 1
			if colon == 0 {
				break
			}
			f.add(rest[:colon])
			rest = rest[colon:]
		}
		f.add(rest)
	}
	return f.buf
}

// AppendSignature appends text in base64, the value of a last tag that is still
// empty, to a field and folds it.
func AppendSignature(field []byte, base64 string) []byte {
	last := strings.LastIndexByte(string(field), '\n') + 1
	f := folder{buf: field, width: len(field) - last}
	if f.width >= maxWidth {
		f.newline()
	}
	f.chunks(base64)
	return f.buf
}

// LineEnds makes CRLF of each bare LF of a message that comes in pieces. The
// zero value is ready for use; it is not safe for concurrent use.
type LineEnds struct{ c lfConverter }

// Convert returns the next piece with CRLF line ends; it is valid until the
// next call.
func (l *LineEnds) Convert(p []byte) []byte { return l.c.convert(p) }
