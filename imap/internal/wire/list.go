package wire

// ListOption is a set of options of LIST (RFC 9051 §6.3.9).
type ListOption uint16

// Selection and return options.
const (
	ListSubscribed     ListOption = 1 << iota
	ListRemote                    // RFC 5258 §3.1
	ListRecursiveMatch            //
	ListSpecialUse                // RFC 6154 §2
	ListChildren                  //
	ListStatus                    // RFC 5819
	ListMyRights                  // RFC 8440
	ListMetadata                  // RFC 9590
)

// List is LIST or LSUB.
type List struct {
	Select    ListOption
	Return    ListOption
	Status    StatusItems // with ListStatus in Return
	Entries   []string    // with ListMetadata in Return
	Reference string
	Patterns  []string
	// Extended: the command used options or several patterns.
	Extended bool
}

// maxPatterns bounds the patterns of one LIST.
const maxPatterns = 64

// List reads the arguments of LIST.
func (p *Parser) List() (c List) {
	p.Space()
	if p.peek() == '(' {
		c.Extended = true
		p.list(true, func() { c.Select |= p.selectOption() })
		p.Space()
	}
	c.Reference = p.Astring()
	p.Space()
	if p.peek() == '(' {
		c.Extended = true
		p.list(true, func() {
			if len(c.Patterns) == maxPatterns {
				p.fail("Too many patterns")
				return
			}
			c.Patterns = append(c.Patterns, p.listMailbox())
		})
	} else {
		c.Patterns = []string{p.listMailbox()}
	}
	if p.err == nil && p.try(' ') {
		if !p.keywordIs("RETURN") {
			p.fail("RETURN expected")
		}
		c.Extended = true
		p.Space()
		p.list(true, func() { c.Return |= p.returnOption(&c) })
	}
	if c.Extended {
		p.needs("LIST-EXTENDED", "Unexpected text after the command")
	}
	if p.err == nil && c.Select&ListRecursiveMatch != 0 && c.Select&(ListSubscribed|ListSpecialUse) == 0 {
		p.fail("RECURSIVEMATCH needs another selection option") // RFC 5258 §3.1
	}
	return c
}

// Lsub reads the arguments of LSUB (RFC 3501 §6.3.9).
func (p *Parser) Lsub() (c List) {
	p.Space()
	c.Reference = p.Astring()
	p.Space()
	c.Patterns = []string{p.listMailbox()}
	return c
}

func (p *Parser) selectOption() ListOption {
	switch p.Keyword() {
	case "SUBSCRIBED":
		return ListSubscribed
	case "REMOTE":
		return ListRemote
	case "RECURSIVEMATCH":
		return ListRecursiveMatch
	case "SPECIAL-USE":
		p.needs("SPECIAL-USE", "Unknown selection option")
		return ListSpecialUse
	}
	p.fail("Unknown selection option")
	return 0
}

func (p *Parser) returnOption(c *List) ListOption {
	switch p.Keyword() {
	case "SUBSCRIBED":
		return ListSubscribed
	case "CHILDREN":
		return ListChildren
	case "SPECIAL-USE":
		p.needs("SPECIAL-USE", "Unknown return option")
		return ListSpecialUse
	case "STATUS":
		p.needs("LIST-STATUS", "Unknown return option")
		p.Space()
		c.Status |= p.statusItems()
		return ListStatus
	case "MYRIGHTS":
		p.needs("LIST-MYRIGHTS", "Unknown return option")
		return ListMyRights
	case "METADATA":
		p.needs("LIST-METADATA", "Unknown return option")
		p.Space()
		c.Entries = p.entries()
		return ListMetadata
	}
	p.fail("Unknown return option")
	return 0
}

// listMailbox reads a pattern.
func (p *Parser) listMailbox() string {
	if c := p.peek(); c == '"' || c == '{' {
		return p.String()
	}
	a := p.run(classList)
	if len(a) == 0 {
		p.fail("Mailbox pattern expected")
	}
	return string(a)
}
