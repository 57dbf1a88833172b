package message

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/encoding"
	"golang.org/x/text/encoding/charmap"
	"golang.org/x/text/encoding/htmlindex"
	"golang.org/x/text/encoding/simplifiedchinese"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/encoding/unicode/utf32"
)

// charset is a character set this package reads. The zero value is UTF-8 (and
// its subset ASCII), which needs no table.
type charset struct{ table encoding.Encoding }

// lookupCharset finds a character set by the names mail uses (RFC 2978); ok is
// false for an unknown one, UTF-7 among them.
func lookupCharset(name string) (c charset, ok bool) {
	name = strings.Trim(name, " \t\"'")
	switch {
	case equalFold(name, "utf-8"), equalFold(name, "us-ascii"), name == "", equalFold(name, "utf8"), equalFold(name, "ascii"):
		return charset{}, true
	case len(name) > 40:
		return charset{}, false
	}
	switch lowerASCII(name) {
	case "ansi_x3.4-1968", "iso646-us", "646":
		return charset{}, true
	case "utf-16": // RFC 2781 §4.3: big-endian without a mark
		return charset{unicode.UTF16(unicode.BigEndian, unicode.UseBOM)}, true
	case "utf-16be":
		return charset{unicode.UTF16(unicode.BigEndian, unicode.IgnoreBOM)}, true
	case "utf-32":
		return charset{utf32.UTF32(utf32.BigEndian, utf32.UseBOM)}, true
	case "utf-32be":
		return charset{utf32.UTF32(utf32.BigEndian, utf32.IgnoreBOM)}, true
	case "utf-32le":
		return charset{utf32.UTF32(utf32.LittleEndian, utf32.IgnoreBOM)}, true
	case "hz-gb-2312":
		return charset{simplifiedchinese.HZGB2312}, true
	case "ibm437", "cp437", "437":
		return charset{charmap.CodePage437}, true
	case "ibm850", "cp850", "850":
		return charset{charmap.CodePage850}, true
	case "ibm852", "cp852", "852":
		return charset{charmap.CodePage852}, true
	case "ibm858", "cp858", "ibm00858":
		return charset{charmap.CodePage858}, true
	case "cp932", "ms932":
		name = "shift_jis"
	case "cp936", "ms936":
		name = "gbk"
	case "cp949", "ms949":
		name = "euc-kr"
	case "cp950", "ms950":
		name = "big5"
	case "iso-8859-8-i", "iso-8859-8-e": // RFC 1556: only the direction differs
		name = "iso-8859-8"
	}
	e, err := htmlindex.Get(name)
	if err != nil || e == encoding.Replacement {
		return charset{}, false
	}
	return charset{e}, true
}

// text converts b; what is not valid becomes U+FFFD, and CR, LF and NUL become
// spaces: the result is meant for one line.
func (c charset) text(b []byte) string {
	if c.table != nil {
		// The decoders of x/text replace, they do not fail on content.
		if out, err := c.table.NewDecoder().Bytes(b); err == nil {
			b = out
		}
	}
	return cleanLine(string(b))
}

// cleanLine makes s valid UTF-8 without CR, LF and NUL.
func cleanLine(s string) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	if strings.IndexByte(s, 0) < 0 && strings.IndexByte(s, '\r') < 0 && strings.IndexByte(s, '\n') < 0 {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r == 0 || r == '\r' || r == '\n' {
			return ' '
		}
		return r
	}, s)
}
