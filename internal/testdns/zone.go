package testdns

import (
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"

	mdns "github.com/miekg/dns"
)

// Zone maps owner names to records. A name needs no final dot and is taken
// literally, octet for octet; an IP address stands for its name below
// in-addr.arpa or ip6.arpa; "*.example.org" is a wildcard.
type Zone map[string]Records

// Records are the records of one name. A name with zero Records exists and has
// none: NODATA.
type Records struct {
	// A and AAAA are addresses; either list takes both families.
	A, AAAA []string
	// MX are "preference host"; host "." is the null MX.
	MX []string
	// TXT are text records; one over 255 octets is cut into several strings.
	TXT []string
	// TXTStrings are text records string by string.
	TXTStrings [][]string
	// PTR and NS are names.
	PTR, NS []string
	// CNAME is the name this one stands for.
	CNAME string
	// TLSA are "usage selector matching hexdata".
	TLSA []string
	// SRV are "priority weight port target".
	SRV []string
	// RR are records of any type in zone file syntax without the owner:
	// "CAA 0 issue \"ca.example\"".
	RR []string
	// TTL is in seconds. Zero means 300; negative means 0.
	TTL int
	// Insecure names never carry the AD bit.
	Insecure bool
	// Fail are failures by record type; "*" is for all types.
	Fail map[string]Failure
}

// build makes the records of one name. Owner names are filled in by the answer.
func (r Records) build() (map[uint16][]mdns.RR, error) {
	m := map[uint16][]mdns.RR{}
	ttl := uint32(300)
	if r.TTL != 0 {
		ttl = uint32(max(r.TTL, 0))
	}
	add := func(t uint16, rr mdns.RR) {
		*rr.Header() = mdns.RR_Header{Rrtype: t, Class: mdns.ClassINET, Ttl: ttl}
		m[t] = append(m[t], rr)
	}
	for _, s := range append(append([]string(nil), r.A...), r.AAAA...) {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return nil, err
		}
		if ip.Is4() {
			add(mdns.TypeA, &mdns.A{A: net.IP(ip.AsSlice())})
		} else {
			add(mdns.TypeAAAA, &mdns.AAAA{AAAA: net.IP(ip.AsSlice())})
		}
	}
	for _, s := range r.MX {
		rr := new(mdns.MX)
		if err := scan(s, &rr.Preference, &rr.Mx); err != nil {
			return nil, err
		}
		add(mdns.TypeMX, rr)
	}
	for _, s := range r.TXT {
		add(mdns.TypeTXT, &mdns.TXT{Txt: escapeTXT(split255(s))})
	}
	for _, parts := range r.TXTStrings {
		add(mdns.TypeTXT, &mdns.TXT{Txt: escapeTXT(parts)})
	}
	for _, s := range r.PTR {
		add(mdns.TypePTR, &mdns.PTR{Ptr: wireName(s)})
	}
	for _, s := range r.NS {
		add(mdns.TypeNS, &mdns.NS{Ns: wireName(s)})
	}
	if r.CNAME != "" {
		add(mdns.TypeCNAME, &mdns.CNAME{Target: wireName(r.CNAME)})
	}
	for _, s := range r.TLSA {
		rr := new(mdns.TLSA)
		if err := scan(s, &rr.Usage, &rr.Selector, &rr.MatchingType, &rr.Certificate); err != nil {
			return nil, err
		}
		if _, err := hex.DecodeString(rr.Certificate); err != nil {
			return nil, fmt.Errorf("%q: %w", s, err)
		}
		add(mdns.TypeTLSA, rr)
	}
	for _, s := range r.SRV {
		rr := new(mdns.SRV)
		if err := scan(s, &rr.Priority, &rr.Weight, &rr.Port, &rr.Target); err != nil {
			return nil, err
		}
		add(mdns.TypeSRV, rr)
	}
	for _, s := range r.RR {
		rr, err := mdns.NewRR(". " + s)
		if err != nil {
			return nil, err
		}
		add(rr.Header().Rrtype, rr)
	}
	return m, nil
}

// scan reads numbers, then one last word: a name, or data that is none.
func scan(s string, dst ...any) error {
	words := strings.Fields(s)
	if len(words) != len(dst) {
		return fmt.Errorf("%q: want %d words", s, len(dst))
	}
	for i, d := range dst {
		word := words[i]
		text, isText := d.(*string)
		if !isText {
			if _, err := fmt.Sscan(word, d); err != nil {
				return fmt.Errorf("%q: %w", s, err)
			}
			continue
		}
		*text = word
		if _, isNumber := dst[0].(*uint16); isNumber { // MX and SRV end in a name
			*text = wireName(word)
		}
	}
	return nil
}

func split255(s string) []string {
	var parts []string
	for len(s) > 255 {
		parts, s = append(parts, s[:255]), s[255:]
	}
	return append(parts, s)
}

// escapeTXT protects backslashes from the codec, which takes text as in a zone
// file.
func escapeTXT(parts []string) []string {
	out := make([]string, len(parts))
	for i, p := range parts {
		out[i] = strings.ReplaceAll(p, `\`, `\\`)
	}
	return out
}

// plainTXT is the inverse of escapeTXT, concatenated.
func plainTXT(parts []string) string {
	return strings.ReplaceAll(strings.Join(parts, ""), `\\`, `\`)
}

// ownerName is the form of names inside a database: lower case without the
// final dot, "" for the root, reverse names for IP addresses.
func ownerName(s string) string {
	if ip, err := netip.ParseAddr(s); err == nil {
		rev, _ := mdns.ReverseAddr(ip.Unmap().String())
		s = rev
	}
	return strings.ToLower(strings.TrimSuffix(s, "."))
}

// wireName escapes a literal name for the codec.
func wireName(s string) string {
	s = strings.TrimSuffix(s, ".")
	if s == "" {
		return "."
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; strings.IndexByte(` '@;()"\`, c) >= 0 || c < ' ' || c > '~' {
			fmt.Fprintf(&b, `\%03d`, c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String() + "."
}

// plainName undoes the codec's escapes: the inverse of wireName.
func plainName(s string) string {
	if s == "." {
		return "."
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		var n int
		if i+3 < len(s) {
			if _, err := fmt.Sscanf(s[i+1:i+4], "%03d", &n); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		i++
		b.WriteByte(s[i])
	}
	return b.String()
}
