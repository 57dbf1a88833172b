package message

import "strings"

// word is a part of a phrase, by its place in the value.
type word struct {
	start, end int
	kind       wordKind
}

type wordKind uint8

const (
	wordAtom   wordKind = iota // an atom, a dot, a stray octet, or several that touch
	wordQuoted                 // with its quotes
)

// phrase is the words collected before a special.
type phrase struct{ words []word }

// add appends a word; atoms and dots that touch become one.
func (p *phrase) add(w word) {
	if n := len(p.words); n > 0 && w.kind == wordAtom {
		if l := &p.words[n-1]; l.kind == wordAtom && l.end == w.start {
			l.end = w.end
			return
		}
	}
	p.words = append(p.words, w)
}

// value is the text of a word: quoted strings without quotes and backslashes.
func (w word) value(s string) string {
	if w.kind == wordQuoted {
		return unquotePairs(s[w.start+1 : w.end-1])
	}
	return s[w.start:w.end]
}

// unquotePairs removes the backslash of quoted pairs (RFC 5322 §3.2.1).
func unquotePairs(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '\\' && i+1 < len(s) {
			i++
			c = s[i]
		}
		b = append(b, c)
	}
	return string(b)
}

// text is the phrase as a display name: raw, and with encoded words decoded.
// Words inside quotes are never encoded words (RFC 2047 §5 rule 3).
func (p *phrase) text(s string) (raw, name string) {
	switch len(p.words) {
	case 0:
		return "", ""
	case 1:
		raw = p.words[0].value(s)
		if p.words[0].kind == wordQuoted {
			return raw, strings.ToValidUTF8(raw, "\uFFFD")
		}
		return raw, DecodeWords(raw)
	}
	quoted, asIs := false, true // asIs: the words are the text, as written
	for i, w := range p.words {
		quoted = quoted || w.kind == wordQuoted
		if i > 0 && p.words[i-1].end != w.start {
			asIs = asIs && s[p.words[i-1].end:w.start] == " "
		}
	}
	first, last := p.words[0].start, p.words[len(p.words)-1].end
	if asIs && !quoted {
		raw = s[first:last]
		return raw, DecodeWords(raw)
	}
	var b strings.Builder
	b.Grow(last - first)
	for i, w := range p.words {
		if i > 0 && p.words[i-1].end != w.start {
			b.WriteByte(' ')
		}
		b.WriteString(w.value(s))
	}
	raw = b.String()
	if !quoted {
		return raw, DecodeWords(raw)
	}
	if !strings.Contains(raw, "=?") {
		return raw, strings.ToValidUTF8(raw, "\uFFFD")
	}
	return raw, p.decodeRuns(s)
}

// decodeRuns decodes runs of atoms and takes quoted strings as they are.
func (p *phrase) decodeRuns(s string) string {
	var b strings.Builder
	for i := 0; i < len(p.words); {
		if i > 0 && p.words[i-1].end != p.words[i].start {
			b.WriteByte(' ')
		}
		if p.words[i].kind == wordQuoted {
			b.WriteString(strings.ToValidUTF8(p.words[i].value(s), "\uFFFD"))
			i++
			continue
		}
		run := i
		for i < len(p.words) && p.words[i].kind != wordQuoted {
			i++
		}
		atoms := phrase{words: p.words[run:i]}
		_, name := atoms.text(s)
		b.WriteString(name)
	}
	return b.String()
}

// local is the phrase as a local part (RFC 5322 §3.4.1, §4.4): words and dots
// without the white space between them. Words without a dot between them keep
// one space, and ok is false.
func (p *phrase) local(s string) (v string, ok bool) {
	switch len(p.words) {
	case 0:
		return "", true
	case 1:
		return p.words[0].value(s), true
	}
	ok = true
	var b strings.Builder
	for i, w := range p.words {
		if i > 0 && s[w.start] != '.' && s[p.words[i-1].end-1] != '.' {
			ok = false
			if p.words[i-1].end != w.start {
				b.WriteByte(' ')
			}
		}
		b.WriteString(w.value(s))
	}
	return b.String(), ok
}
