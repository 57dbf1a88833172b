package dnsbl_test

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dnsbl"
	"github.com/posta-mail/posta/internal/testdns"
)

func a(s ...string) testdns.Records { return testdns.Records{A: s} }

func Example() {
	resolver := testdns.NewResolver(testdns.Zone{"66.100.51.198.bl.example": {A: []string{"127.0.0.4"}, TXT: []string{"sends spam"}}})
	c := &dnsbl.Checker{Resolver: resolver, Lists: []dnsbl.List{{Zone: "bl.example", Reasons: true}}}
	for _, r := range c.Addr(context.Background(), netip.MustParseAddr("198.51.100.66")) {
		fmt.Println(r.Listed, r.Answers, r.Reason)
	}
	// Output: true [127.0.0.4] sends spam
}

func TestLists(t *testing.T) {
	ip6 := "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2"
	resolver := testdns.NewResolver(testdns.Zone{
		"66.100.51.198.a.example":        {A: []string{"127.0.0.2", "127.0.0.10"}, TXT: []string{strings.Repeat("x", 2000)}},
		ip6 + ".a.example":               a("127.0.0.3"),
		"66.100.51.198.b.example":        a("127.0.0.9"),
		"66.100.51.198.mask.example":     a("127.0.0.6"),
		"66.100.51.198.error.example":    a("127.255.255.254"),
		"66.100.51.198.hijacked.example": a("203.0.113.1"),
		"66.100.51.198.both.example":     a("127.255.255.252", "127.0.0.2"),
		"66.100.51.198.white.example":    a("127.0.9.3"),
		"bad.example.d.example":          a("127.0.1.2"),
	})
	resolver.Fail("66.100.51.198.down.example", "A", testdns.ServFail)
	four := netip.MustParseAddr("198.51.100.66")
	code := func(net, meaning string, weight int) dnsbl.Code {
		return dnsbl.Code{Network: netip.MustParsePrefix(net), Meaning: meaning, Weight: weight}
	}
	for name, c := range map[string]struct {
		list     dnsbl.List
		addr     string
		asked    bool
		listed   bool
		weight   int
		answers  int
		meanings []string
		err      error
	}{
		"listed":         {list: dnsbl.List{Zone: "a.example"}, asked: true, listed: true, weight: 1, answers: 2},
		"final dot":      {list: dnsbl.List{Zone: "a.example.", Weight: 5}, asked: true, listed: true, weight: 5, answers: 2},
		"IPv6":           {list: dnsbl.List{Zone: "a.example"}, addr: "2001:db8::1", asked: true, listed: true, weight: 1, answers: 1},
		"mapped":         {list: dnsbl.List{Zone: "a.example"}, addr: "::ffff:198.51.100.66", asked: true, listed: true, weight: 1, answers: 2},
		"no IPv6":        {list: dnsbl.List{Zone: "a.example", NoIPv6: true}, addr: "2001:db8::1"},
		"no IPv4":        {list: dnsbl.List{Zone: "a.example", NoIPv4: true}},
		"not listed":     {list: dnsbl.List{Zone: "none.example"}, asked: true},
		"code":           {list: dnsbl.List{Zone: "a.example", Codes: []dnsbl.Code{code("127.0.0.10/32", "dynamic", 3), code("127.0.0.0/30", "spam", 0)}, Weight: 2}, asked: true, listed: true, weight: 3, answers: 2, meanings: []string{"spam", "dynamic"}},
		"other code":     {list: dnsbl.List{Zone: "b.example", Codes: []dnsbl.Code{code("127.0.0.2/32", "spam", 0)}}, asked: true},
		"mask":           {list: dnsbl.List{Zone: "mask.example", Codes: []dnsbl.Code{{Network: netip.MustParsePrefix("127.0.0.0/24"), Mask: 2, Meaning: "two"}, {Network: netip.MustParsePrefix("127.0.0.0/24"), Mask: 1, Meaning: "one"}}}, asked: true, listed: true, weight: 1, answers: 1, meanings: []string{"two"}},
		"error code":     {list: dnsbl.List{Zone: "error.example"}, asked: true, err: dnsbl.ErrList},
		"error and more": {list: dnsbl.List{Zone: "both.example"}, asked: true, listed: true, weight: 1, answers: 1},
		"not a list":     {list: dnsbl.List{Zone: "hijacked.example"}, asked: true, err: dnsbl.ErrAnswer},
		"down":           {list: dnsbl.List{Zone: "down.example"}, asked: true, err: dnsbl.ErrDNS},
		"of domains":     {list: dnsbl.List{Zone: "d.example", Kind: dnsbl.Domains}},
		"long":           {list: dnsbl.List{Zone: strings.Repeat("a123456.", 31) + "x"}, asked: true, err: dnsbl.ErrName},
	} {
		t.Run(name, func(t *testing.T) {
			checker := &dnsbl.Checker{Resolver: resolver, Lists: []dnsbl.List{c.list}}
			addr := four
			if c.addr != "" {
				addr = netip.MustParseAddr(c.addr)
			}
			results := checker.Addr(t.Context(), addr)
			if !c.asked {
				assert.Empty(t, results)
				return
			}
			require.Len(t, results, 1)
			r := results[0]
			assert.Equal(t, c.listed, r.Listed)
			assert.Equal(t, c.weight, r.Weight)
			assert.Len(t, r.Answers, c.answers)
			assert.Equal(t, c.meanings, r.Meanings)
			assert.ErrorIs(t, r.Err, c.err)
			assert.Equal(t, c.weight, dnsbl.Score(results))
		})
	}
	checker := &dnsbl.Checker{Resolver: resolver, Lists: []dnsbl.List{{Zone: "a.example", Reasons: true}, {Zone: "white.example", Allow: true, Weight: 3}, {Zone: "d.example", Kind: dnsbl.Domains}}}
	results := checker.Addr(t.Context(), four)
	assert.Equal(t, -2, dnsbl.Score(results))
	assert.Len(t, results[0].Reason, dnsbl.MaxReason)
	field, err := (&authres.Header{ServID: "x.example", Results: []authres.Result{authres.DNSWL(results[1].DNSWL(), results[1].List.String(), results[1].Answers[0], results[1].Reason, "")}}).Field()
	require.NoError(t, err)
	assert.Contains(t, field, "dnswl=pass dns.zone=white.example policy.ip=127.0.9.3")
	assert.True(t, checker.Domain(t.Context(), "Bad.Example.")[0].Listed)
	assert.False(t, checker.Domain(t.Context(), "good.example")[0].Listed)
	for _, bad := range []string{"", ".", "a..b", strings.Repeat("a", 64)} {
		assert.Empty(t, checker.Domain(t.Context(), bad))
	}
	assert.Empty(t, checker.Addr(t.Context(), netip.Addr{}))
	assert.Empty(t, new(dnsbl.Checker).Addr(t.Context(), four))
}

