package message

import (
	"strings"
)

// ParseAddressList reads an unfolded field value as an address list (RFC 5322
// §3.4, with the obsolete forms of §4.4, groups as in RFC 6854 and UTF-8 as in
// RFC 6532), with default limits. It takes time linear in the value.
//
// It reads what it can: text that is no address is skipped with a defect, an
// address without domain gets the host [NoHost], one that lacks a separator is
// still found. Comments nested beyond the limit leave no addresses at all, and
// more addresses than the limit end the list. Offsets of defects count within
// value.
func ParseAddressList(value string) ([]Address, []Defect) {
	lim := (*Limits)(nil).withDefaults()
	var p addressParser
	p.parse(value, &lim)
	return p.out, p.defects
}

// parse reads value and appends to p.out, which a caller may have reserved;
// lim.Addresses bounds the number that is added.
func (p *addressParser) parse(value string, lim *Limits) {
	if strings.ContainsAny(value, "\r\n\x00") {
		value = string(unfold([]byte(value)))
	}
	*p = addressParser{s: value, lim: lim, out: p.out, first: len(p.out), defects: p.defects,
		phrase: phrase{words: p.phrase.words[:0]}}
	p.list()
}

// addressParser reads one list in one pass. Words are collected in the phrase
// until a special shows what they are: display name, local part or group name.
type addressParser struct {
	s       string
	i       int
	lim     *Limits
	out     []Address
	first   int // where this list begins in out
	defects defectList
	phrase  phrase
	comment string // the last comment of the current address
	inGroup bool
	noQuote bool // no quote closes behind i: take quotes for ordinary octets
	noParen bool // the same for parentheses
	tooDeep bool
	full    bool
}

func (p *addressParser) bad(detail string) {
	if len(p.defects) < maxDefects-2 { // room for a limit
		p.defects.add(BadAddress, int64(p.i), detail)
	}
}

func (p *addressParser) list() {
	for p.i < len(p.s) && !p.full && !p.tooDeep {
		switch c := p.s[p.i]; c {
		case ',':
			p.i++
			p.flush()
		case ';':
			p.i++
			p.flush()
			if p.inGroup {
				p.endGroup()
			}
		case ':':
			p.colon()
		case '<':
			p.i++
			p.angle()
		case '@':
			p.addrSpec()
		default:
			p.word()
		}
	}
	if p.tooDeep {
		p.out = p.out[:p.first] // the value stays raw
		return
	}
	p.flush()
	if p.inGroup {
		if !p.full {
			p.bad("group not closed")
		}
		p.endGroup()
	}
}

// endGroup adds the marker; it is added beyond the limit too, for markers come
// in pairs.
func (p *addressParser) endGroup() {
	p.inGroup = false
	p.out = append(p.out, Address{})
}

// colon starts a group, named by the phrase before it.
func (p *addressParser) colon() {
	p.i++
	if p.inGroup {
		p.bad("colon inside a group")
		p.phrase.add(word{p.i - 1, p.i, wordAtom})
		return
	}
	raw, name := p.phrase.text(p.s)
	p.reset()
	if raw == "" {
		p.bad("group without a name")
		return
	}
	p.inGroup = true
	p.add(Address{Name: name, Mailbox: raw, RawName: raw})
}

func (p *addressParser) add(a Address) {
	if len(p.out)-p.first >= p.lim.Addresses {
		p.full = true
		p.defects.add(TooManyAddresses, int64(p.i), "")
		if a.IsGroupStart() {
			p.inGroup = false // its start is not in the list
		}
		return
	}
	p.out = append(p.out, a)
}

func (p *addressParser) reset() {
	p.phrase = phrase{words: p.phrase.words[:0]}
	p.comment = ""
}

// flush ends an address that is no more than words: one without a domain.
func (p *addressParser) flush() {
	if len(p.phrase.words) > 0 && !p.full {
		p.bad("address without domain")
		local, _ := p.phrase.local(p.s)
		a := Address{Mailbox: local, Host: NoHost}
		a.RawName, a.Name = p.comment, DecodeWords(p.comment)
		p.add(a)
	}
	p.reset()
}

