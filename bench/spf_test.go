package bench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	blitiri "blitiri.com.ar/go/spf"

	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
)

// names answers SPF's lookups without a network, as a cache does.
type names struct {
	txt map[string][]string
	ip  map[string][]netip.Addr
}

func absent(name string) error {
	return &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func (n names) LookupTXT(_ context.Context, name string) ([]string, error) {
	if txt, ok := n.txt[strings.TrimSuffix(name, ".")]; ok {
		return txt, nil
	}
	return nil, absent(name)
}

func (n names) LookupMX(_ context.Context, name string) ([]*net.MX, error) {
	return nil, absent(name)
}

func (n names) LookupNetIP(_ context.Context, _, name string) ([]netip.Addr, error) {
	if ips, ok := n.ip[strings.TrimSuffix(name, ".")]; ok {
		return ips, nil
	}
	return nil, absent(name)
}

func (n names) LookupIPAddr(_ context.Context, name string) ([]net.IPAddr, error) {
	ips, ok := n.ip[strings.TrimSuffix(name, ".")]
	if !ok {
		return nil, absent(name)
	}
	out := make([]net.IPAddr, len(ips))
	for i, ip := range ips {
		out[i].IP = ip.AsSlice()
	}
	return out, nil
}

func (n names) LookupAddr(_ context.Context, addr string) ([]string, error) {
	return nil, absent(addr)
}

// tenIncludes is a policy as large senders have it: ten includes, each of a
// dozen networks, of which the last has the client.
func tenIncludes() names {
	n := names{txt: map[string][]string{}}
	top := "v=spf1"
	for i := range 10 {
		top += fmt.Sprintf(" include:_spf%d.example.org", i)
		rec := "v=spf1"
		for j := range 10 {
			rec += fmt.Sprintf(" ip4:198.51.%d.%d/28", i, j*16)
		}
		rec += " ip6:2001:db8:1::/48 ip6:2001:db8:2::/48"
		if i == 9 {
			rec += " ip4:192.0.2.0/24"
		}
		n.txt[fmt.Sprintf("_spf%d.example.org", i)] = []string{"site-verification=1234567890abcdef", rec + " ~all"}
	}
	n.txt["example.org"] = []string{"other text", top + " -all"}
	return n
}

// cached is package dns with its cache, for both.
type cached struct{ *dns.Resolver }

func (c cached) LookupIPAddr(ctx context.Context, name string) ([]net.IPAddr, error) {
	ips, err := c.LookupNetIP(ctx, "ip", name)
	out := make([]net.IPAddr, len(ips))
	for i, ip := range ips {
		out[i].IP = ip.AsSlice()
	}
	return out, err
}

// spfResolver is what both need.
type spfResolver interface {
	spf.Resolver
	blitiri.DNSResolver
}

// BenchmarkSPF evaluates a policy of ten includes whose records are at hand: in
// a map, and in the cache of package dns.
func BenchmarkSPF(b *testing.B) {
	zone := tenIncludes()
	records := testdns.Zone{}
	for name, txt := range zone.txt {
		records[name] = testdns.Records{TXT: txt}
	}
	srv := testdns.InMemory(records)
	defer srv.Close()
	for _, r := range []struct {
		name     string
		resolver spfResolver
	}{
		{"map", zone},
		{"cache", cached{&dns.Resolver{Servers: []string{srv.Addr()}, Dial: srv.Dial}}},
	} {
		b.Run(r.name, func(b *testing.B) { benchmarkSPF(b, r.resolver) })
	}
}

func benchmarkSPF(b *testing.B, resolver spfResolver) {
	ctx := context.Background()
	b.Run("posta", func(b *testing.B) {
		b.ReportAllocs()
		ip := netip.MustParseAddr("192.0.2.7")
		c := &spf.Checker{Resolver: resolver}
		for b.Loop() {
			if res := c.Check(ctx, ip, "mx.example.org", "alice@example.org"); res.Status != spf.Pass {
				b.Fatal(res.Status, res.Err)
			}
		}
	})
	b.Run("blitiri", func(b *testing.B) {
		b.ReportAllocs()
		ip := net.ParseIP("192.0.2.7")
		for b.Loop() {
			res, err := blitiri.CheckHostWithSender(ip, "mx.example.org", "alice@example.org", blitiri.WithResolver(resolver), blitiri.WithContext(ctx))
			if res != blitiri.Pass {
				b.Fatal(res, err)
			}
		}
	})
}
