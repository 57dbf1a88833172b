package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
)

var zone = testdns.Zone{
	"example.org": {
		A:  []string{"192.0.2.1", "2001:db8::1"},
		MX: []string{"20 mx2.example.org", "10 mx1.example.org.", "10 MX0.example.org"},
		TXTStrings: [][]string{
			{"v=spf1 ip4:192.0.2.1", " -a", "ll"},
			{`quote " backslash \ \065 octets ` + "\x00\xff"},
			{""},
		},
		NS: []string{"ns.example.org"},
	},
	"null.example.org":           {MX: []string{"0 ."}},
	"v4.example.org":             {A: []string{"192.0.2.4"}},
	"v6.example.org":             {AAAA: []string{"2001:db8::6"}},
	"_25._tcp.mx.example.org":    {TLSA: []string{"3 1 1 00FFaa", "2 0 2 01"}},
	"_imaps._tcp.example.org":    {SRV: []string{"10 5 993 imap.example.org", "0 1 993 a.example.org"}},
	"192.0.2.1":                  {PTR: []string{"Host.example.org", "odd name.example.org"}},
	"2001:db8::1":                {PTR: []string{"host6.example.org"}},
	"alias.example.org":          {CNAME: "alias2.example.org", TTL: 10},
	"alias2.example.org":         {CNAME: "v4.example.org"},
	"dangling.example.org":       {CNAME: "nowhere.example.org"},
	"loop.example.org":           {CNAME: "pool.example.org"},
	"pool.example.org":           {CNAME: "loop.example.org"},
	"xn--bcher-kva.example.org":  {A: []string{"192.0.2.8"}},
	"odd name.x@y.example.org":   {TXT: []string{"odd"}},
	"insecure.example.org":       {A: []string{"192.0.2.7"}, Insecure: true},
	"toinsecure.example.org":     {CNAME: "insecure.example.org"},
	"many.example.org":           {A: addresses(900)},
	"toomany.example.org":        {A: addresses(1500)},
	"sub.nonterminal.example.tv": {A: []string{"192.0.2.9"}},
}

func addresses(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("10.0.%d.%d", i/250, i%250))
	}
	return out
}

// memory gives a resolver on an in-memory server.
func memory(t *testing.T) (*dns.Resolver, *testdns.Server) {
	srv := testdns.InMemory(zone)
	t.Cleanup(func() { srv.Close() })
	return &dns.Resolver{Servers: []string{srv.Addr()}, Dial: srv.Dial, Timeout: time.Second, Attempts: 1}, srv
}

