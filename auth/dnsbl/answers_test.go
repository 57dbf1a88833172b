package dnsbl_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/dnsbl"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }

var ip = netip.MustParseAddr

func single(s string) netip.Prefix { return netip.MustParsePrefix(s + "/32") }

const (
	v6Entry  = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2."
	v6Listed = "2.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."
	v6Never  = "1.0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0."
)

// check asks one list about 192.0.2.1, on the zone and over DNS messages.
func check(t *testing.T, z testdns.Zone, l dnsbl.List, f func(t *testing.T, r dnsbl.Result)) {
	t.Helper()
	one := func(t *testing.T, resolver dnsbl.Resolver) {
		c := &dnsbl.Checker{Lists: []dnsbl.List{l}, Resolver: resolver}
		results := c.Addr(t.Context(), ip("192.0.2.1"))
		require.Len(t, results, 1)
		f(t, results[0])
	}
	one(t, testdns.NewResolver(z))
	synctest.Test(t, func(t *testing.T) {
		srv := testdns.InMemory(z)
		defer srv.Close()
		one(t, &dns.Resolver{Servers: []string{srv.Addr()}, Dial: srv.Dial})
	})
}

// The error codes that lists use, and those of a list's own.
func TestErrorCodes(t *testing.T) {
	for name, c := range map[string]struct {
		answers []string
		codes   []dnsbl.Code
		listed  bool
		err     error
	}{
		"any":             {[]string{"127.42.0.99"}, nil, true, nil},
		"limit":           {[]string{"127.255.255.255"}, nil, false, dnsbl.ErrList},
		"as code":         {[]string{"127.255.255.254"}, []dnsbl.Code{{Network: single("127.255.255.254")}}, false, dnsbl.ErrList},
		"127.0.0.1":       {[]string{"127.0.0.1"}, nil, false, dnsbl.ErrList},
		"127.0.0.1 named": {[]string{"127.0.0.1"}, []dnsbl.Code{{Network: single("127.0.0.1")}}, true, nil},
		"127.0.0.1 in it": {[]string{"127.0.0.1"}, []dnsbl.Code{{Network: netip.MustParsePrefix("127.0.0.0/24")}}, false, dnsbl.ErrList},
		"own":             {[]string{"127.0.0.255"}, []dnsbl.Code{{Network: netip.MustParsePrefix("127.0.0.0/8")}, {Network: single("127.0.0.255"), Refused: true}}, false, dnsbl.ErrList},
		"own, other":      {[]string{"127.0.9.3"}, []dnsbl.Code{{Network: netip.MustParsePrefix("127.0.0.0/8")}, {Network: single("127.0.0.255"), Refused: true}}, true, nil},
		"128/8":           {[]string{"128.0.0.1", "126.255.255.255", "0.0.0.0"}, nil, false, dnsbl.ErrAnswer},
	} {
		t.Run(name, func(t *testing.T) {
			check(t, testdns.Zone{"1.2.0.192.bl.test": a(c.answers...)}, dnsbl.List{Zone: "bl.test", Codes: c.codes}, func(t *testing.T, r dnsbl.Result) {
				assert.Equal(t, c.listed, r.Listed)
				assert.ErrorIs(t, r.Err, c.err)
				assert.Equal(t, c.err == nil, r.Err == nil)
				want := "permerror"
				if c.listed {
					want = "pass"
				}
				assert.Equal(t, want, r.DNSWL())
			})
		})
	}
}

// What fails has listed nobody.
func TestFailures(t *testing.T) {
	for name, f := range map[string]testdns.Failure{"servfail": testdns.ServFail, "refused": testdns.Refused, "timeout": testdns.Timeout, "garbage": testdns.Garbage} {
		t.Run(name, func(t *testing.T) {
			z := testdns.Zone{"1.2.0.192.bl.test": {A: []string{"127.0.0.2"}, Fail: map[string]testdns.Failure{"*": f}}}
			check(t, z, dnsbl.List{Zone: "bl.test"}, func(t *testing.T, r dnsbl.Result) {
				assert.ErrorIs(t, r.Err, dnsbl.ErrDNS)
				assert.False(t, r.Listed)
				assert.Zero(t, r.Weight)
				assert.Equal(t, "temperror", r.DNSWL())
			})
		})
	}
	huge := testdns.Records{}
	for i := range 1000 {
		huge.A = append(huge.A, fmt.Sprintf("127.1.%d.%d", i>>8, i&255))
	}
	check(t, testdns.Zone{"1.2.0.192.bl.test": huge}, dnsbl.List{Zone: "bl.test"}, func(t *testing.T, r dnsbl.Result) {
		assert.True(t, r.Listed)
		assert.Len(t, r.Answers, 64)
		assert.Equal(t, 1, r.Weight)
	})
	loop := testdns.Zone{"1.2.0.192.bl.test": {CNAME: "loop.test"}, "loop.test": {CNAME: "1.2.0.192.bl.test"}}
	check(t, loop, dnsbl.List{Zone: "bl.test"}, func(t *testing.T, r dnsbl.Result) { assert.ErrorIs(t, r.Err, dnsbl.ErrDNS) })
}

