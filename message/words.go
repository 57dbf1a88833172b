package message

import (
	"strings"
	"unicode/utf8"
)

// DecodeWords decodes the encoded words in s (RFC 2047) to UTF-8. White space
// between two of them is dropped (§6.2), and a character that is wrongly split
// over two is put together. A word of unknown character set or broken syntax
// stays as it is. The result is always valid UTF-8 without CR, LF and NUL.
// It takes time linear in s.
func DecodeWords(s string) string {
	next := strings.Index(s, "=?")
	if next < 0 {
		return cleanLine(s)
	}
	var d wordDecoder
	done := 0 // octets before it are decoded
	for next >= 0 {
		w, ok := parseWord(s, next)
		if !ok {
			next = indexFrom(s, "=?", next+2)
			continue
		}
		gap := s[done:next]
		if !d.inRun || strings.Trim(gap, " \t\r\n") != "" {
			d.flush()
			d.out.WriteString(gap)
		}
		d.word(w)
		done = w.end
		next = indexFrom(s, "=?", done)
	}
	d.flush()
	d.out.WriteString(s[done:])
	return cleanLine(d.out.String())
}

func indexFrom(s, sep string, i int) int {
	if i > len(s) {
		return -1
	}
	if n := strings.Index(s[i:], sep); n >= 0 {
		return i + n
	}
	return -1
}

// encodedWord is one encoded word in a text.
type encodedWord struct {
	set     charset
	name    string // of the set, as written
	base64  bool
	payload string
	end     int
}

// parseWord reads the encoded word at s[i:], which begins with "=?" (RFC 2047
// §2). White space inside the text is let pass. It looks at no more than four
// question marks, so all tries together are linear.
func parseWord(s string, i int) (w encodedWord, ok bool) {
	rest := s[i+2:]
	q := strings.IndexByte(rest, '?')
	if q <= 0 || q > 60 || len(rest) < q+4 || rest[q+2] != '?' {
		return w, false
	}
	w.name = rest[:q]
	switch rest[q+1] {
	case 'b', 'B':
		w.base64 = true
	case 'q', 'Q':
	default:
		return w, false
	}
	text := rest[q+3:]
	n := strings.IndexByte(text, '?')
	if n < 0 || n+1 >= len(text) || text[n+1] != '=' {
		return w, false
	}
	w.payload = text[:n]
	w.end = i + 2 + q + 3 + n + 2
	name, _, _ := strings.Cut(w.name, "*") // a language: RFC 2231 §5
	w.set, ok = lookupCharset(name)
	return w, ok && name != ""
}

// wordDecoder joins the octets of neighbouring words of one character set
// before it converts them.
type wordDecoder struct {
	out   strings.Builder
	run   []byte
	set   charset
	name  string
	inRun bool // the last thing seen was a word
}

func (d *wordDecoder) word(w encodedWord) {
	if d.inRun && !strings.EqualFold(d.name, w.name) {
		d.flush()
	}
	d.inRun, d.name, d.set = true, w.name, w.set
	if w.base64 {
		d.run = appendBase64(d.run, w.payload)
	} else {
		d.run = appendQ(d.run, w.payload)
	}
}

func (d *wordDecoder) flush() {
	if d.inRun && len(d.run) > 0 {
		d.out.WriteString(d.set.text(d.run))
	}
	d.inRun, d.run = false, d.run[:0]
}

// appendQ decodes the Q encoding (RFC 2047 §4.2).
func appendQ(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '_':
			b = append(b, ' ')
		case c == '=' && i+2 < len(s) && hexTable[s[i+1]] < 16 && hexTable[s[i+2]] < 16:
			b = append(b, hexTable[s[i+1]]<<4|hexTable[s[i+2]])
			i += 2
		default:
			b = append(b, c)
		}
	}
	return b
}

// appendBase64 decodes s, ignoring what is not in the alphabet (RFC 2045 §6.8).
func appendBase64(b []byte, s string) []byte {
	var acc uint32
	n := 0
	for i := 0; i < len(s) && s[i] != '='; i++ {
		v := base64Table[s[i]]
		if v > 63 {
			continue
		}
		acc = acc<<6 | uint32(v)
		if n++; n == 4 {
			b = append(b, byte(acc>>16), byte(acc>>8), byte(acc))
			acc, n = 0, 0
		}
	}
	switch n {
	case 2:
		b = append(b, byte(acc>>4))
	case 3:
		b = append(b, byte(acc>>10), byte(acc>>2))
	}
	return b
}

