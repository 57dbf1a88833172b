package wire

// Select is SELECT or EXAMINE (RFC 9051 §6.3.2).
type Select struct {
	Mailbox   string // as sent
	CondStore bool   // RFC 7162 §3.1.8
}

// Select reads the arguments of SELECT and EXAMINE. An unknown parameter is a
// syntax error (RFC 4466 §2.1).
func (p *Parser) Select() (c Select) {
	p.Space()
	c.Mailbox = p.Astring()
	if p.err == nil && p.try(' ') {
		p.list(false, func() {
			if p.Keyword() != "CONDSTORE" {
				p.fail("Unknown parameter")
			}
			c.CondStore = true
		})
	}
	return c
}

// Mailbox reads the only argument of DELETE, SUBSCRIBE and UNSUBSCRIBE.
func (p *Parser) Mailbox() string {
	p.Space()
	return p.Astring()
}

// Create is CREATE (RFC 9051 §6.3.4).
type Create struct {
	Mailbox    string
	SpecialUse []string // USE (RFC 6154 §3), with backslash
}

// Create reads the arguments of CREATE.
func (p *Parser) Create() (c Create) {
	c.Mailbox = p.Mailbox()
	if p.err == nil && p.try(' ') {
		p.list(false, func() {
			if p.Keyword() != "USE" {
				p.fail("Unknown parameter")
			}
			p.Space()
			c.SpecialUse = p.FlagList()
		})
	}
	return c
}

// Rename is RENAME (RFC 9051 §6.3.6).
type Rename struct{ From, To string }

// Rename reads the arguments of RENAME.
func (p *Parser) Rename() (c Rename) {
	c.From = p.Mailbox()
	c.To = p.Mailbox()
	return c
}

// Status is STATUS (RFC 9051 §6.3.11).
type Status struct {
	Mailbox string
	Items   StatusItems
}

// StatusItems is a set of status items.
type StatusItems uint16

// The items of STATUS, in the order they are answered.
const (
	StatusMessages      StatusItems = 1 << iota
	StatusRecent                    // RFC 3501
	StatusUIDNext                   //
	StatusUIDValidity               //
	StatusUnseen                    //
	StatusDeleted                   // RFC 9051
	StatusSize                      // RFC 8438
	StatusHighestModSeq             // RFC 7162
	StatusAppendLimit               // RFC 7889
)

// StatusNames are the names of the items by bit.
var StatusNames = [...]string{"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "SIZE", "HIGHESTMODSEQ", "APPENDLIMIT"}

// Status reads the arguments of STATUS.
func (p *Parser) Status() (c Status) {
	c.Mailbox = p.Mailbox()
	p.Space()
	c.Items = p.statusItems()
	return c
}

func (p *Parser) statusItems() (items StatusItems) {
	p.list(false, func() {
		word := p.Keyword()
		for i, n := range StatusNames {
			if n == word {
				items |= 1 << i
				return
			}
		}
		p.fail("Unknown status item")
	})
	return items
}
