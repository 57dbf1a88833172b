package wire

import (
	"encoding/base64"
	"errors"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrMailboxName is a mailbox name that is not in the encoding of the session:
// modified UTF-7 (RFC 3501 §5.1.3), or UTF-8 once that is enabled.
var ErrMailboxName = errors.New("wire: mailbox name is not properly encoded")

// DecodeMailbox turns a mailbox name as sent into UTF-8.
func DecodeMailbox(name string, utf8Names bool) (string, error) {
	if utf8Names {
		if !utf8.ValidString(name) {
			return "", ErrMailboxName
		}
		return name, nil
	}
	return DecodeUTF7(name)
}

// utf7 is the base64 of modified UTF-7: "," for "/" and no padding.
var utf7 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+,").
	WithPadding(base64.NoPadding).Strict()

// DecodeUTF7 decodes modified UTF-7. Only the one form that AppendUTF7 gives is
// accepted, so that names survive both ways: no superfluous shifts, no encoded
// printable characters, no bits left over (RFC 9051 appendix A.1).
func DecodeUTF7(s string) (string, error) {
	if strings.IndexByte(s, '&') < 0 && printable(s) {
		return s, nil
	}
	var out []byte
	afterShift := false // a shift directly after another's end is superfluous
	for i := 0; i < len(s); {
		c := s[i]
		if c < ' ' || c > '~' {
			return "", ErrMailboxName
		}
		i++
		if c != '&' {
			out, afterShift = append(out, c), false
			continue
		}
		end := strings.IndexByte(s[i:], '-')
		if end < 0 {
			return "", ErrMailboxName
		}
		code := s[i : i+end]
		i += end + 1
		if code == "" {
			out, afterShift = append(out, '&'), false
			continue
		}
		if afterShift {
			return "", ErrMailboxName
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
	raw, err := utf7.DecodeString(code)
	if err != nil || len(raw)%2 != 0 || strings.ContainsAny(code, "\r\n") {
		return nil, ErrMailboxName
	}
	for i := 0; i < len(raw); i += 2 {
		r := rune(raw[i])<<8 | rune(raw[i+1])
		if utf16.IsSurrogate(r) {
			if i += 2; i >= len(raw) {
				return nil, ErrMailboxName
			}
			low := rune(raw[i])<<8 | rune(raw[i+1])
			if r = utf16.DecodeRune(r, low); r == utf8.RuneError {
				return nil, ErrMailboxName
			}
		}
		if ' ' <= r && r <= '~' {
			return nil, ErrMailboxName
		}
		out = utf8.AppendRune(out, r)
	}
	return out, nil
}

// AppendUTF7 appends valid UTF-8 as modified UTF-7.
func AppendUTF7(b []byte, s string) []byte {
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
		b = utf7.AppendEncode(b, units)
		b = append(b, '-')
	}
	return b
}

// AppendMailbox appends a mailbox name given in UTF-8 as a string of the
// session's encoding.
func AppendMailbox(b []byte, name string, utf8Names bool) []byte {
	if utf8Names || strings.IndexByte(name, '&') < 0 && printable(name) {
		return AppendString(b, name, utf8Names)
	}
	return AppendString(b, string(AppendUTF7(nil, name)), false)
}
