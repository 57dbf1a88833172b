package wire

import (
	"strconv"
	"strings"
)

// FetchAttr is the kind of a data item.
type FetchAttr uint8

// The kinds of data items (RFC 9051 §6.4.5, RFC 3501 §6.4.5).
const (
	FetchFlags FetchAttr = iota
	FetchUID
	FetchInternalDate
	FetchSize
	FetchModSeq
	FetchEnvelope
	FetchBody          // BODY without section
	FetchBodyStructure //
	FetchSection       // BODY[…] and the RFC822 items
	FetchBinary        // BINARY[…]
	FetchBinarySize    //
)

// FetchItem is one data item.
type FetchItem struct {
	Attr FetchAttr
	// Of FetchSection, FetchBinary and FetchBinarySize:
	Section Section
	Peek    bool   // does not set \Seen
	Name    string // how the answer names it, with section and origin
	// Partial is set if only Length octets from Offset on are asked for.
	Partial        bool
	Offset, Length uint64
}

// SectionText is the end of a section specification.
type SectionText uint8

// The ends of section specifications.
const (
	SectionAll SectionText = iota
	SectionHeader
	SectionHeaderFields
	SectionHeaderFieldsNot
	SectionTextOnly
	SectionMIME
)

// Section says which part of a message (RFC 9051 §6.4.5.1).
type Section struct {
	Path   []int
	Text   SectionText
	Fields []string
}

// Fetch is FETCH or UID FETCH.
type Fetch struct {
	Set   NumSet
	Items []FetchItem
	// Changed: ChangedSince was given (RFC 7162 §3.1.4.1).
	Changed      bool
	ChangedSince uint64
}

// Fetch reads the arguments of FETCH.
func (p *Parser) Fetch() (c Fetch) {
	p.Space()
	c.Set = p.NumSet()
	p.Space()
	if p.peek() == '(' {
		p.list(false, func() { p.addItem(&c, false) })
	} else {
		p.addItem(&c, true)
	}
	if p.err == nil && p.try(' ') {
		p.list(false, func() {
			if p.Keyword() != "CHANGEDSINCE" {
				p.fail("Unknown modifier")
			}
			p.Space()
			c.Changed, c.ChangedSince = true, p.Number64()
		})
	}
	return c
}

var simpleItems = map[string]FetchAttr{
	"FLAGS": FetchFlags, "UID": FetchUID, "INTERNALDATE": FetchInternalDate, "RFC822.SIZE": FetchSize,
	"MODSEQ": FetchModSeq, "ENVELOPE": FetchEnvelope, "BODYSTRUCTURE": FetchBodyStructure,
}

// macros are allowed only as the whole argument.
var macros = map[string][]FetchAttr{
	"FAST": {FetchFlags, FetchInternalDate, FetchSize},
	"ALL":  {FetchFlags, FetchInternalDate, FetchSize, FetchEnvelope},
	"FULL": {FetchFlags, FetchInternalDate, FetchSize, FetchEnvelope, FetchBody},
}

func (p *Parser) addItem(c *Fetch, alone bool) {
	if len(c.Items) >= p.lim.FetchItems {
		p.fail("Too many data items")
		return
	}
	word := strings.ToUpper(string(p.itemName()))
	if attr, ok := simpleItems[word]; ok {
		c.Items = append(c.Items, FetchItem{Attr: attr})
		return
	}
	if attrs, ok := macros[word]; ok && alone {
		for _, a := range attrs {
			c.Items = append(c.Items, FetchItem{Attr: a})
		}
		return
	}
	item := FetchItem{Attr: FetchSection, Name: word}
	switch word {
	case "RFC822":
	case "RFC822.HEADER":
		item.Peek, item.Section.Text = true, SectionHeader
	case "RFC822.TEXT":
		item.Section.Text = SectionTextOnly
	case "BODY":
		if p.peek() != '[' {
			item = FetchItem{Attr: FetchBody}
			break
		}
		p.section(&item, "BODY")
	case "BODY.PEEK":
		item.Peek = true
		p.section(&item, "BODY")
	case "BINARY", "BINARY.PEEK":
		item.Attr, item.Peek = FetchBinary, word == "BINARY.PEEK"
		p.section(&item, "BINARY")
	case "BINARY.SIZE":
		item.Attr, item.Peek = FetchBinarySize, true
		p.section(&item, word)
	default:
		p.fail("Unknown data item")
	}
	c.Items = append(c.Items, item)
}

// itemName consumes the name of an item, up to a section.
func (p *Parser) itemName() []byte {
	if p.err != nil {
		return nil
	}
	start := p.i
	for p.i < len(p.b) && p.b[p.i] != '[' && classes[p.b[p.i]]&classAtom != 0 {
		p.i++
	}
	return p.b[start:p.i]
}

// section reads "[…]" and, unless for a size, a partial. It sets the item's
// name to how the client wrote it, in upper case but for field names.
func (p *Parser) section(item *FetchItem, name string) {
	p.expect('[', "Section expected")
	s := &item.Section
	echo := []byte(name + "[")
	for p.peek()-'0' <= 9 {
		n := p.nonZero()
		s.Path = append(s.Path, int(min(n, 1<<31-1)))
		echo = strconv.AppendUint(echo, uint64(n), 10)
		if !p.try('.') {
			break
		}
		echo = append(echo, '.')
		if c := p.peek(); c == ']' {
			p.fail("Section ends with a dot")
		}
	}
	if p.peek() != ']' && p.err == nil {
		if n := len(s.Path); n > 0 && echo[len(echo)-1] != '.' {
			p.fail("Invalid section")
		}
		echo = p.sectionText(item, echo)
	}
	p.expect(']', "Section is not closed")
	echo = append(echo, ']')
	if item.Attr != FetchBinarySize && p.peek() == '<' {
		p.partial(item)
		echo = append(echo, '<')
		echo = strconv.AppendUint(echo, item.Offset, 10)
		echo = append(echo, '>')
	}
	item.Name = string(echo)
}

var sectionTexts = map[string]SectionText{
	"HEADER": SectionHeader, "HEADER.FIELDS": SectionHeaderFields, "HEADER.FIELDS.NOT": SectionHeaderFieldsNot,
	"TEXT": SectionTextOnly, "MIME": SectionMIME,
}

func (p *Parser) sectionText(item *FetchItem, echo []byte) []byte {
	word := p.Keyword()
	text, ok := sectionTexts[word]
	s := &item.Section
	// RFC 9051 §9: MIME only after a part number; BINARY has part numbers only.
	if !ok || text == SectionMIME && len(s.Path) == 0 || item.Attr != FetchSection {
		p.fail("Invalid section")
		return echo
	}
	s.Text = text
	echo = append(echo, word...)
	if text != SectionHeaderFields && text != SectionHeaderFieldsNot {
		return echo
	}
	p.Space()
	echo = append(echo, ' ')
	sep := byte('(')
	p.list(false, func() {
		if len(s.Fields) >= p.lim.FetchItems {
			p.fail("Too many header fields")
			return
		}
		f := p.Astring()
		s.Fields = append(s.Fields, f)
		echo = append(echo, sep)
		echo = AppendAstring(echo, f)
		sep = ' '
	})
	return append(echo, ')')
}

// partial reads "<" offset "." length ">" (RFC 9051 §9, partial).
func (p *Parser) partial(item *FetchItem) {
	p.expect('<', "Partial expected")
	item.Partial = true
	item.Offset = p.Number64()
	p.expect('.', "Invalid partial")
	item.Length = p.Number64()
	if item.Length == 0 {
		p.fail("Partial of no octets")
	}
	p.expect('>', "Invalid partial")
}
