package dns

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	mdns "github.com/miekg/dns"
)

// Result is what is known about an answer beside its records.
type Result struct {
	// Name owns the records: the name asked for, or where its CNAMEs led.
	// Canonical form, as CanonicalName returns it.
	Name string
	// Authentic is the AD bit of every message that made up the answer: the
	// resolver vouches by DNSSEC for the whole chain. See the package
	// documentation for when to believe it.
	Authentic bool
	// TTL is how long the answer may still be used; of several records (and
	// CNAMEs on the way) the shortest.
	TTL time.Duration
}

// Answer is a Result with its records, at least one when the error is nil.
// The caller owns Records. With an error that says NXDomain or NoData, Result
// is still filled in.
type Answer[T any] struct {
	Result
	Records []T
}

// MX is a mail exchanger (RFC 5321 §5.1). Host is in canonical form; "." is the
// null MX (RFC 7505).
type MX struct {
	Preference uint16
	Host       string
}

// TLSA is a TLSA record (RFC 6698 §2.1). Data is the association data.
type TLSA struct {
	Usage, Selector, MatchingType uint8
	Data                          []byte
}

// SRV is a service location (RFC 2782). Target "." means: not offered here.
type SRV struct {
	Priority, Weight, Port uint16
	Target                 string
}

// MX looks up mail exchangers, sorted by preference; among equals the order is
// the server's (RFC 5321 §5.1 asks the sender to shuffle them).
func (r *Resolver) MX(ctx context.Context, name string) (Answer[MX], error) {
	a, err := lookup(ctx, r, name, mdns.TypeMX, func(rr *mdns.MX) (MX, bool) {
		return MX{Preference: rr.Preference, Host: fromWire(rr.Mx)}, true
	})
	slices.SortStableFunc(a.Records, func(x, y MX) int { return cmp.Compare(x.Preference, y.Preference) })
	return a, err
}

// TXT looks up text records, each with its strings concatenated without
// anything between them (RFC 7208 §3.3, RFC 6376 §3.6.2.2). The octets are as
// published: nothing says that they are printable or UTF-8.
func (r *Resolver) TXT(ctx context.Context, name string) (Answer[string], error) {
	return lookup(ctx, r, name, mdns.TypeTXT, func(rr *mdns.TXT) (string, bool) {
		return joinTXT(rr.Txt), true
	})
}

// A looks up IPv4 addresses.
func (r *Resolver) A(ctx context.Context, name string) (Answer[netip.Addr], error) {
	return lookup(ctx, r, name, mdns.TypeA, func(rr *mdns.A) (netip.Addr, bool) {
		ip, ok := netip.AddrFromSlice(rr.A)
		return ip.Unmap(), ok
	})
}

// AAAA looks up IPv6 addresses. A 4-in-6 address is returned as published.
func (r *Resolver) AAAA(ctx context.Context, name string) (Answer[netip.Addr], error) {
	return lookup(ctx, r, name, mdns.TypeAAAA, func(rr *mdns.AAAA) (netip.Addr, bool) {
		return netip.AddrFromSlice(rr.AAAA)
	})
}

// IP looks up the addresses of both families at once, IPv4 first. Addresses of
// one family are enough for success even if the other lookup fails; Result then
// speaks of the addresses returned. Without any address a temporary failure of
// either lookup is the error.
func (r *Resolver) IP(ctx context.Context, name string) (Answer[netip.Addr], error) {
	type reply struct {
		a   Answer[netip.Addr]
		err error
	}
	six := make(chan reply, 1)
	go func() {
		a, err := r.AAAA(ctx, name)
		six <- reply{a, err}
	}()
	a4, err4 := r.A(ctx, name)
	v6 := <-six
	switch {
	case err4 == nil && v6.err == nil:
		a4.Records = append(a4.Records, v6.a.Records...)
		a4.Authentic = a4.Authentic && v6.a.Authentic
		a4.TTL = min(a4.TTL, v6.a.TTL)
		return a4, nil
	case err4 == nil:
		return a4, nil
	case v6.err == nil:
		return v6.a, nil
	case IsTemporary(v6.err) && !IsTemporary(err4):
		return v6.a, v6.err
	}
	return a4, err4
}

