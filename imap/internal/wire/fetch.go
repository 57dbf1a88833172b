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
	FetchPreview       // RFC 8970
	FetchSaveDate      // RFC 8514
	FetchEmailID       // RFC 8474
	FetchThreadID      //
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
	// Lazy, of FetchPreview: only if it costs little (RFC 8970 §3.2).
	Lazy bool
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
	Vanished     bool // RFC 7162 §3.2.6
	// Page narrows the messages to some of them (RFC 9394 §3.3); the zero value
	// does not.
	Page Page
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
		p.list(false, func() { p.fetchModifier(&c) })
		if c.Vanished && !c.Changed { // RFC 7162 §3.2.6
			p.fail("VANISHED needs CHANGEDSINCE")
		}
	}
	return c
}

// fetchModifier reads a modifier (RFC 4466 §2.5).
func (p *Parser) fetchModifier(c *Fetch) {
	word := p.Keyword()
	switch {
	case word == "CHANGEDSINCE" && !c.Changed:
		p.needs("CONDSTORE", "Unknown modifier")
		p.Space()
		c.Changed, c.ChangedSince = true, p.Number64()
	case word == "PARTIAL" && c.Page == Page{}:
		p.needs("PARTIAL", "Unknown modifier")
		p.Space()
		c.Page = p.Page()
	case word == "VANISHED" && !c.Vanished:
		p.needs("QRESYNC", "Unknown modifier")
		c.Vanished = true
	default:
		p.fail("Unknown modifier, or one twice")
	}
}

// simpleItems are the items without arguments, and the capability they belong
// to, if any.
var simpleItems = map[string]struct {
	attr  FetchAttr
	needs string
}{
	"FLAGS": {FetchFlags, ""}, "UID": {FetchUID, ""}, "INTERNALDATE": {FetchInternalDate, ""}, "RFC822.SIZE": {FetchSize, ""},
	"ENVELOPE": {FetchEnvelope, ""}, "BODYSTRUCTURE": {FetchBodyStructure, ""}, "MODSEQ": {FetchModSeq, "CONDSTORE"},
	"SAVEDATE": {FetchSaveDate, "SAVEDATE"}, "EMAILID": {FetchEmailID, "OBJECTID"}, "THREADID": {FetchThreadID, "OBJECTID"},
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
	if simple, ok := simpleItems[word]; ok {
		p.needs(simple.needs, "Unknown data item")
		c.Items = append(c.Items, FetchItem{Attr: simple.attr})
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
		p.needsBinary()
		item.Attr, item.Peek = FetchBinary, word == "BINARY.PEEK"
		p.section(&item, "BINARY")
	case "BINARY.SIZE":
		p.needsBinary()
		item.Attr, item.Peek = FetchBinarySize, true
		p.section(&item, word)
	case "PREVIEW":
		p.needs("PREVIEW", "Unknown data item")
		item.Attr = FetchPreview
		item.Lazy = p.previewModifiers(alone)
	default:
		p.fail("Unknown data item")
	}
	c.Items = append(c.Items, item)
}

// needsBinary: IMAP4rev2 has the items of RFC 3516 by itself.
func (p *Parser) needsBinary() {
	if p.lim.Off["IMAP4REV2"] {
		p.needs("BINARY", "Unknown data item")
	}
}

// previewModifiers reads the modifiers of PREVIEW, if there are any (RFC 8970
// §3.2). An item that stands alone may be followed by those of FETCH instead.
func (p *Parser) previewModifiers(alone bool) (lazy bool) {
	const word = " (LAZY"
	if rest := p.b[p.i:]; len(rest) < 2 || string(rest[:2]) != word[:2] ||
		alone && (len(rest) <= len(word) || !strings.EqualFold(string(rest[:len(word)]), word)) {
		return false
	}
	p.Space()
	p.list(false, func() {
		if p.Keyword() != "LAZY" {
			p.fail("Unknown modifier of PREVIEW")
		}
	})
	return true
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
		at := p.i
		f := p.Astring()
		s.Fields = append(s.Fields, f)
		echo = append(echo, sep)
		if raw := p.b[at:p.i]; len(raw) > 0 && raw[0] != '{' {
			echo = append(echo, raw...) // as it was written
		} else {
			echo = AppendAstring(echo, f, p.lim.UTF8)
		}
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
