package spf_test

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }

func failing(f testdns.Failure, types ...string) testdns.Records {
	r := testdns.Records{Fail: map[string]testdns.Failure{}}
	for _, t := range types {
		r.Fail[t] = f
	}
	return r
}

func with(r testdns.Records, s ...string) testdns.Records {
	r.TXT = append(r.TXT, s...)
	return r
}

// bombs are policies made to cost: who evaluates them must get by with limited
// lookups and time, and say why.
func bombs() testdns.Zone {
	z := testdns.Zone{
		"selfinclude.test":  txt("v=spf1 include:selfinclude.test -all"),
		"selfredirect.test": txt("v=spf1 redirect=selfredirect.test"),
		"pingpong.test":     txt("v=spf1 include:pongping.test -all"),
		"pongping.test":     txt("v=spf1 redirect=pingpong.test"),
		"fan.test":          txt("v=spf1 " + strings.Repeat("include:fan.test ", 20) + "-all"),
		"macro.test":        txt("v=spf1 include:%{d}.macro.test -all"),
		"*.macro.test":      txt("v=spf1 include:%{d}.macro.test -all"),
		"hugetxt.test":      txt("v=spf1 " + strings.Repeat("ip4:192.0.2.1 ", 4400) + "-all"),
		"hugemacro.test":    txt("v=spf1 exists:" + strings.Repeat("%{s}", 5000) + ".test -all"),
		"hugeexp.test":      txt("v=spf1 -all exp=hugewhy.test"),
		"hugewhy.test":      txt(strings.Repeat("%{S}%{i}", 7000)),
		"cname.test":        {CNAME: "cname2.test"},
		"cname2.test":       {CNAME: "cname.test"},
		"cnamea.test":       txt("v=spf1 a:cname.test -all"),
		"slow.test":         txt("v=spf1 a:slow1.test a:slow2.test a:slow3.test -all"),
		"silent.test":       failing(testdns.Timeout, "TXT"),
		"silenta.test":      txt("v=spf1 a:silent2.test -all"),
		"silent2.test":      failing(testdns.Timeout, "A"),
		"truncated.test":    with(failing(testdns.Truncate, "TXT"), "v=spf1 ip4:192.0.2.7 -all"),
		"garbage.test":      with(failing(testdns.Garbage, "TXT"), "v=spf1 ip4:192.0.2.7 -all"),
		"wrongid.test":      with(failing(testdns.WrongID, "TXT"), "v=spf1 +all"),
		"referral.test":     with(failing(testdns.Referral, "TXT"), "v=spf1 +all"),
		"refused.test":      with(failing(testdns.Refused, "TXT"), "v=spf1 +all"),
		"mxs.test":          txt("v=spf1 mx:mx1000.test -all"),
		"addrs.test":        txt("v=spf1 a:a1000.test -all"),
		"toomany.test":      txt("v=spf1 a:a4000.test -all"),
		"ptrs.test":         txt("v=spf1 ptr:nowhere.test -all"),
		"voids.test":        txt("v=spf1 " + strings.Repeat("a:%{i}.void.test ", 10) + "-all"),
	}
	for i := range 100 {
		z[fmt.Sprintf("deep%d.test", i)] = txt(fmt.Sprintf("v=spf1 include:deep%d.test -all", i+1))
	}
	z["deep100.test"] = txt("v=spf1 +all")
	var r testdns.Records
	for i := range 1000 {
		r.MX = append(r.MX, fmt.Sprintf("1 mx%d.test", i))
	}
	z["mx1000.test"] = r
	r = testdns.Records{}
	for i := range 4000 {
		r.A = append(r.A, fmt.Sprintf("10.0.%d.%d", i>>8, i&255))
	}
	z["a4000.test"] = r
	z["a1000.test"] = testdns.Records{A: append(r.A[:1000:1000], "192.0.2.7")}
	r = testdns.Records{}
	for i := range 1000 {
		r.PTR = append(r.PTR, fmt.Sprintf("p%d.test", i))
	}
	z["192.0.2.7"] = r
	var many, policies []string
	for i := range 999 {
		many = append(many, fmt.Sprintf("verification %d", i))
		policies = append(policies, "v=spf1 +all")
	}
	z["txts.test"] = txt(append(many, "v=spf1 ip4:192.0.2.7 -all")...)
	z["policies.test"] = txt(policies...)
	return z
}