// PTR looks up the names of an address (RFC 1035 §3.5). They are claims of
// whoever holds the address block until a forward lookup confirms them.
func (r *Resolver) PTR(ctx context.Context, ip netip.Addr) (Answer[string], error) {
	name := ReverseName(ip)
	if name == "" {
		return Answer[string]{}, &Error{Kind: BadName, Name: ip.String(), Type: "PTR", Err: errors.New("no IP address")}
	}
	return lookup(ctx, r, name, mdns.TypePTR, func(rr *mdns.PTR) (string, bool) {
		return fromWire(rr.Ptr), true
	})
}

// TLSA looks up certificate associations at a name made by TLSAName. Records
// whose data is not hexadecimal text of at least one octet do not occur.
func (r *Resolver) TLSA(ctx context.Context, name string) (Answer[TLSA], error) {
	return lookup(ctx, r, name, mdns.TypeTLSA, func(rr *mdns.TLSA) (TLSA, bool) {
		data, ok := fromHex(rr.Certificate)
		return TLSA{Usage: rr.Usage, Selector: rr.Selector, MatchingType: rr.MatchingType, Data: data}, ok
	})
}

// SRV looks up service locations at a full name such as
// "_imaps._tcp.example.org", sorted by priority, then as the server sent them.
func (r *Resolver) SRV(ctx context.Context, name string) (Answer[SRV], error) {
	a, err := lookup(ctx, r, name, mdns.TypeSRV, func(rr *mdns.SRV) (SRV, bool) {
		return SRV{Priority: rr.Priority, Weight: rr.Weight, Port: rr.Port, Target: fromWire(rr.Target)}, true
	})
	slices.SortStableFunc(a.Records, func(x, y SRV) int { return cmp.Compare(x.Priority, y.Priority) })
	return a, err
}

// NS looks up the name servers of a zone.
func (r *Resolver) NS(ctx context.Context, name string) (Answer[string], error) {
	return lookup(ctx, r, name, mdns.TypeNS, func(rr *mdns.NS) (string, bool) {
		return fromWire(rr.Ns), true
	})
}

// CNAME looks up the alias at exactly this name, without following it: NoData
// for a name that is no alias. It is how DANE asks whether an alias itself is
// secure (RFC 7672 §2.1.3).
func (r *Resolver) CNAME(ctx context.Context, name string) (Answer[string], error) {
	return lookup(ctx, r, name, mdns.TypeCNAME, func(rr *mdns.CNAME) (string, bool) {
		return fromWire(rr.Target), true
	})
}

// lookup asks and converts. Records of another shape than T's are left out.
func lookup[R mdns.RR, T any](ctx context.Context, r *Resolver, name string, qtype uint16, conv func(R) (T, bool)) (Answer[T], error) {
	e, err := r.resolve(ctx, name, qtype)
	if e == nil {
		return Answer[T]{}, err
	}
	a := Answer[T]{Result: Result{Name: e.name, Authentic: e.authentic, TTL: max(0, time.Until(e.expires))}}
	if err != nil {
		return a, err
	}
	a.Records = make([]T, 0, len(e.rrs))
	for _, rr := range e.rrs {
		if rr, ok := rr.(R); ok {
			if v, ok := conv(rr); ok {
				a.Records = append(a.Records, v)
			}
		}
	}
	if len(a.Records) == 0 {
		return Answer[T]{}, &Error{Kind: BadAnswer, Name: name, Type: typeName(qtype), Detail: "no record could be decoded"}
	}
	return a, nil
}

// joinTXT concatenates the strings of one record and undoes the escapes that
// the wire decoder put in.
func joinTXT(parts []string) string {
	var b strings.Builder
	for _, p := range parts {
		for i := 0; i < len(p); i++ {
			c := p[i]
			if c != '\\' || i+1 == len(p) {
				b.WriteByte(c)
				continue
			}
			if i+3 < len(p) && isDigit(p[i+1]) && isDigit(p[i+2]) && isDigit(p[i+3]) {
				b.WriteByte((p[i+1]-'0')*100 + (p[i+2]-'0')*10 + (p[i+3] - '0'))
				i += 3
				continue
			}
			i++
			b.WriteByte(p[i])
		}
	}
	return b.String()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
