package dnsbl_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/dnsbl"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
)

func fail(f testdns.Failure) testdns.Records {
	return testdns.Records{Fail: map[string]testdns.Failure{"*": f}}
}

var probeZone = testdns.Zone{
	"2.0.0.127.good.test":      a("127.0.0.2"),
	v6Listed + "good.test":     a("127.0.0.2"),
	"test.good.test":           a("127.0.0.2"),
	"dead.test":                {},
	"2.0.0.127.nosix.test":     a("127.0.0.2"),
	"test.nosix.test":          a("127.0.0.2"),
	"2.0.0.127.noname.test":    a("127.0.0.2"),
	"*.wild.test":              a("127.0.0.2"),
	"*.parked.test":            a("198.51.100.1"),
	"2.0.0.127.badsix.test":    a("127.0.0.2"),
	v6Listed + "badsix.test":   a("127.0.0.2"),
	v6Never + "badsix.test":    a("127.0.0.2"),
	"2.0.0.127.parked1.test":   a("198.51.100.1"),
	"*.refuses.test":           a("127.255.255.254"),
	"2.0.0.127.refuses1.test":  a("127.255.255.255"),
	"1.0.0.127.down.test":      fail(testdns.ServFail),
	"2.0.0.127.silent.test":    fail(testdns.Timeout),
	"2.0.0.127.limit.test":     a("127.0.0.255"),
	"1.0.0.127.noentry2.test":  a("127.0.0.2"),
	"2.0.0.127.unmatched.test": a("127.0.0.99"),
	"1.0.0.127.txtonly.test":   {TXT: []string{"no address"}},
	"2.0.0.127.txtonly.test":   a("127.0.0.2"),
	"xyz":                      {},
}

var probes = []struct {
	list    dnsbl.List
	err, v6 error
}{
	{dnsbl.List{Zone: "good.test"}, nil, nil},
	{dnsbl.List{Zone: "good.test", Kind: dnsbl.Domains}, nil, nil},
	{dnsbl.List{Zone: "dead.test"}, dnsbl.ErrDead, dnsbl.ErrDead},
	{dnsbl.List{Zone: "absent.example", NoIPv6: true}, dnsbl.ErrDead, nil},
	{dnsbl.List{Zone: "absent.example", NoTestEntries: true}, nil, nil},
	{dnsbl.List{Zone: "nosix.test"}, nil, dnsbl.ErrDead},
	{dnsbl.List{Zone: "nosix.test", NoIPv6: true}, nil, nil},
	{dnsbl.List{Zone: "nosix.test", NoIPv4: true}, dnsbl.ErrDead, dnsbl.ErrDead},
	{dnsbl.List{Zone: "nosix.test", Kind: dnsbl.Domains}, nil, nil},
	{dnsbl.List{Zone: "noname.test", Kind: dnsbl.Domains}, dnsbl.ErrDead, nil},
	{dnsbl.List{Zone: "wild.test"}, dnsbl.ErrEverything, dnsbl.ErrEverything},
	{dnsbl.List{Zone: "wild.test", Kind: dnsbl.Domains, NoTestEntries: true}, dnsbl.ErrEverything, nil},
	{dnsbl.List{Zone: "wild.test", NoIPv6: true, Codes: []dnsbl.Code{{Network: single("127.0.0.9")}}}, dnsbl.ErrEverything, nil},
	{dnsbl.List{Zone: "parked.test"}, dnsbl.ErrEverything, dnsbl.ErrEverything},
	{dnsbl.List{Zone: "parked1.test", NoIPv6: true}, dnsbl.ErrAnswer, nil},
	{dnsbl.List{Zone: "badsix.test"}, nil, dnsbl.ErrEverything},
	{dnsbl.List{Zone: "refuses.test"}, dnsbl.ErrList, dnsbl.ErrList},
	{dnsbl.List{Zone: "refuses1.test", NoIPv6: true}, dnsbl.ErrList, nil},
	{dnsbl.List{Zone: "limit.test", NoIPv6: true, Codes: []dnsbl.Code{{Network: single("127.0.0.255"), Refused: true}}}, dnsbl.ErrList, nil},
	{dnsbl.List{Zone: "down.test", NoIPv6: true}, dnsbl.ErrDNS, nil},
	{dnsbl.List{Zone: "silent.test", NoIPv6: true}, dnsbl.ErrDNS, nil},
	{dnsbl.List{Zone: "noentry2.test", NoTestEntries: true}, dnsbl.ErrEverything, nil},
	{dnsbl.List{Zone: "unmatched.test", NoIPv6: true, Codes: []dnsbl.Code{{Network: single("127.0.0.9")}, {Network: single("127.0.0.255"), Refused: true}}}, nil, nil},
	{dnsbl.List{Zone: "txtonly.test", NoIPv6: true}, nil, nil},
	{dnsbl.List{Zone: "a b", NoIPv6: true}, dnsbl.ErrName, nil},
}

