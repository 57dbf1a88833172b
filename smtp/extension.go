package smtp

import (
	"context"
	"slices"
	"strings"
)

// Extension is something that a Session can do beyond the core of SMTP (RFC
// 5321 §2.2): a line in the reply to EHLO, and the parameters and verbs that
// come with it. [DSN], [RequireTLS], [BinaryMIME], [FutureRelease],
// [DeliverByDeadline], [MTPriority] and [RRVS] are those whose parameters the
// package knows; any other is a value made of the exported fields.
type Extension struct {
	// Keyword is the line in the reply to EHLO or LHLO: the keyword and its
	// parameters, at most 506 octets of printable ASCII. Empty: there is none. An
	// Extension whose line is malformed, or has the keyword of the Server or of
	// an Extension before it, is left out as a whole, and that is logged.
	Keyword string
	// MailParams and RcptParams are names of parameters, in upper case, that
	// MAIL and RCPT take. Their values arrive in Params, without any decoding.
	// SIZE, BODY, SMTPUTF8 and AUTH stay the Server's.
	MailParams, RcptParams []string
	// Verbs are commands, by verb in upper case; those that the Server has
	// itself stay as they are. args is what follows the verb. They are carried
	// out after EHLO, not between the chunks of a message, and count against
	// MaxNoops. A reply of 421 ends the session.
	Verbs map[string]func(ctx context.Context, args string) Reply

	known  map[string]typedParam // parameters with a field of their own
	usable func(c *session) bool // nil: always
	binary bool                  // BODY=BINARYMIME may be said
}

// typedParam sets the field of one parameter.
type typedParam struct {
	mail func(c *session, opts *MailOptions, p param) *Error
	rcpt func(c *session, opts *RcptOptions, p param) *Error
}

// Extender is implemented by a Session that has extensions. A Session that
// wraps another and has a method Unwrap() Session keeps those of the inner one,
// unless it is an Extender itself.
type Extender interface {
	Session
	// Extensions are what this session can do now. They are asked for at each
	// EHLO, when the HELO name and TLS are known, and hold until the next.
	Extensions() []Extension
}

// Extensions are those of a Session, looked for through its wrappers; nil if
// it has none.
func Extensions(s Session) []Extension {
	for s != nil {
		if x, ok := s.(Extender); ok {
			return x.Extensions()
		}
		w, ok := s.(interface{ Unwrap() Session })
		if !ok {
			return nil
		}
		s = w.Unwrap()
	}
	return nil
}

// extend asks the Session anew what it can do, and adds its lines to those of
// the reply to EHLO.
func (c *session) extend(lines []string) []string {
	c.ext = nil
	for _, e := range Extensions(c.handler) {
		switch {
		case e.usable != nil && !e.usable(c):
			continue
		case e.Keyword == "":
		case !isEHLOLine(e.Keyword) || hasKeyword(lines[1:], e.Keyword):
			c.log.Warn("extension left out: its keyword is malformed or taken", "keyword", e.Keyword)
			continue
		default:
			lines = append(lines, e.Keyword)
		}
		c.ext = append(c.ext, e)
	}
	return lines
}

// isEHLOLine: ehlo-line (RFC 5321 §4.1.1.1).
func isEHLOLine(s string) bool {
	word, _, _ := strings.Cut(s, " ")
	return isKeyword(word) && isPrintable(s) && len(s) <= maxReplyLine-len("250-\r\n")
}

// reserved are keywords that the Server does not always offer.
var reserved = []string{"STARTTLS", "AUTH", "XCLIENT", "LIMITS"}

// hasKeyword reports whether a keyword is the Server's or that of a line.
func hasKeyword(lines []string, keyword string) bool {
	keyword, _, _ = strings.Cut(keyword, " ")
	same := func(line string) bool {
		word, _, _ := strings.Cut(line, " ")
		return strings.EqualFold(word, keyword)
	}
	return slices.ContainsFunc(lines, same) || slices.ContainsFunc(reserved, same)
}

// verbs that take parameters.
type verbWithParams uint8

const (
	verbMail verbWithParams = iota
	verbRcpt
)

// extraParam sets a parameter that one of the Session's extensions has added.
func (c *session) extraParam(verb verbWithParams, mail *MailOptions, rcpt *RcptOptions, p param) *Error {
	for _, e := range c.ext {
		known := e.known[p.name]
		switch {
		case verb == verbMail && known.mail != nil:
			return known.mail(c, mail, p)
		case verb == verbRcpt && known.rcpt != nil:
			return known.rcpt(c, rcpt, p)
		case verb == verbMail && slices.Contains(e.MailParams, p.name):
			setParam(&mail.Params, p)
			return nil
		case verb == verbRcpt && slices.Contains(e.RcptParams, p.name):
			setParam(&rcpt.Params, p)
			return nil
		}
	}
	return unknownParam()
}

func setParam(m *map[string]string, p param) {
	if *m == nil {
		*m = make(map[string]string, 1)
	}
	(*m)[p.name] = strings.Clone(p.value)
}

// extended carries out a command of the Session's own.
func (c *session) extended(verb, args string) bool {
	if c.state&(stateReady|stateTransaction) == 0 {
		return false
	}
	for _, e := range c.ext {
		run := e.Verbs[verb]
		if run == nil {
			continue
		}
		c.nc.BeginCall()
		r := run(c.ctx, args)
		c.nc.EndCall()
		if !c.idled() {
			r = r.sound()
			c.sendError((*Error)(&r))
		}
		return true
	}
	return false
}

// ownVerb reports whether a command is one of the Session's own.
func (c *session) ownVerb(verb string) bool {
	return slices.ContainsFunc(c.ext, func(e Extension) bool { return e.Verbs[verb] != nil })
}

// isPrintable: printable ASCII and space.
func isPrintable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
