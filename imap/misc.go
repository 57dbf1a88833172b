package imap

import (
	"maps"
	"slices"

	"github.com/posta-mail/posta/imap/internal/wire"
)

// noop is NOOP (RFC 9051 §6.1.2).
func (s *session) noop(p *wire.Parser) reply {
	if p.End() != nil {
		return syntax(p)
	}
	return ok("NOOP completed")
}

// check is CHECK (RFC 3501 §6.4.1): everything is durable already.
func (s *session) check(p *wire.Parser) reply {
	if p.End() != nil {
		return syntax(p)
	}
	return ok("CHECK completed")
}

// logout is LOGOUT (RFC 9051 §6.1.3).
func (s *session) logout(p *wire.Parser) reply {
	if p.End() != nil {
		return syntax(p)
	}
	s.bye("", "Logging out")
	return ok("LOGOUT completed")
}

// identify is ID (RFC 2971).
func (s *session) identify(p *wire.Parser) reply {
	fields := p.ID()
	if p.End() != nil {
		return syntax(p)
	}
	if len(fields) > 0 {
		attrs := make([]any, 0, 2*len(fields)+4)
		attrs = append(attrs, "server", "imap", "peer", s.peer())
		for _, f := range fields {
			attrs = append(attrs, "id."+f.Name, f.Value)
		}
		s.srv.log.Debug("client identified itself", attrs...)
	}
	id := s.srv.ID
	if id == nil {
		id = map[string]string{"name": "Posta"}
	}
	s.out.put("* ID ")
	if len(id) == 0 {
		s.out.put("NIL\r\n")
		return ok("ID completed")
	}
	sep := "("
	for _, k := range slices.Sorted(maps.Keys(id)) {
		s.out.put(sep)
		s.out.b = wire.AppendString(s.out.b, k, false)
		s.out.put(" ")
		s.out.b = wire.AppendString(s.out.b, id[k], false)
		sep = " "
	}
	s.out.put(")\r\n")
	return ok("ID completed")
}
