package message

import (
	"strings"
)

// ParseParams reads an unfolded value of the form "first; name=value; …"
// (RFC 2045 §5.1, RFC 2183 §2), with default limits. first is the text before
// the first semicolon, without comments, case kept. The pieces and encodings
// of RFC 2231 are put together; where a parameter exists in several forms,
// the encoded one is taken (name*), else the pieces (name*0…), else the plain
// one. Of two equal names the first counts. Values are valid UTF-8 without CR,
// LF and NUL.
func ParseParams(value string) (first string, params []Param, defects []Defect) {
	lim := (*Limits)(nil).withDefaults()
	var p paramParser
	first, params = p.parse(value, &lim)
	return first, cleanParams(params), p.defects
}

// paramParser reads the parameters of one field, keeping its pieces for the
// next.
type paramParser struct {
	s       string
	i       int
	lim     *Limits
	pieces  []piece
	defects defectList
}

// piece is one "name=value" as written.
type piece struct {
	name, value string
	index       int  // of name*index, -1 without
	encoded     bool // the name ended with an asterisk
	ext         bool // name* or name*index
	used        bool
}

// parse returns plain values as written: a boundary is a string of octets.
func (p *paramParser) parse(value string, lim *Limits) (first string, params []Param) {
	if strings.ContainsAny(value, "\r\n\x00") {
		value = string(unfold([]byte(value)))
	}
	*p = paramParser{s: value, lim: lim, pieces: p.pieces[:0], defects: p.defects}
	first = trimSpace(p.until())
	for p.i < len(p.s) {
		p.i++ // the semicolon
		if !p.param() {
			break
		}
	}
	return first, p.join()
}

func (p *paramParser) bad(k DefectKind, detail string) {
	if k != BadParam || len(p.defects) < maxDefects-2 { // room for a limit
		p.defects.add(k, int64(p.i), detail)
	}
}

// until reads to the next semicolon or the end, leaving comments out.
func (p *paramParser) until() string {
	start := p.i
	for p.i < len(p.s) && p.s[p.i] != ';' && p.s[p.i] != '(' {
		p.i++
	}
	out := p.s[start:p.i]
	for p.i < len(p.s) && p.s[p.i] != ';' {
		if p.s[p.i] == '(' {
			p.comment()
			continue
		}
		start = p.i
		for p.i++; p.i < len(p.s) && p.s[p.i] != ';' && p.s[p.i] != '('; p.i++ {
		}
		if len(out) < 1024 { // more is no type, and joining stays linear
			out += p.s[start:p.i]
		}
	}
	return out
}

// comment moves over a comment; what follows one that is not closed or too
// deep stays raw.
func (p *paramParser) comment() {
	end, tooDeep := commentEnd(p.s, p.i, p.lim.CommentDepth)
	switch {
	case tooDeep:
		p.bad(TooDeep, "comment")
	case end < 0:
		p.bad(BadParam, "comment not closed")
	default:
		p.i = end
		return
	}
	p.i = len(p.s)
}

func (p *paramParser) space() {
	for p.i < len(p.s) {
		switch {
		case isWSP(p.s[p.i]):
			p.i++
		case p.s[p.i] == '(':
			p.comment()
		default:
			return
		}
	}
}

// param reads one parameter, up to its semicolon. It reports false when there
// are too many.
func (p *paramParser) param() bool {
	p.space()
	start := p.i
	for p.i < len(p.s) && p.s[p.i] != ';' && p.s[p.i] != '=' && p.s[p.i] != '(' {
		p.i++
	}
	name := trimSpace(p.s[start:p.i])
	p.space()
	if p.i == len(p.s) || p.s[p.i] != '=' {
		if name != "" || p.i < len(p.s) && p.s[p.i] != ';' {
			p.bad(BadParam, name)
		}
		p.skipTo(';')
		return true
	}
	p.i++ // the equals sign
	if len(p.pieces) >= p.lim.Params {
		p.bad(TooManyParams, "")
		return false
	}
	pc := pieceOf(lowerASCII(name))
	pc.value = p.value(pc.name)
	if pc.name == "" || !isToken(pc.name) {
		p.bad(BadParam, name)
		return true
	}
	p.pieces = append(p.pieces, pc)
	return true
}

// pieceOf takes a name apart: name, name*, name*N, name*N* (RFC 2231 §3–4).
func pieceOf(name string) piece {
	pc := piece{name: name, index: -1}
	base, star := strings.CutSuffix(name, "*")
	pc.encoded, pc.ext = star, star
	i := strings.LastIndexByte(base, '*')
	if i < 0 {
		pc.name = base
		return pc
	}
	digits := base[i+1:]
	if n := len(digits); n == 0 || n > 6 || n > 1 && digits[0] == '0' {
		return pc
	}
	index := 0
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return pc
		}
		index = index*10 + int(c-'0')
	}
	pc.name, pc.index, pc.ext = base[:i], index, true
	return pc
}

