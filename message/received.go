package message

import (
	"net/netip"
	"strings"
	"time"
	"unicode"
)

// Received is a trace field (RFC 5321 §4.4) as far as it can be understood. The
// zero value says nothing. What stands in such a field is what the machine that
// wrote it says of itself and of who it talked to: only fields added by
// machines one trusts tell anything. Every text is UTF-8 without control
// characters.
type Received struct {
	// From is the name the client gave of itself; By is the machine that wrote
	// the field.
	From, By string
	// FromComment and ByComment are the text of the comments behind them, the
	// first ones up to 1 KiB joined by a blank: the client's name in DNS and its
	// address (RFC 5321 §4.4, TCP-info).
	FromComment, ByComment string
	// FromAddr is the client's address: from the comments, where the machine
	// writes what it saw itself, else from an address literal in From; invalid
	// if there is none. What a comment repeats of the client's words, as "HELO
	// x" or "helo=x", does not count.
	FromAddr netip.Addr
	// Via is the link, With the protocol as written, such as "ESMTPS" (RFC
	// 3848 and the IANA registry of mail transmission types), up to 1 KiB.
	Via, With string
	// ID is the queue id, For the recipient without brackets.
	ID, For string
	// Date is when the message came; zero if that cannot be read.
	Date time.Time
}

// Encrypted reports whether With says that TLS was used (RFC 3848, RFC 6531
// §4.3).
func (r *Received) Encrypted() bool {
	return strings.HasSuffix(strings.TrimSuffix(strings.ToUpper(r.With), "A"), "TPS")
}

// Authenticated reports whether With says that the client had logged in (RFC
// 3848).
func (r *Received) Authenticated() bool {
	w := strings.ToUpper(r.With)
	return strings.HasSuffix(w, "MTPA") || strings.HasSuffix(w, "MTPSA")
}

const (
	maxReceived = 8 << 10 // octets of a field's value that are looked at
	maxClause   = 1 << 10 // octets of what is joined from several words or comments
)

// ParseReceived reads the value of a Received field. It never fails: software
// writes many forms of it, and a clause that is not there, or in a form that is
// not understood, is left empty. Only the first 8 KiB count; memory and time
// are linear in them.
func ParseReceived(value string) Received {
	p := receivedParser{s: value[:min(len(value), maxReceived)]}
	p.run()
	if !p.r.FromAddr.IsValid() && strings.HasPrefix(p.r.From, "[") {
		p.r.FromAddr = findAddr(p.r.From)
	}
	return p.r
}

// receivedParser reads left to right.
type receivedParser struct {
	s      string
	i      int
	r      Received
	clause *string // where words go; nil between clauses
	note   *string // where the clause's comments go
	closed bool    // a comment has ended the clause's words
}

func (p *receivedParser) run() {
	for {
		kind, text := p.token()
		switch kind {
		case 0:
			return
		case ';':
			p.date(p.s[p.i:])
			return
		case '(':
			p.comment(text)
		case 'w':
			p.word(text)
		}
	}
}

// date reads what follows the semicolon. Comments may hold another one, and
// some software writes one within a clause: then the date is behind the last.
func (p *receivedParser) date(rest string) {
	if t, err := ParseDate(rest); err == nil {
		p.r.Date = t
		return
	}
	if i := strings.LastIndexByte(rest, ';'); i >= 0 {
		p.date(rest[i+1:])
	}
}

// comment takes a comment's text.
func (p *receivedParser) comment(text string) {
	p.closed = true
	if p.note == nil {
		return
	}
	join(p.note, text)
	if p.note == &p.r.FromComment && !p.r.FromAddr.IsValid() {
		p.r.FromAddr = findAddr(witnessed(text))
	}
}

// join adds to what is joined by blanks, as long as there is room.
func join(dst *string, text string) {
	switch {
	case *dst == "":
		*dst = text
	case len(*dst)+1+len(text) <= maxClause:
		*dst += " " + text
	}
}

// witnessed cuts off the part of a comment that only repeats the client's words:
// "helo=x" and "ident=x" come last (Exim), "HELO x" is alone (qmail).
func witnessed(text string) string {
	if strings.HasPrefix(text, "HELO ") || strings.HasPrefix(text, "EHLO ") {
		return ""
	}
	for _, key := range []string{" helo=", " ident="} {
		before, _, _ := strings.Cut(" "+text, key)
		text = strings.TrimPrefix(before, " ")
	}
	return text
}

