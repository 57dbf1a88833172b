package spf

import (
	"strings"
)

// maxName is the longest domain name as text without final dot (RFC 1035 §2.3.4).
const maxName = 253

// Macro is a parsed macro-string (RFC 7208 §7). The zero value is the absent one.
type Macro struct {
	text  string
	parts []part
}

// part is a literal, or one macro-expand with its transformers.
type part struct {
	literal string
	letter  byte   // lower case; 0 for a literal
	escape  bool   // upper-case letter: URL escaping (§7.3)
	keep    int    // parts kept from the right; 0: all
	reverse bool   // reversal before that
	delims  string // what splits; empty means "."
}

// IsZero reports whether the macro-string is absent.
func (m Macro) IsZero() bool { return m.text == "" }

// String is the macro-string as published.
func (m Macro) String() string { return m.text }

// Literal is the text when no part of it depends on a message, else false.
func (m Macro) Literal() (string, bool) {
	var b strings.Builder
	for _, p := range m.parts {
		if p.letter != 0 {
			return "", false
		}
		b.WriteString(p.literal)
	}
	return b.String(), true
}

const (
	domainMacro = "slodiphv"    // in names (§7.2)
	anyMacro    = "slodiphvcrt" // c, r and t in explanation texts only
)

// parseMacro reads macro-string = *( macro-expand / macro-literal ), §7.1. The
// caller has made sure that there is nothing but visible ASCII (and, in
// explanations, spaces).
func parseMacro(s, letters string) (m Macro, reason string) {
	m.text = s
	for s != "" {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			m.literal(s)
			break
		}
		m.literal(s[:i])
		if i+1 == len(s) {
			return m, "lone % at the end"
		}
		switch s[i+1] {
		case '%':
			m.literal("%")
		case '_':
			m.literal(" ")
		case '-':
			m.literal("%20")
		case '{':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 {
				return m, "macro without closing brace"
			}
			p, reason := parseExpand(s[i+2:i+end], letters)
			if reason != "" {
				return m, reason
			}
			m.parts = append(m.parts, p)
			s = s[i+end+1:]
			continue
		default:
			return m, "% that begins no macro"
		}
		s = s[i+2:]
	}
	return m, ""
}

func (m *Macro) literal(s string) {
	if s != "" {
		m.parts = append(m.parts, part{literal: s})
	}
}

// parseExpand reads macro-letter transformers *delimiter.
func parseExpand(s, letters string) (p part, reason string) {
	if s == "" {
		return p, "macro without a letter"
	}
	p.letter = s[0] | 0x20
	p.escape = 'A' <= s[0] && s[0] <= 'Z'
	if !isAlpha(s[0]) || strings.IndexByte(letters, p.letter) < 0 {
		return p, "macro letter unknown, or not allowed here"
	}
	s = s[1:]
	digits := false
	for ; s != "" && isDigit(s[0]); s = s[1:] {
		digits = true
		p.keep = min(p.keep*10+int(s[0]-'0'), 1000) // no name has that many labels
	}
	if digits && p.keep == 0 {
		return p, "macro keeps 0 labels"
	}
	if s != "" && s[0]|0x20 == 'r' {
		p.reverse, s = true, s[1:]
	}
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(".-+,/_=", s[i]) < 0 {
			return p, "bad delimiter in macro"
		}
	}
	p.delims = s
	return p, ""
}

// parseDomainSpec reads domain-spec = macro-string domain-end (§7.1).
func parseDomainSpec(s string) (Macro, string) {
	if s == "" {
		return Macro{}, "domain missing"
	}
	m, reason := parseMacro(s, domainMacro)
	if reason != "" {
		return Macro{}, reason
	}
	// domain-end is a macro-expand, %% and the like included, or "." toplabel.
	last := m.parts[len(m.parts)-1]
	if last.letter != 0 || endsInEscape(s) {
		return m, ""
	}
	name := strings.TrimSuffix(last.literal, ".")
	dot := strings.LastIndexByte(name, '.')
	if dot < 0 {
		return Macro{}, "not a domain of two or more labels"
	}
	if !isTopLabel(name[dot+1:]) {
		return Macro{}, "bad top-level label"
	}
	return m, ""
}

// endsInEscape reports whether a valid macro-string ends in %%, %_ or %-.
func endsInEscape(s string) bool {
	i := len(s) - 1
	if i < 1 || strings.IndexByte("%_-", s[i]) < 0 {
		return false
	}
	n := 0
	for j := i - 1; j >= 0 && s[j] == '%'; j-- {
		n++
	}
	if s[i] == '%' {
		return true // valid, so it is the second half of %%
	}
	return n%2 == 1
}

// isTopLabel: letters, digits and inner hyphens, not digits alone (§7.1).
func isTopLabel(s string) bool {
	other := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isAlpha(c), c == '-':
			other = true
		case isDigit(c):
		default:
			return false
		}
	}
	return other && s[0] != '-' && s[len(s)-1] != '-'
}

// expand replaces the macros (§7.3); value gives the letters' values.
func (m Macro) expand(value func(letter byte) string) string {
	if len(m.parts) == 1 && m.parts[0].letter == 0 {
		return m.parts[0].literal
	}
	var b strings.Builder
	for _, p := range m.parts {
		if p.letter == 0 {
			b.WriteString(p.literal)
			continue
		}
		v := p.transform(value(p.letter))
		if p.escape {
			urlEscape(&b, v)
		} else {
			b.WriteString(v)
		}
	}
	return b.String()
}

// uses reports whether one of the letters occurs.
func (m Macro) uses(letters string) bool {
	for _, p := range m.parts {
		if p.letter != 0 && strings.IndexByte(letters, p.letter) >= 0 {
			return true
		}
	}
	return false
}

// transform splits, reverses, keeps the rightmost parts and joins with dots.
func (p part) transform(v string) string {
	if p.keep == 0 && !p.reverse && p.delims == "" {
		return v
	}
	delims := p.delims
	if delims == "" {
		delims = "."
	}
	parts := splitAny(v, delims)
	if p.reverse {
		for i, j := 0, len(parts)-1; i < j; i, j = i+1, j-1 {
			parts[i], parts[j] = parts[j], parts[i]
		}
	}
	if p.keep > 0 && p.keep < len(parts) {
		parts = parts[len(parts)-p.keep:]
	}
	return strings.Join(parts, ".")
}

func splitAny(s, delims string) []string {
	var out []string
	start := 0
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(delims, s[i]) >= 0 {
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

// urlEscape leaves only the unreserved characters of RFC 3986 §2.3 as they are.
func urlEscape(b *strings.Builder, s string) {
	const hex = "0123456789ABCDEF"
	for i := 0; i < len(s); i++ {
		c := s[i]
		if isAlpha(c) || isDigit(c) || c == '-' || c == '.' || c == '_' || c == '~' {
			b.WriteByte(c)
			continue
		}
		b.WriteByte('%')
		b.WriteByte(hex[c>>4])
		b.WriteByte(hex[c&15])
	}
}

// truncate drops labels from the left until a name fits (§7.3).
func truncate(name string) string {
	for len(strings.TrimSuffix(name, ".")) > maxName {
		_, rest, ok := strings.Cut(name, ".")
		if !ok {
			return name
		}
		name = rest
	}
	return name
}
