package spf_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/internal/testdns"
)

func txt(s ...string) testdns.Records { return testdns.Records{TXT: s} }

// long is a name of n octets below example.org, with labels of 50 octets.
func long(n int) string {
	s := ""
	for len(s)+len("example.org") < n {
		s += strings.Repeat("a", min(50, n-len("example.org")-len(s)-1)) + "."
	}
	return s + "example.org"
}

var zone = testdns.Zone{
	"example.org":                {A: []string{"192.0.2.1", "2001:db8::1"}, MX: []string{"10 mx.example.org"}},
	"mx.example.org":             {A: []string{"192.0.2.10"}, AAAA: []string{"2001:db8::10"}},
	"192.0.2.10":                 {PTR: []string{"other.test", "MX.Example.org"}},
	"2001:db8::10":               {PTR: []string{"mx.example.org"}},
	"192.0.2.66":                 {PTR: []string{"liar.example.org"}},
	"liar.example.org":           {A: []string{"192.0.2.67"}},
	"other.test":                 {A: []string{"192.0.2.99"}},
	"pass.test":                  txt("v=spf1 +all"),
	"fail.test":                  txt("v=spf1 -all"),
	"softfail.test":              txt("v=spf1 ~all"),
	"neutral.test":               txt("v=spf1 ?all"),
	"bare.test":                  txt("V=SPF1"),
	"none.test":                  txt("v=spf10 +all", "v=spf", "nothing"),
	"twice.test":                 txt("v=spf1 -all", "other", "v=spf1 -all"),
	"late.test":                  txt("v=spf1 +all nonsense:x"), // syntax is checked before anything matches
	"ip4.test":                   txt("v=spf1 ip4:192.0.2.0/28 ip4:198.51.100.7 -all"),
	"ip6.test":                   txt("v=spf1 ip6:2001:db8::/32 -all"),
	"a.test":                     txt("v=spf1 a:example.org -all"),
	"acidr.test":                 txt("v=spf1 a:example.org/24//64 -all"),
	"mx.test":                    txt("v=spf1 mx:example.org -all"),
	"mxcidr.test":                txt("v=spf1 mx:example.org/24//126 -all"),
	"nomx.test":                  {TXT: []string{"v=spf1 mx -all"}, A: []string{"192.0.2.1"}},
	"nullmx.test":                {TXT: []string{"v=spf1 mx -all"}, MX: []string{"0 ."}},
	"ptr.test":                   txt("v=spf1 ptr:example.org -all"),
	"ptrself.test":               txt("v=spf1 ptr -all"),
	"exists.test":                txt("v=spf1 exists:%{i}._spf.%{d} -all"),
	"incpass.test":               txt("v=spf1 include:pass.test -all"),
	"incfail.test":               txt("v=spf1 include:fail.test include:softfail.test include:neutral.test ~all"),
	"incnone.test":               txt("v=spf1 include:none.test +all"),
	"incbad.test":                txt("v=spf1 include:late.test +all"),
	"inctemp.test":               txt("v=spf1 include:servfail.test +all"),
	"redir.test":                 txt("v=spf1 ip4:192.0.2.77 redirect=fail.test"),
	"rediall.test":               txt("v=spf1 redirect=fail.test ?all"),
	"redinone.test":              txt("v=spf1 redirect=none.test"),
	"rediredi.test":              txt("v=spf1 redirect=redir.test"),
	"redirexp.test":              txt("v=spf1 exp=not.test redirect=explain.test"),
	"explain.test":               txt("v=spf1 -all exp=%{v}.why.test"),
	"in-addr.why.test":           txt("%{c} may not send for %{o}: ask %{r} about %{S}"),
	"incexplain.test":            txt("v=spf1 include:explain.test -all"),
	"expmissing.test":            txt("v=spf1 -all exp=nowhere.test"),
	"exptwo.test":                txt("v=spf1 -all exp=none.test"),
	"expbad.test":                txt("v=spf1 -all exp=bad.why.test"),
	"bad.why.test":               txt("%{x}"),
	"explocal.test":              txt("v=spf1 -all exp=local.why.test"),
	"local.why.test":             txt("you are %{l}"),
	"expucs.test":                txt("v=spf1 -all exp=ucs.why.test"),
	"ucs.why.test":               txt("größe"),
	"explong.test":               txt("v=spf1 -all exp=long.why.test"),
	"long.why.test":              txt(strings.Repeat("No. ", 1000)),
	"expcrlf.test":               txt("v=spf1 -all exp=crlf.why.test"),
	"crlf.why.test":              txt("no\r\n250 yes"),
	"self.test":                  txt("v=spf1 include:self.test -all"),
	"selfredir.test":             txt("v=spf1 redirect=selfredir.test"),
	"ten.test":                   txt("v=spf1 " + strings.Repeat("a:example.org ", 10) + "-all"),
	"eleven.test":                txt("v=spf1 " + strings.Repeat("a:example.org ", 11) + "-all"),
	"early.test":                 txt("v=spf1 ip4:192.0.2.5 " + strings.Repeat("a:example.org ", 11) + "-all"),
	"void2.test":                 txt("v=spf1 a:v1.test a:v2.test ?all"),
	"void3.test":                 txt("v=spf1 a:v1.test exists:v2.test mx:v3.test ?all"),
	"mx10.test":                  {TXT: []string{"v=spf1 mx ?all"}, MX: many(10)},
	"mx11.test":                  {TXT: []string{"v=spf1 mx ?all"}, MX: many(11)},
	"label.test":                 txt("v=spf1 a:" + strings.Repeat("a", 64) + ".example.org -all"),
	"labelinc.test":              txt("v=spf1 include:" + strings.Repeat("a", 64) + ".example.org -all"),
	"labelmacro.test":            txt("v=spf1 a:%{l}.example.org -all"),
	"cut.test":                   txt("v=spf1 a:%{l}." + long(252) + " -all"),
	long(252):                    {A: []string{"192.0.2.1"}},
	"aerr.test":                  txt("v=spf1 a:servfail.test -all"),
	"mxerr.test":                 txt("v=spf1 mx:servfail.test -all"),
	"ptrerr.test":                txt("v=spf1 ptr:servfail.test -all"),
	"timeout.test":               {Fail: map[string]testdns.Failure{"*": testdns.Timeout}},
	"servfail.test":              {Fail: map[string]testdns.Failure{"*": testdns.ServFail}},
	"xn--bcher-kva.test":         txt("v=spf1 a:%{d} -all"),
	"macrolocal.test":            txt("v=spf1 include:%{l}.test exists:%{s}.test -all"),
	"macroredir.test":            txt("v=spf1 redirect=%{l}.test"),
	"p.test":                     txt("v=spf1 exists:%{p}.names.test -all"),
	"*.names.test":               {A: []string{"127.0.0.2"}},
	"unknown.names.test":         txt(""),
	"1.0.0.127._spf.test":        txt(""),
	"192.0.2.5._spf.exists.test": {A: []string{"127.0.0.2"}},
	"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.rev.test": {A: []string{"127.0.0.2"}},
	"rev.test": txt("v=spf1 exists:%{ir}.rev.test -all"),
}

