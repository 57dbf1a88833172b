package imap

import (
	"errors"
	"slices"
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// create is CREATE (RFC 9051 §6.3.4), with USE (RFC 6154 §3).
func (s *session) create(p *wire.Parser) reply {
	c := p.Create()
	if p.End() != nil {
		return syntax(p)
	}
	// RFC 9051 §6.3.4: a separator at the end says that mailboxes will be
	// created below; it is not part of the name.
	sent := strings.TrimSuffix(c.Mailbox, string(store.Separator))
	at, err := s.locate(sent)
	if err != nil {
		return s.notPlaced(err)
	}
	var opt store.CreateOptions
	if len(c.SpecialUse) > 0 {
		use, possible := s.use(at, c.SpecialUse)
		if !possible {
			return no("USEATTR", "Special use not possible") // RFC 6154 §3
		}
		opt.SpecialUse = use
		// One of each use: which of two would be meant?
		s.srv.rights.Lock()
		defer s.srv.rights.Unlock()
		infos, err := s.acc.Mailboxes(s.ctx)
		if err != nil {
			return s.failed(err)
		}
		if slices.ContainsFunc(infos, func(m store.MailboxInfo) bool { return m.SpecialUse == use }) &&
			!slices.ContainsFunc(infos, func(m store.MailboxInfo) bool { return m.Name == at.local }) {
			return no("USEATTR", "Another mailbox has this special use")
		}
	}
	info, err := store.CreateMailbox(s.ctx, at.acc, at.local, opt)
	if err != nil && info.ID == 0 {
		return s.failed(err)
	}
	s.ownNames(at.acc, at.local)
	if err != nil {
		s.srv.log.Warn("mailbox made, but not its rights", "server", "imap", "peer", s.peer(), "account", at.acc.Name(), "err", err)
	}
	if s.rev2 && at.name != sent { // RFC 9051 §6.3.9.7
		s.out.put("* LIST () \"/\" ")
		s.out.b = wire.AppendMailbox(s.out.b, at.name, true)
		s.out.put(" (\"OLDNAME\" (")
		s.out.b = wire.AppendMailbox(s.out.b, sent, true)
		s.out.put("))\r\n")
	}
	if s.srv.off["OBJECTID"] {
		return ok("CREATE completed")
	}
	code := s.appendMailboxID([]byte("MAILBOXID ("), at.acc, info.ID) // RFC 8474 §4.1
	return okCode(string(code)+")", "CREATE completed")
}

// use is the special use that a new mailbox asks for: only one, which must be a
// use of real mailboxes, and only in the user's own account.
func (s *session) use(at place, asked []string) (string, bool) {
	if len(asked) != 1 || !s.own(at) || at.local == store.Inbox {
		return "", false
	}
	for _, known := range store.SpecialUses() {
		if strings.EqualFold(asked[0], known) {
			return known, true
		}
	}
	return "", false
}

// notPlaced answers for a name at which no mailbox can be made.
func (s *session) notPlaced(err error) reply {
	if errors.Is(err, errLevel) {
		return no("CANNOT", "There can be no mailbox of this name")
	}
	return s.failed(err)
}
