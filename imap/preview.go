package imap

import (
	"bytes"
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
	s, err := previewText(text, part.Subtype == "html")
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
// one space, nothing that does not print. The only errors are those of r.
func previewText(r io.Reader, markup bool) (string, error) {
	var chars [previewChars * utf8.UTFMax]byte
	p := previewer{b: chars[:0], lineStart: true}
	var buf [2048]byte
	kept := 0
	for {
		n, err := r.Read(buf[kept:])
		in := buf[:kept+n]
		end := err != nil
		var done bool
		if markup {
			in, done = p.markup(in, end)
		} else {
			in, done = p.plain(in, end)
		}
		if done || err == io.EOF {
			return string(p.b), nil
		}
		if err != nil {
			return "", err
		}
		if kept = copy(buf[:], in); kept == len(buf) {
			kept = 0 // one endless tag: skip it
		}
	}
}

// previewer collects the characters of a preview.
type previewer struct {
	b         []byte
	n         int  // characters
	space     bool // one is due before the next character
	lineStart bool // plain text: nothing but white space in this line yet
	quoted    bool // plain text: the rest of the line is quoted
	hidden    string
}

// put adds a character and reports whether that is enough.
func (p *previewer) put(r rune) (full bool) {
	switch {
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

// plain takes text and leaves out quoted lines. It returns what is not used up.
func (p *previewer) plain(in []byte, end bool) (rest []byte, full bool) {
	for len(in) > 0 {
		if !end && !utf8.FullRune(in) {
			return in, false
		}
		r, n := rune(in[0]), 1
		if r >= utf8.RuneSelf {
			r, n = utf8.DecodeRune(in)
		}
		in = in[n:]
		switch {
		case r == '\n':
			p.lineStart, p.quoted = true, false
		case p.lineStart && r == '>':
			p.quoted, p.lineStart = true, false
		case !unicode.IsSpace(r):
			p.lineStart = false
		}
		if !p.quoted && p.put(r) {
			return nil, true
		}
	}
	return nil, false
}

// markup takes HTML: tags, comments, style sheets and scripts are left out.
func (p *previewer) markup(in []byte, end bool) (rest []byte, full bool) {
	for len(in) > 0 {
		if in[0] == '<' {
			n := bytes.IndexByte(in, '>')
			if n < 0 {
				if end {
					return nil, false
				}
				return in, false
			}
			p.tag(in[1:n])
			in = in[n+1:]
			continue
		}
		n := bytes.IndexByte(in, '<')
		if n < 0 {
			n = len(in)
			if !end { // a character or an entity may go on
				if n = bytes.LastIndexAny(in, " ;\n"); n < 0 && len(in) < 512 {
					return in, false
				}
				if n++; n == 0 {
					n = len(in)
				}
			}
		}
		if p.hidden == "" {
			for _, r := range html.UnescapeString(string(in[:n])) {
				if p.put(r) {
					return nil, true
				}
			}
		}
		in = in[n:]
	}
	return nil, false
}

// tag handles what is between "<" and ">".
func (p *previewer) tag(t []byte) {
	closing := len(t) > 0 && t[0] == '/'
	if closing {
		t = t[1:]
	}
	n := 0
	for n < len(t) && n < 16 && (t[n]|0x20 >= 'a' && t[n]|0x20 <= 'z' || t[n]-'0' <= 9) {
		n++
	}
	name := strings.ToLower(string(t[:n]))
	switch {
	case p.hidden != "":
		if closing && name == p.hidden {
			p.hidden = ""
		}
		return
	case !closing && (name == "style" || name == "script" || name == "head" || name == "title"):
		p.hidden = name
	}
	switch name {
	case "a", "b", "i", "u", "em", "strong", "span", "font", "small", "big", "code", "tt", "sub", "sup", "wbr":
		return // within a word
	}
	p.space = p.n > 0
}
