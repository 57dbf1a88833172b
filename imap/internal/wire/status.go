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
	StatusMessages       StatusItems = 1 << iota
	StatusRecent                     // RFC 3501
	StatusUIDNext                    //
	StatusUIDValidity                //
	StatusUnseen                     //
	StatusDeleted                    // RFC 9051
	StatusSize                       // RFC 8438
	StatusHighestModSeq              // RFC 7162
	StatusAppendLimit                // RFC 7889
	StatusDeletedStorage             // RFC 9208
	StatusMailboxID                  // RFC 8474
)

// StatusNames are the names of the items by bit.
var StatusNames = [...]string{"MESSAGES", "RECENT", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "SIZE",
	"HIGHESTMODSEQ", "APPENDLIMIT", "DELETED-STORAGE", "MAILBOXID"}

// statusNeeds are the capabilities without which an item is not there; empty:
// always.
var statusNeeds = [len(StatusNames)]string{7: "CONDSTORE", 8: "APPENDLIMIT", 9: "QUOTA", 10: "OBJECTID"}

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
			if n == word && !p.lim.Off[statusNeeds[i]] {
				items |= 1 << i
				return
			}
		}
		p.fail("Unknown status item")
	})
	return items
}