func TestProbe(t *testing.T) {
	nibbles := ".0.0.0.0.0.f.7.f.f.f.f.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0"
	zone := testdns.Zone{
		"2.0.0.127.well.example": a("127.0.0.2"),
		"2.0.0.127.all.example":  a("127.0.0.2"),
		"1.0.0.127.all.example":  a("127.0.0.2"),
		"test.names.example":     a("127.0.0.2"),
		"test.allnames.example":  a("127.0.0.2"), "invalid.allnames.example": a("127.0.0.2"),
		"2" + strings.Replace(nibbles, ".0", ".0", 1) + ".six.example": a("127.0.0.2"),
		"2.0.0.127.refused.example":                                    a("127.255.255.254"),
		"1.0.0.127.refused.example":                                    a("127.255.255.254"),
		"2.0.0.127.hijacked.example":                                   a("203.0.113.1"),
		"2.0.0.127.codes.example":                                      a("127.0.0.99"),
	}
	resolver := testdns.NewResolver(zone)
	resolver.Fail("2.0.0.127.down.example", "A", testdns.ServFail)
	c := &dnsbl.Checker{Resolver: resolver}
	want := []error{nil, dnsbl.ErrEverything, dnsbl.ErrDead, nil, dnsbl.ErrEverything, nil, dnsbl.ErrList, dnsbl.ErrAnswer, dnsbl.ErrDNS, nil}
	c.Lists = []dnsbl.List{{Zone: "well.example"}, {Zone: "all.example"}, {Zone: "dead.example"}, {Zone: "names.example", Kind: dnsbl.Domains}, {Zone: "allnames.example", Kind: dnsbl.Domains},
		{Zone: "six.example", NoIPv4: true}, {Zone: "refused.example"}, {Zone: "hijacked.example"}, {Zone: "down.example"},
		{Zone: "codes.example", Codes: []dnsbl.Code{{Network: netip.MustParsePrefix("127.0.0.2/32")}}}}
	for i, h := range c.Probe(t.Context()) {
		assert.ErrorIs(t, h.Err, want[i], h.List.Zone)
		assert.Equal(t, want[i] == nil, h.Err == nil, h.List.Zone)
	}
	asked := func() (zones []string) {
		for _, r := range c.Addr(t.Context(), netip.MustParseAddr("192.0.2.1")) {
			zones = append(zones, r.List.Zone)
		}
		return zones
	}
	assert.Equal(t, []string{"well.example", "down.example", "codes.example"}, asked())
	// A list gets well, and a well one goes down for a while.
	resolver.Remove("1.0.0.127.all.example")
	resolver.Fail("2.0.0.127.well.example", "A", testdns.ServFail)
	health := c.Probe(t.Context())
	assert.ErrorIs(t, health[0].Err, dnsbl.ErrDNS)
	assert.NoError(t, health[1].Err)
	// For a while is forgiven; down.example was so before.
	assert.Equal(t, []string{"well.example", "all.example", "codes.example"}, asked())
	resolver.Fail("2.0.0.127.well.example", "A", testdns.None)
	resolver.Fail("2.0.0.127.down.example", "A", testdns.None)
	resolver.Set("2.0.0.127.down.example", a("127.0.0.2"))
	c.Probe(t.Context())
	assert.Equal(t, []string{"well.example", "all.example", "down.example", "codes.example"}, asked())
}

type never struct{}

func (never) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}
func (never) LookupTXT(ctx context.Context, _ string) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// TestNever: what does not answer in time has nothing to say.
func TestNever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		c := &dnsbl.Checker{Resolver: never{}, Lists: make([]dnsbl.List, 20)}
		for i := range c.Lists {
			c.Lists[i].Zone = fmt.Sprintf("l%d.example", i)
		}
		results := c.Addr(t.Context(), netip.MustParseAddr("192.0.2.1"))
		assert.Len(t, results, 20)
		assert.Zero(t, dnsbl.Score(results))
		assert.ErrorIs(t, results[19].Err, dnsbl.ErrDNS)
		assert.Equal(t, dnsbl.DefaultTimeout, time.Since(began))
	})
}
