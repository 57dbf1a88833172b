package dns

import (
	"errors"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Limits of names in text form without the trailing dot (RFC 1035 §2.3.4).
const (
	maxName  = 253
	maxLabel = 63
)

var (
	errNameEmpty   = errors.New("empty name")
	errLabelEmpty  = errors.New("empty label")
	errLabelLong   = errors.New("label over 63 octets")
	errNameLong    = errors.New("name over 253 octets")
	errNameUnicode = errors.New("not valid UTF-8")
)

// lookupProfile maps U-labels to A-labels (RFC 5891 §5). Underscores must pass:
// _dmarc and _25._tcp are names, not hosts.
var lookupProfile = idna.New(
	idna.MapForLookup(),
	idna.BidiRule(),
	idna.Transitional(false),
	idna.StrictDomainName(false),
)

// CanonicalName returns the one form in which this package asks for, caches and
// returns names: lower case, A-labels, no trailing dot; "." for the root. All
// octets but the dot are taken literally: a backslash escapes nothing. The error
// says what is wrong with a name that cannot be asked for.
func CanonicalName(name string) (string, error) {
	if name == "." {
		return ".", nil
	}
	name = strings.TrimSuffix(name, ".")
	if name == "" {
		return "", errNameEmpty
	}
	if len(name) > 4*maxName { // not worth converting
		return "", errNameLong
	}
	ascii, upper := scanName(name)
	switch {
	case !ascii:
		if !utf8.ValidString(name) {
			return "", errNameUnicode
		}
		a, err := lookupProfile.ToASCII(name)
		if err != nil {
			return "", err
		}
		if name = strings.TrimSuffix(strings.ToLower(a), "."); name == "" {
			return "", errNameEmpty
		}
	case upper:
		name = strings.ToLower(name)
	}
	if len(name) > maxName {
		return "", errNameLong
	}
	for rest, more := name, true; more; {
		var label string
		label, rest, more = strings.Cut(rest, ".")
		if label == "" {
			return "", errLabelEmpty
		}
		if len(label) > maxLabel {
			return "", errLabelLong
		}
	}
	return name, nil
}

func scanName(s string) (ascii, upper bool) {
	ascii = true
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			ascii = false
		} else if 'A' <= s[i] && s[i] <= 'Z' {
			upper = true
		}
	}
	return ascii, upper
}

// ReverseName is the name under which ip's PTR records live, below in-addr.arpa
// (RFC 1035 §3.5) or ip6.arpa (RFC 3596 §2.5). A 4-in-6 address counts as IPv4.
// Empty for the zero Addr.
func ReverseName(ip netip.Addr) string {
	ip = ip.Unmap()
	var b strings.Builder
	switch {
	case ip.Is4():
		a := ip.As4()
		for i := 3; i >= 0; i-- {
			b.WriteString(strconv.Itoa(int(a[i])))
			b.WriteByte('.')
		}
		b.WriteString("in-addr.arpa")
	case ip.Is6():
		const hex = "0123456789abcdef"
		a := ip.As16()
		for i := 15; i >= 0; i-- {
			b.WriteByte(hex[a[i]&15])
			b.WriteByte('.')
			b.WriteByte(hex[a[i]>>4])
			b.WriteByte('.')
		}
		b.WriteString("ip6.arpa")
	}
	return b.String()
}

// TLSAName is the name of the TLSA records for a service (RFC 6698 §3), for
// example TLSAName("mx.example.org", "tcp", 25) is "_25._tcp.mx.example.org".
func TLSAName(host, network string, port uint16) string {
	return "_" + strconv.Itoa(int(port)) + "._" + network + "." + host
}
