package wire

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// Limits bounds what a single command may ask for.
type Limits struct {
	// Nesting is how deep parentheses, NOT and OR of a search may nest.
	Nesting int
	// Ranges is how many ranges a number set may have.
	Ranges int
	// SearchTerms is how many keys a search may have.
	SearchTerms int
	// FetchItems is how many data items a FETCH may name, header fields of one
	// item counted separately against the same bound.
	FetchItems int
	// Off are capabilities, in upper case, whose arguments are not there.
	Off map[string]bool
	// UTF8: quoted strings may hold UTF-8, and APPEND's UTF8 item is there.
	UTF8 bool
}

// SyntaxError says why a command is not well formed. Its text is fixed: it
// holds nothing that the client sent.
type SyntaxError struct{ Reason string }

func (e *SyntaxError) Error() string { return e.Reason }

// Parser reads the parts of one command. The first error sticks: after it every
// method returns a zero value and Err tells it. Not safe for concurrent use.
type Parser struct {
	b   []byte
	i   int
	err error
	lim Limits
}

// NewParser returns a parser of a command, without its last CRLF. b is not
// kept in results: strings are copies.
func NewParser(b []byte, lim Limits) *Parser { return &Parser{b: b, lim: lim} }

// Err is the first error, nil if there was none.
func (p *Parser) Err() error { return p.err }

// End expects the end of the command and returns the first error.
func (p *Parser) End() error {
	if p.err == nil && p.i < len(p.b) {
		p.fail("Unexpected text after the command")
	}
	return p.err
}

// AtEnd reports whether nothing is left.
func (p *Parser) AtEnd() bool { return p.err != nil || p.i >= len(p.b) }

func (p *Parser) fail(reason string) {
	if p.err == nil {
		p.err = &SyntaxError{reason}
	}
}

// needs fails, as for a word that is unknown, if a capability is off.
func (p *Parser) needs(capability, reason string) {
	if p.lim.Off[capability] {
		p.fail(reason)
	}
}

// peek is the next octet; 0 at the end and after an error.
func (p *Parser) peek() byte {
	if p.err != nil || p.i >= len(p.b) {
		return 0
	}
	return p.b[p.i]
}

// try consumes c if it is next.
func (p *Parser) try(c byte) bool {
	if p.err == nil && p.i < len(p.b) && p.b[p.i] == c {
		p.i++
		return true
	}
	return false
}

func (p *Parser) expect(c byte, reason string) {
	if !p.try(c) {
		p.fail(reason)
	}
}

// Space expects exactly one space.
func (p *Parser) Space() { p.expect(' ', "Space expected") }

// classes of octets (RFC 9051 §9).
const (
	classAtom   = 1 << iota // ATOM-CHAR
	classAstr               // ASTRING-CHAR
	classTag                // tag
	classList               // list-char
	classQuoted             // may stand in a quoted string as it is
	classText               // TEXT-CHAR: may stand in a line
)

var classes = func() (t [256]uint8) {
	for c := 1; c < 0x80; c++ {
		if c != '\r' && c != '\n' {
			t[c] |= classText
			if c != '"' && c != '\\' {
				t[c] |= classQuoted
			}
		}
		if c <= ' ' || c == 0x7f {
			continue
		}
		switch c {
		case '(', ')', '{', '"', '\\':
		case '%', '*':
			t[c] |= classList
		case ']':
			t[c] |= classAstr | classTag | classList
		case '+':
			t[c] |= classAtom | classAstr | classList
		default:
			t[c] |= classAtom | classAstr | classTag | classList
		}
	}
	return t
}()

// run consumes octets of a class.
func (p *Parser) run(class uint8) []byte {
	if p.err != nil {
		return nil
	}
	start := p.i
	for p.i < len(p.b) && classes[p.b[p.i]]&class != 0 {
		p.i++
	}
	return p.b[start:p.i]
}

