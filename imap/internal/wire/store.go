package wire

// StoreOp is what STORE does with its flags.
type StoreOp byte

// The operations of STORE.
const (
	StoreReplace StoreOp = 0
	StoreAdd     StoreOp = '+'
	StoreRemove  StoreOp = '-'
)

// Store is STORE or UID STORE (RFC 9051 §6.4.6).
type Store struct {
	Set    NumSet
	Op     StoreOp
	Silent bool
	Flags  []string
	// Unchanged: UnchangedSince was given (RFC 7162 §3.1.3).
	Unchanged      bool
	UnchangedSince uint64
}

// Store reads the arguments of STORE.
func (p *Parser) Store() (c Store) {
	p.Space()
	c.Set = p.NumSet()
	p.Space()
	if p.peek() == '(' {
		p.list(false, func() {
			if p.Keyword() != "UNCHANGEDSINCE" {
				p.fail("Unknown modifier")
			}
			p.needs("CONDSTORE", "Unknown modifier")
			p.Space()
			c.Unchanged, c.UnchangedSince = true, p.Number64()
		})
		p.Space()
	}
	switch p.peek() {
	case '+', '-':
		c.Op = StoreOp(p.b[p.i])
		p.i++
	}
	switch p.Keyword() {
	case "FLAGS":
	case "FLAGS.SILENT":
		c.Silent = true
	default:
		p.fail("FLAGS expected")
	}
	p.Space()
	if p.peek() == '(' {
		c.Flags = p.FlagList()
		return c
	}
	for p.err == nil { // RFC 9051 §9, store-att-flags: flag *(SP flag)
		c.Flags = append(c.Flags, p.flag())
		if p.AtEnd() {
			break
		}
		p.Space()
	}
	return c
}

// Copy is COPY or MOVE, with or without UID (RFC 9051 §6.4.7, §6.4.8).
type Copy struct {
	Set     NumSet
	Mailbox string
}

// Copy reads the arguments of COPY and MOVE.
func (p *Parser) Copy() (c Copy) {
	p.Space()
	c.Set = p.NumSet()
	c.Mailbox = p.Mailbox()
	return c
}

// UIDs reads the argument of UID EXPUNGE (RFC 9051 §6.4.9).
func (p *Parser) UIDs() NumSet {
	p.Space()
	return p.NumSet()
}
