package dns

import (
	"encoding/hex"
	"errors"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

var (
	errChain   = errors.New("CNAME loop, or a chain over 10 links")
	errRecords = errors.New("over 1024 records in the answer")
)

// view is what one message says about one question.
type view struct {
	kind   Kind   // 0: rrs; NXDomain; NoData
	name   string // end of the chain of aliases
	next   string // ask for this name: the chain left the message unfinished
	links  int    // aliases followed
	ttl    time.Duration
	rrs    []mdns.RR
	detail string
}

// interpret reads a NOERROR or NXDOMAIN message that answers (name, qtype). It
// follows at most links aliases.
func interpret(m *mdns.Msg, name string, qtype uint16, links int) (view, error) {
	v := view{name: name, ttl: 1<<63 - 1}
	if len(m.Answer) > maxRecords {
		return v, errRecords
	}
	aliases := map[string]*mdns.CNAME{}
	at := toWire(name)
	for _, rr := range m.Answer {
		if c, ok := rr.(*mdns.CNAME); ok && c.Hdr.Class == mdns.ClassINET {
			aliases[strings.ToLower(c.Hdr.Name)] = c
		}
	}
	for {
		if v.rrs = ofType(m.Answer, at, qtype); len(v.rrs) > 0 {
			for _, rr := range v.rrs {
				v.ttl = min(v.ttl, ttlOf(rr))
			}
			return v, nil
		}
		c := aliases[at]
		if c == nil || qtype == mdns.TypeCNAME {
			break
		}
		if v.links++; v.links > links {
			return v, errChain
		}
		v.ttl = min(v.ttl, ttlOf(c))
		at = strings.ToLower(c.Target)
		v.name = fromWire(c.Target)
	}
	soa := soaOf(m.Ns)
	switch {
	case m.Rcode == mdns.RcodeNameError: // of the last name in the chain (RFC 6604 §3)
		v.kind = NXDomain
	case soa == nil && v.links > 0:
		v.next = v.name
		return v, nil
	default:
		v.kind = NoData
	}
	v.detail = extendedError(m)
	if soa == nil { // not to be cached (RFC 2308 §5)
		v.ttl = 0
		return v, nil
	}
	// The lesser of the SOA's TTL and its minimum (RFC 2308 §5).
	v.ttl = min(v.ttl, ttlOf(soa), seconds(soa.Minttl))
	return v, nil
}

func ofType(rrs []mdns.RR, owner string, qtype uint16) (out []mdns.RR) {
	for _, rr := range rrs {
		h := rr.Header()
		if h.Rrtype == qtype && h.Class == mdns.ClassINET && strings.EqualFold(h.Name, owner) {
			out = append(out, rr)
		}
	}
	return out
}

func soaOf(rrs []mdns.RR) *mdns.SOA {
	for _, rr := range rrs {
		if soa, ok := rr.(*mdns.SOA); ok {
			return soa
		}
	}
	return nil
}

func ttlOf(rr mdns.RR) time.Duration { return seconds(rr.Header().Ttl) }

// seconds converts a TTL; one with the top bit set counts as 0 (RFC 2181 §8).
func seconds(ttl uint32) time.Duration {
	if ttl > 1<<31-1 {
		return 0
	}
	return time.Duration(ttl) * time.Second
}

// refers reports whether a server passed us on to others instead of answering:
// it does not recurse.
func refers(m *mdns.Msg) bool {
	return m.Rcode == mdns.RcodeSuccess && !m.RecursionAvailable && !m.Authoritative &&
		len(m.Answer) == 0 && len(m.Ns) > 0 && soaOf(m.Ns) == nil
}

// extendedError is the server's own reason (RFC 8914), empty if it gave none.
func extendedError(m *mdns.Msg) string {
	opt := m.IsEdns0()
	if opt == nil {
		return ""
	}
	for _, o := range opt.Option {
		if ede, ok := o.(*mdns.EDNS0_EDE); ok {
			s := mdns.ExtendedErrorCodeToString[ede.InfoCode]
			if s == "" {
				s = "extended error"
			}
			if ede.ExtraText != "" {
				s += ": " + printable(ede.ExtraText, 100)
			}
			return s
		}
	}
	return ""
}

// printable makes foreign text fit for logs: ASCII, no controls, at most n octets.
func printable(s string, n int) string {
	var b strings.Builder
	for i := 0; i < len(s) && b.Len() < n; i++ {
		if c := s[i]; ' ' <= c && c <= '~' {
			b.WriteByte(c)
		} else {
			b.WriteByte('?')
		}
	}
	return b.String()
}

// toWire turns a canonical name into the escaped, rooted form that the wire
// codec uses, octet for octet as that codec would write it.
func toWire(name string) string {
	if name == "." {
		return name
	}
	for i := 0; i < len(name); i++ {
		if c := name[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_') {
			return escape(name)
		}
	}
	return name + "."
}

func escape(name string) string {
	var b strings.Builder
	for i := 0; i < len(name); i++ {
		switch c := name[i]; {
		case strings.IndexByte(` '@;()"\`, c) >= 0:
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			b.WriteByte('\\')
			b.WriteByte('0' + c/100)
			b.WriteByte('0' + c/10%10)
			b.WriteByte('0' + c%10)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('.')
	return b.String()
}

// fromWire is a name from an answer as we return it. Octets that have no place
// in a host name keep their escapes, so the text is always printable ASCII.
func fromWire(name string) string {
	if name == "." {
		return name
	}
	return strings.ToLower(strings.TrimSuffix(name, "."))
}

func fromHex(s string) ([]byte, bool) {
	b, err := hex.DecodeString(s)
	return b, err == nil && len(b) > 0
}