func many(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%d mx.example.org", i))
	}
	return out
}

var tableCases = []struct {
	ip, from string
	want     spf.Status
	mech     string
	err      error
	exp      string
}{
	{"192.0.2.5", "u@pass.test", spf.Pass, "+all", nil, ""},
	{"192.0.2.5", "u@PASS.Test.", spf.Pass, "+all", nil, ""},
	{"192.0.2.5", "u@fail.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "u@softfail.test", spf.SoftFail, "~all", nil, ""},
	{"192.0.2.5", "u@neutral.test", spf.Neutral, "?all", nil, ""},
	{"192.0.2.5", "u@bare.test", spf.Neutral, "", nil, ""},
	{"192.0.2.5", "u@none.test", spf.None, "", nil, ""},
	{"192.0.2.5", "u@nowhere.test", spf.None, "", nil, ""},
	{"192.0.2.5", "u@twice.test", spf.PermError, "", spf.ErrMultipleRecords, ""},
	{"192.0.2.5", "u@late.test", spf.PermError, "", nil, ""},
	{"192.0.2.5", "u@timeout.test", spf.TempError, "", nil, ""},
	{"192.0.2.5", "u@servfail.test", spf.TempError, "", nil, ""},

	{"192.0.2.5", "u@localhost", spf.None, "", spf.ErrBadDomain, ""},
	{"192.0.2.5", "u@[192.0.2.5]", spf.None, "", spf.ErrBadDomain, ""},
	{"192.0.2.5", "u@a..test", spf.None, "", spf.ErrBadDomain, ""},
	{"192.0.2.5", "u@" + strings.Repeat("a", 64) + ".test", spf.None, "", spf.ErrBadDomain, ""},
	{"192.0.2.5", "u@" + long(254), spf.None, "", spf.ErrBadDomain, ""},
	{"192.0.2.5", "u@\xff.test", spf.None, "", spf.ErrBadDomain, ""},
	{"192.0.2.5", "u@a\x00b.test", spf.None, "", spf.ErrBadDomain, ""},
	{"192.0.2.5", "u@", spf.None, "", spf.ErrBadDomain, ""},

	{"192.0.2.15", "u@ip4.test", spf.Pass, "ip4:192.0.2.0/28", nil, ""},
	{"192.0.2.16", "u@ip4.test", spf.Fail, "-all", nil, ""},
	{"::ffff:198.51.100.7", "u@ip4.test", spf.Pass, "ip4:198.51.100.7", nil, ""},
	{"2001:db8:ffff::1", "u@ip6.test", spf.Pass, "ip6:2001:db8::/32", nil, ""},
	{"2001:db9::1", "u@ip6.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.1", "u@a.test", spf.Pass, "a:example.org", nil, ""},
	{"192.0.2.2", "u@a.test", spf.Fail, "-all", nil, ""},
	{"2001:db8::1", "u@a.test", spf.Pass, "a:example.org", nil, ""},
	{"192.0.2.200", "u@acidr.test", spf.Pass, "a:example.org/24//64", nil, ""},
	{"2001:db8::ffff", "u@acidr.test", spf.Pass, "a:example.org/24//64", nil, ""},
	{"2001:db8:1::1", "u@acidr.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.10", "u@mx.test", spf.Pass, "mx:example.org", nil, ""},
	{"192.0.2.1", "u@mx.test", spf.Fail, "-all", nil, ""},
	{"2001:db8::13", "u@mxcidr.test", spf.Pass, "mx:example.org/24//126", nil, ""},
	{"192.0.2.1", "u@nomx.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.1", "u@nullmx.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.10", "u@ptr.test", spf.Pass, "ptr:example.org", nil, ""},
	{"2001:db8::10", "u@ptr.test", spf.Pass, "ptr:example.org", nil, ""},
	{"192.0.2.66", "u@ptr.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.10", "u@ptrself.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "u@exists.test", spf.Pass, "exists:%{i}._spf.%{d}", nil, ""},
	{"192.0.2.6", "u@exists.test", spf.Fail, "-all", nil, ""},
	{"2001:db8::1", "u@rev.test", spf.Pass, "exists:%{ir}.rev.test", nil, ""},
	{"192.0.2.10", "u@p.test", spf.Pass, "exists:%{p}.names.test", nil, ""},
	{"192.0.2.66", "u@p.test", spf.Fail, "-all", nil, ""},

	{"192.0.2.5", "u@incpass.test", spf.Pass, "include:pass.test", nil, ""},
	{"192.0.2.5", "u@incfail.test", spf.SoftFail, "~all", nil, ""},
	{"192.0.2.5", "u@incnone.test", spf.PermError, "include:none.test", spf.ErrNoPolicy, ""},
	{"192.0.2.5", "u@incbad.test", spf.PermError, "include:late.test", nil, ""},
	{"192.0.2.5", "u@inctemp.test", spf.TempError, "include:servfail.test", nil, ""},
	{"192.0.2.77", "u@redir.test", spf.Pass, "ip4:192.0.2.77", nil, ""},
	{"192.0.2.5", "u@redir.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "u@rediall.test", spf.Neutral, "?all", nil, ""},
	{"192.0.2.5", "u@redinone.test", spf.PermError, "redirect=none.test", spf.ErrNoPolicy, ""},
	{"192.0.2.5", "u@rediredi.test", spf.Fail, "-all", nil, ""},

	{"192.0.2.5", "a+b@explain.test", spf.Fail, "-all", nil, "192.0.2.5 may not send for explain.test: ask mx.example.net about a%2Bb%40explain.test"},
	{"192.0.2.5", "u@redirexp.test", spf.Fail, "-all", nil, "192.0.2.5 may not send for redirexp.test: ask mx.example.net about u%40redirexp.test"},
	{"192.0.2.5", "u@incexplain.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "u@expmissing.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "u@exptwo.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "u@expbad.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "u@expucs.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "u@expcrlf.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "u\r\n@explocal.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "@explocal.test", spf.Fail, "-all", nil, "you are postmaster"},
	{"192.0.2.5", "u@explong.test", spf.Fail, "-all", nil, strings.Repeat("No. ", 1000)[:450]},

	{"192.0.2.5", "u@self.test", spf.PermError, "include:self.test", spf.ErrLookupLimit, ""},
	{"192.0.2.5", "u@selfredir.test", spf.PermError, "redirect=selfredir.test", spf.ErrLookupLimit, ""},
	{"192.0.2.5", "u@ten.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "u@eleven.test", spf.PermError, "a:example.org", spf.ErrLookupLimit, ""},
	{"192.0.2.5", "u@early.test", spf.Pass, "ip4:192.0.2.5", nil, ""},
	{"192.0.2.5", "u@void2.test", spf.Neutral, "?all", nil, ""},
	{"192.0.2.5", "u@void3.test", spf.PermError, "mx:v3.test", spf.ErrVoidLookupLimit, ""},
	{"192.0.2.5", "u@mx10.test", spf.Neutral, "?all", nil, ""},
	{"192.0.2.10", "u@mx11.test", spf.PermError, "mx", spf.ErrMXLimit, ""},
	{"192.0.2.1", "u@label.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.1", "u@labelinc.test", spf.PermError, "", spf.ErrNoPolicy, ""},
	{"192.0.2.1", strings.Repeat("a", 64) + "@labelmacro.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.1", "a..b@labelmacro.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.1", strings.Repeat("x.", 30) + "x@cut.test", spf.Pass, "", nil, ""},
	{"192.0.2.1", "u@aerr.test", spf.TempError, "a:servfail.test", nil, ""},
	{"192.0.2.1", "u@mxerr.test", spf.TempError, "mx:servfail.test", nil, ""},
	{"192.0.2.1", "u@ptrerr.test", spf.Fail, "-all", nil, ""},

	{"192.0.2.5", "u@Bücher.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "pass@macrolocal.test", spf.Pass, "include:%{l}.test", nil, ""},
	{"192.0.2.5", "pässe@macrolocal.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "fail@macroredir.test", spf.Fail, "-all", nil, ""},
	{"192.0.2.5", "fäil@macroredir.test", spf.Neutral, "", nil, ""},
}

func TestCheck(t *testing.T) {
	for _, c := range tableCases {
		t.Run(c.from[:min(len(c.from), 40)]+"_"+c.ip, func(t *testing.T) {
			db := testdns.NewResolver(zone)
			checker := &spf.Checker{Resolver: db, Receiver: "mx.example.net"}
			res := checker.Check(t.Context(), netip.MustParseAddr(c.ip), "client.example.net", c.from)
			assert.Equal(t, c.want, res.Status, "%v %+v", res.Err, res.Trace())
			if c.mech != "" {
				assert.Equal(t, c.mech, res.Mechanism)
			}
			if c.err != nil {
				assert.ErrorIs(t, res.Err, c.err)
			} else if c.want != spf.TempError && c.want != spf.PermError {
				assert.NoError(t, res.Err)
			} else {
				assert.Error(t, res.Err)
			}
			assert.Equal(t, c.exp, res.Explanation)
			assert.Equal(t, spf.MailFrom, res.Identity)
			assert.LessOrEqual(t, res.Lookups, 10)
			assert.LessOrEqual(t, db.Count("", ""), 24)
			checkHeader(t, res.ReceivedSPF("mx.example.net"))
		})
	}
}

func TestHELO(t *testing.T) {
	checker := &spf.Checker{Resolver: testdns.NewResolver(zone)}
	ip := netip.MustParseAddr("192.0.2.5")
	for _, from := range []string{"", "<>"} {
		res := checker.Check(t.Context(), ip, "explain.test", from)
		assert.Equal(t, spf.Fail, res.Status)
		assert.Equal(t, spf.HELO, res.Identity)
		assert.Equal(t, "postmaster@explain.test", res.Sender)
		assert.Contains(t, res.Explanation, "ask unknown about postmaster%40explain.test")
	}
	for _, helo := range []string{"", "localhost", "[192.0.2.5]", "192.0.2.5\r\n", strings.Repeat("x", 10000)} {
		res := checker.CheckHELO(t.Context(), ip, helo)
		assert.Equal(t, spf.None, res.Status)
		assert.ErrorIs(t, res.Err, spf.ErrBadDomain)
		checkHeader(t, res.ReceivedSPF("mx.example.org"))
	}
	res := checker.Check(t.Context(), netip.Addr{}, "h.test", "u@pass.test")
	assert.Equal(t, spf.None, res.Status)
	checkHeader(t, res.ReceivedSPF("mx.example.org"))
}

func TestTrace(t *testing.T) {
	checker := &spf.Checker{Resolver: testdns.NewResolver(zone)}
	res := checker.Check(t.Context(), netip.MustParseAddr("192.0.2.5"), "h.test", "u@incpass.test")
	var steps []string
	for _, s := range res.Trace() {
		steps = append(steps, fmt.Sprint(s.Depth, s.Domain, s.Term, s.Outcome, len(s.Lookups)))
	}
	assert.Equal(t, []string{
		fmt.Sprint(0, "incpass.test", "TXT", "found", 1),
		fmt.Sprint(1, "pass.test", "TXT", "found", 1),
		fmt.Sprint(1, "pass.test", "+all", "match", 0),
		fmt.Sprint(0, "incpass.test", "include:pass.test", "match", 0),
	}, steps)
	res = checker.Check(t.Context(), netip.MustParseAddr("192.0.2.5"), "h.test", "u@self.test")
	assert.Equal(t, 10, res.Lookups)
	assert.Len(t, res.Trace(), 11+11)

	many := &spf.Checker{Resolver: testdns.NewResolver(testdns.Zone{"x.test": txt("v=spf1" + strings.Repeat(" ip4:192.0.2.1", 1000))})}
	res = many.Check(t.Context(), netip.MustParseAddr("192.0.2.5"), "h.test", "u@x.test")
	assert.Equal(t, spf.Neutral, res.Status)
	assert.Len(t, res.Trace(), 200)
}

func TestLimits(t *testing.T) {
	ip := netip.MustParseAddr("192.0.2.5")
	check := func(c spf.Checker, from string) spf.Result {
		c.Resolver = testdns.NewResolver(zone)
		return c.Check(t.Context(), ip, "h.test", from)
	}
	assert.Equal(t, spf.Fail, check(spf.Checker{Lookups: 11}, "u@eleven.test").Status)
	assert.ErrorIs(t, check(spf.Checker{Lookups: -1}, "u@a.test").Err, spf.ErrLookupLimit)
	assert.ErrorIs(t, check(spf.Checker{VoidLookups: 1}, "u@void2.test").Err, spf.ErrVoidLookupLimit)
	assert.ErrorIs(t, check(spf.Checker{VoidLookups: -1}, "u@void2.test").Err, spf.ErrVoidLookupLimit)
	assert.Equal(t, spf.Neutral, check(spf.Checker{VoidLookups: 3}, "u@void3.test").Status)
	assert.Equal(t, spf.Neutral, check(spf.Checker{MXAddresses: 11}, "u@mx11.test").Status)
	ip = netip.MustParseAddr("192.0.2.10") // its second name is the one that fits
	assert.Equal(t, spf.Pass, check(spf.Checker{PTRNames: 2}, "u@ptr.test").Status)
	assert.Equal(t, spf.Fail, check(spf.Checker{PTRNames: 1}, "u@ptr.test").Status)
}

// The most expensive policy that the limits let through.
func TestWorstCase(t *testing.T) {
	z := testdns.Zone{"192.0.2.5": {}, "mx.test": {A: []string{"192.0.2.1"}}}
	var ptrs, mxs []string
	for i := range 500 {
		ptrs = append(ptrs, fmt.Sprintf("p%d.test", i))
		z[ptrs[i]] = testdns.Records{A: []string{"192.0.2.9"}}
	}
	z["192.0.2.5"] = testdns.Records{PTR: ptrs}
	for i := range 10 {
		mxs = append(mxs, fmt.Sprintf("%d mx.test", i))
	}
	z["evil.test"] = testdns.Records{MX: mxs, TXT: []string{"v=spf1 ptr:%{p}.test " + strings.Repeat("mx ", 9) + "-all"}}
	db := testdns.NewResolver(z)
	res := (&spf.Checker{Resolver: db}).Check(t.Context(), netip.MustParseAddr("192.0.2.5"), "h.test", "u@evil.test")
	assert.Equal(t, spf.Fail, res.Status)
	assert.Equal(t, 1+1+10+9*11, db.Count("", ""))
}

func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := testdns.NewResolver(zone)
		db.Delay("example.org", 7*time.Second)
		start := time.Now()
		ip := netip.MustParseAddr("192.0.2.5")
		res := (&spf.Checker{Resolver: db}).Check(t.Context(), ip, "h.test", "u@ten.test")
		assert.Equal(t, 20*time.Second, time.Since(start))
		assert.Equal(t, spf.TempError, res.Status)
		assert.ErrorIs(t, res.Err, spf.ErrTimeout)

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		res = (&spf.Checker{Resolver: db}).Check(ctx, ip, "h.test", "u@pass.test")
		assert.Equal(t, spf.TempError, res.Status)
		assert.ErrorIs(t, res.Err, context.Canceled)

		res = (&spf.Checker{Resolver: db, Timeout: -1}).Check(t.Context(), ip, "h.test", "u@ten.test")
		assert.Equal(t, spf.Fail, res.Status)
	})
}

// partial is a resolver that, as net.Resolver does, returns what it could
// read together with an error about the rest.
type partial struct{ *testdns.Resolver }

func (p partial) LookupMX(ctx context.Context, name string) ([]*net.MX, error) {
	mxs, err := p.Resolver.LookupMX(ctx, name)
	return mxs, errors.Join(err, &net.DNSError{Err: "DNS response contained records which contain invalid names"})
}

// A ptr for which there was no time left is no mechanism that does not match.
func TestTimeoutInPTR(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for slow, ip := range map[string]string{"192.0.2.5": "192.0.2.5", "p.test": "192.0.2.6"} {
			db := testdns.NewResolver(testdns.Zone{
				"x.test":    txt("v=spf1 ptr:p.test -all"),
				"192.0.2.5": {PTR: []string{"p.test"}},
				"192.0.2.6": {PTR: []string{"p.test"}},
				"p.test":    {A: []string{"192.0.2.5", "192.0.2.6"}},
			})
			db.Delay(slow, time.Hour)
			res := (&spf.Checker{Resolver: db}).Check(t.Context(), netip.MustParseAddr(ip), "h.test", "u@x.test")
			assert.Equal(t, spf.TempError, res.Status, slow)
			assert.ErrorIs(t, res.Err, spf.ErrTimeout)
		}
	})
}

func TestPartialAnswer(t *testing.T) {
	c := &spf.Checker{Resolver: partial{testdns.NewResolver(zone)}}
	res := c.Check(t.Context(), netip.MustParseAddr("192.0.2.10"), "h.test", "u@mx.test")
	require.Equal(t, spf.Pass, res.Status)
}

func TestZeroChecker(t *testing.T) {
	var c spf.Checker
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // net.DefaultResolver must not reach the network from here
	res := c.Check(ctx, netip.MustParseAddr("192.0.2.10"), "h.test", "u@spf.invalid")
	assert.Equal(t, spf.TempError, res.Status)
	var _ spf.Resolver = net.DefaultResolver
}

func TestStrings(t *testing.T) {
	assert.Equal(t, "permerror", spf.PermError.String())
	assert.Equal(t, "Status(9)", spf.Status(9).String())
	assert.Equal(t, "helo mailfrom", spf.HELO.String()+" "+spf.MailFrom.String())
}

func BenchmarkCheck(b *testing.B) {
	z := testdns.Zone{
		"example.org":       txt("v=spf1 include:_spf.example.org include:_spf2.example.org mx -all"),
		"_spf.example.org":  txt("v=spf1 " + strings.Repeat("ip4:198.51.100.0/24 ", 20) + "~all"),
		"_spf2.example.org": txt("v=spf1 include:_spf3.example.org ip6:2001:db8::/32 ~all"),
		"_spf3.example.org": txt("v=spf1 ip4:192.0.2.0/24 -all"),
	}
	c := &spf.Checker{Resolver: testdns.NewResolver(z)}
	ip := netip.MustParseAddr("192.0.2.5")
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		if res := c.Check(ctx, ip, "mx.example.org", "user@example.org"); res.Status != spf.Pass {
			b.Fatal(res)
		}
	}
}

func BenchmarkReceivedSPF(b *testing.B) {
	r := spf.Result{
		Status: spf.Pass, Domain: "example.com", Sender: "user@example.com", HELO: "mx.example.com",
		IP: netip.MustParseAddr("192.0.2.1"), Mechanism: "mx",
	}
	b.ReportAllocs()
	for b.Loop() {
		r.ReceivedSPF("mx.example.org")
	}
}
