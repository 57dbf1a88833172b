package wire

import "strings"

// Depth values of GETMETADATA.
const (
	DepthNone     = 0
	DepthOne      = 1
	DepthInfinity = 2
)

// GetMetadata is GETMETADATA (RFC 5464 §4.2).
type GetMetadata struct {
	Mailbox string // empty: the server
	Entries []string
	// MaxSize is the size of the largest value wanted, if HasMaxSize.
	MaxSize    uint64
	HasMaxSize bool
	Depth      int
}

// GetMetadata reads the arguments of GETMETADATA. Options may stand before the
// mailbox, as the grammar has it, or behind it, as the examples do.
func (p *Parser) GetMetadata() (c GetMetadata) {
	p.Space()
	options := p.peek() == '('
	if options {
		p.metadataOptions(&c)
		p.Space()
	}
	c.Mailbox = p.Astring()
	p.Space()
	if !options && p.optionsAhead() {
		p.metadataOptions(&c)
		p.Space()
	}
	c.Entries = p.entries()
	return c
}

// optionsAhead reports whether a list is one of options: entries begin with "/".
func (p *Parser) optionsAhead() bool {
	q := *p
	return q.try('(') && (q.keywordIs("MAXSIZE") || q.keywordIs("DEPTH"))
}

func (p *Parser) metadataOptions(c *GetMetadata) {
	p.list(false, func() {
		switch p.Keyword() {
		case "MAXSIZE":
			p.Space()
			c.MaxSize, c.HasMaxSize = uint64(p.Number()), true
		case "DEPTH":
			p.Space()
			switch p.Keyword() {
			case "0":
				c.Depth = DepthNone
			case "1":
				c.Depth = DepthOne
			case "INFINITY":
				c.Depth = DepthInfinity
			default:
				p.fail("Invalid depth")
			}
		default:
			p.fail("Unknown option")
		}
	})
}

// Metadata is an entry with its value.
type Metadata struct {
	Entry string
	Value []byte // nil: NIL
}

// SetMetadata is SETMETADATA (RFC 5464 §4.3).
type SetMetadata struct {
	Mailbox string // empty: the server
	Values  []Metadata
}

// SetMetadata reads the arguments of SETMETADATA.
func (p *Parser) SetMetadata() (c SetMetadata) {
	c.Mailbox = p.Mailbox()
	p.Space()
	p.list(false, func() {
		m := Metadata{Entry: p.entry()}
		if p.err == nil && strings.Count(m.Entry, "/") < 2 {
			p.fail("Invalid entry name") // the tops have no value
		}
		p.Space()
		if v, ok := p.nstring(); ok {
			m.Value = append([]byte{}, v...)
		}
		if len(c.Values) == maxEntries {
			p.fail("Too many entries")
			return
		}
		c.Values = append(c.Values, m)
	})
	return c
}

// maxEntries bounds the entries of one command.
const maxEntries = 1000

// entries reads one entry name or a parenthesised list of them.
func (p *Parser) entries() (names []string) {
	if p.peek() != '(' {
		return []string{p.entry()}
	}
	p.list(false, func() {
		if len(names) == maxEntries {
			p.fail("Too many entries")
			return
		}
		names = append(names, p.entry())
	})
	return names
}

// entry reads the name of an entry, in lower case: it is compared without (RFC
// 5464 §3.2).
func (p *Parser) entry() string {
	name := strings.ToLower(p.Astring())
	if p.err == nil && !validEntry(name) {
		p.fail("Invalid entry name")
		return ""
	}
	return name
}

// maxEntry is the longest name of an entry.
const maxEntry = 255

// validEntry checks the rules of RFC 5464 §3.2: a private or a shared one,
// printable, no wildcards, no empty component.
func validEntry(name string) bool {
	for i := range len(name) {
		if c := name[i]; c <= 0x19 || c >= 0x7f || c == '*' || c == '%' {
			return false
		}
	}
	top, _, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	return name != "" && len(name) <= maxEntry && name[0] == '/' && (top == "private" || top == "shared") &&
		!strings.Contains(name, "//") && name[len(name)-1] != '/'
}
