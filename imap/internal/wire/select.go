package wire

// Select is SELECT or EXAMINE (RFC 9051 §6.3.2).
type Select struct {
	Mailbox   string   // as sent
	CondStore bool     // RFC 7162 §3.1.8
	QResync   *QResync // nil: not given
}

// QResync is what a client that resynchronises knows of the mailbox (RFC 7162
// §3.2.5).
type QResync struct {
	UIDValidity uint32
	ModSeq      uint64
	// Known are the UIDs it knows; without ranges: all.
	Known NumSet
	// Numbers and UIDs are message numbers that it knows and the UIDs they had,
	// in the same order and as many of both; Matched: they were given.
	Matched       bool
	Numbers, UIDs NumSet
}

// Select reads the arguments of SELECT and EXAMINE. An unknown parameter is a
// syntax error (RFC 4466 §2.1).
func (p *Parser) Select() (c Select) {
	p.Space()
	c.Mailbox = p.Astring()
	if p.err == nil && p.try(' ') {
		p.list(false, func() {
			switch p.Keyword() {
			case "CONDSTORE":
				p.needs("CONDSTORE", "Unknown parameter")
				c.CondStore = true
			case "QRESYNC":
				p.needs("QRESYNC", "Unknown parameter")
				p.Space()
				c.QResync = p.qresync()
			default:
				p.fail("Unknown parameter")
			}
		})
	}
	return c
}

func (p *Parser) qresync() *QResync {
	q := &QResync{}
	p.expect('(', "Parenthesis expected")
	q.UIDValidity = p.nonZero()
	p.Space()
	if q.ModSeq = p.Number64(); q.ModSeq == 0 {
		p.fail("Mod-sequence is zero")
	}
	if p.try(' ') && p.peek() != '(' {
		q.Known = p.plainSet()
		if p.try(' ') && p.peek() != '(' {
			p.fail("Parenthesis expected")
		}
	}
	if p.try('(') {
		q.Matched = true
		q.Numbers = p.plainSet()
		p.Space()
		q.UIDs = p.plainSet()
		p.expect(')', "Parenthesis is not closed")
		if p.err == nil && q.Numbers.length() != q.UIDs.length() {
			p.fail("Not as many UIDs as message numbers")
		}
	}
	p.expect(')', "Parenthesis is not closed")
	return q
}

// Mailbox reads the only argument of DELETE, SUBSCRIBE and UNSUBSCRIBE.
func (p *Parser) Mailbox() string {
	p.Space()
	return p.Astring()
}