func TestBombs(t *testing.T) {
	zone := bombs()
	for domain, want := range map[string]struct {
		status  spf.Status
		err     error
		lookups int           // questions asked at most
		time    time.Duration // of the whole check
	}{
		"deep0.test":        {spf.PermError, spf.ErrLookupLimit, 11, 0},
		"selfinclude.test":  {spf.PermError, spf.ErrLookupLimit, 11, 0},
		"selfredirect.test": {spf.PermError, spf.ErrLookupLimit, 11, 0},
		"pingpong.test":     {spf.PermError, spf.ErrLookupLimit, 11, 0},
		"fan.test":          {spf.PermError, spf.ErrLookupLimit, 11, 0},
		"macro.test":        {spf.PermError, spf.ErrLookupLimit, 11, 0},
		"hugetxt.test":      {spf.Fail, nil, 1, 0},
		"hugemacro.test":    {spf.Fail, nil, 2, 0},
		"hugeexp.test":      {spf.Fail, nil, 2, 0},
		"cname.test":        {spf.TempError, nil, 1, 0},
		"cnamea.test":       {spf.TempError, nil, 2, 0},
		"slow.test":         {spf.TempError, spf.ErrTimeout, 4, 20 * time.Second},
		"silent.test":       {spf.TempError, nil, 1, 20 * time.Second},
		"silenta.test":      {spf.TempError, nil, 2, 20 * time.Second},
		"truncated.test":    {spf.Pass, nil, 1, 0},
		"garbage.test":      {spf.TempError, nil, 1, 0},
		"wrongid.test":      {spf.TempError, nil, 1, 20 * time.Second},
		"referral.test":     {spf.TempError, nil, 1, 0},
		"refused.test":      {spf.TempError, nil, 1, 0},
		"mxs.test":          {spf.PermError, spf.ErrMXLimit, 2, 0},
		"addrs.test":        {spf.Pass, nil, 2, 0},
		"toomany.test":      {spf.TempError, nil, 2, 0}, // package dns takes no more than 1024
		"ptrs.test":         {spf.Fail, nil, 12, 0},
		"voids.test":        {spf.PermError, spf.ErrVoidLookupLimit, 4, 0},
		"txts.test":         {spf.Pass, nil, 1, 0},
		"policies.test":     {spf.PermError, spf.ErrMultipleRecords, 1, 0},
	} {
		t.Run(domain, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := testdns.InMemory(zone)
				defer srv.Close()
				for i := range 3 {
					srv.Delay(fmt.Sprintf("slow%d.test", i+1), 8*time.Second)
				}
				resolver := &counting{Resolver: &dns.Resolver{Servers: []string{srv.Addr()}, Dial: srv.Dial, Timeout: 9 * time.Second}}
				start := time.Now()
				res := (&spf.Checker{Resolver: resolver}).Check(t.Context(), netip.MustParseAddr("192.0.2.7"), "h.test", strings.Repeat("x", 60)+"@"+domain)
				assert.Equal(t, want.status, res.Status, "%v", res.Err)
				if want.err != nil {
					assert.ErrorIs(t, res.Err, want.err)
				}
				assert.Equal(t, want.status == spf.TempError || want.status == spf.PermError, res.Err != nil)
				assert.LessOrEqual(t, time.Since(start), want.time)
				assert.LessOrEqual(t, resolver.n, want.lookups)
				assert.LessOrEqual(t, len(res.Trace()), 200)
				assert.LessOrEqual(t, len(res.Explain()), 1<<17)
				checkHeader(t, res.ReceivedSPF("mx.test"))
			})
		})
	}
}

// What the client sends is multiplied by macros only within bounds.
func TestMacroMemory(t *testing.T) {
	zone := bombs()
	zone["hugehelo.test"] = txt("v=spf1 exists:" + strings.Repeat("%{h}", 5000) + ".test -all exp=hugewhy.test")
	checker := &spf.Checker{Resolver: testdns.NewResolver(zone)}
	ip, long := netip.MustParseAddr("192.0.2.7"), strings.Repeat("x", 1<<16)
	for _, domain := range []string{"hugemacro.test", "hugeexp.test", "hugehelo.test"} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		res := checker.Check(t.Context(), ip, long, long+"@"+domain)
		runtime.ReadMemStats(&after)
		assert.Equal(t, spf.Fail, res.Status)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(100<<20), domain)
	}
}

// counting counts questions.
type counting struct {
	spf.Resolver
	n int
}

func (c *counting) LookupTXT(ctx context.Context, name string) ([]string, error) {
	c.n++
	return c.Resolver.LookupTXT(ctx, name)
}

func (c *counting) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	c.n++
	return c.Resolver.LookupMX(ctx, name)
}

func (c *counting) LookupNetIP(ctx context.Context, network, name string) ([]netip.Addr, error) {
	c.n++
	return c.Resolver.LookupNetIP(ctx, network, name)
}

func (c *counting) LookupAddr(ctx context.Context, addr string) ([]string, error) {
	c.n++
	return c.Resolver.LookupAddr(ctx, addr)
}