func TestRecords(t *testing.T) {
	ctx := t.Context()
	srv := testdns.New(t, zone)
	r := &dns.Resolver{Servers: []string{srv.Addr()}} // real sockets

	mx, err := r.MX(ctx, "EXAMPLE.org.")
	require.NoError(t, err)
	assert.Equal(t, []dns.MX{{10, "mx1.example.org"}, {10, "mx0.example.org"}, {20, "mx2.example.org"}}, mx.Records)
	assert.Equal(t, "example.org", mx.Name)
	assert.False(t, mx.Authentic)
	assert.InDelta(t, 300, mx.TTL.Seconds(), 1)

	mx, err = r.MX(ctx, "null.example.org")
	require.NoError(t, err)
	assert.Equal(t, []dns.MX{{0, "."}}, mx.Records)

	txt, err := r.TXT(ctx, "example.org")
	require.NoError(t, err)
	assert.Equal(t, []string{"v=spf1 ip4:192.0.2.1 -all", `quote " backslash \ \065 octets ` + "\x00\xff", ""}, txt.Records)

	ip, err := r.IP(ctx, "example.org")
	require.NoError(t, err)
	assert.Equal(t, []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")}, ip.Records)
	for name, want := range map[string]string{"v4.example.org": "192.0.2.4", "v6.example.org": "2001:db8::6", "bücher.example.org": "192.0.2.8", "BÜCHER.example.org": "192.0.2.8"} {
		ip, err = r.IP(ctx, name)
		require.NoError(t, err, name)
		assert.Equal(t, []netip.Addr{netip.MustParseAddr(want)}, ip.Records, name)
	}

	tlsa, err := r.TLSA(ctx, dns.TLSAName("mx.example.org", "tcp", 25))
	require.NoError(t, err)
	assert.Equal(t, []dns.TLSA{{3, 1, 1, []byte{0, 255, 0xaa}}, {2, 0, 2, []byte{1}}}, tlsa.Records)

	srvs, err := r.SRV(ctx, "_imaps._tcp.example.org")
	require.NoError(t, err)
	assert.Equal(t, []dns.SRV{{0, 1, 993, "a.example.org"}, {10, 5, 993, "imap.example.org"}}, srvs.Records)

	ptr, err := r.PTR(ctx, netip.MustParseAddr("::ffff:192.0.2.1"))
	require.NoError(t, err)
	assert.Equal(t, []string{"host.example.org", `odd\ name.example.org`}, ptr.Records)
	ptr, err = r.PTR(ctx, netip.MustParseAddr("2001:db8::1"))
	require.NoError(t, err)
	assert.Equal(t, []string{"host6.example.org"}, ptr.Records)

	ns, err := r.NS(ctx, "example.org")
	require.NoError(t, err)
	assert.Equal(t, []string{"ns.example.org"}, ns.Records)

	txt, err = r.TXT(ctx, "odd name.x@y.example.org")
	require.NoError(t, err)
	assert.Equal(t, []string{"odd"}, txt.Records)
	assert.Equal(t, `odd name.x@y.example.org`, txt.Name)
}

func TestAliases(t *testing.T) {
	ctx := t.Context()
	r, srv := memory(t)
	for _, f := range []testdns.Failure{testdns.None, testdns.HalfChain} {
		r.Flush()
		srv.Fail("alias.example.org", "A", f)
		srv.Fail("alias2.example.org", "A", f)
		a, err := r.A(ctx, "alias.example.org")
		require.NoError(t, err)
		assert.Equal(t, "v4.example.org", a.Name)
		assert.Equal(t, "192.0.2.4", a.Records[0].String())
		assert.InDelta(t, 10, a.TTL.Seconds(), 1, "the shortest TTL of the chain")
	}
	assert.Equal(t, 1, srv.Count("v4.example.org", "A"), "a broken chain is followed message by message")

	c, err := r.CNAME(ctx, "alias.example.org")
	require.NoError(t, err)
	assert.Equal(t, []string{"alias2.example.org"}, c.Records)
	_, err = r.CNAME(ctx, "v4.example.org")
	assert.True(t, dns.IsNoData(err))

	_, err = r.A(ctx, "dangling.example.org")
	assert.True(t, dns.IsNotExist(err), "%v", err)
	_, err = r.CNAME(ctx, "dangling.example.org")
	assert.NoError(t, err, "NXDOMAIN at the end of a chain does not deny its start")

	srv.Fail("loop.example.org", "A", testdns.HalfChain)
	srv.Fail("pool.example.org", "A", testdns.HalfChain)
	_, err = r.A(ctx, "loop.example.org")
	var e *dns.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, dns.BadAnswer, e.Kind)
	assert.Equal(t, "loop.example.org", e.Name)
	assert.LessOrEqual(t, srv.Count("", ""), 40)
}

func TestChainLength(t *testing.T) {
	z := testdns.Zone{"end.test": {A: []string{"192.0.2.1"}}}
	for i := range 12 {
		next := fmt.Sprintf("c%d.test", i+1)
		if i == 11 {
			next = "end.test"
		}
		z[fmt.Sprintf("c%d.test", i)] = testdns.Records{CNAME: next}
	}
	srv := testdns.InMemory(z)
	defer srv.Close()
	r := &dns.Resolver{Servers: []string{srv.Addr()}, Dial: srv.Dial}
	_, err := r.A(t.Context(), "c2.test") // 10 links
	assert.NoError(t, err)
	_, err = r.A(t.Context(), "c1.test") // 11 links
	var e *dns.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, dns.BadAnswer, e.Kind)
}

func TestNegative(t *testing.T) {
	ctx := t.Context()
	r, srv := memory(t)
	cases := []struct {
		name string
		kind dns.Kind
	}{
		{"nowhere.example.org", dns.NXDomain},
		{"v4.example.org", dns.NoData},
		{"nonterminal.example.tv", dns.NoData},
		{"host.invalid", dns.NXDomain},
		{"secret.onion", dns.NXDomain},
		{"localhost", dns.NoData},
		{"", dns.BadName},
		{"..", dns.BadName},
		{"a..example.org", dns.BadName},
		{strings.Repeat("a", 64) + ".org", dns.BadName},
		{strings.Repeat("abcdefghi.", 26) + "org", dns.BadName},
		{"\xff.example.org", dns.BadName},
		{strings.Repeat("ü", 5000), dns.BadName},
	}
	for _, c := range cases {
		_, err := r.MX(ctx, c.name)
		var e *dns.Error
		require.ErrorAs(t, err, &e, c.name)
		assert.Equal(t, c.kind, e.Kind, c.name)
		assert.Equal(t, "MX", e.Type)
		assert.Equal(t, c.kind == dns.NXDomain, dns.IsNotExist(err), c.name)
		assert.Equal(t, c.kind == dns.NXDomain, e.NXDOMAIN())
		assert.Equal(t, c.kind == dns.NoData, dns.IsNoData(err), c.name)
		assert.True(t, dns.IsNotFound(err), c.name)
		assert.False(t, dns.IsTemporary(err), c.name)
		assert.Less(t, len(err.Error()), 600)

		var d *net.DNSError
		require.ErrorAs(t, fmt.Errorf("wrapped: %w", err), &d)
		assert.True(t, d.IsNotFound)
		assert.False(t, d.IsTemporary)
	}
	assert.Equal(t, 3, srv.Count("", ""), "names that cannot be are not asked for")
}

