// Package mutf7 is modified UTF-7, in which names of mailboxes are written in
// IMAP (RFC 3501 §5.1.3, RFC 9051 appendix A.1) and in Maildir++ folders.
package mutf7

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrEncoding is a name that is not proper modified UTF-7.
var ErrEncoding = errors.New("mutf7: not properly encoded")

// base is the base64 of modified UTF-7: "," for "/" and no padding.
var base = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
	WithPadding(base64.NoPadding).Strict()

// Decode decodes modified UTF-7. Only the one form that Encode gives is
// accepted, so that names survive both ways: no superfluous shifts, no encoded
// printable characters, no bits left over (RFC 9051 appendix A.1).
func Decode(s string) (string, error) {
	if strings.IndexByte(s, '&') < 0 && printable(s) {
		return s, nil
	}
	var out []byte
	afterShift := false // a shift directly after another's end is superfluous
	for i := 0; i < len(s); {
		c := s[i]
		if c < ' ' || c > '~' {
			return "", ErrEncoding
		}
		i++
		if c != '&' {
			out, afterShift = append(out, c), false
			continue
		}
		end := strings.IndexByte(s[i:], '-')
		if end < 0 {
			return "", ErrEncoding
		}
		code := s[i : i+end]
		i += end + 1
		if code == "" {
			out, afterShift = append(out, '&'), false
			continue
		}
		if afterShift {
			return "", ErrEncoding
		}
		var err error
		if out, err = appendShifted(out, code); err != nil {
			return "", err
		}
		afterShift = true
	}
	return string(out), nil
}

func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// appendShifted decodes what stands between "&" and "-".
func appendShifted(out []byte, code string) ([]byte, error) {
	raw, err := base.DecodeString(code)
	if err != nil || len(raw)%2 != 0 || strings.ContainsAny(code, "\r\n") {
		return nil, ErrEncoding
	}
	for i := 0; i < len(raw); i += 2 {
		r := rune(raw[i])<<8 | rune(raw[i+1])
		if utf16.IsSurrogate(r) {
			if i += 2; i >= len(raw) {
				return nil, ErrEncoding
			}
			low := rune(raw[i])<<8 | rune(raw[i+1])
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return nil, ErrEncoding
			}
		}
		if ' ' <= r && r <= '~' {
			return nil, ErrEncoding
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

// Encode encodes valid UTF-8.
func Encode(s string) string {
	if strings.IndexByte(s, '&') < 0 && printable(s) {
		return s
	}
	var b []byte
	for i := 0; i < len(s); {
		if c := s[i]; ' ' <= c && c <= '~' {
			b = append(b, c)
			if c == '&' {
				b = append(b, '-')
			}
			i++
			continue
		}
		var units []byte
		for i < len(s) && (s[i] < ' ' || s[i] > '~') {
			r, n := utf8.DecodeRuneInString(s[i:])
			i += n
			if r1, r2 := utf16.EncodeRune(r); r1 != utf8.RuneError {
				units = append(units, byte(r1>>8), byte(r1), byte(r2>>8), byte(r2))
			} else {
				units = append(units, byte(r>>8), byte(r))
			}
		}
		b = append(b, '&')
		b = base.AppendEncode(b, units)
		b = append(b, '-')
	}
	return string(b)
}
