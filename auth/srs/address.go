package srs

import (
	"fmt"
	"strings"
)

// split takes an address apart: a quoted local part (RFC 5321 §4.1.2) loses its
// quotes, since it may become a part of another.
func split(address string) (local, domain string, err error) {
	at := strings.LastIndexByte(address, '@')
	if at <= 0 || at == len(address)-1 || len(address) > maxAddress {
		return "", "", fmt.Errorf("%w: no local part, no domain, or too long", ErrSyntax)
	}
	local, domain = address[:at], address[at+1:]
	if strings.ContainsAny(domain, "=\"<> @") || !printable(address) {
		return "", "", fmt.Errorf("%w: domain or octets", ErrSyntax)
	}
	if local[0] != '"' {
		if !dotAtom(local) {
			return "", "", fmt.Errorf("%w: local part", ErrSyntax)
		}
		return local, domain, nil
	}
	if local, err = unquote(local); err != nil {
		return "", "", err
	}
	return local, domain, nil
}

// unquote removes the quotes of a quoted string.
func unquote(s string) (string, error) {
	bad := fmt.Errorf("%w: quoted local part", ErrSyntax)
	if len(s) < 2 || s[len(s)-1] != '"' {
		return "", bad
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		switch s[i] {
		case '"':
			return "", bad
		case '\\':
			if i++; i == len(s)-1 {
				return "", bad
			}
		}
		b.WriteByte(s[i])
	}
	if b.Len() == 0 {
		return "", bad
	}
	return b.String(), nil
}

// join makes an address, quoting the local part if it must be.
func join(local, domain string) (string, error) {
	if !dotAtom(local) {
		local = `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(local) + `"`
	}
	if len(local) > maxLocal || len(local)+1+len(domain) > maxAddress {
		return "", ErrTooLong
	}
	return local + "@" + domain, nil
}

// printable reports whether there are no controls; octets of UTF-8 pass (RFC
// 6531 §3.3).
func printable(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7F {
			return false
		}
	}
	return true
}

// dotAtom reports whether a local part needs no quotes (RFC 5321 §4.1.2).
func dotAtom(s string) bool {
	last := byte('.')
	for i := range len(s) {
		c := s[i]
		switch {
		case c == '.' && last == '.':
			return false
		case c <= ' ', c == 0x7F, strings.IndexByte(`()<>[]:;@\,"`, c) >= 0:
			return false
		}
		last = c
	}
	return last != '.'
}
