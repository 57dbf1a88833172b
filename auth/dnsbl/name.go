package dnsbl

import (
	"net/netip"
	"strconv"
	"strings"
)

// Limits of names in octets, without final dot (RFC 1035 §2.3.4).
const (
	maxName  = 253
	maxLabel = 63
	maxZone  = 150 // leaves room for an IPv6 address
)

// family is what a question is about.
type family int

const (
	v4 family = iota
	v6
	names
	families
)

// has says whether a list has entries of a kind.
func (l *List) has(f family) bool {
	switch f {
	case v4:
		return l.Kind == Addresses && !l.NoIPv4
	case v6:
		return l.Kind == Addresses && !l.NoIPv6
	}
	return l.Kind == Domains
}

// reversed is an address as lists have it: octets (RFC 5782 §2.1) or nibbles
// (§2.4) from the last to the first.
func reversed(a netip.Addr) string {
	b := make([]byte, 0, 64)
	if a.Is4() {
		octets := a.As4()
		for i := range octets {
			b = append(strconv.AppendUint(b, uint64(octets[len(octets)-1-i]), 10), '.')
		}
		return string(b[:len(b)-1])
	}
	const hex = "0123456789abcdef"
	octets := a.As16()
	for i := range octets {
		c := octets[len(octets)-1-i]
		b = append(b, hex[c&15], '.', hex[c>>4], '.')
	}
	return string(b[:len(b)-1])
}

// wellFormed reports whether s is a name of letters, digits, hyphens and
// underscores that fits into a question.
func wellFormed(s string) bool {
	if len(s) > maxName {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		if label == "" || len(label) > maxLabel {
			return false
		}
		for i := 0; i < len(label); i++ {
			c := label[i]
			if !('a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return false
			}
		}
	}
	return true
}
