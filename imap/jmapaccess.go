package imap

import "github.com/posta-mail/posta/imap/internal/wire"

// getJMAPAccess is GETJMAPACCESS (RFC 9698 §4).
func (s *session) getJMAPAccess(p *wire.Parser) reply {
	if p.End() != nil {
		return syntax(p)
	}
	s.out.put("* JMAPACCESS ")
	s.out.b = wire.AppendString(s.out.b, s.srv.JMAP, false)
	s.out.put("\r\n")
	return ok("GETJMAPACCESS completed")
}
