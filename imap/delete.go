package imap

import (
	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// delete is DELETE (RFC 9051 §6.3.5). Mailboxes below stay, and so does the
// subscription.
func (s *session) delete(p *wire.Parser) reply {
	sent := p.Mailbox()
	if p.End() != nil {
		return syntax(p)
	}
	box, err := s.find(sent)
	if err != nil {
		return s.failed(err)
	}
	if box.local == store.Inbox {
		return no("CANNOT", "INBOX cannot be deleted")
	}
	selected := s.selected(box.acc, box.info.ID)
	if err := box.acc.Delete(s.ctx, box.local); err != nil {
		return s.failed(err)
	}
	s.ownNames(box.acc, box.local)
	if selected {
		s.enter(stateUser, nil)
		s.untagged(okCode("CLOSED", "The selected mailbox has been deleted"))
	}
	return ok("DELETE completed")
}
