package ldap

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// prepare gives a name one spelling, but for the case of letters: directories
// normalise what they compare (RFC 4518 §2.3) and take any number of spaces for
// one, or at the ends for none (§2.6.1). False: it is nobody's name here.
func prepare(user string) (name string, ok bool) {
	if len(user) > maxName || !utf8.ValidString(user) {
		return "", false
	}
	name = strings.Join(strings.Fields(norm.NFKC.String(user)), " ")
	return name, name != "" && !strings.ContainsFunc(name, unfit)
}

// unfit: what a directory passes over (RFC 4518 §2.2) or refuses (§2.4), which would
// give a user names without number, and letters whose lower case is another
// user's ASCII.
func unfit(r rune) bool {
	switch {
	case r < utf8.RuneSelf:
		return r < ' ' || r == 0x7f
	case unicode.ToLower(r) < utf8.RuneSelf, r == utf8.RuneError, r == 0x1806, r == 0xfffc:
		return true
	}
	return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point, unicode.Noncharacter_Code_Point)
}
