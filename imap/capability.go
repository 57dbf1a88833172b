package imap

import (
	"strconv"
	"strings"

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

// extension is one row of the table of capabilities.
type extension struct {
	name   string
	states state // in which it is told
	// folded: IMAP4rev2 implies it, and is not there without it (RFC 9051
	// Appendix E).
	folded bool
	// when says whether it is there, for what the store, the account and the
	// configuration can do; nil: always. Server.Disable comes on top.
	when func(*session) bool
	// value follows the name, with "=" where there is one; nil: nothing.
	value func(*session) string
}

// extensions is the table of all capabilities, in the order in which they are
// told. IMAP4rev1, STARTTLS and what concerns the login come apart.
var extensions = [...]extension{
	{name: "IMAP4rev2", states: stateAny},
	{name: "LITERAL+", states: stateAny, when: func(s *session) bool { return !s.srv.LiteralMinus }},
	{name: "LITERAL-", states: stateAny, folded: true, when: func(s *session) bool { return s.srv.LiteralMinus || s.srv.off["LITERAL+"] }},
	{name: "ID", states: stateAny},
	{name: "ENABLE", states: stateAny, folded: true},
	{name: "SASL-IR", states: stateAny, folded: true},

	// Sessions.
	{name: "COMPRESS=DEFLATE", states: stateKnown},
	{name: "IDLE", states: stateKnown, folded: true},
	{name: "NOTIFY", states: stateKnown},
	{name: "UNSELECT", states: stateKnown, folded: true},
	{name: "UNAUTHENTICATE", states: stateKnown},
	{name: "JMAPACCESS", states: stateKnown, when: func(s *session) bool { return s.srv.JMAP != "" }},

	// Mailboxes.
	{name: "NAMESPACE", states: stateKnown, folded: true},
	{name: "CHILDREN", states: stateKnown, folded: true},
	{name: "LIST-EXTENDED", states: stateKnown, folded: true},
	{name: "LIST-STATUS", states: stateKnown, folded: true},
	{name: "SPECIAL-USE", states: stateKnown, folded: true},
	{name: "CREATE-SPECIAL-USE", states: stateKnown},
	{name: "STATUS=SIZE", states: stateKnown, folded: true},

	// Rights, quotas and metadata.
	{name: "ACL", states: stateKnown, when: (*session).noted},
	{name: "RIGHTS=texk", states: stateKnown, when: func(s *session) bool { return s.can("ACL") }}, // RFC 4314 §2.2
	{name: "LIST-MYRIGHTS", states: stateKnown, when: func(s *session) bool { return s.can("ACL") }},
	{name: "QUOTA", states: stateKnown, when: (*session).limited},
	{name: "QUOTA=RES-STORAGE", states: stateKnown, when: func(s *session) bool { return s.can("QUOTA") }},
	{name: "QUOTA=RES-MESSAGE", states: stateKnown, when: func(s *session) bool { return s.can("QUOTA") }},
	{name: "QUOTA=RES-MAILBOX", states: stateKnown, when: func(s *session) bool { return s.can("QUOTA") }},
	{name: "METADATA", states: stateKnown, when: (*session).noted},
	{name: "LIST-METADATA", states: stateKnown, when: func(s *session) bool { return s.can("METADATA") }},

	// Keeping in step.
	{name: "CONDSTORE", states: stateKnown},
	{name: "QRESYNC", states: stateKnown},
	{name: "UIDONLY", states: stateKnown},
	{name: "UIDBATCHES", states: stateKnown},
	{name: "MESSAGELIMIT", states: stateKnown, when: func(s *session) bool { return s.srv.lim.worked > 0 }, value: func(s *session) string {
		return "=" + strconv.Itoa(s.srv.lim.worked)
	}},
	{name: "SAVELIMIT", states: stateKnown, when: func(s *session) bool { return s.srv.lim.worked == 0 && s.srv.lim.saved > 0 }, value: func(s *session) string {
		return "=" + strconv.Itoa(s.srv.lim.saved)
	}},

	// Searching.
	{name: "ESEARCH", states: stateKnown, folded: true},
	{name: "SEARCHRES", states: stateKnown, folded: true},
	{name: "CONTEXT=SEARCH", states: stateKnown},
	{name: "MULTISEARCH", states: stateKnown},
	{name: "WITHIN", states: stateKnown},
	{name: "FILTERS", states: stateKnown, when: func(s *session) bool { return s.can("METADATA") }},
	{name: "SEARCH=FUZZY", states: stateKnown, when: (*session).indexed},
	{name: "INPROGRESS", states: stateKnown},
	{name: "I18NLEVEL=1", states: stateKnown},
	{name: "SORT", states: stateKnown},
	{name: "SORT=DISPLAY", states: stateKnown},
	{name: "ESORT", states: stateKnown},
	{name: "CONTEXT=SORT", states: stateKnown},
	{name: "THREAD=ORDEREDSUBJECT", states: stateKnown},
	{name: "THREAD=REFERENCES", states: stateKnown},
	{name: "THREAD=REFS", states: stateKnown},

	// Fetching and changing messages.
	{name: "SAVEDATE", states: stateKnown},
	{name: "OBJECTID", states: stateKnown},
	{name: "PREVIEW", states: stateKnown},
	{name: "PARTIAL", states: stateKnown},
	{name: "MOVE", states: stateKnown, folded: true},
	{name: "UIDPLUS", states: stateKnown, folded: true},

	// Adding messages.
	{name: "MULTIAPPEND", states: stateKnown},
	{name: "CATENATE", states: stateKnown},
	{name: "URLAUTH", states: stateKnown, when: urlAuth},
	{name: "URL-PARTIAL", states: stateKnown},
	{name: "REPLACE", states: stateKnown},
	{name: "BINARY", states: stateKnown},
	{name: "UTF8=ACCEPT", states: stateKnown},
	{name: "APPENDLIMIT", states: stateKnown, value: func(s *session) string {
		return "=" + strconv.FormatInt(s.srv.lim.message, 10)
	}},
}

// disabled is the set of capabilities that Server.Disable names, and those that
// cannot be there without them, in upper case.
func disabled(names []string) map[string]bool {
	off := make(map[string]bool, len(names))
	for _, n := range names {
		off[strings.ToUpper(n)] = true
	}
	if off["SORT"] {
		off["SORT=DISPLAY"], off["ESORT"] = true, true
	}
	for _, pair := range [...][2]string{
		{"CONDSTORE", "QRESYNC"}, // RFC 7162 §3.2
		{"LIST-EXTENDED", "LIST-STATUS"},
		{"LIST-EXTENDED", "LIST-MYRIGHTS"},
		{"LIST-EXTENDED", "LIST-METADATA"},
		{"SPECIAL-USE", "CREATE-SPECIAL-USE"},
		{"ACL", "LIST-MYRIGHTS"},
		{"METADATA", "LIST-METADATA"},
		{"OBJECTID", "JMAPACCESS"}, // RFC 9698 §3
		{"ESORT", "CONTEXT=SORT"},  // RFC 5267 §4.1
		{"CONTEXT=SEARCH", "CONTEXT=SORT"},
	} {
		if off[pair[0]] {
			off[pair[1]] = true
		}
	}
	for i := range extensions {
		if e := &extensions[i]; e.folded && off[strings.ToUpper(e.name)] {
			off["IMAP4REV2"] = true
		}
	}
	return off
}

// extensionsByName are the capabilities by their names in upper case.
func extensionsByName() map[string]*extension {
	m := make(map[string]*extension, len(extensions))
	for i := range extensions {
		m[strings.ToUpper(extensions[i].name)] = &extensions[i]
	}
	return m
}

// can reports whether a capability, by its name in upper case, is there for
// this session.
func (s *session) can(name string) bool {
	if s.srv.off[name] {
		return false
	}
	e := s.srv.extensions[name]
	return e != nil && (e.when == nil || e.when(s))
}

// appendCapabilities lists what can be done now: before login how to get in,
// afterwards everything else.
func (s *session) appendCapabilities(b []byte) []byte {
	b = append(b, "IMAP4rev1"...)
	for i := range extensions {
		e := &extensions[i]
		if e.states&s.state == 0 || s.srv.off[strings.ToUpper(e.name)] || e.when != nil && !e.when(s) {
			continue
		}
		b = append(append(b, ' '), e.name...)
		if e.value != nil {
			b = append(b, e.value(s)...)
		}
	}
	if s.state != stateGuest {
		return b
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
