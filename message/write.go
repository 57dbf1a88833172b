package message

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// Errors of writing; test with errors.Is.
var (
	// ErrFieldName: a name that is empty, over 76 characters, or has others
	// than RFC 5322 §3.6.8 allows.
	ErrFieldName = errors.New("message: bad field name")
	// ErrFieldValue: a value with CR, LF, NUL or invalid UTF-8.
	ErrFieldValue = errors.New("message: bad field value")
	// ErrLineTooLong: a value that cannot be folded into lines of 998 octets,
	// or such a line in a body.
	ErrLineTooLong = errors.New("message: line too long")
	// ErrBody: a body that its transfer encoding cannot carry.
	ErrBody = errors.New("message: bad body")
)

const (
	maxFieldName = 76
	softLine     = 78 // RFC 5322 §2.1.1
	wordLine     = 76 // RFC 2047 §2: of lines with encoded words
)

// ValidFieldName reports whether name can be written: 1 to 76 printable ASCII
// characters but the colon (RFC 5322 §3.6.8).
func ValidFieldName(name string) bool { return len(name) <= maxFieldName && validFieldName(name) }

// ValidFieldValue reports whether value can be written: valid UTF-8 (RFC 6532)
// without CR, LF and NUL, so that it can inject nothing.
func ValidFieldValue(value string) bool {
	return utf8.ValidString(value) && strings.IndexByte(value, 0) < 0 && !strings.ContainsAny(value, "\r\n")
}

// WriteField appends "name: value" CRLF to b, folded at white space into lines
// of at most 78 octets where there is white space (76 in fields with encoded
// words), and never of more than 998 (RFC 5322 §2.1.1, §2.2.3). Unfolding gives
// the value back, without white space around it. On error b is returned as it
// was: [ErrFieldName], [ErrFieldValue] or [ErrLineTooLong].
func WriteField(b []byte, name, value string) ([]byte, error) {
	if !ValidFieldName(name) {
		return b, fmt.Errorf("%w: %q", ErrFieldName, cleanDetail(name))
	}
	if !ValidFieldValue(value) {
		return b, fmt.Errorf("%w in %s", ErrFieldValue, name)
	}
	value = trimSpace(value)
	soft := softLine
	if strings.Contains(value, "=?") {
		soft = wordLine
	}
	before := len(b)
	b = append(append(b, name...), ':')
	col := len(name) + 1
	gap := " " // white space before the next word
	for first := true; value != ""; first = false {
		n := wordEnd(value)
		w := value[:n]
		over := col + len(gap) + n
		// The line is not broken right behind the name, which some readers do
		// not like, unless it must be.
		if over > soft && (!first || over > maxLine || strings.HasPrefix(w, "=?")) {
			b = append(b, '\r', '\n')
			col = 0
		}
		if col+len(gap)+n > maxLine {
			return b[:before], fmt.Errorf("%w in %s", ErrLineTooLong, name)
		}
		b = append(append(b, gap...), w...)
		col += len(gap) + n
		value = value[n:]
		n = len(value) - len(strings.TrimLeft(value, " \t"))
		gap, value = value[:n], value[n:]
	}
	return append(b, '\r', '\n'), nil
}

// wordEnd is the index of the first white space.
func wordEnd(s string) int {
	if i := strings.IndexAny(s, " \t"); i >= 0 {
		return i
	}
	return len(s)
}

// FormatParams writes a value with parameters, the inverse of [ParseParams]:
// tokens as they are, other ASCII quoted, everything else and what is long by
// RFC 2231. Parameters whose name is no token are left out; CR, LF and NUL in
// values become spaces.
func FormatParams(first string, params []Param) string {
	var b strings.Builder
	b.WriteString(first)
	for _, q := range params {
		name := lowerASCII(q.Name)
		if !isToken(name) || strings.ContainsAny(name, "*'%") || len(name) > 40 {
			continue
		}
		v := cleanLine(q.Value)
		switch {
		case isToken(v) && len(v) <= 60:
			b.WriteString("; " + name + "=" + v)
		case isPrintable(v) && len(v) <= 60:
			b.WriteString("; " + name + "=" + quoteString(v))
		default:
			writeExt(&b, name, v)
		}
	}
	return b.String()
}

func isPrintable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// writeExt writes name*=utf-8”text, in numbered pieces when it is long (RFC
// 2231 §3–4). A piece never ends inside an escape.
func writeExt(b *strings.Builder, name, v string) {
	const room = 50
	var pieces []string
	var p strings.Builder
	for i := 0; i < len(v); i++ {
		if p.Len() > room-3 {
			pieces = append(pieces, p.String())
			p.Reset()
		}
		if c := v[i]; isToken(v[i:i+1]) && c != '*' && c != '\'' && c != '%' {
			p.WriteByte(c)
		} else {
			p.Write([]byte{'%', hexDigits[c>>4], hexDigits[c&15]})
		}
	}
	pieces = append(pieces, p.String())
	if len(pieces) == 1 {
		b.WriteString("; " + name + "*=utf-8''" + pieces[0])
		return
	}
	for i, s := range pieces {
		set := ""
		if i == 0 {
			set = "utf-8''"
		}
		fmt.Fprintf(b, "; %s*%d*=%s%s", name, i, set, s)
	}
}
