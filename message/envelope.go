package message

// Envelope is what IMAP calls the envelope of a message (RFC 9051 §7.5.2): the
// fields a list of messages shows. The strings are Field.Value: unfolded,
// undecoded, without CR, LF and NUL; they may hold 8-bit octets that need not
// be UTF-8. Where a field occurs more than once the first is used.
type Envelope struct {
	Date, Subject, InReplyTo, MessageID             string
	HasDate, HasSubject, HasInReplyTo, HasMessageID bool // the field is there, maybe empty

	// The address lists as written; see [Address] for groups. A field that is
	// missing, empty or unreadable is a nil list.
	From, Sender, ReplyTo, To, Cc, Bcc []Address
}

// SenderOrFrom is the list IMAP shows as sender: From, when Sender is missing or
// empty (RFC 9051 §7.5.2).
func (e *Envelope) SenderOrFrom() []Address {
	if len(e.Sender) == 0 {
		return e.From
	}
	return e.Sender
}

// ReplyToOrFrom is the list IMAP shows as reply-to: From, when Reply-To is
// missing or empty (RFC 9051 §7.5.2).
func (e *Envelope) ReplyToOrFrom() []Address {
	if len(e.ReplyTo) == 0 {
		return e.From
	}
	return e.ReplyTo
}

// SubjectText is the subject decoded to UTF-8 (RFC 2047).
func (e *Envelope) SubjectText() string { return DecodeWords(e.Subject) }

// ParseEnvelope reads the envelope out of a header, with default limits.
func ParseEnvelope(h *Header) *Envelope {
	var r fieldReader
	r.lim = (*Limits)(nil).withDefaults()
	r.budget = 4 * r.lim.HeaderBytes
	for i, s := range h.spans {
		r.take(fieldOf(h.raw[s.start:s.start+s.nameEnd]), h.field(i), wantEnvelope)
	}
	r.freeze()
	e := new(Envelope)
	r.envelope(e, false)
	return e
}
