package message

import (
	"bytes"
	"strings"
)

// Field is a view of one header field in the octets of its [Header]. It is a
// small value; its slices must not be written to. The zero value is a field
// without name and octets. A Field is safe for concurrent use.
//
// Lines that are not fields (no colon, a continuation with nothing before it,
// everything after a limit) are seen as fields without a name, so that the raw
// octets of all fields together are always the whole header.
type Field struct {
	raw     []byte
	off     int
	nameEnd int
	colon   int // index of the colon, -1 without one
}

// Name is the field name as written, without white space before the colon
// (RFC 5322 §4.5); "" for a line that is not a field. It may have characters
// that no name should have, but no CR, LF or NUL.
func (f Field) Name() string { return string(f.raw[:f.nameEnd]) }

// Is reports whether the field has this name, ASCII letters compared without
// case (RFC 5322 §1.2.2). A nameless field is never equal.
func (f Field) Is(name string) bool {
	return f.nameEnd > 0 && len(name) == f.nameEnd && equalFold(f.raw[:f.nameEnd], name)
}

// Raw is the whole field as received, with all line ends. Do not modify it.
func (f Field) Raw() []byte { return f.raw }

// Offset is where the field begins, in octets from the start of the header.
func (f Field) Offset() int64 { return int64(f.off) }

// Value is the field's body, unfolded (RFC 5322 §2.2.3), without white space
// around it, and otherwise undecoded: encoded words and 8-bit octets stay. It
// contains no CR, LF or NUL; stray ones are replaced by a space. For a nameless
// field it is the line itself.
func (f Field) Value() string {
	if f.nameEnd == 0 {
		return string(trimWSP(unfold(f.raw)))
	}
	return string(trimWSP(unfold(f.raw[f.colon+1:])))
}

// Text is the value with encoded words (RFC 2047) decoded, in valid UTF-8.
func (f Field) Text() string { return DecodeWords(f.Value()) }

// unfold removes line ends and replaces stray CR and NUL by spaces. The result
// shares memory with b when nothing inside had to change.
func unfold(b []byte) []byte {
	b = trimEOL(b)
	if clean(b) {
		return b
	}
	return appendUnfolded(make([]byte, 0, len(b)), b)
}

func clean(b []byte) bool {
	return bytes.IndexByte(b, '\n') < 0 && bytes.IndexByte(b, '\r') < 0 && bytes.IndexByte(b, 0) < 0
}

// appendUnfolded appends b as unfold changes it.
func appendUnfolded(dst, b []byte) []byte {
	b = trimEOL(b)
	if clean(b) {
		return append(dst, b...)
	}
	for i, c := range b {
		switch {
		case c == '\n', c == '\r' && i+1 < len(b) && b[i+1] == '\n':
		case c == '\r', c == 0:
			dst = append(dst, ' ')
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

// trimEOL cuts one line end off.
func trimEOL(b []byte) []byte {
	if n := len(b); n > 0 && b[n-1] == '\n' {
		b = b[:n-1]
		if n > 1 && b[n-2] == '\r' {
			b = b[:n-2]
		}
	}
	return b
}

func isWSP(c byte) bool { return c == ' ' || c == '\t' }

func trimWSP(b []byte) []byte {
	for len(b) > 0 && isWSP(b[0]) {
		b = b[1:]
	}
	for len(b) > 0 && isWSP(b[len(b)-1]) {
		b = b[:len(b)-1]
	}
	return b
}

func trimSpace(s string) string { return strings.Trim(s, " \t\r\n") }

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// equalFold compares ASCII text without case.
func equalFold[T []byte | string](a T, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(b); i++ {
		if a[i] != b[i] && lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

// lowerASCII is strings.ToLower for ASCII letters only.
func lowerASCII(s string) string {
	for i := 0; i < len(s); i++ {
		if 'A' <= s[i] && s[i] <= 'Z' {
			b := []byte(s)
			for j := i; j < len(b); j++ {
				b[j] = lower(b[j])
			}
			return string(b)
		}
	}
	return s
}

// validFieldName reports whether name is 1*ftext (RFC 5322 §3.6.8).
func validFieldName[T []byte | string](name T) bool {
	for i := 0; i < len(name); i++ {
		if c := name[i]; c <= ' ' || c > '~' || c == ':' {
			return false
		}
	}
	return len(name) > 0
}
