package imap

import (
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// rename is RENAME (RFC 9051 §6.3.6).
func (s *session) rename(p *wire.Parser) reply {
	c := p.Rename()
	if p.End() != nil {
		return syntax(p)
	}
	from, err := s.name(c.From)
	if err != nil {
		return s.failed(err)
	}
	to, err := s.name(strings.TrimSuffix(c.To, string(store.Separator)))
	if err != nil {
		return s.failed(err)
	}
	if store.Below(to, from) && from != store.Inbox {
		return no("CANNOT", "A mailbox cannot be moved below itself")
	}
	if err := s.acc.Rename(s.ctx, from, to); err != nil {
		return s.failed(err)
	}
	return ok("RENAME completed")
}
