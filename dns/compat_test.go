package dns_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
)

func TestCompatible(t *testing.T) {
	type lookups interface {
		LookupTXT(context.Context, string) ([]string, error)
		LookupMX(context.Context, string) ([]*net.MX, error)
		LookupNetIP(context.Context, string, string) ([]netip.Addr, error)
		LookupAddr(context.Context, string) ([]string, error)
		LookupHost(context.Context, string) ([]string, error)
		LookupCNAME(context.Context, string) (string, error)
	}
	ctx := t.Context()
	mem, srv := memory(t)
	// The standard library's resolver on the same server must say the same.
	std := &net.Resolver{PreferGo: true, Dial: srv.Dial}
	for _, r := range []lookups{std, mem, testdns.NewResolver(zone)} {
		t.Run(fmt.Sprintf("%T", r), func(t *testing.T) {
			txt, err := r.LookupTXT(ctx, "example.org.")
			require.NoError(t, err)
			assert.Contains(t, txt, "v=spf1 ip4:192.0.2.1 -all")
			mx, err := r.LookupMX(ctx, "null.example.org.")
			require.NoError(t, err)
			assert.Equal(t, []*net.MX{{Host: ".", Pref: 0}}, mx)
			mx, err = r.LookupMX(ctx, "example.org.")
			require.NoError(t, err)
			require.Len(t, mx, 3)
			assert.Equal(t, &net.MX{Host: "mx2.example.org.", Pref: 20}, mx[2])
			ips, err := r.LookupNetIP(ctx, "ip6", "example.org.")
			require.NoError(t, err)
			assert.Equal(t, []netip.Addr{netip.MustParseAddr("2001:db8::1")}, ips)
			hosts, err := r.LookupHost(ctx, "example.org.")
			require.NoError(t, err)
			assert.ElementsMatch(t, []string{"192.0.2.1", "2001:db8::1"}, hosts)
			ips, err = r.LookupNetIP(ctx, "ip", "192.0.2.77")
			require.NoError(t, err)
			assert.Equal(t, "192.0.2.77", ips[0].Unmap().String())
			names, err := r.LookupAddr(ctx, "2001:db8::1")
			require.NoError(t, err)
			assert.Equal(t, []string{"host6.example.org."}, names)
			cname, err := r.LookupCNAME(ctx, "alias2.example.org.") // of longer chains net.Resolver may name the middle
			require.NoError(t, err)
			assert.Equal(t, "v4.example.org.", cname)
			for _, name := range []string{"nowhere.example.org.", "null.example.org."} {
				_, err = r.LookupNetIP(ctx, "ip4", name)
				assert.True(t, dns.IsNotFound(err), "%v", err)
				assert.False(t, dns.IsTemporary(err))
			}
		})
	}
	_, err := mem.LookupNetIP(ctx, "ip4", "2001:db8::1")
	assert.True(t, dns.IsNoData(err))
	_, err = mem.LookupNetIP(ctx, "tcp", "example.org")
	assert.ErrorAs(t, err, new(net.UnknownNetworkError))
	_, err = mem.LookupAddr(ctx, "no address")
	assert.True(t, dns.IsNotFound(err))
}

func BenchmarkCached(b *testing.B) {
	srv := testdns.InMemory(zone)
	defer srv.Close()
	r := &dns.Resolver{Servers: []string{srv.Addr()}, Dial: srv.Dial}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.MX(ctx, "example.org"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkUncached(b *testing.B) {
	srv, err := testdns.Listen("127.0.0.1:0", zone)
	if err != nil {
		b.Fatal(err)
	}
	defer srv.Close()
	r := &dns.Resolver{Servers: []string{srv.Addr()}, CacheSize: -1}
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.MX(ctx, "example.org"); err != nil {
			b.Fatal(err)
		}
	}
}
