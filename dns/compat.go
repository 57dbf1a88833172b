package dns

import (
	"context"
	"errors"
	"net"
	"net/netip"
)

// LookupMX is MX with the signature and conventions of net.Resolver: host names
// end in a dot.
func (r *Resolver) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	a, err := r.MX(ctx, name)
	if err != nil {
		return nil, err
	}
	out := make([]*net.MX, len(a.Records))
	for i, mx := range a.Records {
		out[i] = &net.MX{Host: rooted(mx.Host), Pref: mx.Preference}
	}
	return out, nil
}

// LookupTXT is TXT with the signature of net.Resolver.
func (r *Resolver) LookupTXT(ctx context.Context, name string) ([]string, error) {
	a, err := r.TXT(ctx, name)
	return a.Records, err
}

// LookupNetIP looks up the addresses of host for network "ip", "ip4" or "ip6",
// as net.Resolver does. An IP literal is its own answer. The hosts file is not
// read; localhost is the loopback address (RFC 6761 §6.3).
func (r *Resolver) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		if !familyFits(network, ip) {
			return nil, &Error{Kind: NoData, Name: host, Type: "address", Detail: "literal of the other family"}
		}
		return []netip.Addr{ip}, nil
	}
	var a Answer[netip.Addr]
	var err error
	switch network {
	case "ip":
		a, err = r.IP(ctx, host)
	case "ip4":
		a, err = r.A(ctx, host)
	case "ip6":
		a, err = r.AAAA(ctx, host)
	default:
		return nil, net.UnknownNetworkError(network)
	}
	return a.Records, err
}

func familyFits(network string, ip netip.Addr) bool {
	switch network {
	case "ip4":
		return ip.Unmap().Is4()
	case "ip6":
		return ip.Is6() && !ip.Is4In6()
	}
	return true
}

// LookupHost is LookupNetIP for both families with addresses as text.
func (r *Resolver) LookupHost(ctx context.Context, host string) ([]string, error) {
	ips, err := r.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(ips))
	for i, ip := range ips {
		out[i] = ip.String()
	}
	return out, nil
}

// LookupAddr is PTR with the signature of net.Resolver: addr is an IP address
// as text, the names end in a dot.
func (r *Resolver) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	ip, err := netip.ParseAddr(addr)
	if err != nil {
		return nil, &Error{Kind: BadName, Name: addr, Type: "PTR", Err: errors.New("no IP address")}
	}
	a, err := r.PTR(ctx, ip.WithZone(""))
	if err != nil {
		return nil, err
	}
	for i, n := range a.Records {
		a.Records[i] = rooted(n)
	}
	return a.Records, nil
}

// LookupCNAME returns the canonical name of host, with a final dot: the end of
// its chain of aliases, or host itself. As with net.Resolver, host must have an
// address.
func (r *Resolver) LookupCNAME(ctx context.Context, host string) (string, error) {
	a, err := r.IP(ctx, host)
	if err != nil {
		return "", err
	}
	return rooted(a.Name), nil
}

func rooted(name string) string {
	if name == "." {
		return name
	}
	return name + "."
}
