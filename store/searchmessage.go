package store

import (
	"bytes"
	"fmt"
	"io"
	"iter"

	"github.com/posta-mail/posta/message"
)

// judged is a message about which the search has decided.
type judged struct {
	row   Row
	match bool
}

// messages decides about messages whose columns leave it open, in their order: by
// what was computed at staging first, and by the bodies of those that are still
// open then, which are read together.
func (s *search) messages(rows []Row) iter.Seq2[judged, error] {
	return func(yield func(judged, error) bool) {
		var results [searchDeep]judged
		var errs [searchDeep]error
		var unsure [searchDeep]int // of results: those whose bodies are wanted
		details, deep, n := s.details[:0], s.deep[:0], 0
		for d, err := range s.mb.Details(s.ctx, rows) {
			if n == len(rows) {
				break
			}
			results[n], errs[n] = judged{row: rows[n]}, err
			if err == nil {
				s.outline(d)
				switch s.judge(s.root, &d.Row) {
				case yes:
					results[n].match = true
				case open:
					unsure[len(deep)] = n
					details, deep = append(details, d), append(deep, d.Row)
				}
			}
			n++
		}
		k := 0
		for body, err := range Bodies(s.ctx, s.mb, deep) {
			if k == len(deep) {
				break
			}
			at := unsure[k]
			if err == nil {
				results[at].match, err = s.message(body, details[k])
			}
			errs[at] = err
			k++
		}
		for ; k < len(deep); k++ { // the engine has stopped
			if errs[unsure[k]] = s.ctx.Err(); s.ctx.Err() == nil {
				errs[unsure[k]] = ErrUnavailable
			}
		}
		s.details, s.deep = details, deep
		for i := range n {
			if !yield(results[i], errs[i]) {
				return
			}
		}
	}
}

// outline looks at what was computed at staging.
func (s *search) outline(d Detail) {
	s.forget()
	s.date(d)
	s.ids = [2]string{d.EmailID, d.ThreadID}
	s.envelope(d.Outline)
}

// message decides about a message by reading as much of it as is needed.
func (s *search) message(body Body, d Detail) (bool, error) {
	s.outline(d)
	if err := s.raw(body, d); err != nil {
		return false, err
	}
	if v := s.judge(s.root, &d.Row); v != open {
		return v == yes, nil
	}
	if s.headerWanted() {
		header, err := readHeader(body, d.Outline.Header.Offset, d.Outline.Header.Size)
		if err != nil {
			return false, err
		}
		for i := range s.fields {
			s.fields[i].look(header)
		}
		s.headerText(header, false)
		if v := s.judge(s.root, &d.Row); v != open {
			return v == yes, nil
		}
	}
	if err := s.parts(body, d); err != nil {
		return false, err
	}
	for i := range s.texts { // what was not found is not there
		if s.texts[i].found == open {
			s.texts[i].found = no
		}
	}
	return s.judge(s.root, &d.Row) == yes, nil
}

// date takes the day from the Date field, as written (RFC 9051 §6.4.4
// "disregarding time and timezone").
func (s *search) date(d Detail) {
	s.known = true
	if !s.dated {
		return
	}
	t, err := message.ParseDate(d.Outline.Envelope.Date)
	if err != nil {
		t = d.Row.InternalDate()
	}
	s.sent = day(t)
}

// envelope decides fields that the outline has in full.
func (s *search) envelope(o *message.Outline) {
	if len(s.fields) == 0 || len(o.Defects) >= 100 || o.HasDefect(message.DuplicateField) || o.HasDefect(message.HeaderTooLong) ||
		o.HasDefect(message.TooManyFields) || o.HasDefect(message.TooMuchText) {
		return
	}
	e := &o.Envelope
	for i := range s.fields {
		f := &s.fields[i]
		switch {
		case equalASCII(f.name, "Subject"):
			s.judgeField(f, e.Subject, e.HasSubject)
		case equalASCII(f.name, "Message-ID"):
			s.judgeField(f, e.MessageID, e.HasMessageID)
		case equalASCII(f.name, "In-Reply-To"):
			s.judgeField(f, e.InReplyTo, e.HasInReplyTo)
		}
	}
}

func (s *search) judgeField(f *fieldTerm, value string, has bool) {
	if has && len(f.needle) > 0 {
		s.scan.folded = fold(s.scan.folded[:0], []byte(message.DecodeWords(value)))
		has = containsSpaced(s.scan.folded, f.needle)
	}
	f.found = verdictOf(has)
}

// look decides a field by the message's header.
func (f *fieldTerm) look(h *message.Header) {
	if f.found != open {
		return
	}
	f.found = no
	for field := range h.Fields() {
		if field.Is(f.name) && (len(f.needle) == 0 || containsSpaced(fold(nil, []byte(field.Text())), f.needle)) {
			f.found = yes
			return
		}
	}
}

// headerWanted reports whether the message's header may decide something.
func (s *search) headerWanted() bool {
	for i := range s.fields {
		if s.fields[i].found == open {
			return true
		}
	}
	return s.wanted(false)
}

func readHeader(r io.ReaderAt, off, size int64) (*message.Header, error) {
	h, _, err := message.ReadHeader(io.NewSectionReader(r, off, size), nil)
	if err != nil {
		return nil, fmt.Errorf("store: search: %w", err)
	}
	return h, nil
}

// headerText looks for open texts in a header; embedded: it is that of an
// embedded message, which is part of the body.
func (s *search) headerText(h *message.Header, embedded bool) {
	if !s.wanted(embedded) {
		return
	}
	for f := range h.Fields() {
		line := f.Text()
		if name := f.Name(); name != "" {
			line = name + ": " + line
		}
		s.scan.folded = fold(s.scan.folded[:0], []byte(line))
		if !s.found(s.scan.folded, embedded) || spaced(s.scan.folded) && !s.found(s.scan.folded, embedded) {
			return
		}
	}
}

// spaced turns tabs into spaces and reports whether there were any. A header may
// be folded at either (RFC 5322 §2.2.3), and what is searched for is what is seen.
func spaced(folded []byte) (any bool) {
	for i, c := range folded {
		if c == '\t' {
			folded[i], any = ' ', true
		}
	}
	return any
}

// containsSpaced looks for a text in a field as it is and, in place, as spaced
// makes it.
func containsSpaced(folded, needle []byte) bool {
	return bytes.Contains(folded, needle) || spaced(folded) && bytes.Contains(folded, needle)
}

// wanted reports whether a text is open that may be found here.
func (s *search) wanted(inBody bool) bool {
	for i := range s.texts {
		if s.texts[i].found == open && (inBody || !s.texts[i].body) {
			return true
		}
	}
	return false
}

// parts looks for open texts in headers and bodies of the parts.
func (s *search) parts(body io.ReaderAt, d Detail) error {
	embedded := map[*message.Part]bool{} // roots of embedded messages
	for p := range d.Outline.Root.Walk() {
		if !s.wanted(true) {
			return nil
		}
		if err := s.ctx.Err(); err != nil {
			return err
		}
		if p.IsMessage() && len(p.Parts) > 0 {
			embedded[p.Parts[0]] = true
		}
		if p != d.Outline.Root && s.wanted(embedded[p]) {
			h, err := readHeader(body, p.HeaderOffset, p.HeaderSize)
			if err != nil {
				return err
			}
			s.headerText(h, embedded[p])
		}
		if p.IsMessage() || p.Type != "text" && p.Type != "message" {
			continue
		}
		if err := s.scan.text(s, message.Text(p, p.BodyReader(body))); err != nil {
			return err
		}
	}
	return nil
}
