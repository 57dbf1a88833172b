package wire

// MultiSearch is ESEARCH (RFC 7377 §2).
type MultiSearch struct {
	Sources []SearchSource // none: the selected mailbox
	Search
}

// SearchSource says which mailboxes are searched.
type SearchSource struct {
	Filter NotifyFilter
	One    bool     // of NotifySubtree: no deeper than one level
	Names  []string // of NotifySubtree and NotifyMailboxes
}

// Selected reports whether only the selected mailbox is searched.
func (c *MultiSearch) Selected() bool {
	for _, s := range c.Sources {
		if s.Filter != NotifySelected {
			return false
		}
	}
	return true
}

// MultiSearch reads the arguments of ESEARCH.
func (p *Parser) MultiSearch() (c MultiSearch) {
	s := searchParser{Parser: p, c: &c.Search}
	p.Space()
	if p.keywordIs("IN") {
		p.Space()
		p.expect('(', "Mailboxes expected")
		for p.err == nil {
			if p.peek() == '(' { // scope options, of which there are none yet
				p.list(true, func() { p.Atom(); p.fail("Unknown scope option") })
				p.expect(')', "Mailboxes are not closed")
				break
			}
			c.Sources = append(c.Sources, p.searchSource())
			if p.try(')') {
				break
			}
			p.Space()
		}
		p.Space()
	}
	s.returnOptions()
	if p.keywordIs("CHARSET") {
		s.charset()
	}
	s.program()
	if c.Return&ReturnSave != 0 && !c.Selected() { // RFC 7377 §2.2
		p.fail("SAVE is for the selected mailbox")
	}
	if (c.Numbers || c.Saved) && !c.Selected() {
		p.fail("Numbers are those of the selected mailbox")
	}
	c.Extended = true
	if c.Return == 0 {
		c.Return = ReturnAll
	}
	return c
}

func (p *Parser) searchSource() (s SearchSource) {
	word := p.Keyword()
	if word == "SUBTREE-ONE" {
		s.One, word = true, "SUBTREE"
	}
	if s.Filter = notifyFilters[word]; s.Filter == 0 || s.Filter == NotifySelectedDelayed {
		p.fail("Unknown mailbox filter")
	}
	if s.Filter >= NotifySubtree {
		p.Space()
		if p.peek() == '(' {
			p.list(false, func() { s.Names = append(s.Names, p.Astring()) })
		} else {
			s.Names = []string{p.Astring()}
		}
	}
	return s
}