func TestFailures(t *testing.T) {
	cases := []struct {
		f       testdns.Failure
		kind    dns.Kind // 0: success
		timeout bool
	}{
		{testdns.None, 0, false},
		{testdns.ServFail, dns.Temporary, false},
		{testdns.Refused, dns.Temporary, false},
		{testdns.NXDomain, dns.NXDomain, false},
		{testdns.NoData, dns.NoData, false},
		{testdns.Timeout, dns.Temporary, true},
		{testdns.Truncate, 0, false},
		{testdns.Oversize, 0, false},
		{testdns.Spoof, 0, false},
		{testdns.WrongID, dns.Temporary, true},
		{testdns.WrongQuestion, dns.Temporary, true},
		{testdns.Garbage, dns.Temporary, false},
		{testdns.NoEDNS, 0, false},
		{testdns.Referral, dns.Temporary, false},
	}
	for _, c := range cases {
		for _, name := range []string{"v4.example.org", "many.example.org"} {
			t.Run(fmt.Sprint(c.f, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r, srv := memory(t)
					defer srv.Close()
					srv.Fail(name, "A", c.f)
					a, err := r.A(t.Context(), name)
					if c.kind == 0 {
						require.NoError(t, err)
						assert.Equal(t, map[string]int{"v4.example.org": 1, "many.example.org": 900}[name], len(a.Records))
						return
					}
					var e *dns.Error
					require.ErrorAs(t, err, &e)
					assert.Equal(t, c.kind, e.Kind, "%v", err)
					assert.Equal(t, c.timeout, e.Timeout())
					assert.Equal(t, c.kind == dns.Temporary, dns.IsTemporary(err))
					var d *net.DNSError
					require.ErrorAs(t, err, &d)
					assert.Equal(t, c.timeout, d.IsTimeout)
				})
			})
		}
	}
}

func TestTooManyRecords(t *testing.T) {
	r, _ := memory(t)
	_, err := r.A(t.Context(), "toomany.example.org")
	var e *dns.Error
	require.ErrorAs(t, err, &e)
	assert.Equal(t, dns.BadAnswer, e.Kind)
	assert.True(t, dns.IsTemporary(err))
}

func TestAuthentic(t *testing.T) {
	ctx := t.Context()
	r, srv := memory(t)
	srv.SetAuthentic(true)
	a, err := r.IP(ctx, "example.org")
	require.NoError(t, err)
	assert.True(t, a.Authentic)
	a, err = r.IP(ctx, "insecure.example.org")
	require.NoError(t, err)
	assert.False(t, a.Authentic)
	a, err = r.IP(ctx, "toinsecure.example.org")
	require.NoError(t, err)
	assert.False(t, a.Authentic, "one insecure link is enough")
	c, err := r.CNAME(ctx, "toinsecure.example.org")
	require.NoError(t, err)
	assert.True(t, c.Authentic)

	var e *dns.Error
	_, err = r.TLSA(ctx, "_25._tcp.nowhere.example.org")
	require.ErrorAs(t, err, &e)
	assert.True(t, e.Authentic, "proven absence")
	srv.Fail("v4.example.org", "MX", testdns.FlipAD)
	_, err = r.MX(ctx, "v4.example.org")
	require.ErrorAs(t, err, &e)
	assert.False(t, e.Authentic)
}

func TestIPFamilies(t *testing.T) {
	ctx := t.Context()
	r, srv := memory(t)
	srv.SetAuthentic(true)
	srv.Fail("example.org", "AAAA", testdns.ServFail)
	a, err := r.IP(ctx, "example.org")
	require.NoError(t, err)
	assert.Len(t, a.Records, 1)
	assert.True(t, a.Authentic)
	srv.Fail("v4.example.org", "AAAA", testdns.ServFail)
	srv.Fail("v4.example.org", "A", testdns.NoData)
	_, err = r.IP(ctx, "v4.example.org")
	assert.True(t, dns.IsTemporary(err), "%v", err)
	srv.Fail("v6.example.org", "A", testdns.ServFail)
	srv.Fail("v6.example.org", "AAAA", testdns.NoData)
	_, err = r.IP(ctx, "v6.example.org")
	assert.True(t, dns.IsTemporary(err), "%v", err)
	a, err = r.IP(ctx, "a.localhost.")
	require.NoError(t, err)
	assert.Len(t, a.Records, 2)
}

