package spf_test

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"

	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
)

// explained is a zone in which everything happens that Explain tells.
var explained = testdns.Zone{
	"example.org":                 txt("v=spf1 mx include:_a.example.org ptr a:gone.example.org exists:%{ir}.empty.example.org redirect=_b.example.org", "something \"else\""),
	"_a.example.org":              txt("v=spf1 ip4:198.51.100.0/24 include:_c.example.org -all"),
	"_c.example.org":              txt("v=spf1 a:six.example.org ~all"),
	"six.example.org":             {AAAA: []string{"2001:db8::1"}},
	"_b.example.org":              txt("v=spf1 a:many.example.org -all exp=why.example.org"),
	"why.example.org":             txt("%{i} is not ours"),
	"192.0.2.7":                   {PTR: []string{"host.example.net"}},
	"7.2.0.192.empty.example.org": {},
	"many.example.org":            {A: strings.Split("203.0.113."+strings.Join([]string{"1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17"}, " 203.0.113."), " ")},
}

func TestExplain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := testdns.InMemory(explained)
		defer srv.Close()
		c := &spf.Checker{Resolver: &dns.Resolver{Servers: []string{srv.Addr()}, Dial: srv.Dial}, VoidLookups: 5}
		res := c.Check(t.Context(), netip.MustParseAddr("192.0.2.7"), "h.test", "u@example.org")
		assert.Equal(t, strings.TrimPrefix(`
fail: mailfrom u@example.org from 192.0.2.7
  record of example.org: found
    ? TXT example.org: "v=spf1 mx include:_a.example.org ptr a:gone.example.org exists:%{ir}.empty.example.org redirect=_b.example.org", "something \"else\""
  mx: no match
    ? MX example.org: no such record (NODATA)
  include:_a.example.org: no match
    record of _a.example.org: found
      ? TXT _a.example.org: "v=spf1 ip4:198.51.100.0/24 include:_c.example.org -all"
    ip4:198.51.100.0/24: no match
    include:_c.example.org: no match
      record of _c.example.org: found
        ? TXT _c.example.org: "v=spf1 a:six.example.org ~all"
      a:six.example.org: no match
        ? A six.example.org: no such record (NODATA)
      ~all: match
    -all: match
  ptr: no match
    ? PTR 192.0.2.7: host.example.net.
    ? A host.example.net: no such name (NXDOMAIN)
  a:gone.example.org: no match
    ? A gone.example.org: no such name (NXDOMAIN)
  exists:%{ir}.empty.example.org: no match
    ? A 7.2.0.192.empty.example.org: no such record (NODATA)
  redirect=_b.example.org: fail
    record of _b.example.org: found
      ? TXT _b.example.org: "v=spf1 a:many.example.org -all exp=why.example.org"
    a:many.example.org: no match
      ? A many.example.org: 203.0.113.1, 203.0.113.2, 203.0.113.3, 203.0.113.4, 203.0.113.5, 203.0.113.6, 203.0.113.7, 203.0.113.8, 203.0.113.9, 203.0.113.10, 203.0.113.11, 203.0.113.12, 203.0.113.13, 203.0.113.14, 203.0.113.15, 203.0.113.16 and 1 more
    -all: match
    exp=why.example.org: found
      ? TXT why.example.org: "%{i} is not ours"
decided by -all, terms with lookups: 9, of these without result: 4
the domain says: "192.0.2.7 is not ours"
`, "\n"), res.Explain())
	})
}

func TestExplainManyHosts(t *testing.T) {
	var mxs []string
	for range 30 {
		mxs = append(mxs, "1 h.test")
	}
	c := &spf.Checker{Resolver: testdns.NewResolver(testdns.Zone{"x.test": {TXT: []string{"v=spf1 mx -all"}, MX: mxs}})}
	res := c.Check(t.Context(), netip.MustParseAddr("192.0.2.7"), "h.test", "u@x.test")
	assert.ErrorIs(t, res.Err, spf.ErrMXLimit)
	assert.Contains(t, res.Explain(), "h.test. and 14 more\n")
}

// What strangers say stays on its line.
func TestExplainHostile(t *testing.T) {
	z := testdns.Zone{
		"evil.test":   txt("v=spf1 exp=why.test include:next.test -all \r\nspf=pass", "\x00\xff\n"),
		"evil2.test":  {TXT: []string{"v=spf1 ptr -all exp=why.test"}},
		"why.test":    txt("a\nb"),
		"192.0.2.7":   {PTR: []string{"a\nb.test", "\xff.test"}},
		"twice.test":  txt("v=spf1 -all", "v=spf1 +all"),
		"broken.test": {Fail: map[string]testdns.Failure{"*": testdns.ServFail}},
		"big.test":    txt("v=spf1 " + strings.Repeat("a:x.test ", 5000)),
	}
	for _, from := range []string{"u@evil.test", "u@evil2.test", "u\r\nx\x00@evil2.test", "u@twice.test", "u@broken.test", "u@big.test", "u@\n", "", strings.Repeat("x", 10000)} {
		for _, helo := range []string{"evil.test", "a\nb"} {
			c := &spf.Checker{Resolver: testdns.NewResolver(z)}
			res := c.Check(t.Context(), netip.MustParseAddr("192.0.2.7"), helo, from)
			text := res.Explain()
			assert.NotRegexp(t, "[^ -~\n]", text)
			assert.NotContains(t, text, "\nspf=pass")
			assert.NotContains(t, text, "\nb")
			for line := range strings.Lines(text) {
				assert.LessOrEqual(t, len(line), 20000)
				assert.NotEmpty(t, strings.TrimSpace(line))
			}
			assert.LessOrEqual(t, len(text), 1<<20)
		}
	}
	assert.Equal(t, "none:  \"\" from invalid IP\nterms with lookups: 0, of these without result: 0\n", strings.Replace(spf.Result{}.Explain(), "mailfrom", "", 1))
}
