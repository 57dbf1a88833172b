package imap

import (
	"strings"

	"github.com/posta-mail/posta/imap/internal/wire"
)

// idle is IDLE (RFC 9051 §6.3.13): changes are told when they happen, until the
// client says DONE. The session waits as it does for a command.
func (s *session) idle(p *wire.Parser) reply {
	if p.End() != nil {
		return syntax(p)
	}
	s.idling = true
	s.rewatch() // before looking, so that nothing is missed
	s.out.put("+ idling\r\n")
	if !s.sync(true) {
		return gone
	}
	return pending
}

// endIdle ends IDLE with a line that should be DONE.
func (s *session) endIdle(line []byte) {
	s.idling = false
	s.rewatch()
	r := ok("IDLE completed")
	if !strings.EqualFold(string(line), "DONE") {
		if err := s.discard(line); err != nil {
			s.readFailed(err)
			return
		}
		r = bad("DONE expected")
	} else if !s.sync(true) {
		return
	}
	s.tellHighest()
	s.finish("IDLE", r)
}
