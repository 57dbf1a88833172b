package wire

// ACL is the arguments of the commands for access control lists: those that a
// command has not got are empty.
type ACL struct {
	Mailbox    string
	Identifier string
	Rights     string // with "+" or "-" in front, as sent
}

// SetACL reads the arguments of SETACL (RFC 4314 §3.1).
func (p *Parser) SetACL() (c ACL) {
	c = p.DeleteACL()
	p.Space()
	c.Rights = p.Astring()
	return c
}

// DeleteACL reads the arguments of DELETEACL and of LISTRIGHTS (RFC 4314 §3.2,
// §3.4).
func (p *Parser) DeleteACL() (c ACL) {
	c.Mailbox = p.Mailbox()
	p.Space()
	c.Identifier = p.Astring()
	return c
}