func TestReason(t *testing.T) {
	for text, want := range map[string]string{
		"listed: see https://bl.test/": "listed: see https://bl.test/",
		"a\r\n250 ok\x00ü":             "a??250 ok???",
		strings.Repeat("x", 60000):     strings.Repeat("x", dnsbl.MaxReason),
	} {
		z := testdns.Zone{"1.2.0.192.bl.test": {A: []string{"127.0.0.2"}, TXT: []string{text}}}
		check(t, z, dnsbl.List{Zone: "bl.test", Reasons: true}, func(t *testing.T, r dnsbl.Result) {
			assert.Equal(t, want, r.Reason)
		})
		check(t, z, dnsbl.List{Zone: "bl.test"}, func(t *testing.T, r dnsbl.Result) { assert.Empty(t, r.Reason) })
		z["1.2.0.192.bl.test"] = testdns.Records{A: []string{"127.0.0.2"}, Fail: map[string]testdns.Failure{"TXT": testdns.ServFail}}
		check(t, z, dnsbl.List{Zone: "bl.test", Reasons: true}, func(t *testing.T, r dnsbl.Result) {
			assert.True(t, r.Listed)
			assert.Empty(t, r.Reason)
		})
	}
}

func TestKinds(t *testing.T) {
	db := testdns.NewResolver(testdns.Zone{
		v6Entry + "six.test":              a("127.0.0.2"),
		"1.2.0.192.four.test":             a("127.0.0.2"),
		"xn--bcher-kva.example.name.test": a("127.0.0.2"),
	})
	c := &dnsbl.Checker{Resolver: db, Lists: []dnsbl.List{
		{Zone: "four.test", Name: "four", NoIPv6: true},
		{Zone: "six.test.", NoIPv4: true},
		{Zone: "name.test", Kind: dnsbl.Domains},
		{Zone: "both.test", Allow: true},
	}}
	names := func(results []dnsbl.Result) string {
		s := ""
		for _, r := range results {
			s += fmt.Sprint(r.List.String(), " ", r.Listed, ",")
		}
		return s
	}
	for in, want := range map[string]string{
		"192.0.2.1": "four true,both.test false,", "::ffff:192.0.2.1": "four true,both.test false,",
		"2001:db8::1": "six.test. true,both.test false,", "2001:db8::1%eth0": "six.test. true,both.test false,",
		"10.0.0.1": "", "127.0.0.2": "", "::1": "", "fe80::1": "", "fd00::1": "", "0.0.0.0": "", "224.0.0.1": "", "::ffff:127.0.0.2": "",
	} {
		assert.Equal(t, want, names(c.Addr(t.Context(), ip(in))), in)
	}
	for _, in := range []string{"Bücher.Example", "xn--bcher-kva.example."} {
		assert.Equal(t, "name.test true,", names(c.Domain(t.Context(), in)))
	}
	before := db.Count("", "")
	for _, in := range []string{"192.0.2.1", "2001:db8::1", "a b.test", "x\r\ny", "\xff", strings.Repeat("a.", 127) + "b"} {
		assert.Empty(t, c.Domain(t.Context(), in), in)
	}
	r := c.Domain(t.Context(), strings.Repeat("a.", 122)+"b") // itself a name, but not below the list
	assert.ErrorIs(t, r[0].Err, dnsbl.ErrName)
	bad := &dnsbl.Checker{Resolver: db, Lists: []dnsbl.List{{}, {Zone: "a b"}, {Zone: strings.Repeat("a.", 100) + "b"}}}
	for _, x := range bad.Addr(t.Context(), ip("192.0.2.1")) {
		assert.ErrorIs(t, x.Err, dnsbl.ErrName)
	}
	assert.Equal(t, before, db.Count("", ""))
	var _ dnsbl.Resolver = net.DefaultResolver
}