// word reads one atom, quoted string, domain literal, comment, dot or stray
// octet into the phrase, or skips white space.
func (p *addressParser) word() {
	start := p.i
	switch c := p.s[p.i]; {
	case isWSP(c):
		p.i++
	case c == '(' && !p.noParen:
		p.skipComment()
	case c == '"' && !p.noQuote:
		if !p.quoted() {
			p.noQuote = true
			p.bad("quote not closed")
			return
		}
		p.phrase.add(word{start, p.i, wordQuoted})
	case isAtext(c):
		for p.i < len(p.s) && isAtext(p.s[p.i]) {
			p.i++
		}
		p.phrase.add(word{start, p.i, wordAtom})
	case c == '.':
		p.i++
		p.phrase.add(word{start, p.i, wordAtom})
	default: // a stray special or control character
		p.bad("stray character")
		p.i++
		p.phrase.add(word{start, p.i, wordAtom})
	}
}

// quoted moves over a quoted string (RFC 5322 §3.2.4); it reports false, and
// does not move, when the closing quote is missing.
func (p *addressParser) quoted() bool {
	for i := p.i + 1; i < len(p.s); i++ {
		switch p.s[i] {
		case '\\':
			i++
		case '"':
			p.i = i + 1
			return true
		}
	}
	return false
}

// skipComment moves over a comment (RFC 5322 §3.2.2) and remembers its text.
func (p *addressParser) skipComment() {
	end, tooDeep := commentEnd(p.s, p.i, p.lim.CommentDepth)
	switch {
	case tooDeep:
		p.tooDeep = true
		p.defects.add(TooDeep, int64(p.i), "comment")
	case end < 0:
		p.noParen = true
		p.bad("comment not closed")
	default:
		p.comment = unquotePairs(trimSpace(p.s[p.i+1 : end-1]))
		p.i = end
	}
}

// commentEnd returns the index behind the comment that begins at i, or -1 when
// it is not closed.
func commentEnd(s string, i, most int) (end int, tooDeep bool) {
	depth := 0
	for ; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '(':
			if depth++; depth > most {
				return -1, true
			}
		case ')':
			if depth--; depth == 0 {
				return i + 1, false
			}
		}
	}
	return -1, false
}

// space moves over white space and comments (CFWS, RFC 5322 §3.2.2).
func (p *addressParser) space() {
	for p.i < len(p.s) && !p.tooDeep {
		switch c := p.s[p.i]; {
		case isWSP(c):
			p.i++
		case c == '(' && !p.noParen:
			p.skipComment()
		default:
			return
		}
	}
}

// addrSpec reads "@ domain" behind a local part in the phrase: an address
// without angle brackets, named by a comment if at all.
func (p *addressParser) addrSpec() {
	start := p.i
	if len(p.phrase.words) > 0 {
		start = p.phrase.words[0].start
	} else {
		p.bad("no local part")
	}
	local := p.localPart()
	p.i++
	host := p.domain()
	end := p.i
	p.space()
	if p.i < len(p.s) && p.s[p.i] == '<' { // "a@b <c@d>": a display name
		p.bad("address used as a name")
		p.phrase.words = append(p.phrase.words[:0], word{start, end, wordAtom})
		return
	}
	raw := p.comment
	p.finish(Address{Name: DecodeWords(raw), RawName: raw, Mailbox: local, Host: host})
}

// localPart is the phrase as a local part.
func (p *addressParser) localPart() string {
	local, ok := p.phrase.local(p.s)
	if !ok {
		p.bad("white space in a local part")
	}
	return local
}

