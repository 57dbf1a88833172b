package imap

import (
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// rename is RENAME (RFC 9051 §6.3.6). INBOX stays, and its messages go to the
// new mailbox.
func (s *session) rename(p *wire.Parser) reply {
	c := p.Rename()
	if p.End() != nil {
		return syntax(p)
	}
	from, err := s.locate(c.From)
	if err != nil {
		return s.failed(err)
	}
	to, err := s.locate(strings.TrimSuffix(c.To, string(store.Separator)))
	if err != nil {
		return s.notPlaced(err)
	}
	if from.acc.Name() != to.acc.Name() {
		return no("CANNOT", "A mailbox cannot be moved to another account")
	}
	if store.Below(to.local, from.local) && from.local != store.Inbox {
		return no("CANNOT", "A mailbox cannot be moved below itself")
	}
	if err := store.RenameMailbox(s.ctx, from.acc, from.local, to.local); err != nil {
		return s.failed(err)
	}
	s.ownNames(from.acc, from.local, to.local)
	return ok("RENAME completed")
}
