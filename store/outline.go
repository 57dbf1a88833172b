package store

import (
	"bytes"
	"fmt"
	"io"
	"slices"

	"github.com/posta-mail/posta/message"
)

// Parse computes the Outline of a body while it is staged, with the limits
// every engine uses. The only errors are those of r.
func Parse(r io.ReaderAt, size int64) (*message.Outline, error) {
	o, err := message.Parse(r, size, nil)
	if err != nil {
		return nil, fmt.Errorf("store: staging: %w", err)
	}
	return o, nil
}

// WithPrefix is the outline of prefix and body as one message, given that of
// the body. Engines keep the body's outline once, as staged, and the prefix
// with each placement, and combine them when they give Details.
//
// All offsets move by the prefix's length and the header grows by it. Envelope
// fields in the prefix (Date and Message-ID added at submission, say) take the
// place of the body's, as the first of two fields does. Fields of MIME cannot
// be in a prefix: Target.Check refuses them. o is not modified; with an empty
// prefix it is the result.
func WithPrefix(o *message.Outline, prefix []byte) *message.Outline {
	if len(prefix) == 0 || o == nil {
		return o
	}
	n := *o
	n.Root = clonePart(o.Root)
	n.Defects = slices.Clone(o.Defects)
	n.AddPrefix(int64(len(prefix)))
	n.Traits |= prefixTraits(prefix)
	overlayEnvelope(&n, message.ParseHeader(prefix))
	return &n
}

func clonePart(p *message.Part) *message.Part {
	if p == nil {
		return nil
	}
	n := *p
	if len(p.Parts) > 0 {
		n.Parts = make([]*message.Part, len(p.Parts))
		for i, c := range p.Parts {
			n.Parts[i] = clonePart(c)
		}
	}
	return &n
}

func prefixTraits(prefix []byte) (t message.Traits) {
	for line := range bytes.Lines(prefix) {
		if len(line)-2 > 998 { // RFC 5322 §2.1.1, without CRLF
			t |= message.HasLongLine
		}
		if bytes.ContainsFunc(line, func(r rune) bool { return r >= 0x80 }) {
			t |= message.HasEightBitHeader
		}
	}
	return t
}

// overlayEnvelope puts the fields that h has over those of the body.
func overlayEnvelope(o *message.Outline, h *message.Header) {
	e := &o.Envelope
	var p *message.Envelope // parsed when it turns out to be needed
	over := func(name string, had bool, set func()) {
		fields := h.All(name)
		if len(fields) == 0 {
			return
		}
		if p == nil {
			p = message.ParseEnvelope(h)
		}
		if had || len(fields) > 1 {
			o.Defects = append(o.Defects, message.Defect{Kind: message.DuplicateField, Offset: fields[0].Offset(), Detail: name})
		}
		set()
	}
	over("Date", e.HasDate, func() { e.Date, e.HasDate = p.Date, true })
	over("Subject", e.HasSubject, func() { e.Subject, e.HasSubject = p.Subject, true })
	over("In-Reply-To", e.HasInReplyTo, func() { e.InReplyTo, e.HasInReplyTo = p.InReplyTo, true })
	over("Message-ID", e.HasMessageID, func() { e.MessageID, e.HasMessageID = p.MessageID, true })
	over("From", e.From != nil, func() { e.From = p.From })
	over("Sender", e.Sender != nil, func() { e.Sender = p.Sender })
	over("Reply-To", e.ReplyTo != nil, func() { e.ReplyTo = p.ReplyTo })
	over("To", e.To != nil, func() { e.To = p.To })
	over("Cc", e.Cc != nil, func() { e.Cc = p.Cc })
	over("Bcc", e.Bcc != nil, func() { e.Bcc = p.Bcc })
}