// maxTag is the longest tag: it is repeated in responses.
const maxTag = 255

// Tag reads a command's tag, which refers to the command's octets.
func (p *Parser) Tag() []byte {
	t := p.run(classTag)
	if len(t) == 0 || len(t) > maxTag {
		p.fail("Missing or invalid tag")
		return nil
	}
	return t
}

// Atom reads an atom.
func (p *Parser) Atom() string {
	a := p.run(classAtom)
	if len(a) == 0 {
		p.fail("Atom expected")
	}
	return string(a)
}

// Keyword reads an atom in upper case.
func (p *Parser) Keyword() string { return strings.ToUpper(p.Atom()) }

// keywordIs consumes an atom if it is the given one, which is in upper case.
func (p *Parser) keywordIs(word string) bool {
	at := p.i
	if a := p.run(classAtom); len(a) == len(word) && strings.EqualFold(string(a), word) {
		return true
	}
	p.i = at
	return false
}

// Command reads a command's name in upper case; that after UID belongs to it.
func (p *Parser) Command() string {
	name := p.Keyword()
	if name == "UID" && p.try(' ') {
		name += " " + p.Keyword()
	}
	return name
}

// Number reads a number of 32 bits.
func (p *Parser) Number() uint32 {
	n := p.Number64()
	if n > 1<<32-1 {
		p.fail("Number too large")
		return 0
	}
	return uint32(n)
}

// Number64 reads a number of 63 bits (RFC 9051 §9, number64).
func (p *Parser) Number64() uint64 {
	if p.err != nil {
		return 0
	}
	start, n := p.i, uint64(0)
	for p.i < len(p.b) && p.b[p.i]-'0' <= 9 {
		d := uint64(p.b[p.i] - '0')
		if n > (1<<63-1-d)/10 {
			p.fail("Number too large")
			return 0
		}
		n = n*10 + d
		p.i++
	}
	if p.i == start {
		p.fail("Number expected")
	}
	return n
}

// nonZero reads a number of 32 bits that is not zero, without leading zero
// (RFC 9051 §9, nz-number).
func (p *Parser) nonZero() uint32 {
	if p.peek() == '0' {
		p.fail("Number must not begin with zero")
		return 0
	}
	return p.Number()
}

// String reads a quoted string or a literal.
func (p *Parser) String() string {
	switch p.peek() {
	case '"':
		return p.quoted()
	case '{', '~':
		return string(p.literal())
	}
	p.fail("String expected")
	return ""
}

func (p *Parser) quoted() string {
	p.i++
	start := p.i
	for p.i < len(p.b) && (classes[p.b[p.i]]&classQuoted != 0 || p.b[p.i] >= 0x80) {
		p.i++
	}
	if p.i < len(p.b) && p.b[p.i] == '"' { // the usual case: nothing escaped
		s := string(p.b[start:p.i])
		p.i++
		return p.checkQuoted(s)
	}
	out := append([]byte(nil), p.b[start:p.i]...)
	for p.i < len(p.b) {
		c := p.b[p.i]
		p.i++
		switch {
		case c == '"':
			return p.checkQuoted(string(out))
		case c == '\\':
			if next := p.peek(); next != '"' && next != '\\' {
				p.fail("Invalid escape in quoted string")
				return ""
			}
			c = p.b[p.i]
			p.i++
		case classes[c]&classQuoted == 0 && c < 0x80:
			p.fail("Invalid character in quoted string")
			return ""
		}
		out = append(out, c)
	}
	p.fail("Unterminated quoted string")
	return ""
}

// checkQuoted refuses 8-bit octets that are not UTF-8, and all of them unless
// that has been enabled (RFC 9755 §3, RFC 9051 §4.3).
func (p *Parser) checkQuoted(s string) string {
	switch {
	case !utf8.ValidString(s):
		p.fail("Invalid UTF-8 in quoted string")
	case !p.lim.UTF8 && !ASCII(s):
		p.fail("UTF-8 in quoted string is not enabled")
	default:
		return s
	}
	return ""
}

