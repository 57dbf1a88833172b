package testdns

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"

	mdns "github.com/miekg/dns"
)

// Resolver answers lookups from its DB, with the methods and error conventions
// of net.Resolver. Its errors also have a method NXDOMAIN() bool.
type Resolver struct{ *DB }

// NewResolver makes a Resolver. It panics when a record does not parse.
func NewResolver(z Zone) *Resolver {
	db, err := newDB(z)
	if err != nil {
		panic(err)
	}
	return &Resolver{db}
}

// lookupError is a *net.DNSError (errors.As) that tells NXDOMAIN from NODATA.
type lookupError struct {
	dns net.DNSError
	nx  bool
	err error
}

func (e *lookupError) Error() string { return "testdns: " + e.dns.Error() }
func (e *lookupError) NXDOMAIN() bool {
	return e.nx
}
func (e *lookupError) Timeout() bool   { return e.dns.IsTimeout }
func (e *lookupError) Temporary() bool { return e.dns.IsTemporary }
func (e *lookupError) Unwrap() []error {
	if e.err != nil {
		return []error{&e.dns, e.err}
	}
	return []error{&e.dns}
}

// ask is one lookup: records, or an error.
func (r *Resolver) ask(ctx context.Context, name string, qtype uint16) (answer, error) {
	e := &lookupError{dns: net.DNSError{Name: name, Server: "testdns"}}
	if err := ctx.Err(); err != nil {
		return answer{}, e.cancelled(err)
	}
	if !valid(name) {
		e.dns.Err, e.dns.IsNotFound = "no such host", true
		return answer{}, e
	}
	a := r.DB.ask(name, qtype)
	if err := wait(ctx, a.delay); err != nil {
		return answer{}, e.cancelled(err)
	}
	switch a.failure {
	case Timeout, WrongID, WrongQuestion:
		e.dns.Err, e.dns.IsTimeout, e.dns.IsTemporary = "i/o timeout", true, true
		return answer{}, e
	case ServFail, Refused, Garbage, Referral:
		e.dns.Err, e.dns.IsTemporary = "server misbehaving", true
		return answer{}, e
	}
	if len(a.rrs) == 0 {
		e.dns.Err, e.dns.IsNotFound = "no such host", true
		e.nx = a.rcode == mdns.RcodeNameError
		return answer{}, e
	}
	return a, nil
}

func (e *lookupError) cancelled(err error) error {
	e.err, e.dns.Err, e.dns.IsTemporary = err, err.Error(), true
	e.dns.IsTimeout = errors.Is(err, context.DeadlineExceeded)
	return e
}

// valid reports whether a name can be asked for at all.
func valid(name string) bool {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
	}
	return true
}

// LookupTXT returns text records, each with its strings concatenated.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a, err := r.ask(ctx, name, mdns.TypeTXT)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, rr := range a.rrs {
		out = append(out, plainTXT(rr.(*mdns.TXT).Txt))
	}
	return out, nil
}

// LookupMX returns mail exchangers by preference.
func (r *Resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a, err := r.ask(ctx, name, mdns.TypeMX)
	if err != nil {
		return nil, err
	}
	var out []*net.MX
	for _, rr := range a.rrs {
		mx := rr.(*mdns.MX)
		out = append(out, &net.MX{Host: plainName(mx.Mx), Pref: mx.Preference})
	}
	slices.SortStableFunc(out, func(x, y *net.MX) int { return int(x.Pref) - int(y.Pref) })
	return out, nil
}

// LookupNetIP returns addresses for network "ip", "ip4" or "ip6".
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{ip}, nil
	}
	var out []netip.Addr
	var errs []error
	if network != "ip6" {
		a, err := r.ask(ctx, host, mdns.TypeA)
		errs = append(errs, err)
		for _, rr := range a.rrs {
			ip, _ := netip.AddrFromSlice(rr.(*mdns.A).A.To4())
			out = append(out, ip)
		}
	}
	if network != "ip4" {
		a, err := r.ask(ctx, host, mdns.TypeAAAA)
		errs = append(errs, err)
		for _, rr := range a.rrs {
			ip, _ := netip.AddrFromSlice(rr.(*mdns.AAAA).AAAA)
			out = append(out, ip)
		}
	}
	if len(out) > 0 {
		return out, nil
	}
	for _, err := range errs { // a temporary failure outweighs absence
		var d *net.DNSError
		if errors.As(err, &d) && d.IsTemporary {
			return nil, err
		}
	}
	return nil, errs[0]
}

// LookupHost returns addresses of both families as text.
func (r *Resolver) LookupHost(ctx context.Context, host string) ([]string, error) {
	ips, err := r.LookupNetIP(ctx, "ip", host)
	var out []string
	for _, ip := range ips {
		out = append(out, ip.String())
	}
	return out, err
}

// LookupAddr returns the names of an IP address, with a final dot.
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	a, err := r.ask(ctx, ownerName(addr), mdns.TypePTR)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, rr := range a.rrs {
		out = append(out, plainName(rr.(*mdns.PTR).Ptr))
	}
	return out, nil
}

// LookupCNAME returns the canonical name of a host that has an address.
func (r *Resolver) LookupCNAME(ctx context.Context, host string) (string, error) {
	a, err := r.ask(ctx, host, mdns.TypeA)
	if err != nil {
		if a, err = r.ask(ctx, host, mdns.TypeAAAA); err != nil {
			return "", err
		}
	}
	return a.canonical + ".", nil
}
