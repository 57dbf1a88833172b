package authres

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Names of the fields: ARC-Authentication-Results is that of an ARC set (RFC
// 8617 §4.1.1).
const (
	FieldName    = "Authentication-Results"
	ARCFieldName = "ARC-Authentication-Results"
)

const (
	maxServID = 255
	maxText   = 256 // comment and reason, in octets
	maxValue  = 800 // a value as written, so that a line stays below 998 octets
	maxWidth  = 78
)

// Field returns the whole field, folded, with name and final CRLF, to be put on
// top of the message (RFC 8601 §4.1). The error is ErrName; nothing in values,
// reasons and comments is one.
func (h *Header) Field() (string, error) {
	return h.field(FieldName, "")
}

// ARCField returns the results as the ARC-Authentication-Results field of the
// set with this instance, from 1 to 50. The error is ErrName, as of Field and
// for the instance.
func (h *Header) ARCField(instance int) (string, error) {
	if instance < 1 || instance > 50 {
		return "", fmt.Errorf("%w: instance %d", ErrName, instance)
	}
	return h.field(ARCFieldName, "i="+strconv.Itoa(instance)+"; ")
}

func (h *Header) field(name, before string) (string, error) {
	id := clean(h.ServID, h.UTF8)
	if id == "" || len(h.ServID) > maxServID {
		return "", fmt.Errorf("%w: authserv-id", ErrName)
	}
	w := writer{utf8: h.UTF8}
	w.b.WriteString(name + ": " + before)
	w.width = w.b.Len()
	w.add(w.value(id))
	if h.Version > 1 {
		w.add(" " + strconv.Itoa(h.Version))
	}
	if len(h.Results) == 0 {
		w.add("; none")
	}
	for i := range h.Results {
		if err := w.result(&h.Results[i]); err != nil {
			return "", err
		}
	}
	w.b.WriteString("\r\n")
	return w.b.String(), nil
}

type writer struct {
	b     strings.Builder
	width int
	utf8  bool
}

func (w *writer) newline() {
	w.b.WriteString("\r\n\t")
	w.width = 1
}

// add writes a part that starts with a space, or ";" and a space, on a new line
// where the line would grow too long.
func (w *writer) add(part string) {
	if w.width > 1 && w.width+len(part) > maxWidth {
		if rest, ok := strings.CutPrefix(part, " "); ok {
			w.newline()
			part = rest
		}
	}
	w.b.WriteString(part)
	w.width += len(part)
}

func (w *writer) result(r *Result) error {
	if !isKeyword(r.Method) || !isKeyword(r.Value) {
		return fmt.Errorf("%w: method %q, result %q", ErrName, r.Method, r.Value)
	}
	w.b.WriteByte(';')
	w.newline()
	method := r.Method
	if r.MethodVersion > 1 {
		method += "/" + strconv.Itoa(r.MethodVersion)
	}
	w.add(method + "=" + r.Value)
	if r.Comment != "" {
		w.add(" (" + escape(cut(clean(r.Comment, w.utf8)), `()\`) + ")")
	}
	if r.Reason != "" {
		w.add(` reason="` + escape(cut(clean(r.Reason, w.utf8)), `"\`) + `"`)
	}
	for _, p := range r.Props {
		if !isKeyword(p.Property) || p.Type != "" && !isKeyword(p.Type) || p.Type == "" && isReason(p.Property) {
			return fmt.Errorf("%w: property %q.%q", ErrName, p.Type, p.Property)
		}
		v := w.value(clean(p.Value, w.utf8))
		if len(v) > maxValue {
			continue
		}
		name := p.Property
		if p.Type != "" {
			name = p.Type + "." + name
		}
		w.add(" " + name + "=" + v)
	}
	return nil
}

// value writes a value bare where the grammar and careless readers allow it,
// else as a quoted-string.
func (w *writer) value(s string) string {
	local, domain, isAddr := strings.Cut(s, "@")
	if isAddr && isToken(local, true) && isToken(domain, false) || !isAddr && isToken(s, false) {
		return s
	}
	return `"` + escape(s, `"\`) + `"`
}

// isToken accepts the tokens of RFC 2045 §5.1 less a few signs that no value
// needs.
func isToken(s string, empty bool) bool {
	for i := 0; i < len(s); i++ {
		c := s[i]
		alnum := 'a' <= lower(c) && lower(c) <= 'z' || '0' <= c && c <= '9'
		if !alnum && strings.IndexByte("-._+", c) < 0 {
			return false
		}
	}
	return empty || s != ""
}

// isKeyword accepts the Keyword of RFC 5321 §4.1.2, and "_" as it is in use.
func isKeyword(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isKeywordChar(s[i]) {
			return false
		}
	}
	return s != "" && len(s) <= 64 && s[0] != '-' && s[len(s)-1] != '-'
}

func isKeywordChar(c byte) bool {
	return 'a' <= lower(c) && lower(c) <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_'
}

// clean makes text safe for a header: no control characters, no separators of
// lines and nothing that turns the direction of what is shown behind it; valid
// UTF-8 or only ASCII.
func clean(s string, allow8 bool) string {
	plain := true
	for i := 0; i < len(s) && plain; i++ {
		plain = s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		bad := r == utf8.RuneError || unicode.IsControl(r) || unicode.In(r, unicode.Zl, unicode.Zp, unicode.Bidi_Control)
		if bad || r >= 0x80 && !allow8 {
			r = '?'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// cut shortens text to maxText octets at the end of a character.
func cut(s string) string {
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// escape puts a backslash before each of the signs.
func escape(s, signs string) string {
	if !strings.ContainsAny(s, signs) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(signs, s[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
