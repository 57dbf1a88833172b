package imap

import (
	"time"

	"github.com/posta-mail/posta/imap/internal/wire"
)

// unauthenticate is UNAUTHENTICATE (RFC 8437 §2): all that the login brought is
// undone, and what was enabled since; TLS stays, and COMPRESS ends with the
// answer. A mailbox that was selected is left without removing anything.
func (s *session) unauthenticate(p *wire.Parser) reply {
	if p.End() != nil {
		return syntax(p)
	}
	s.enter(stateGuest, nil)
	s.rev2, s.condStor, s.qresync, s.utf8Accept, s.uidOnly = false, false, false, false, false
	if s.srv.lim.login > 0 {
		s.login = time.Now().Add(s.srv.lim.login)
	}
	s.badCount = 0
	r := okCode("CAPABILITY "+string(s.appendCapabilities(nil)), "Logged out of the account")
	if s.zip == nil {
		return r
	}
	s.out.begin()
	s.out.b = r.append(s.out.b, s.tag)
	if s.out.flush() != nil {
		return gone
	}
	// What has been sent ahead, compressed as it was, is forgotten: a client has
	// to wait for the answer.
	s.pace()
	if err := s.zip.in.Finish(); err != nil {
		s.readFailed(err)
		return gone
	}
	s.zip, s.out.zip = nil, nil
	s.in.Reset(source{s})
	return gone
}
