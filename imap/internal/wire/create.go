package wire

// Create is CREATE (RFC 9051 §6.3.4).
type Create struct {
	Mailbox    string
	SpecialUse []string // USE (RFC 6154 §3), with backslash
}

// Create reads the arguments of CREATE.
func (p *Parser) Create() (c Create) {
	c.Mailbox = p.Mailbox()
	if p.err == nil && p.try(' ') {
		p.list(false, func() {
			if p.Keyword() != "USE" {
				p.fail("Unknown parameter")
			}
			p.needs("CREATE-SPECIAL-USE", "Unknown parameter")
			p.Space()
			c.SpecialUse = p.FlagList()
		})
	}
	return c
}