// ASCII reports whether s has only octets of 7 bits.
func ASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= 0x80 {
			return false
		}
	}
	return true
}

// literal reads a literal whose octets follow in the command.
func (p *Parser) literal() []byte {
	h, ok := p.literalHeader()
	if !ok {
		return nil
	}
	if uint64(len(p.b)-p.i) < h.Size {
		p.fail("Literal is cut short")
		return nil
	}
	b := p.b[p.i : p.i+int(h.Size)]
	p.i += int(h.Size)
	if !h.Binary && bytes.IndexByte(b, 0) >= 0 {
		p.fail("NUL in a literal") // RFC 9051 §9, literal: only literal8 may
		return nil
	}
	return b
}

func (p *Parser) literalHeader() (Literal, bool) {
	end := bytes.Index(p.b[p.i:], []byte("}\r\n"))
	if end < 0 {
		p.fail("Invalid literal")
		return Literal{}, false
	}
	h, n := TrailingLiteral(p.b[p.i : p.i+end+1])
	if n != end+1 {
		p.fail("Invalid literal")
		return Literal{}, false
	}
	p.i += end + 3
	return h, true
}

// Astring reads an atom, where "]" is allowed, or a string.
func (p *Parser) Astring() string {
	if c := p.peek(); c == '"' || c == '{' {
		return p.String()
	}
	a := p.run(classAstr)
	if len(a) == 0 {
		p.fail("String or atom expected")
	}
	return string(a)
}

// nstring reads a string, or NIL as ok false.
func (p *Parser) nstring() (s string, ok bool) {
	if c := p.peek(); c == '"' || c == '{' || c == '~' {
		return p.String(), true
	}
	if !p.keywordIs("NIL") {
		p.fail("String or NIL expected")
	}
	return "", false
}

// list reads "(" item *(SP item) ")"; an empty list is allowed where empty is.
func (p *Parser) list(empty bool, item func()) {
	p.expect('(', "Parenthesis expected")
	if p.err == nil && p.try(')') {
		if !empty {
			p.fail("Empty list")
		}
		return
	}
	for p.err == nil {
		item()
		if p.try(')') {
			return
		}
		p.Space()
	}
}

// FlagList reads a parenthesised list of flags.
func (p *Parser) FlagList() []string {
	var flags []string
	p.list(true, func() { flags = append(flags, p.flag()) })
	return flags
}

// flag reads a system flag or a keyword.
func (p *Parser) flag() string {
	if p.try('\\') {
		return `\` + p.Atom()
	}
	return p.Atom()
}

// Literal is the announcement of a literal at the end of a line.
type Literal struct {
	Size   uint64 // 2^63 or more for anything larger than that
	Sync   bool   // the client waits for a continuation request
	Binary bool   // literal8 (RFC 3516 §7)
}

// TrailingLiteral finds "{n}", "{n+}" or one of them after "~" at the end of a
// line (RFC 9051 §4.3, RFC 7888). n is its length, 0 when there is none.
func TrailingLiteral(line []byte) (lit Literal, n int) {
	i := len(line) - 1
	if i < 2 || line[i] != '}' {
		return Literal{}, 0
	}
	i--
	lit.Sync = line[i] != '+'
	if !lit.Sync {
		i--
	}
	digits := i
	for i >= 0 && line[i]-'0' <= 9 {
		i--
	}
	if i < 0 || i == digits || line[i] != '{' {
		return Literal{}, 0
	}
	for _, c := range line[i+1 : digits+1] {
		if lit.Size > (1<<63)/10 {
			lit.Size = 1 << 63
			break
		}
		lit.Size = lit.Size*10 + uint64(c-'0')
	}
	if i > 0 && line[i-1] == '~' {
		lit.Binary = true
		i--
	}
	return lit, len(line) - i
}
