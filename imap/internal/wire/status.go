package wire

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
