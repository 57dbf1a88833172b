package imap

import (
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// uses are the special uses a mailbox can be created with (RFC 6154 §2, RFC
// 8457); \All and \Flagged would be virtual mailboxes.
var uses = []string{`\Archive`, `\Drafts`, `\Junk`, `\Sent`, `\Trash`, `\Important`}

// create is CREATE (RFC 9051 §6.3.4), with USE (RFC 6154 §3).
func (s *session) create(p *wire.Parser) reply {
	c := p.Create()
	if p.End() != nil {
		return syntax(p)
	}
	var opt store.CreateOptions
	for _, u := range c.SpecialUse {
		for _, known := range uses {
			if strings.EqualFold(u, known) && opt.SpecialUse == "" {
				opt.SpecialUse = known
				u = ""
			}
		}
		if u != "" {
			return no("USEATTR", "Special use not possible")
		}
	}
	// RFC 9051 §6.3.4: a separator at the end says that mailboxes will be
	// created below; it is not part of the name.
	sent := strings.TrimSuffix(c.Mailbox, string(store.Separator))
	name, err := s.name(sent)
	if err != nil {
		return s.failed(err)
	}
	if _, err := s.acc.Create(s.ctx, name, opt); err != nil {
		return s.failed(err)
	}
	if s.rev2 && name != sent { // RFC 9051 §6.3.9.7
		s.out.put("* LIST () \"/\" ")
		s.out.b = wire.AppendMailbox(s.out.b, name, true)
		s.out.put(" (\"OLDNAME\" (")
		s.out.b = wire.AppendMailbox(s.out.b, sent, true)
		s.out.put("))\r\n")
	}
	return ok("CREATE completed")
}
