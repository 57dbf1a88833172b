package wire

// Select is SELECT or EXAMINE (RFC 9051 §6.3.2).
type Select struct {
	Mailbox   string // as sent
	CondStore bool   // RFC 7162 §3.1.8
}

// Select reads the arguments of SELECT and EXAMINE. An unknown parameter is a
// syntax error (RFC 4466 §2.1).
func (p *Parser) Select() (c Select) {
	p.Space()
	c.Mailbox = p.Astring()
	if p.err == nil && p.try(' ') {
		p.list(false, func() {
			if p.Keyword() != "CONDSTORE" {
				p.fail("Unknown parameter")
			}
			c.CondStore = true
		})
	}
	return c
}

// Mailbox reads the only argument of DELETE, SUBSCRIBE and UNSUBSCRIBE.
func (p *Parser) Mailbox() string {
	p.Space()
	return p.Astring()
}
