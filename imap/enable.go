package imap

import (
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
)

// enableable are the capabilities that ENABLE switches on (RFC 9051 §6.3.1), in
// the order in which ENABLED names them. on reports whether it was off before.
var enableable = [...]struct {
	name string
	on   func(*session) bool
}{
	{"IMAP4rev2", func(s *session) bool {
		was := s.rev2
		s.rev2 = true
		return !was
	}},
	{"UTF8=ACCEPT", func(s *session) bool { // RFC 9755 §3
		was := s.utf8Accept
		s.utf8Accept = true
		return !was
	}},
	{"CONDSTORE", func(s *session) bool {
		was := s.condStor
		s.enableCondStore()
		return !was
	}},
	{"QRESYNC", func(s *session) bool {
		was := s.qresync
		s.enableCondStore() // RFC 7162 §3.2.3
		s.qresync = true
		return !was
	}},
	{"UIDONLY", func(s *session) bool { // RFC 9586 §3.1
		was := s.uidOnly
		s.uidOnly = true
		s.nameByUID()
		return !was
	}},
}

// enable is ENABLE (RFC 9051 §6.3.1): what is not known, or not there, is
// ignored.
func (s *session) enable(p *wire.Parser) reply {
	names := p.Enable()
	if p.End() != nil {
		return syntax(p)
	}
	var done strings.Builder
	for _, e := range enableable {
		for _, n := range names {
			if strings.EqualFold(n, e.name) && s.can(n) && e.on(s) {
				done.WriteString(" " + e.name)
			}
		}
	}
	s.out.put("* ENABLED" + done.String() + "\r\n")
	return ok("ENABLE completed")
}

// utf8 reports whether mailbox names and quoted strings are UTF-8.
func (s *session) utf8() bool { return s.rev2 || s.utf8Accept }