// value reads a token or quoted string. File names are often neither: without
// quotes they may have spaces.
func (p *paramParser) value(name string) string {
	p.space()
	var v string
	if p.i < len(p.s) && p.s[p.i] == '"' {
		v = p.quoted()
	} else {
		start, file := p.i, name == "name" || name == "filename"
		for ; p.i < len(p.s) && p.s[p.i] != ';'; p.i++ {
			c := p.s[p.i]
			if !file && (isWSP(c) || c == '(') {
				break
			}
			if c == '(' && p.i > start && isWSP(p.s[p.i-1]) {
				break // a comment, not "report(1).pdf"
			}
		}
		v = trimSpace(p.s[start:p.i])
	}
	p.space()
	if p.i < len(p.s) && p.s[p.i] != ';' {
		p.bad(BadParam, name)
		p.skipTo(';')
	}
	return v
}

func (p *paramParser) skipTo(c byte) {
	for p.i < len(p.s) && p.s[p.i] != c {
		p.i++
	}
}

// quoted reads a quoted string; one that is not closed ends with the value.
func (p *paramParser) quoted() string {
	start := p.i + 1
	for i := start; i < len(p.s); i++ {
		switch p.s[i] {
		case '\\':
			i++
		case '"':
			p.i = i + 1
			return unquotePairs(p.s[start:i])
		}
	}
	p.bad(BadParam, "quote not closed")
	p.i = len(p.s)
	return unquotePairs(p.s[start:])
}

// join makes parameters of pieces. Their number is bounded by Limits.Params,
// so looking through all of them for each is no trap.
func (p *paramParser) join() []Param {
	if len(p.pieces) == 0 {
		return nil
	}
	out := make([]Param, 0, len(p.pieces))
	for i := range p.pieces {
		if p.pieces[i].used {
			continue
		}
		name := p.pieces[i].name
		if v, ok := p.best(name, p.pieces[i:]); ok {
			out = append(out, Param{name, v})
		} else {
			p.defects.add(BadParam, 0, name)
		}
	}
	return out
}

// best chooses among the forms of one parameter and marks all as used.
func (p *paramParser) best(name string, pieces []piece) (v string, ok bool) {
	var plain, encoded, first *piece
	for i := range pieces {
		pc := &pieces[i]
		if pc.name != name {
			continue
		}
		pc.used = true
		switch {
		case !pc.ext && plain == nil:
			plain = pc
		case pc.index < 0 && pc.ext && encoded == nil:
			encoded = pc
		case pc.index == 0 && first == nil:
			first = pc
		}
	}
	switch {
	case encoded != nil:
		set, text := splitCharset(encoded.value)
		return decodeExt(set, appendPercent(nil, text)), true
	case first != nil:
		return joinPieces(name, pieces, first), true
	case plain != nil:
		return plain.value, true
	}
	return "", false
}

// joinPieces puts name*0, name*1, … together, up to the first gap.
func joinPieces(name string, pieces []piece, first *piece) string {
	set, text := "", first.value
	var b []byte
	if first.encoded {
		set, text = splitCharset(first.value)
		b = appendPercent(b, text)
	} else {
		b = append(b, text...)
	}
	for n := 1; ; n++ {
		var next *piece
		for i := range pieces {
			if pieces[i].index == n && pieces[i].name == name {
				next = &pieces[i]
				break
			}
		}
		if next == nil {
			return decodeExt(set, b)
		}
		if next.encoded {
			b = appendPercent(b, next.value)
		} else {
			b = append(b, next.value...)
		}
	}
}

// splitCharset reads charset'language'text (RFC 2231 §4); without the two
// quotes it is all text.
func splitCharset(s string) (set, text string) {
	set, rest, ok := strings.Cut(s, "'")
	if !ok {
		return "", s
	}
	_, text, ok = strings.Cut(rest, "'")
	if !ok {
		return "", s
	}
	return set, text
}

// decodeExt converts; an unknown character set is read as UTF-8.
func decodeExt(set string, b []byte) string {
	c, _ := lookupCharset(set)
	return c.text(b)
}

func appendPercent(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) && hexTable[s[i+1]] < 16 && hexTable[s[i+2]] < 16 {
			b = append(b, hexTable[s[i+1]]<<4|hexTable[s[i+2]])
			i += 2
			continue
		}
		b = append(b, s[i])
	}
	return b
}

// isToken: RFC 2045 §5.1.
func isToken(s string) bool {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c <= ' ' || c >= 0x7f || strings.IndexByte(`()<>@,;:\"/[]?=`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
