package smtp

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// param is one esmtp-param (RFC 5321 §4.1.2).
type param struct {
	name     string // upper case
	value    string
	hasValue bool
}

// Replies that refuse parameters.
func badParam(text string) *Error { return &Error{501, EnhancedCode{5, 5, 4}, text} }

func unknownParam() *Error {
	return &Error{555, EnhancedCode{5, 5, 4}, "Parameter not recognized or not offered"}
}

// nextParam takes one parameter off s, which is empty or follows a path. ok is
// false at the end.
func nextParam(s string) (p param, rest string, ok bool, err *Error) {
	trimmed := strings.TrimLeft(s, " ")
	if trimmed == "" {
		return param{}, "", false, nil // RFC 5321 §4.1.1: tolerate trailing space
	}
	if trimmed == s {
		return param{}, s, false, badParam("Text after the address")
	}
	word, rest, more := strings.Cut(trimmed, " ")
	if more {
		rest = " " + rest
	}
	name, value, hasValue := strings.Cut(word, "=")
	if !isKeyword(name) || (hasValue && !isParamValue(value)) {
		return param{}, rest, false, badParam("Malformed parameter")
	}
	return param{strings.ToUpper(name), value, hasValue}, rest, true, nil
}

// eachParam takes the parameters that follow a path one by one. None may be
// there twice (RFC 5321 §4.1.1.11).
func eachParam(rest string, take func(p param) *Error) *Error {
	var few [8]string // enough for what there is
	seen := few[:0]
	for {
		p, after, ok, err := nextParam(rest)
		if err != nil || !ok {
			return err
		}
		rest = after
		if slices.Contains(seen, p.name) {
			return badParam("Parameter given twice")
		}
		seen = append(seen, p.name)
		if err := take(p); err != nil {
			return err
		}
	}
}

func isKeyword(s string) bool {
	for i := range len(s) {
		if !isAlnum(s[i]) && (i == 0 || s[i] != '-') {
			return false
		}
	}
	return s != ""
}

// isParamValue: esmtp-value, with the UTF-8 of RFC 6531 §3.3.
func isParamValue(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == '=' || s[i] == 0x7f {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

// parseSize parses the value of SIZE: up to 20 digits (RFC 1870 §3). Numbers
// beyond 63 bits are refused.
func parseSize(s string) (int64, *Error) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, badParam("Malformed SIZE")
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || len(s) > 20 {
		return 0, badParam("SIZE out of range")
	}
	return n, nil
}

// decodeXtext undoes xtext (RFC 3461 §4).
func decodeXtext(s string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == '+' {
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 0 || lo < 0 {
				return "", false
			}
			c = byte(hi<<4 | lo)
			i += 2
		}
		b.WriteByte(c)
	}
	return b.String(), true
}

// unhex: RFC 3461 §4 knows upper case digits only.
func unhex(c byte) int { return strings.IndexByte("0123456789ABCDEF", c) }

// encodeXtext writes xtext.
func encodeXtext(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c >= 0x7f || c == '+' || c == '=' {
			b.Write([]byte{'+', hex[c>>4], hex[c&15]})
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}
