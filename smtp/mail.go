package smtp

import "strings"

// mail begins a transaction (RFC 5321 §4.1.1.2).
func (c *session) mail(args string) {
	if c.srv.RequireAuth && c.identity() == nil {
		c.refuse(530, EnhancedCode{5, 7, 0}, "Authentication required")
		return
	}
	if c.mails >= c.maxMessages {
		// RFC 9422 §4.1: the client has been told.
		c.bye(Reply{421, EnhancedCode{4, 5, 3}, c.hostname + " Too many messages in one session"}, ErrAbuse)
		return
	}
	from, opts, err := c.parseMail(args)
	switch {
	case err != nil:
		c.refuseError(err)
		return
	case opts.Size > c.maxMessage:
		// RFC 1870 §6.1: the declared size is enough to refuse.
		c.refuse(552, EnhancedCode{5, 3, 4}, "Message too big")
		return
	case !c.ledger.left(c.from, countOctet, countMessage):
		c.putOff(451, EnhancedCode{4, 7, 1}, "Too many messages from your address, try again later")
		return
	case !c.charge(from.cost() + opts.cost()):
		c.putOff(452, EnhancedCode{4, 3, 1}, "Out of memory, try again later")
		return
	}
	c.utf8 = opts.SMTPUTF8
	c.nc.BeginCall()
	r, refused := c.handler.Mail(c.ctx, from, opts)
	c.nc.EndCall()
	if err := refused; err != nil {
		if e := c.asError(err); !c.idled() {
			c.sendError(e)
		}
		c.reset()
		return
	}
	c.mails++
	c.ledger.spend(c.from, countMessage, 1)
	c.binary = opts.Body == BodyBinary
	c.enter(stateMail)
	c.send(r.or(250, EnhancedCode{2, 1, 0}, "Sender OK"))
}

// parseMail parses the arguments of MAIL. Parameters are for those who said
// EHLO.
func (c *session) parseMail(args string) (Path, MailOptions, *Error) {
	var opts MailOptions
	arg, ok := cutPrefixFold(args, "FROM:")
	if !ok {
		return Path{}, opts, &Error{501, EnhancedCode{5, 5, 4}, "Write MAIL FROM:<address>"}
	}
	from, rest, perr := parsePath(strings.TrimLeft(arg, " "))
	if perr != nil {
		return Path{}, opts, &Error{501, EnhancedCode{5, 1, 7}, "Bad sender address syntax"}
	}
	raw := arg[:len(arg)-len(rest)]
	if err := eachParam(rest, func(p param) *Error { return c.mailParam(&opts, p) }); err != nil {
		return Path{}, opts, err
	}
	if !opts.SMTPUTF8 && !isASCII(raw) {
		return Path{}, opts, needsUTF8()
	}
	return from, opts, nil
}

func needsUTF8() *Error {
	return &Error{553, EnhancedCode{5, 6, 7}, "Address needs SMTPUTF8"}
}

// mailParam sets one parameter.
func (c *session) mailParam(opts *MailOptions, p param) (err *Error) {
	switch {
	case !c.conn.isExtended():
		return unknownParam() // RFC 5321 §4.1.1.11
	case p.name == "SIZE" && p.hasValue:
		opts.Size, err = parseSize(p.value)
	case p.name == "BODY" && p.hasValue:
		switch b := BodyType(strings.ToUpper(p.value)); b {
		case Body7Bit, Body8BitMIME:
			opts.Body = b
		case BodyBinary:
			if !c.takesBinary() {
				return badParam("BINARYMIME is not offered")
			}
			opts.Body = b
		default:
			return badParam("Unknown BODY value")
		}
	case p.name == "SMTPUTF8" && !p.hasValue:
		opts.SMTPUTF8 = true
	case p.name == "AUTH" && p.hasValue && c.login != nil:
		return c.authParam(opts, p.value)
	case p.name == "AUTH" && c.login == nil:
		return unknownParam()
	case p.name == "SIZE", p.name == "BODY", p.name == "SMTPUTF8", p.name == "AUTH":
		return badParam("Malformed parameter")
	default:
		return c.extraParam(verbMail, opts, nil, p)
	}
	return err
}

// authParam sets AUTH= (RFC 4954 §5). From someone who has not logged in it is
// taken for AUTH=<>.
func (c *session) authParam(opts *MailOptions, value string) *Error {
	mailbox, ok := decodeXtext(value)
	if !ok || len(value) > 500 {
		return badParam("Malformed AUTH parameter")
	}
	empty := ""
	opts.Auth = &empty
	if mailbox == "<>" {
		return nil
	}
	p, err := ParseAddress(mailbox)
	if err != nil {
		return badParam("Malformed AUTH parameter")
	}
	if c.identity() != nil {
		a := p.Address()
		opts.Auth = &a
	}
	return nil
}

// cutPrefixFold is strings.CutPrefix without case.
func cutPrefixFold(s, prefix string) (string, bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}
