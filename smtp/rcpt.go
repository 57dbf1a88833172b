package smtp

import "strings"

// rcpt adds a recipient (RFC 5321 §4.1.1.3).
func (c *session) rcpt(args string) {
	to, opts, err := c.parseRcpt(args)
	switch {
	case err != nil:
		c.refuseError(err)
		return
	case c.rcpts >= c.maxRcpts:
		// RFC 5321 §4.5.3.1.10: those before stay.
		c.reply(452, EnhancedCode{4, 5, 3}, "Too many recipients")
		return
	case !c.ledger.left(c.from, countRecipient):
		c.putOff(450, EnhancedCode{4, 7, 1}, "Too many recipients from your address, try again later")
		return
	case !c.charge(to.cost() + opts.cost()):
		c.putOff(452, EnhancedCode{4, 3, 1}, "Out of memory, try again later")
		return
	}
	c.nc.BeginCall()
	r, refused := c.handler.Rcpt(c.ctx, to, opts)
	c.nc.EndCall()
	if err := refused; err != nil {
		c.refund(to.cost() + opts.cost())
		e := c.asError(err)
		if e.Code/100 == 5 && e.Enhanced[1] == 1 {
			if c.unknown++; c.unknown > c.maxUnknown || !c.ledger.spend(c.from, countUnknown, 1) {
				c.abuse("Too many unknown recipients")
				return
			}
			c.tarpit()
		}
		c.sendError(e)
		return
	}
	c.rcpts++
	c.ledger.spend(c.from, countRecipient, 1)
	c.enter(stateRcpt)
	c.send(r.or(250, EnhancedCode{2, 1, 5}, "Recipient OK"))
}

// parseRcpt parses the arguments of RCPT.
func (c *session) parseRcpt(args string) (Path, RcptOptions, *Error) {
	var opts RcptOptions
	arg, ok := cutPrefixFold(args, "TO:")
	if !ok {
		return Path{}, opts, &Error{501, EnhancedCode{5, 5, 4}, "Write RCPT TO:<address>"}
	}
	to, rest, perr := parsePath(strings.TrimLeft(arg, " "))
	if perr != nil || to.IsNull() {
		return Path{}, opts, &Error{501, EnhancedCode{5, 1, 3}, "Bad recipient address syntax"}
	}
	raw := arg[:len(arg)-len(rest)]
	// RFC 5321 §4.1.1.11: after HELO there is none, since there are no extensions.
	err := eachParam(rest, func(p param) *Error { return c.extraParam(verbRcpt, nil, &opts, p) })
	switch {
	case err != nil:
		return Path{}, opts, err
	case !c.utf8 && !isASCII(raw):
		return Path{}, opts, needsUTF8()
	}
	return to, opts, nil
}
