package wire

// ResetKey is RESETKEY (RFC 4467 §9).
type ResetKey struct {
	// Mailbox, as sent, if HasMailbox; else all are meant.
	Mailbox    string
	HasMailbox bool
	Mechanisms []string // in upper case; none: all
}

// ResetKey reads the arguments of RESETKEY.
func (p *Parser) ResetKey() (c ResetKey) {
	if p.AtEnd() {
		return c
	}
	c.Mailbox, c.HasMailbox = p.Mailbox(), true
	for !p.AtEnd() {
		p.Space()
		c.Mechanisms = append(c.Mechanisms, p.Keyword())
	}
	return c
}

// GenURLAuth is one URL of GENURLAUTH (RFC 4467 §9).
type GenURLAuth struct {
	URL       string // url-rump
	Mechanism string // in upper case
}

// GenURLAuth reads the arguments of GENURLAUTH.
func (p *Parser) GenURLAuth() (urls []GenURLAuth) {
	for first := true; first || !p.AtEnd(); first = false {
		p.Space()
		u := p.Astring()
		p.Space()
		urls = append(urls, GenURLAuth{u, p.Keyword()})
	}
	return urls
}

// URLFetch reads the arguments of URLFETCH (RFC 4467 §9).
func (p *Parser) URLFetch() (urls []string) {
	for first := true; first || !p.AtEnd(); first = false {
		p.Space()
		urls = append(urls, p.Astring())
	}
	return urls
}
