package smtp

import (
	"errors"
	"fmt"
)

// greet begins the dialogue.
func (c *session) greet() {
	if earlyTalker(c.nc, c.srv.GreetingDelay) {
		c.violation(554, "You must wait for the greeting")
		c.enter(stateRefused)
		return
	}
	if c.nc.Closing() {
		c.shutDown()
		c.enter(stateRefused)
		return
	}
	c.open()
}

// open makes the Handler's session and greets with it.
func (c *session) open() {
	count := func(s *source) bool { return c.ledger.spend(s, countConn, 1) }
	if c.from != nil {
		count = c.ledger.moved // by XCLIENT
	}
	c.from = c.ledger.source(c.conn.Peer().Addr())
	if !count(c.from) || !c.ledger.left(c.from, countUnknown, countBad, countAuth) {
		c.bye(Reply{421, EnhancedCode{4, 7, 0}, c.hostname + " Too much from your address, try again later"}, ErrConnLimit)
		c.enter(stateRefused)
		return
	}
	var err error = &Error{521, EnhancedCode{5, 3, 2}, "No mail service here"}
	if c.srv.Handler != nil {
		c.nc.BeginCall()
		c.handler, err = c.srv.Handler.NewSession(c.ctx, c.conn)
		c.nc.EndCall()
		if err == nil && c.handler == nil {
			err = errors.New("smtp: Handler returned no Session")
		}
	}
	if err == nil {
		protocol := " ESMTP ready"
		if c.srv.LMTP {
			protocol = " LMTP ready"
		}
		c.enter(stateStart)
		c.reply(220, EnhancedCode{}, c.hostname+protocol)
		return
	}
	r := Reply(*c.asError(err))
	switch r.Code {
	case 421, 521, 554:
	default: // RFC 5321 §4.3.2: what a greeting may be
		r.Code = 421
		if AsError(err).Code/100 == 5 {
			r.Code = 554
		}
	}
	c.handler = nil
	c.why = fmt.Errorf("%w: %w", ErrHandlerRefused, err)
	c.send(r)
	c.over = r.Code == 421
	c.enter(stateRefused)
	if c.patience == 0 || c.patience > refusedTimeout {
		c.patience = refusedTimeout
	}
}
