package dkim

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// maxTags bounds a tag list; the RFCs define fewer than twenty tags.
const maxTags = 64

// Tag is one tag=value pair of a tag list.
type Tag struct {
	// Name is case-sensitive.
	Name string
	// Value has no surrounding white space; folding inside is kept.
	Value string
	// Start and End enclose everything between "=" and ";" in the list.
	Start, End int
}

// Tags is a parsed tag list in its order (RFC 6376 §3.2).
type Tags []Tag

// Get returns the value of a tag and whether it is there.
func (t Tags) Get(name string) (string, bool) {
	for i := range t {
		if t[i].Name == name {
			return t[i].Value, true
		}
	}
	return "", false
}

// ParseTags parses a tag list: the body of a DKIM-Signature field, folded or
// not, or a key record. Duplicate names, control characters and more than 64
// tags are ErrSyntax; empty items are skipped.
func ParseTags(s string) (Tags, error) { return parseTags(make(Tags, 0, 12), s) }

// parseTags is ParseTags into tags, which is empty.
func parseTags(tags Tags, s string) (Tags, error) {
	for pos := 0; pos <= len(s); {
		end := strings.IndexByte(s[pos:], ';')
		if end < 0 {
			end = len(s)
		} else {
			end += pos
		}
		item := s[pos:end]
		if trimFWS(item) == "" {
			pos = end + 1
			continue
		}
		eq := strings.IndexByte(item, '=')
		if eq < 0 {
			return nil, fmt.Errorf("%w: item without =", ErrSyntax)
		}
		name := trimFWS(item[:eq])
		if !isTagName(name) {
			return nil, fmt.Errorf("%w: bad tag name", ErrSyntax)
		}
		if _, dup := tags.Get(name); dup || len(tags) == maxTags {
			// RFC 6376 §3.2: a list with a duplicate is invalid as a whole.
			return nil, fmt.Errorf("%w: duplicate or too many tags", ErrSyntax)
		}
		t := Tag{Name: name, Value: trimFWS(item[eq+1:]), Start: pos + eq + 1, End: end}
		if !isTagValue(t.Value) {
			return nil, fmt.Errorf("%w: control character", ErrSyntax)
		}
		tags = append(tags, t)
		pos = end + 1
	}
	return tags, nil
}

func isFWS(c byte) bool { return c == ' ' || c == '\t' || c == '\r' || c == '\n' }

func trimFWS(s string) string {
	for len(s) > 0 && isFWS(s[0]) {
		s = s[1:]
	}
	for len(s) > 0 && isFWS(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

// dropFWS removes all folding white space, as base64 values and lists allow it
// anywhere.
func dropFWS(s string) string {
	if !strings.ContainsAny(s, fws) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); i++ {
		if !isFWS(s[i]) {
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

const fws = " \t\r\n"

// lowerNoFWS is dropFWS in lower case.
func lowerNoFWS(s string) string {
	var room [1024]byte
	b := room[:0]
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isFWS(c):
		case c >= 0x80:
			return strings.ToLower(dropFWS(s))
		case 'A' <= c && c <= 'Z':
			b = append(b, c+'a'-'A')
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

// prefixOf is the first n octets of s without white space.
func prefixOf(s string, n int) string {
	if head := s[:min(n, len(s))]; !strings.ContainsAny(head, fws) {
		return head
	}
	s = dropFWS(s)
	return s[:min(n, len(s))]
}

// decodeBase64 appends what s stands for to dst; white space in it is skipped.
func decodeBase64(dst []byte, s string) ([]byte, error) {
	var room [1024]byte
	text := room[:0]
	for len(s) > 0 {
		n := strings.IndexAny(s, fws)
		if n < 0 {
			n = len(s)
		}
		text = append(text, s[:n]...)
		for s = s[n:]; len(s) > 0 && isFWS(s[0]); s = s[1:] {
		}
	}
	dst = slices.Grow(dst, base64.StdEncoding.DecodedLen(len(text)))
	n, err := base64.StdEncoding.Decode(dst[len(dst):cap(dst)], text)
	return dst[:len(dst)+n], err
}

func isTagName(s string) bool {
	for i := 0; i < len(s); i++ {
		c := s[i] | 0x20
		alpha := 'a' <= c && c <= 'z'
		if !alpha && (i == 0 || s[i] != '_' && (s[i] < '0' || s[i] > '9')) {
			return false
		}
	}
	return s != ""
}

// isTagValue allows VALCHAR, folding white space and UTF-8 (RFC 8616 §5).
func isTagValue(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 && !isFWS(s[i]) || s[i] == 0x7f {
			return false
		}
	}
	return true
}