func TestSeveralServers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := testdns.InMemory(zone), testdns.InMemory(zone)
		defer bad.Close()
		defer good.Close()
		bad.Fail("v4.example.org", "", testdns.Timeout)
		bad.Fail("v6.example.org", "", testdns.ServFail)
		r := &dns.Resolver{
			Servers: []string{"192.0.2.66", "[2001:db8::53]:5353"},
			Dial: func(ctx context.Context, network, address string) (net.Conn, error) {
				switch address {
				case "192.0.2.66:53":
					return bad.Dial(ctx, network, address)
				case "[2001:db8::53]:5353":
					return good.Dial(ctx, network, address)
				}
				return nil, errors.New("no such server: " + address)
			},
		}
		start := time.Now()
		_, err := r.A(t.Context(), "v4.example.org")
		require.NoError(t, err)
		assert.Equal(t, 5*time.Second, time.Since(start))
		_, err = r.AAAA(t.Context(), "v6.example.org")
		require.NoError(t, err)
		assert.Equal(t, 0, bad.Count("v6.example.org", ""), "the server that failed comes last")

		bad.SetAuthentic(true)
		ok, err := r.Validates(t.Context())
		require.NoError(t, err)
		assert.False(t, ok, "one does not validate")
		good.SetAuthentic(true)
		ok, err = r.Validates(t.Context())
		require.NoError(t, err)
		assert.True(t, ok)
		bad.Fail(".", "", testdns.Timeout)
		probes := r.Probe(t.Context())
		assert.Error(t, probes[0].Err)
		assert.True(t, probes[1].Validates)
		ok, err = r.Validates(t.Context())
		assert.NoError(t, err)
		assert.True(t, ok)
		good.Fail(".", "", testdns.Refused)
		_, err = r.Validates(t.Context())
		assert.True(t, dns.IsTemporary(err))
	})
}

func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, srv := memory(t)
		defer srv.Close()
		r.Timeout = time.Hour
		srv.Fail("v4.example.org", "A", testdns.Timeout)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		start := time.Now()
		_, err := r.A(ctx, "v4.example.org")
		assert.Equal(t, 3*time.Second, time.Since(start))
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		assert.True(t, dns.IsTemporary(err))
		_, err = r.A(ctx, "example.org")
		assert.ErrorIs(t, err, context.DeadlineExceeded)
		synctest.Wait() // no goroutine of the lookup is left waiting: the bubble would not end
	})
}

func TestShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, srv := memory(t)
		defer srv.Close()
		r.Timeout = time.Minute
		srv.Delay("v4.example.org", 10*time.Second)
		var wg sync.WaitGroup
		var gone, found int
		var mu sync.Mutex
		for i := range 50 {
			wg.Go(func() {
				ctx := t.Context()
				if i < 10 { // the first ones give up
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, time.Second)
					defer cancel()
				} else {
					time.Sleep(time.Millisecond)
				}
				_, err := r.A(ctx, "v4.example.org")
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					gone++
				} else {
					found++
				}
			})
		}
		wg.Wait()
		assert.Equal(t, 10, gone)
		assert.Equal(t, 40, found)
		assert.Equal(t, 1, srv.Count("", ""))

		// When all waiters have gone the query is given up; the next lookup is a new one.
		r.Flush()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := r.A(ctx, "v4.example.org")
		require.Error(t, err)
		_, err = r.A(t.Context(), "v4.example.org")
		require.NoError(t, err)
		assert.Equal(t, 3, srv.Count("", ""))
	})
}

func TestConcurrent(t *testing.T) {
	srv := testdns.New(t, zone)
	r := &dns.Resolver{Servers: []string{srv.Addr()}, CacheSize: 3}
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for j := range 40 {
				switch (i + j) % 4 {
				case 0:
					_, err := r.IP(t.Context(), "example.org")
					assert.NoError(t, err)
				case 1:
					_, err := r.A(t.Context(), "many.example.org") // over TCP
					assert.NoError(t, err)
				case 2:
					_, err := r.MX(t.Context(), "nowhere.example.org")
					assert.True(t, dns.IsNotExist(err), "%v", err)
				case 3:
					r.Flush()
				}
			}
		})
	}
	wg.Wait()
}
