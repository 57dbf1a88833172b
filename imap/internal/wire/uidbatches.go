package wire

// UIDBatches is UIDBATCHES (RFC 10022 §3.1).
type UIDBatches struct {
	Size uint32 // messages of a batch
	// From and To are the batches asked for, of which 1 is that of the highest
	// UIDs; To is 0 when all are.
	From, To uint32
}

// UIDBatches reads the arguments of UIDBATCHES.
func (p *Parser) UIDBatches() (c UIDBatches) {
	p.Space()
	c.Size = p.nonZero()
	if p.err == nil && p.try(' ') {
		c.From = p.nonZero()
		p.expect(':', "Range expected")
		c.To = p.nonZero()
	}
	return c
}
