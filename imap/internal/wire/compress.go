package wire

// Compress reads the argument of COMPRESS (RFC 4978 §5), in upper case.
func (p *Parser) Compress() string {
	p.Space()
	return p.Keyword()
}
