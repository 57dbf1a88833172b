package imap

import (
	"html"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

const (
	// previewChars is how long a preview is: RFC 8970 §3.1 wants 200, and never
	// more than 256.
	previewChars = 200
	// previewOctets is how much of the part is looked at, as it is encoded.
	previewOctets = 8 << 10
	// previewMarkup is the same for HTML, which often begins with style sheets.
	previewMarkup = 64 << 10
)

// preview appends PREVIEW (RFC 8970 §4). It costs one short read, so that LAZY
// makes no difference; a message without text has an empty one.
func (f *fetcher) preview(body store.Body, d store.Detail) {
	f.out.b = append(f.out.b, "PREVIEW "...)
	part := textPart(d.Outline.Root)
	if part == nil {
		f.out.b = append(f.out.b, `""`...)
		return
	}
	limit := int64(previewOctets)
	if part.Subtype == "html" {
		limit = previewMarkup
	}
	var text io.Reader = io.NewSectionReader(body, part.BodyOffset, min(part.BodySize, limit))
	if !isPlainUTF8(part) {
		text = message.Text(part, text)
	}
	f.room(headerKeep)
	s, err := previewText(text, part.Subtype == "html", f.scratch[:headerKeep])
	if err != nil {
		f.note(err)
		f.absent()
		return
	}
	f.out.b = wire.AppendString(f.out.b, s, f.utf8())
}

// isPlainUTF8 reports whether the octets of a part are UTF-8 as they are.
func isPlainUTF8(p *message.Part) bool {
	set := p.Param("charset")
	return isIdentity(p.Encoding) && (set == "" || strings.EqualFold(set, "utf-8") || strings.EqualFold(set, "us-ascii"))
}

// textPart is the part that a reader would see first: text/plain where there is
// one, else text/html. Attachments and embedded messages are none.
func textPart(root *message.Part) *message.Part {
	var markup *message.Part
	var find func(p *message.Part) *message.Part
	find = func(p *message.Part) *message.Part {
		switch {
		case p.IsMultipart():
			for _, c := range p.Parts {
				if found := find(c); found != nil {
					return found
				}
			}
		case p.Type != "text" || p.IsMessage() || p.Disposition == "attachment":
		case p.Subtype == "html":
			if markup == nil {
				markup = p
			}
		case p.Subtype == "plain":
			return p
		}
		return nil
	}
	if p := find(root); p != nil {
		return p
	}
	return markup
}

// previewText makes a preview of UTF-8 text: the first words, white space made
// one space, nothing that does not print. It works in scratch, of headerKeep
// octets. The only errors are those of r.
func previewText(r io.Reader, markup bool, scratch []byte) (string, error) {
	const chars = previewChars * utf8.UTFMax
	p := previewer{b: scratch[:0:chars], lineStart: true}
	add := p.plain
	if markup {
		add = p.markup
	}
	buf := scratch[chars : chars+2048]
	kept := 0
	for {
		n, err := r.Read(buf[kept:])
		in := buf[:kept+n]
		for len(in) > 0 && (err != nil || utf8.FullRune(in)) {
			c, size := rune(in[0]), 1
			if c >= utf8.RuneSelf {
				c, size = utf8.DecodeRune(in)
			}
			in = in[size:]
			if add(c) {
				return string(p.b), nil
			}
		}
		kept = copy(buf, in)
		if err == io.EOF {
			if p.state == markupEntity {
				p.endEntity()
			}
			return string(p.b), nil
		}
		if err != nil {
			return "", err
		}
	}
}

// previewer collects the characters of a preview.
type previewer struct {
	b     []byte
	n     int  // characters
	space bool // one is due before the next character

	// Plain text:
	lineStart bool // nothing but white space in this line yet
	quoted    bool // the rest of the line is quoted

	// HTML:
	state  markupState
	word   []byte // begin of the tag at hand, in lower case, or the entity
	dashes int    // the last characters of a comment
	hidden string // the element whose content is not shown
	room   [24]byte
}

// put adds a character and reports whether that is enough.
func (p *previewer) put(r rune) (full bool) {
	switch {
	case p.n >= previewChars:
		return true
	case r > ' ' && r < 0x7f:
	case unicode.IsSpace(r):
		p.space = p.n > 0
		return false
	case r == 0x200c, r == 0x200d: // they join characters, or keep them apart
	case !unicode.IsPrint(r) || r == utf8.RuneError: // marks of direction among them
		return false
	}
	if p.space {
		if p.n+1 >= previewChars {
			return true
		}
		p.b = append(p.b, ' ')
		p.n, p.space = p.n+1, false
	}
	p.b = utf8.AppendRune(p.b, r)
	p.n++
	return p.n >= previewChars
}

// plain takes a character of text and leaves out quoted lines.
func (p *previewer) plain(r rune) (full bool) {
	switch {
	case r == '\n':
		p.lineStart, p.quoted = true, false
	case p.lineStart && r == '>':
		p.quoted, p.lineStart = true, false
	case p.lineStart && !unicode.IsSpace(r):
		p.lineStart = false
	}
	return !p.quoted && p.put(r)
}

// markupState is where in HTML the next character is.
type markupState uint8

const (
	markupText    markupState = iota
	markupOpen                // behind "<"
	markupTag                 // in a tag
	markupComment             // in a comment
	markupEntity              // behind "&"
)

// markup takes a character of HTML: tags, comments, style sheets and scripts
// are left out. It is no parser, it only has to stop at the right places.
func (p *previewer) markup(r rune) (full bool) {
	switch p.state {
	case markupOpen:
		return p.open(r)
	case markupTag:
		if r == '>' {
			p.state = markupText
		}
	case markupComment:
		switch {
		case r == '-':
			p.dashes++
		case r == '>' && p.dashes >= 2:
			p.state = markupText
		default:
			p.dashes = 0
		}
	case markupEntity:
		return p.entity(r)
	default:
		switch {
		case r == '<':
			p.state, p.word = markupOpen, p.room[:0]
		case p.hidden != "":
		case r == '&':
			p.state, p.word = markupEntity, p.room[:0]
		default:
			return p.put(r)
		}
	}
	return false
}

// keep adds a character of ASCII to word, as long as there is room.
func (p *previewer) keep(r rune) bool {
	if r >= utf8.RuneSelf || len(p.word) == cap(p.word) {
		return false
	}
	p.word = append(p.word, byte(r))
	return true
}

// open takes a character behind "<": of the name of a tag, or behind it.
func (p *previewer) open(r rune) (full bool) {
	n := len(p.word)
	letter := r|0x20 >= 'a' && r|0x20 <= 'z'
	digit := r >= '0' && r <= '9'
	if letter || n == 0 && (r == '/' || r == '!' || r == '?') || n > 0 && (digit || r == '-' && p.word[0] == '!') {
		if p.keep(r) {
			if p.hidden == "" && string(p.word) == "!--" {
				p.state, p.dashes = markupComment, 0
			}
			return false
		}
	}
	name := strings.ToLower(string(p.word))
	p.state = markupText
	switch {
	case p.hidden != "" && name != "/"+p.hidden:
		if r == '<' {
			return p.markup(r)
		}
		return false
	case name == "": // no tag at all
		return p.put('<') || p.markup(r)
	}
	p.tag(name)
	if r != '>' {
		p.state = markupTag
	}
	return false
}

// tag handles the begin of a tag, "/" and name.
func (p *previewer) tag(name string) {
	name, closing := strings.CutPrefix(name, "/")
	switch name {
	case "a", "b", "i", "u", "em", "strong", "span", "font", "small", "big", "code", "tt", "sub", "sup", "wbr":
		return // within a word
	case "style", "script", "head", "title":
		p.hidden = name
		if closing {
			p.hidden = ""
		}
	}
	p.space = p.n > 0
}

// entity takes a character behind "&".
func (p *previewer) entity(r rune) (full bool) {
	if r > ' ' && r != '<' && r != '&' && p.keep(r) && r != ';' {
		return false
	}
	p.state = markupText
	if len(p.word) > 0 && p.word[len(p.word)-1] == ';' {
		return p.endEntity()
	}
	return p.endEntity() || p.markup(r)
}

// endEntity adds the characters that "&" and word stand for.
func (p *previewer) endEntity() (full bool) {
	for _, r := range html.UnescapeString("&" + string(p.word)) {
		full = full || p.put(r)
	}
	return full
}
