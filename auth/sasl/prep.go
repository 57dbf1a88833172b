package sasl

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// Prep prepares a name or password by SASLprep (RFC 4013): it maps spaces to
// U+0020 and invisible characters to nothing, normalises to NFKC, and refuses
// with ErrPrepare what is prohibited there, mixed directions and what is not
// UTF-8. Code points newer than Unicode 3.2 are accepted, as RFC 3454 §7
// allows for queries, also where a result is stored: passwords may hold
// today's characters.
func Prep(s string) (string, error) {
	ascii := true
	for i := range len(s) {
		if s[i] < 0x20 || s[i] == 0x7f {
			return "", fmt.Errorf("%w: control character", ErrPrepare)
		}
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	if ascii {
		return s, nil
	}
	if !utf8.ValidString(s) {
		return "", fmt.Errorf("%w: not UTF-8", ErrPrepare)
	}
	mapped := strings.Map(func(r rune) rune {
		switch {
		case unicode.Is(otherSpace, r): // RFC 4013 §2.1
			return ' '
		case unicode.Is(mappedToNothing, r):
			return -1
		}
		return r
	}, s)
	out := norm.NFKC.String(mapped) // RFC 4013 §2.2
	for _, r := range out {
		if unicode.Is(prohibited, r) || r&0xfffe == 0xfffe {
			return "", fmt.Errorf("%w: %U", ErrPrepare, r)
		}
	}
	if !directionOK(out) {
		return "", fmt.Errorf("%w: mixed directions", ErrPrepare)
	}
	return out, nil
}

// directionOK applies RFC 3454 §6: a string with a right-to-left character
// has no left-to-right one, and begins and ends with a right-to-left one.
func directionOK(s string) bool {
	var left, right, first, last bool
	for i, r := range s {
		p, _ := bidi.LookupRune(r)
		c := p.Class()
		last = c == bidi.R || c == bidi.AL
		if i == 0 {
			first = last
		}
		right = right || last
		left = left || c == bidi.L
	}
	return !right || (!left && first && last)
}

// otherSpace is RFC 3454 table C.1.2.
var otherSpace = &unicode.RangeTable{R16: []unicode.Range16{
	{0x00a0, 0x00a0, 1}, {0x1680, 0x1680, 1}, {0x2000, 0x200b, 1}, {0x202f, 0x202f, 1},
	{0x205f, 0x205f, 1}, {0x3000, 0x3000, 1},
}, LatinOffset: 1}

// mappedToNothing is RFC 3454 table B.1.
var mappedToNothing = &unicode.RangeTable{R16: []unicode.Range16{
	{0x00ad, 0x00ad, 1}, {0x034f, 0x034f, 1}, {0x1806, 0x1806, 1}, {0x180b, 0x180d, 1},
	{0x200b, 0x200d, 1}, {0x2060, 0x2060, 1}, {0xfe00, 0xfe0f, 1}, {0xfeff, 0xfeff, 1},
}, LatinOffset: 1}

// prohibited is the union of RFC 3454 tables C.1.2, C.2.1, C.2.2 and C.3 to
// C.9 (RFC 4013 §2.3); the non-characters that end each plane are tested by
// their bits, surrogates are not UTF-8.
var prohibited = &unicode.RangeTable{
	R16: []unicode.Range16{
		{0x0000, 0x001f, 1}, {0x007f, 0x00a0, 1}, {0x0340, 0x0341, 1}, {0x06dd, 0x06dd, 1},
		{0x070f, 0x070f, 1}, {0x1680, 0x1680, 1}, {0x180e, 0x180e, 1}, {0x2000, 0x200f, 1},
		{0x2028, 0x202f, 1}, {0x205f, 0x2063, 1}, {0x206a, 0x206f, 1}, {0x2ff0, 0x2ffb, 1},
		{0x3000, 0x3000, 1}, {0xd800, 0xf8ff, 1}, {0xfdd0, 0xfdef, 1}, {0xfeff, 0xfeff, 1},
		{0xfff9, 0xffff, 1},
	},
	R32: []unicode.Range32{
		{0x1d173, 0x1d17a, 1}, {0xe0001, 0xe0001, 1}, {0xe0020, 0xe007f, 1},
		{0xf0000, 0xffffd, 1}, {0x100000, 0x10fffd, 1},
	},
	LatinOffset: 2,
}