// word takes a word: a keyword that begins a clause, or what a clause says.
func (p *receivedParser) word(text string) {
	r := &p.r
	// Before the client's address there is its name, whatever that is.
	named := p.clause == &r.From && r.From == "" && !p.closed && p.beforeComment()
	for _, k := range []struct {
		name  string
		value *string
		note  *string
	}{
		{"from", &r.From, &r.FromComment}, {"by", &r.By, &r.ByComment}, {"via", &r.Via, nil},
		{"with", &r.With, nil}, {"id", &r.ID, nil}, {"for", &r.For, nil},
	} {
		if !named && strings.EqualFold(text, k.name) && *k.value == "" && k.value != p.clause {
			p.clause, p.note, p.closed = k.value, k.note, false
			return
		}
	}
	if p.clause == nil || p.closed {
		return
	}
	switch p.clause {
	case &r.For:
		text = strings.Trim(text, "<>,")
		p.closed = true
	case &r.With: // may be several words
	default:
		p.closed = true
	}
	join(p.clause, text)
}

// beforeComment reports whether a comment comes next.
func (p *receivedParser) beforeComment() bool {
	return strings.HasPrefix(strings.TrimLeft(p.s[p.i:], " \t\r\n"), "(")
}

// token returns the next word ('w'), the text of a comment ('('), ';' or 0 at
// the end.
func (p *receivedParser) token() (kind byte, text string) {
	for p.i < len(p.s) {
		switch c := p.s[p.i]; c {
		case ' ', '\t', '\r', '\n':
			p.i++
		case ';':
			p.i++
			return ';', ""
		case '(':
			return '(', p.enclosed()
		default:
			return 'w', p.bare()
		}
	}
	return 0, ""
}

// enclosed reads a comment, nested ones included, blanks made one.
func (p *receivedParser) enclosed() string {
	start, depth := p.i+1, 0
	for ; p.i < len(p.s); p.i++ {
		switch p.s[p.i] {
		case '\\':
			p.i++
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				text := p.s[start:p.i]
				p.i++
				return printable(strings.Join(strings.Fields(text), " "))
			}
		}
	}
	p.i = len(p.s)
	return printable(strings.Join(strings.Fields(p.s[min(start, len(p.s)):]), " "))
}

// bare reads a word up to white space, ";" or a comment. Quotes and angle
// brackets keep them together.
func (p *receivedParser) bare() string {
	start, closing := p.i, byte(0)
	for ; p.i < len(p.s); p.i++ {
		c := p.s[p.i]
		switch {
		case closing == '"' && c == '\\':
			p.i++
		case closing != 0:
			if c == closing {
				closing = 0
			} else if c == '\n' {
				closing = 0 // never closed
			}
		case c == '"':
			closing = '"'
		case c == '<':
			closing = '>'
		case strings.IndexByte(" \t\r\n;(", c) >= 0:
			return printable(p.s[start:p.i])
		}
	}
	p.i = min(p.i, len(p.s))
	return printable(p.s[start:p.i])
}

// printable is text without control characters: those of a fold within quotes,
// and what would play tricks where a value is shown.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, text)
}

// findAddr finds an IP address in a text: the last in brackets, else the last
// word that is one. What the client's side chose, its name in DNS or the answer
// of an ident server, stands in front of it.
func findAddr(text string) (found netip.Addr) {
	for rest := text; ; {
		i := strings.IndexByte(rest, '[')
		if i < 0 {
			break
		}
		rest = rest[i+1:]
		j := strings.IndexByte(rest, ']')
		if j < 0 {
			break
		}
		if a := parseAddr(rest[:j]); a.IsValid() {
			found = a
		}
	}
	if found.IsValid() {
		return found
	}
	for word := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune(" \t()[],;=@", r) }) {
		if a := parseAddr(word); a.IsValid() {
			found = a
		}
	}
	return found
}

// parseAddr reads an address, or the inside of an address literal (RFC 5321
// §4.1.3).
func parseAddr(s string) netip.Addr {
	if len(s) > 5 && strings.EqualFold(s[:5], "IPv6:") {
		s = s[5:]
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return netip.Addr{}
	}
	return a.Unmap()
}
