package imap

import (
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
)

// capability is CAPABILITY (RFC 9051 §6.1.1).
func (s *session) capability(p *wire.Parser) reply {
	if p.End() != nil {
		return syntax(p)
	}
	s.out.put("* CAPABILITY ")
	s.out.b = s.appendCapabilities(s.out.b)
	s.out.put("\r\n")
	return ok("CAPABILITY completed")
}

// appendCapabilities lists what can be done now: before login how to get in,
// afterwards everything else.
func (s *session) appendCapabilities(b []byte) []byte {
	b = append(b, "IMAP4rev1 IMAP4rev2 LITERAL+ ID ENABLE SASL-IR"...)
	if s.state != stateGuest {
		b = append(b, " IDLE NAMESPACE UNSELECT UIDPLUS CHILDREN LIST-EXTENDED LIST-STATUS SPECIAL-USE"+
			" CREATE-SPECIAL-USE ESEARCH SEARCHRES MOVE CONDSTORE STATUS=SIZE APPENDLIMIT="...)
		return strconv.AppendInt(b, s.srv.lim.message, 10)
	}
	peer := s.peer()
	if s.srv.tls != nil && !peer.Secure() {
		b = append(b, " STARTTLS"...)
	}
	// RFC 9051 §6.2.3: LOGIN without protection is refused, and that is said.
	if !s.canLogin() || !s.srv.login.PlaintextAllowed(peer) {
		b = append(b, " LOGINDISABLED"...)
	}
	for _, m := range s.mechanisms() {
		b = append(append(b, " AUTH="...), m...)
	}
	return b
}

// canLogin reports whether there is anything to log in to.
func (s *session) canLogin() bool { return s.srv.Auth != nil && s.srv.Store != nil }

func (s *session) mechanisms() []string {
	if !s.canLogin() {
		return nil
	}
	return s.srv.login.Mechanisms(s.peer())
}