// hexTable and base64Table map an octet to its value; 255: none.
var hexTable, base64Table = func() (h, b [256]byte) {
	for i := range h {
		h[i], b[i] = 255, 255
	}
	for i, c := range []byte("0123456789ABCDEF") {
		h[c], h[lower(c)] = byte(i), byte(i)
	}
	for i, c := range []byte(base64Alphabet) {
		b[c] = byte(i)
	}
	return h, b
}()

const base64Alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

// maxWord is the longest encoded word (RFC 2047 §2).
const maxWord = 75

// EncodeWords returns s fit for a header of ASCII: unchanged when it is
// printable ASCII that cannot be mistaken for an encoded word, else as encoded
// words in UTF-8 (RFC 2047), joined by single spaces where a line may be
// folded. No word is over 75 characters and none splits a character. CR, LF
// and NUL become spaces, invalid UTF-8 becomes U+FFFD.
func EncodeWords(s string) string {
	plain, run := !strings.Contains(s, "=?"), 0
	for i := 0; i < len(s) && plain; i++ {
		run++
		if isWSP(s[i]) {
			run = 0
		}
		plain = (s[i] >= ' ' || s[i] == '\t') && s[i] < 0x7f && run < 900 // else it could not be folded
	}
	if plain {
		return s
	}
	return encodeWords(s, 0)
}

// encodeWords encodes all of s, as Q or B, whichever is shorter. The first word
// leaves room for col octets before it on its line of 76 (RFC 2047 §2).
func encodeWords(s string, col int) string {
	s = cleanLine(s)
	q := 0
	for i := 0; i < len(s); i++ {
		if q++; !isQSafe(s[i]) && s[i] != ' ' {
			q += 2
		}
	}
	if q <= (len(s)+2)/3*4 {
		return encodeAs(s, "=?utf-8?q?", 0, col)
	}
	return encodeAs(s, "=?utf-8?b?", 3, col)
}

// isQSafe: the characters Q may leave alone everywhere, a phrase included (RFC
// 2047 §5 rule 3).
func isQSafe(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("!*+-/", c) >= 0
}

// encodeAs writes words; group is 3 for base64, 0 for Q.
func encodeAs(s, open string, group, col int) string {
	const frame = len("=?utf-8?q?") + len("?=")
	room := maxWord + 1 - frame - col
	if col == 0 || room < 16 {
		room = maxWord - frame
	}
	var out strings.Builder
	for len(s) > 0 {
		n, used := 0, 0
		for n < len(s) {
			_, size := utf8.DecodeRuneInString(s[n:])
			cost := 0
			if group == 0 {
				cost = qCost(s[n : n+size])
			}
			if group == 0 && used+cost > room || group > 0 && (n+size+2)/3*4 > room {
				break
			}
			n, used = n+size, used+cost
		}
		if out.Len() > 0 {
			out.WriteByte(' ')
		}
		out.WriteString(open)
		if group == 0 {
			writeQ(&out, s[:n])
		} else {
			writeBase64(&out, s[:n])
		}
		out.WriteString("?=")
		s = s[n:]
		room = maxWord - frame
	}
	return out.String()
}

func qCost(s string) int {
	if len(s) == 1 && (s == " " || isQSafe(s[0])) {
		return 1
	}
	return 3 * len(s)
}

const hexDigits = "0123456789ABCDEF"

func writeQ(out *strings.Builder, s string) {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == ' ':
			out.WriteByte('_')
		case isQSafe(c):
			out.WriteByte(c)
		default:
			out.WriteByte('=')
			out.WriteByte(hexDigits[c>>4])
			out.WriteByte(hexDigits[c&15])
		}
	}
}

func writeBase64(out *strings.Builder, s string) {
	for ; len(s) > 0; s = s[min(3, len(s)):] {
		var v uint32
		for i := range 3 {
			v <<= 8
			if i < len(s) {
				v |= uint32(s[i])
			}
		}
		for i := range 4 {
			if i > len(s) {
				out.WriteByte('=')
			} else {
				out.WriteByte(base64Alphabet[v>>18&63])
			}
			v <<= 6
		}
	}
}
