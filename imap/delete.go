package imap

import (
	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// delete is DELETE (RFC 9051 §6.3.5). Mailboxes below stay.
func (s *session) delete(p *wire.Parser) reply {
	sent := p.Mailbox()
	if p.End() != nil {
		return syntax(p)
	}
	name, err := s.name(sent)
	if err != nil {
		return s.failed(err)
	}
	if name == store.Inbox {
		return no("CANNOT", "INBOX cannot be deleted")
	}
	mb, err := s.acc.Mailbox(s.ctx, name)
	if err != nil {
		return s.failed(err)
	}
	if s.sel != nil && s.sel.mb.ID() == mb.ID() {
		s.enter(stateUser, nil)
		s.untagged(okCode("CLOSED", "The selected mailbox is being deleted"))
	}
	if err := s.acc.Delete(s.ctx, name); err != nil {
		return s.failed(err)
	}
	return ok("DELETE completed")
}
