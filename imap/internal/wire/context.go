package wire

// CancelUpdate reads the tags of CANCELUPDATE (RFC 5267 §4.3.5).
func (p *Parser) CancelUpdate() (tags []string) {
	for p.err == nil {
		p.Space()
		if p.peek() != '"' {
			p.fail("Quoted tag expected")
			break
		}
		tags = append(tags, p.quoted())
		if p.AtEnd() {
			break
		}
	}
	return tags
}
