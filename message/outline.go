package message

// Span is a range of octets.
type Span struct{ Offset, Size int64 }

// Traits are properties of the octets of a whole message that decide how it
// may be sent.
type Traits uint8

// The traits. Body means everything that is not a header.
const (
	// HasNUL: an octet of value zero; needs literal8 in IMAP (RFC 3516) and
	// BINARYMIME in SMTP (RFC 3030).
	HasNUL Traits = 1 << iota
	// HasBareCR, HasBareLF: octets that no wire of mail may carry (RFC 5321 §2.3.8).
	HasBareCR
	HasBareLF
	// HasLongLine: a line of more than 998 octets (RFC 5322 §2.1.1).
	HasLongLine
	// HasEightBitBody: octets above 127 in the body; needs 8BITMIME (RFC 6152).
	HasEightBitBody
	// HasEightBitHeader: octets above 127 in the header of the message or of a
	// part; needs SMTPUTF8 (RFC 6531 §3.2).
	HasEightBitHeader
)

// Outline is what is computed once from the octets of a message: where its
// header is, the envelope, the tree of parts, and what is wrong with it. The
// strings in it are copies; nothing refers to the message. An Outline that no
// one changes is safe for concurrent use.
type Outline struct {
	// Size is the size of the message in octets.
	Size int64
	// Header is the message's header, the empty line included.
	Header Span
	// Envelope is the message's own.
	Envelope Envelope
	// Root is the root of the tree; never nil after Parse or UnmarshalBinary.
	Root *Part
	// Traits of all octets.
	Traits Traits
	// Defects of the message, by their place, at most 100. Kinds that concern
	// the whole message, octets and limits, are there once.
	Defects []Defect
}

// HasDefect reports whether a defect of the kind was seen.
func (o *Outline) HasDefect(k DefectKind) bool {
	for _, d := range o.Defects {
		if d.Kind == k {
			return true
		}
	}
	return false
}

// AddPrefix changes the outline to that of the same message with n octets of
// whole header fields put on top, as a store does at final delivery. The fields
// must be none of the envelope or of MIME. n may be negative to take them away.
func (o *Outline) AddPrefix(n int64) {
	o.Size += n
	o.Header.Size += n
	for p := range o.Root.Walk() {
		p.HeaderOffset += n
		p.BodyOffset += n
	}
	o.Root.HeaderOffset -= n
	o.Root.HeaderSize += n
	for i := range o.Defects {
		o.Defects[i].Offset += n
	}
}
