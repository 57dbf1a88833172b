package wire

import "time"

// AppendMessage is what precedes a message in APPEND.
type AppendMessage struct {
	Flags  []string
	Date   time.Time // zero if not given
	Binary bool      // literal8
}

// AppendMessage reads SP [flags SP] [date SP] and the announcement of the
// message's literal.
func (p *Parser) AppendMessage() (c AppendMessage) {
	p.Space()
	if p.peek() == '(' {
		c.Flags = p.FlagList()
		p.Space()
	}
	if p.peek() == '"' {
		c.Date = p.DateTime()
		p.Space()
	}
	if b := p.peek(); b != '{' && b != '~' {
		p.fail("Literal expected")
		return c
	}
	h, _ := p.literalHeader()
	c.Binary = h.Binary
	if p.i != len(p.b) {
		p.fail("Literal expected")
	}
	return c
}
