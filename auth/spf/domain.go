package spf

import (
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// lookupProfile turns U-labels into A-labels before any lookup (RFC 8616 §4).
var lookupProfile = idna.New(
	idna.MapForLookup(),
	idna.BidiRule(),
	idna.Transitional(false),
	idna.StrictDomainName(false),
)

// identityDomain is the form in which a domain is checked: A-labels, lower case,
// no final dot. It fails for what is no domain name of two or more labels
// (RFC 7208 §4.3).
func identityDomain(s string) (string, bool) {
	s = strings.TrimSuffix(s, ".")
	if len(s) > 4*maxName || !utf8.ValidString(s) {
		return "", false
	}
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			a, err := lookupProfile.ToASCII(s)
			if err != nil {
				return "", false
			}
			s = a
			break
		}
	}
	if !queryable(s) || !strings.Contains(s, ".") {
		return "", false
	}
	for i := 0; i < len(s); i++ { // address literals and what can only be an attack
		if s[i] <= ' ' || s[i] > '~' || strings.IndexByte(`[]@"\()<>,;:`, s[i]) >= 0 {
			return "", false
		}
	}
	return strings.ToLower(s), true
}

// queryable reports whether a DNS question can be made of a name without final
// dot: no empty label, none over 63 octets, 253 in all, ASCII.
func queryable(name string) bool {
	if name == "" || len(name) > maxName {
		return false
	}
	label := 0
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case c == '.':
			if label == 0 {
				return false
			}
			label = 0
		case c >= utf8.RuneSelf:
			return false
		default:
			if label++; label > 63 {
				return false
			}
		}
	}
	return label > 0
}

// within reports whether name is domain or lies below it; case does not matter.
func within(name, domain string) bool {
	if len(name) > len(domain) {
		cut := len(name) - len(domain)
		return name[cut-1] == '.' && strings.EqualFold(name[cut:], domain)
	}
	return strings.EqualFold(name, domain)
}

// splitSender cuts an address at its last @. A missing local part is
// "postmaster" (RFC 7208 §4.3).
func splitSender(addr string) (local, domain string) {
	i := strings.LastIndexByte(addr, '@')
	if i >= 0 {
		local = addr[:i]
	}
	if local == "" {
		local = "postmaster"
	}
	return local, addr[i+1:]
}

// dotted is the value of the macro i: dotted decimals, or 32 hexadecimal digits
// with dots between them (RFC 7208 §7.3).
func dotted(ip netip.Addr) string {
	if ip.Is4() {
		return ip.String()
	}
	const hex = "0123456789ABCDEF"
	a := ip.As16()
	b := make([]byte, 0, 63)
	for i, c := range a {
		if i > 0 {
			b = append(b, '.')
		}
		b = append(b, hex[c>>4], '.', hex[c&15])
	}
	return string(b)
}