// angle reads an angle-addr behind its bracket (RFC 5322 §3.4, §4.4).
func (p *addressParser) angle() {
	raw, name := p.phrase.text(p.s)
	p.phrase = phrase{words: p.phrase.words[:0]}
	a := Address{Name: name, RawName: raw}
	p.space()
	if p.i < len(p.s) && (p.s[p.i] == '@' || p.s[p.i] == ',') {
		a.Route = p.route()
	}
	for p.i < len(p.s) && !p.tooDeep {
		c := p.s[p.i]
		if c == '@' || c == '>' || c == '<' || c == ',' || c == ';' {
			break
		}
		p.word()
	}
	a.Mailbox = p.localPart()
	if p.i < len(p.s) && p.s[p.i] == '@' {
		p.i++
		a.Host = p.domain()
	} else {
		if a.Mailbox != "" {
			p.bad("address without domain")
		} else {
			p.bad("empty address")
		}
		a.Host = NoHost
	}
	p.space()
	for junk := false; p.i < len(p.s); p.i++ {
		c := p.s[p.i]
		if c == '>' {
			p.i++
			break
		}
		if c == '<' || c == ',' || c == ';' {
			p.bad("angle bracket not closed")
			break
		}
		if !junk {
			p.bad("text behind an address")
			junk = true
		}
	}
	if a.RawName == "" {
		p.space()
		a.RawName, a.Name = p.comment, DecodeWords(p.comment)
	}
	p.finish(a)
}

// finish adds an address and skips what stands between it and a separator.
func (p *addressParser) finish(a Address) {
	p.space()
	if p.tooDeep {
		return
	}
	p.add(a)
	for junk := false; p.i < len(p.s) && !p.tooDeep; p.space() {
		c := p.s[p.i]
		if c == ',' || c == ';' {
			break
		}
		if !junk {
			p.bad("text behind an address")
			junk = true
		}
		if c == '<' {
			break // another address, its comma is missing
		}
		if c == '"' && !p.noQuote {
			if p.quoted() {
				continue
			}
			p.noQuote = true
		}
		p.i++
	}
	p.reset()
}

// route reads "@a,@b:" (obs-route, RFC 5322 §4.4). Without the colon it is no
// route, and nothing is moved over.
func (p *addressParser) route() string {
	start := p.i
	for i := p.i; i < len(p.s); i++ {
		c := p.s[i]
		if c == ':' {
			p.i = i + 1
			return strings.Trim(p.s[start:i], ", \t")
		}
		if c != '@' && c != ',' && c != '.' && c != '-' && !isWSP(c) && !isAtext(c) {
			break
		}
	}
	return ""
}

// domain reads a dot-atom or domain literal (RFC 5322 §3.4.1), without the
// comments and white space obs-domain allows in it.
func (p *addressParser) domain() string {
	p.space()
	if p.i < len(p.s) && p.s[p.i] == '[' {
		return p.literal()
	}
	host := ""
	for first := true; ; first = false {
		from := p.i
		for p.i < len(p.s) && (isAtext(p.s[p.i]) || p.s[p.i] == '.') {
			p.i++
		}
		if first {
			host = p.s[from:p.i]
		} else {
			host += p.s[from:p.i]
		}
		end := p.i
		p.space()
		// Only a dot on either side joins two atoms; what is longer than any
		// domain is none, and joining stays linear.
		if p.i == end || p.i == len(p.s) || host == "" || len(host) > maxDomain {
			break
		}
		if c := p.s[p.i]; c != '.' && (host[len(host)-1] != '.' || !isAtext(c)) {
			p.i = end
			break
		}
	}
	if host == "" {
		p.bad("no domain")
	}
	return orNoHost(host)
}

// maxDomain is more than any domain has (RFC 1035 §2.3.4).
const maxDomain = 1024

// literal reads a domain literal.
func (p *addressParser) literal() string {
	start := p.i
	for i := p.i + 1; i < len(p.s); i++ {
		switch p.s[i] {
		case '\\':
			i++
		case ']':
			p.i = i + 1
			return strings.Map(func(r rune) rune {
				if r == ' ' || r == '\t' {
					return -1
				}
				return r
			}, p.s[start:p.i])
		case '>', ',', '<', '"':
			p.i = i
			p.bad("domain literal not closed")
			return orNoHost(trimSpace(p.s[start+1 : i]))
		}
	}
	p.i = len(p.s)
	p.bad("domain literal not closed")
	return orNoHost(trimSpace(p.s[start+1:]))
}

func orNoHost(s string) string {
	if s == "" {
		return NoHost
	}
	return s
}
