package wire

import (
	"bytes"
	"strconv"
	"time"
	"unicode/utf8"
)

// AppendString appends a quoted string where that can hold s, else a literal
// (RFC 9051 §4.3). 8-bit text is quoted only when the session has UTF-8
// enabled. NUL, which neither can hold, becomes a space.
func AppendString(b []byte, s string, utf8Quoted bool) []byte {
	all, any := uint8(0xff), false
	for i := range len(s) {
		all &= classes[s[i]]
		any = any || s[i] >= 0x80
	}
	switch {
	case all&classQuoted != 0:
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"')
	case any && !(utf8Quoted && utf8.ValidString(s)), !quotable(s):
		return appendLiteral(b, s)
	}
	b = append(b, '"')
	for i := range len(s) {
		if s[i] == '"' || s[i] == '\\' {
			b = append(b, '\\')
		}
		b = append(b, s[i])
	}
	return append(b, '"')
}

// quotable reports whether s is free of CR, LF and NUL.
func quotable(s string) bool {
	for i := range len(s) {
		if s[i] < 0x80 && classes[s[i]]&classText == 0 {
			return false
		}
	}
	return true
}

func appendLiteral(b []byte, s string) []byte {
	b = AppendLiteralHeader(b, uint64(len(s)), false)
	at := len(b)
	b = append(b, s...)
	MaskNUL(b[at:])
	return b
}

// AppendLiteralHeader announces a literal; the server's are never
// non-synchronising (RFC 7888 §3).
func AppendLiteralHeader(b []byte, size uint64, binary bool) []byte {
	if binary {
		b = append(b, '~')
	}
	b = append(b, '{')
	b = strconv.AppendUint(b, size, 10)
	return append(b, "}\r\n"...)
}

// MaskNUL replaces NUL by a space: it must not occur outside literal8 (RFC 9051
// §9, CHAR8), and the size must stay.
func MaskNUL(b []byte) {
	if bytes.IndexByte(b, 0) < 0 {
		return
	}
	for i := range b {
		if b[i] == 0 {
			b[i] = ' '
		}
	}
}

// AppendNString appends a string, or NIL when it is not there.
func AppendNString(b []byte, s string, there, utf8Quoted bool) []byte {
	if !there {
		return append(b, "NIL"...)
	}
	return AppendString(b, s, utf8Quoted)
}

// AppendAstring appends s as an atom where it is one, else as AppendString does.
func AppendAstring(b []byte, s string, utf8Quoted bool) []byte {
	all := uint8(0xff)
	for i := range len(s) {
		all &= classes[s[i]]
	}
	if s != "" && all&classAtom != 0 {
		return append(b, s...)
	}
	return AppendString(b, s, utf8Quoted)
}

// AppendText appends text of a response line; what may not stand in a line is
// replaced (RFC 9051 §9, text).
func AppendText(b []byte, s string) []byte {
	for i := range len(s) {
		c := s[i]
		if c < ' ' || c >= 0x7f {
			c = '?'
		}
		b = append(b, c)
	}
	return b
}

// AppendInternalDate appends a date-time (RFC 9051 §9), quoted, in UTC.
func AppendInternalDate(b []byte, t time.Time) []byte {
	if y := t.UTC().Year(); y < 0 || y > 9999 {
		t = time.Unix(0, 0)
	}
	return t.UTC().AppendFormat(b, `"02-Jan-2006 15:04:05 -0700"`)
}
