package dkim

import (
	"strings"

	"golang.org/x/net/idna"
)

// canonicalDomain returns a domain name in lower case with A-labels (RFC 8616
// §5) and without final dot; ok is false where it is no name that a key could
// be published under.
func canonicalDomain(s string, labels int) (name string, ok bool) {
	name = strings.ToLower(strings.TrimSuffix(s, "."))
	for i := 0; i < len(name); i++ {
		if name[i] >= 0x80 {
			a, err := idna.Lookup.ToASCII(name)
			if err != nil {
				return "", false
			}
			name = a
			break
		}
	}
	if name == "" || len(name) > 253 {
		return "", false
	}
	n := 0
	for label := range strings.SplitSeq(name, ".") {
		if len(label) == 0 || len(label) > 63 {
			return "", false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return "", false
			}
		}
		n++
	}
	return name, n >= labels
}

// within reports whether name is domain or below it. Both are canonical.
func within(name, domain string) bool {
	if !strings.HasSuffix(name, domain) {
		return false
	}
	rest := len(name) - len(domain)
	return rest == 0 || name[rest-1] == '.'
}
