package imap

import (
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// status is STATUS (RFC 9051 §6.3.11).
func (s *session) status(p *wire.Parser) reply {
	c := p.Status()
	if p.End() != nil {
		return syntax(p)
	}
	box, err := s.open(c.Mailbox)
	if err != nil {
		return s.failed(err)
	}
	if c.Items&wire.StatusHighestModSeq != 0 {
		s.enableCondStore() // RFC 7162 §3.1.7
	}
	s.sendStatus(box.place, box.info, c.Items)
	return ok("STATUS completed")
}

// sendStatus appends a STATUS response.
func (s *session) sendStatus(at place, info store.MailboxInfo, items wire.StatusItems) {
	modSeq := max(uint64(info.ModSeq), 1)
	if s.selected(at.acc, info.ID) {
		// Not beyond an expunge that has not been told (RFC 7162 §3.2).
		modSeq = min(modSeq, highestModSeq(s.sel.told))
	}
	values := [...]uint64{
		uint64(info.Messages), 0, uint64(info.UIDNext), uint64(info.UIDValidity), uint64(info.Unseen),
		uint64(info.Deleted), uint64(info.Size), modSeq, uint64(s.srv.lim.message), uint64(info.DeletedSize),
	}
	s.out.put("* STATUS ")
	s.out.b = wire.AppendMailbox(s.out.b, at.name, s.utf8())
	sep := " ("
	for i, name := range wire.StatusNames {
		if items&(1<<i) == 0 {
			continue
		}
		s.out.b = append(append(append(s.out.b, sep...), name...), ' ')
		if i < len(values) {
			s.out.b = strconv.AppendUint(s.out.b, values[i], 10)
		} else { // RFC 8474 §4.3: in parentheses
			s.out.b = append(s.appendMailboxID(append(s.out.b, '('), at.acc, info.ID), ')')
		}
		sep = " "
	}
	s.out.put(")\r\n")
	s.out.spill()
}
