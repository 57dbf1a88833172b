package smtp

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// parseDomain parses a domain or address literal at the front of s.
func parseDomain(s string) (domain, rest string, err error) {
	n := strings.IndexAny(s, ">,: ")
	if strings.HasPrefix(s, "[") {
		if n = strings.IndexByte(s, ']'); n < 0 {
			return "", s, pathError("no closing bracket in address literal")
		}
		n++
	}
	if n < 0 {
		n = len(s)
	}
	domain, err = canonicalDomain(s[:n])
	return domain, s[n:], err
}

// canonicalDomain checks a domain or address literal and brings it into its
// one form: lower case and A-labels (RFC 5890), or the shortest form of an
// address.
func canonicalDomain(s string) (string, error) {
	if strings.HasPrefix(s, "[") {
		return canonicalLiteral(s)
	}
	if !isASCII(s) {
		if len(s) > 4*maxDomain || !utf8.ValidString(s) {
			return "", pathError("domain too long or not UTF-8")
		}
		a, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", pathError("domain is not a valid international name")
		}
		s = a
	}
	if !isHostname(s) {
		return "", pathError("bad domain")
	}
	return strings.ToLower(s), nil
}

// isHostname checks RFC 5321 §4.1.2 Domain and the lengths of RFC 1035 §2.3.4.
func isHostname(s string) bool {
	if s == "" || len(s) > maxDomain {
		return false
	}
	start := 0
	for i := 0; i <= len(s); i++ {
		if i < len(s) && s[i] != '.' {
			if !isAlnum(s[i]) && s[i] != '-' {
				return false
			}
			continue
		}
		label := s[start:i]
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
		start = i + 1
	}
	return true
}

// canonicalLiteral checks an address literal (RFC 5321 §4.1.3). IPv6 is the
// only registered tag.
func canonicalLiteral(s string) (string, error) {
	inner := strings.TrimSuffix(s[1:], "]")
	if len(inner)+2 != len(s) || len(inner) > 64 {
		return "", pathError("bad address literal")
	}
	tag, v6 := "", false
	if len(inner) > 5 && strings.EqualFold(inner[:5], "IPv6:") {
		tag, v6, inner = "IPv6:", true, inner[5:]
	}
	a, err := netip.ParseAddr(inner)
	if err != nil || a.Is6() != v6 || a.Zone() != "" {
		return "", pathError("bad address literal")
	}
	return "[" + tag + a.String() + "]", nil
}
