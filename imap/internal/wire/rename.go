package wire

// Rename is RENAME (RFC 9051 §6.3.6).
type Rename struct{ From, To string }

// Rename reads the arguments of RENAME.
func (p *Parser) Rename() (c Rename) {
	c.From = p.Mailbox()
	c.To = p.Mailbox()
	return c
}
