package iprev_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/posta-mail/posta/auth/iprev"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }

func ExampleChecker_Check() {
	checker := &iprev.Checker{
		// A real program leaves Resolver out, or sets a *dns.Resolver.
		Resolver: testdns.NewResolver(testdns.Zone{
			"192.0.2.1":      {PTR: []string{"mx.example.org"}},
			"mx.example.org": {A: []string{"192.0.2.1"}},
			"192.0.2.2":      {PTR: []string{"mx.example.org"}},
		}),
	}
	for _, ip := range []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"} {
		res := checker.Check(context.Background(), netip.MustParseAddr(ip))
		fmt.Printf("%s %q %v\n", res.Status, res.Name, res.Claimed)
	}
	// Output:
	// pass "mx.example.org" [mx.example.org]
	// fail "" [mx.example.org]
	// permerror "" []
}

func fails(typ string, f testdns.Failure) map[string]testdns.Failure {
	return map[string]testdns.Failure{typ: f}
}

var zone = testdns.Zone{
	"192.0.2.1":    {PTR: []string{"other.test", "MX.Test"}},
	"2001:db8::1":  {PTR: []string{"mx.test"}},
	"mx.test":      {A: []string{"192.0.2.9", "192.0.2.1", "2001:db8::1"}},
	"other.test":   {A: []string{"192.0.2.9"}},
	"192.0.2.2":    {PTR: []string{"other.test", "absent.test", "v6.test"}},
	"v6.test":      {AAAA: []string{"2001:db8::9"}},
	"192.0.2.3":    {PTR: []string{"absent.test"}},
	"192.0.2.4":    {},
	"192.0.2.6":    {Fail: fails("PTR", testdns.ServFail)},
	"192.0.2.7":    {Fail: fails("PTR", testdns.Timeout)},
	"192.0.2.8":    {PTR: []string{"broken.test", "other.test"}},
	"broken.test":  {Fail: fails("A", testdns.ServFail)},
	"192.0.2.10":   {PTR: []string{"broken.test", "ten.test"}},
	"ten.test":     {A: []string{"192.0.2.10"}},
	"192.0.2.11":   {PTR: []string{"a b.test", "x\r\ny.test", "eleven\".test", "."}},
	"192.0.2.12":   {PTR: []string{"bad\x00.test", "twelve.test"}},
	"twelve.test":  {A: []string{"192.0.2.12"}},
	"192.0.2.13":   {CNAME: "13.rev.test"},
	"13.rev.test":  {PTR: []string{"cname.test"}},
	"cname.test":   {CNAME: "13.test"},
	"13.test":      {A: []string{"192.0.2.13"}},
	"192.0.2.14":   {CNAME: "loop.test"},
	"loop.test":    {CNAME: "loop2.test"},
	"loop2.test":   {CNAME: "loop.test"},
	"192.0.2.15":   {PTR: []string{"garbage.test"}},
	"garbage.test": {A: []string{"192.0.2.15"}, Fail: fails("A", testdns.Garbage)},
	"192.0.2.16":   {PTR: []string{"huge.test"}, Fail: fails("PTR", testdns.Truncate)},
	"huge.test":    {A: manyIPs(1000)},
	"192.0.2.17":   {PTR: []string{"localhost"}},
}

// manyIPs ends in 192.0.2.16.
func manyIPs(n int) []string {
	var out []string
	for i := range n - 1 {
		out = append(out, fmt.Sprintf("10.0.%d.%d", i>>8, i&255))
	}
	return append(out, "192.0.2.16")
}

func TestCheck(t *testing.T) {
	for _, c := range []struct {
		ip     string
		status iprev.Status
		name   string
		err    error
	}{
		{"192.0.2.1", iprev.Pass, "mx.test", nil},
		{"::ffff:192.0.2.1", iprev.Pass, "mx.test", nil},
		{"2001:db8::1", iprev.Pass, "mx.test", nil},
		{"192.0.2.2", iprev.Fail, "", nil},
		{"192.0.2.3", iprev.Fail, "", nil},
		{"192.0.2.4", iprev.PermError, "", iprev.ErrNoName},
		{"192.0.2.5", iprev.PermError, "", iprev.ErrNoName},
		{"2001:db8::2", iprev.PermError, "", iprev.ErrNoName},
		{"192.0.2.6", iprev.TempError, "", nil},
		{"192.0.2.7", iprev.TempError, "", nil},
		{"192.0.2.8", iprev.TempError, "", nil},
		{"192.0.2.10", iprev.Pass, "ten.test", nil},
		{"192.0.2.11", iprev.PermError, "", iprev.ErrNoName},
		{"192.0.2.12", iprev.Pass, "twelve.test", nil},
		{"192.0.2.13", iprev.Pass, "cname.test", nil},
		{"192.0.2.14", iprev.TempError, "", nil},
		{"192.0.2.15", iprev.TempError, "", nil},
		{"192.0.2.16", iprev.Pass, "huge.test", nil},
		{"192.0.2.17", iprev.Fail, "", nil},
	} {
		ip := netip.MustParseAddr(c.ip)
		check := func(t *testing.T, r iprev.Resolver) {
			res := (&iprev.Checker{Resolver: r}).Check(t.Context(), ip)
			assert.Equal(t, c.status, res.Status, "%v", res.Err)
			assert.Equal(t, c.name, res.Name)
			assert.Equal(t, ip.Unmap(), res.IP)
			if c.err != nil {
				assert.ErrorIs(t, res.Err, c.err)
			}
			assert.Equal(t, c.status == iprev.TempError || c.status == iprev.PermError, res.Err != nil, "%v", res.Err)
			for _, n := range res.Claimed {
				assert.Regexp(t, `^[a-z0-9._-]+$`, n)
			}
		}
		t.Run(c.ip+"/zone", func(t *testing.T) { check(t, testdns.NewResolver(zone)) })
		t.Run(c.ip+"/dns", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := testdns.InMemory(zone)
				defer srv.Close()
				check(t, &dns.Resolver{Servers: []string{srv.Addr()}, Dial: srv.Dial})
			})
		})
	}
	res := (&iprev.Checker{Resolver: testdns.NewResolver(zone)}).Check(t.Context(), netip.Addr{})
	assert.Equal(t, iprev.PermError, res.Status)
	assert.ErrorIs(t, res.Err, iprev.ErrBadIP)
}

