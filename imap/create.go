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

// subscribe is SUBSCRIBE (RFC 9051 §6.3.7): the name need not exist.
func (s *session) subscribe(p *wire.Parser) reply { return s.setSubscribed(p, true) }

// unsubscribe is UNSUBSCRIBE (RFC 9051 §6.3.8).
func (s *session) unsubscribe(p *wire.Parser) reply { return s.setSubscribed(p, false) }

func (s *session) setSubscribed(p *wire.Parser, on bool) reply {
	sent := p.Mailbox()
	if p.End() != nil {
		return syntax(p)
	}
	name, err := s.name(sent)
	if err != nil {
		return s.failed(err)
	}
	if err := s.acc.Subscribe(s.ctx, name, on); err != nil {
		return s.failed(err)
	}
	if on {
		return ok("SUBSCRIBE completed")
	}
	return ok("UNSUBSCRIBE completed")
}
