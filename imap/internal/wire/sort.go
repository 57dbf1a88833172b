package wire

// SortKey is what messages are sorted by.
type SortKey uint8

// The sort keys (RFC 5256 §3, RFC 5957 §4).
const (
	SortArrival SortKey = iota
	SortCc
	SortDate
	SortDisplayFrom
	SortDisplayTo
	SortFrom
	SortSize
	SortSubject
	SortTo
)

// SortCriterion is one key and its direction.
type SortCriterion struct {
	Key     SortKey
	Reverse bool
}

// Sort is SORT or UID SORT: what is searched for, and its order. A key is in By
// once, as it was named first: a second time it decides nothing.
type Sort struct {
	Search
	By []SortCriterion
}

var sortKeys = map[string]SortKey{
	"ARRIVAL": SortArrival, "CC": SortCc, "DATE": SortDate, "DISPLAYFROM": SortDisplayFrom, "DISPLAYTO": SortDisplayTo,
	"FROM": SortFrom, "SIZE": SortSize, "SUBJECT": SortSubject, "TO": SortTo,
}

// Sort reads the arguments of SORT (RFC 5256 §3, RFC 5267 §3).
func (p *Parser) Sort() (c Sort) {
	s := searchParser{Parser: p, c: &c.Search}
	p.Space()
	if p.keywordAhead("RETURN") {
		p.needs("ESORT", "Parenthesis expected")
	}
	s.returnOptions()
	named := 0
	p.list(false, func() {
		by := p.sortCriterion()
		if named&(1<<by.Key) == 0 {
			named |= 1 << by.Key
			c.By = append(c.By, by)
		}
	})
	s.charset()
	s.program()
	return c
}

func (p *Parser) sortCriterion() (by SortCriterion) {
	word := p.Keyword()
	if word == "REVERSE" {
		by.Reverse = true
		p.Space()
		word = p.Keyword()
	}
	key, ok := sortKeys[word]
	if !ok {
		p.fail("Unknown sort key")
	}
	if key == SortDisplayFrom || key == SortDisplayTo {
		p.needs("SORT=DISPLAY", "Unknown sort key")
	}
	by.Key = key
	return by
}

// keywordAhead reports whether an atom comes next, which is in upper case.
func (p *Parser) keywordAhead(word string) bool {
	at := p.i
	ok := p.keywordIs(word)
	p.i = at
	return ok
}
