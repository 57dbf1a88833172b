package imap

import "github.com/posta-mail/posta/imap/internal/wire"

// subscribe is SUBSCRIBE (RFC 9051 §6.3.7): the name need not exist. Names of
// mailboxes of others are kept in the user's own account as well.
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
	if _, local, elsewhere, known := s.elsewhere(name); elsewhere && known {
		name = name[:len(name)-len(local)] + local
	}
	if err := s.acc.Subscribe(s.ctx, name, on); err != nil {
		return s.failed(err)
	}
	s.ownSubscription(name, on)
	if on {
		return ok("SUBSCRIBE completed")
	}
	return ok("UNSUBSCRIBE completed")
}