// A network that gives an address a thousand names costs eleven lookups.
func TestNames(t *testing.T) {
	z := testdns.Zone{"twelfth.test": {A: []string{"192.0.2.1"}}}
	var names []string
	for i := range 11 {
		names = append(names, fmt.Sprintf("n%d.test", i))
	}
	names = append(names, "twelfth.test")
	for i := range 1000 {
		names = append(names, fmt.Sprintf("m%d.test", i))
	}
	z["192.0.2.1"] = testdns.Records{PTR: names}
	ip := netip.MustParseAddr("192.0.2.1")
	for limit, want := range map[int]struct {
		status  iprev.Status
		lookups int
	}{0: {iprev.Fail, 11}, 11: {iprev.Fail, 12}, 12: {iprev.Pass, 13}, -1: {iprev.PermError, 1}} {
		db := testdns.NewResolver(z)
		res := (&iprev.Checker{Resolver: db, Names: limit}).Check(t.Context(), ip)
		assert.Equal(t, want.status, res.Status, limit)
		assert.Equal(t, want.lookups, db.Count("", ""), limit)
	}
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := testdns.NewResolver(zone)
		db.Delay("other.test", time.Hour)
		ip := netip.MustParseAddr("192.0.2.1")
		start := time.Now()
		res := (&iprev.Checker{Resolver: db}).Check(t.Context(), ip)
		assert.Equal(t, iprev.TempError, res.Status)
		assert.ErrorIs(t, res.Err, iprev.ErrTimeout)
		assert.Equal(t, iprev.DefaultTimeout, time.Since(start))

		start = time.Now()
		res = (&iprev.Checker{Resolver: db, Timeout: time.Second}).Check(t.Context(), ip)
		assert.ErrorIs(t, res.Err, iprev.ErrTimeout)
		assert.Equal(t, time.Second, time.Since(start))

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		res = (&iprev.Checker{Resolver: db, Timeout: -1}).Check(ctx, ip)
		assert.Equal(t, iprev.TempError, res.Status)
		assert.ErrorIs(t, res.Err, context.DeadlineExceeded)
	})
}

// endsWith ends the context with the first answer.
type endsWith struct {
	iprev.Resolver
	end func()
}

func (r endsWith) LookupNetIP(ctx context.Context, network, host string) ([]netip.Addr, error) {
	defer r.end()
	return r.Resolver.LookupNetIP(ctx, network, host)
}

// Names that were not asked for any more may have been the right one.
func TestEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := endsWith{testdns.NewResolver(zone), cancel}
	res := (&iprev.Checker{Resolver: r}).Check(ctx, netip.MustParseAddr("192.0.2.2"))
	assert.Equal(t, iprev.TempError, res.Status)
	assert.ErrorIs(t, res.Err, context.Canceled)
}

func TestZero(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // net.DefaultResolver must not reach the network from here
	res := new(iprev.Checker).Check(ctx, netip.MustParseAddr("192.0.2.1"))
	assert.Equal(t, iprev.TempError, res.Status)
	assert.Equal(t, "permerror pass fail temperror Status(9)",
		strings.Join([]string{iprev.PermError.String(), iprev.Pass.String(), iprev.Fail.String(), iprev.TempError.String(), iprev.Status(9).String()}, " "))
	var _ iprev.Resolver = net.DefaultResolver
	var _ iprev.Resolver = new(dns.Resolver)
}

func BenchmarkCheck(b *testing.B) {
	c := &iprev.Checker{Resolver: testdns.NewResolver(zone)}
	ip := netip.MustParseAddr("192.0.2.13")
	b.ReportAllocs()
	for b.Loop() {
		if res := c.Check(context.Background(), ip); res.Status != iprev.Pass {
			b.Fatal(res)
		}
	}
}