func TestProbes(t *testing.T) {
	probe := func(t *testing.T, r dnsbl.Resolver) {
		c := &dnsbl.Checker{Resolver: r, Timeout: time.Hour}
		for _, p := range probes {
			c.Lists = append(c.Lists, p.list)
		}
		health := c.Probe(t.Context())
		require.Len(t, health, len(probes))
		for i, p := range probes {
			assert.Equal(t, p.list, health[i].List)
			assert.ErrorIs(t, health[i].Err, p.err, p.list.Zone)
			assert.Equal(t, p.err == nil, health[i].Err == nil, "%s: %v", p.list.Zone, health[i].Err)
			assert.ErrorIs(t, health[i].IPv6, p.v6, p.list.Zone)
			assert.Equal(t, p.v6 == nil, health[i].IPv6 == nil, "%s: %v", p.list.Zone, health[i].IPv6)
		}
	}
	probe(t, testdns.NewResolver(probeZone))
	synctest.Test(t, func(t *testing.T) {
		srv := testdns.InMemory(probeZone)
		defer srv.Close()
		probe(t, &dns.Resolver{Servers: []string{srv.Addr()}, Dial: srv.Dial})
	})
}

// A list that is ill is not asked until it is well again, for each kind of
// address of its own.
func TestSetAside(t *testing.T) {
	db := testdns.NewResolver(testdns.Zone{"*.bl.test": a("127.0.0.2"), "2.0.0.127.ok.test": a("127.0.0.2"), "1.2.0.192.ok.test": a("127.0.0.2")})
	c := &dnsbl.Checker{Resolver: db, Lists: []dnsbl.List{{Zone: "bl.test"}, {Zone: "ok.test"}}}
	asked := func(addr string) (zones []string) {
		for _, r := range c.Addr(t.Context(), ip(addr)) {
			zones = append(zones, r.List.Zone)
		}
		return zones
	}
	assert.Equal(t, []string{"bl.test", "ok.test"}, asked("192.0.2.1"))
	c.Probe(t.Context())
	before := db.Count("1.2.0.192.bl.test", "")
	assert.Equal(t, []string{"ok.test"}, asked("192.0.2.1"))
	assert.Empty(t, asked("2001:db8::1"))
	assert.Equal(t, before, db.Count("1.2.0.192.bl.test", ""))

	db.Remove("*.bl.test")
	db.Set("2.0.0.127.bl.test", a("127.0.0.2"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // learns nothing
	for range 2 {
		for _, h := range c.Probe(ctx) {
			assert.ErrorIs(t, h.Err, context.Canceled)
		}
	}
	assert.Equal(t, []string{"ok.test"}, asked("192.0.2.1"))
	c.Probe(t.Context())
	assert.Equal(t, []string{"bl.test", "ok.test"}, asked("192.0.2.1"))
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := testdns.NewResolver(testdns.Zone{"2.0.0.127.bl.test": a("127.0.0.2")})
		c := &dnsbl.Checker{Resolver: db, Lists: []dnsbl.List{{Zone: "bl.test"}}}
		ctx, cancel := context.WithTimeout(t.Context(), 210*time.Minute)
		defer cancel()
		time.AfterFunc(90*time.Minute, func() { db.Fail("2.0.0.127.bl.test", "", testdns.ServFail) })
		var got []int
		c.Watch(ctx, time.Hour, func(h []dnsbl.Health) {
			require.Equal(t, len(got) >= 2, h[0].Err != nil)
			got = append(got, len(c.Addr(ctx, ip("192.0.2.1"))))
		})
		assert.Equal(t, []int{1, 1, 1, 0}, got) // down once is forgiven
		c.Watch(ctx, time.Hour, nil)
		assert.Empty(t, new(dnsbl.Checker).Probe(t.Context()))
	})
}