// slow counts what is under way at a time.
type slow struct {
	dnsbl.Resolver
	now, most atomic.Int32
}

func (s *slow) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	n := s.now.Add(1)
	defer s.now.Add(-1)
	for m := s.most.Load(); n > m && !s.most.CompareAndSwap(m, n); m = s.most.Load() {
	}
	return s.Resolver.LookupNetIP(ctx, network, host)
}

// One budget holds for all lists: what answers counts, the rest is told.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := testdns.NewResolver(testdns.Zone{"1.2.0.192.l3.test": a("127.0.0.2")})
		s := &slow{Resolver: db}
		c := &dnsbl.Checker{Resolver: s}
		for i := range 40 {
			zone := fmt.Sprintf("l%d.test", i)
			c.Lists = append(c.Lists, dnsbl.List{Zone: zone})
			db.Delay("1.2.0.192."+zone, time.Second)
		}
		start := time.Now()
		r := c.Addr(t.Context(), ip("192.0.2.1"))
		assert.Equal(t, 3*time.Second, time.Since(start))
		assert.Equal(t, int32(dnsbl.DefaultParallel), s.most.Load())
		assert.Equal(t, 1, dnsbl.Score(r))
		assert.True(t, r[3].Listed)

		db.Delay("1.2.0.192.l0.test", time.Hour)
		c.Parallel = 2
		start = time.Now()
		r = c.Addr(t.Context(), ip("192.0.2.1"))
		assert.Equal(t, dnsbl.DefaultTimeout, time.Since(start))
		assert.Equal(t, 1, dnsbl.Score(r))
		assert.ErrorIs(t, r[0].Err, dnsbl.ErrDNS)
		assert.ErrorIs(t, r[39].Err, dnsbl.ErrDNS)
		assert.False(t, r[39].Listed)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start = time.Now()
		r = c.Addr(ctx, ip("192.0.2.1"))
		assert.Equal(t, time.Second, time.Since(start))
		assert.ErrorIs(t, r[0].Err, context.DeadlineExceeded)
	})
}

// FuzzDomain: whatever a client says, a question is a name below the list.
func FuzzDomain(f *testing.F) {
	for _, s := range []string{"example.org", "Bücher.example", "a..b", "[192.0.2.1]", "192.0.2.1", "x\r\ny.test", "\xff", strings.Repeat("a.", 120), "xn--a.test", "a。b"} {
		f.Add(s, "127.0.0.2", "text")
	}
	f.Add("x.test", "127.255.255.254", "a\r\nb\x00\xff")
	f.Fuzz(func(t *testing.T, domain, answer, text string) {
		r := &canned{text: text}
		if ip, err := netip.ParseAddr(answer); err == nil {
			r.ips = []netip.Addr{ip}
		}
		c := &dnsbl.Checker{Resolver: r, Lists: []dnsbl.List{{Zone: "bl.test", Kind: dnsbl.Domains, Reasons: true}}}
		results := c.Domain(context.Background(), domain)
		if len(results) == 0 {
			if r.asked != "" {
				t.Fatalf("%q", r.asked)
			}
			return
		}
		res := results[0]
		if r.asked != "" && (!strings.HasSuffix(r.asked, ".bl.test.") || len(r.asked) > 254 || strings.Contains(r.asked, "..") ||
			strings.Trim(r.asked, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "") {
			t.Fatalf("%q", r.asked)
		}
		if res.Listed && !netip.MustParsePrefix("127.0.0.0/8").Contains(r.ips[0].Unmap()) {
			t.Fatalf("%v", r.ips)
		}
		if len(res.Reason) > dnsbl.MaxReason || strings.ContainsFunc(res.Reason, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Fatalf("%q", res.Reason)
		}
	})
}

type canned struct {
	ips         []netip.Addr
	text, asked string
}

func (c *canned) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	c.asked = host
	return c.ips, nil
}
func (c *canned) LookupTXT(context.Context, string) ([]string, error) { return []string{c.text}, nil }

func BenchmarkAddr(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprintf("%d lists", n), func(b *testing.B) {
			c := &dnsbl.Checker{Resolver: testdns.NewResolver(testdns.Zone{})}
			for i := range n {
				c.Lists = append(c.Lists, dnsbl.List{Zone: fmt.Sprintf("l%d.test", i)})
			}
			b.ReportAllocs()
			for b.Loop() {
				if r := c.Addr(context.Background(), ip("192.0.2.1")); len(r) != n || dnsbl.Score(r) != 0 {
					b.Fatal(r)
				}
			}
		})
	}
}
