package smtp

import "strings"

// rcpt adds a recipient (RFC 5321 §4.1.1.3).
func (c *session) rcpt(args string) {
	to, err := c.parseRcpt(args)
	switch {
	case err != nil:
		c.refuseError(err)
		return
	case c.rcpts >= c.maxRcpts:
		// RFC 5321 §4.5.3.1.10: those before stay.
		c.reply(452, EnhancedCode{4, 5, 3}, "Too many recipients")
		return
	case !c.charge(to):
		c.reply(452, EnhancedCode{4, 3, 1}, "Out of memory, try again later")
		return
	}
	if err := c.handler.Rcpt(c.ctx, to, RcptOptions{}); err != nil {
		c.refund(to)
		e := c.asError(err)
		if e.Code/100 == 5 && e.Enhanced[1] == 1 {
			if c.unknown++; c.unknown > c.maxUnknown {
				c.abuse("Too many unknown recipients")
				return
			}
		}
		c.sendError(e)
		return
	}
	c.rcpts++
	c.state = stateRcpt
	c.reply(250, EnhancedCode{2, 1, 5}, "Recipient OK")
}

// parseRcpt parses the arguments of RCPT. There is no parameter yet.
func (c *session) parseRcpt(args string) (Path, *Error) {
	arg, ok := cutPrefixFold(args, "TO:")
	if !ok {
		return Path{}, &Error{501, EnhancedCode{5, 5, 4}, "Write RCPT TO:<address>"}
	}
	to, rest, err := parsePath(strings.TrimLeft(arg, " "))
	if err != nil || to.IsNull() {
		return Path{}, &Error{501, EnhancedCode{5, 1, 3}, "Bad recipient address syntax"}
	}
	_, _, more, perr := nextParam(rest)
	switch {
	case perr != nil:
		return Path{}, perr
	case more:
		return Path{}, unknownParam()
	case !c.utf8 && !isASCII(arg):
		return Path{}, needsUTF8()
	}
	return to, nil
}
