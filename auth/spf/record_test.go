package spf

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	r, err := Parse("v=spf1  a ?MX:mail.example.org/24//64 +ip4:192.0.2.77/24 ~include:%{d2}.example.org " +
		"-exists:%{ir}.%{v}._spf.%{d} ptr:x.example.org. ip6:2001:db8::1 unknown.mod=a%{i}b exp=why.%{d} REDIRECT=_spf.example.org -all ")
	require.NoError(t, err)
	require.Len(t, r.Directives, 8)
	d := r.Directives
	assert.Equal(t, Directive{Status: Pass, Kind: A, Bits4: 32, Bits6: 128, Text: "a"}, d[0])
	assert.Equal(t, MX, d[1].Kind)
	assert.Equal(t, Neutral, d[1].Status)
	assert.Equal(t, "mail.example.org", d[1].Domain.String())
	assert.Equal(t, 24, d[1].Bits4)
	assert.Equal(t, 64, d[1].Bits6)
	assert.Equal(t, netip.MustParsePrefix("192.0.2.0/24"), d[2].Network)
	assert.Equal(t, SoftFail, d[3].Status)
	_, literal := d[3].Domain.Literal()
	assert.False(t, literal)
	text, literal := d[1].Domain.Literal()
	assert.True(t, literal)
	assert.Equal(t, "mail.example.org", text)
	assert.Equal(t, Fail, d[4].Status)
	assert.Equal(t, netip.MustParsePrefix("2001:db8::1/128"), d[6].Network)
	assert.Equal(t, "-all", d[7].Text)
	assert.Equal(t, "_spf.example.org", r.Redirect.String())
	assert.Equal(t, "why.%{d}", r.Exp.String())
	assert.Equal(t, []string{"unknown.mod=a%{i}b"}, r.Unknown)
	assert.True(t, Macro{}.IsZero())
}

func TestParseTerms(t *testing.T) {
	good := []string{
		"", "all", "a", "a/0", "a/32//128", "a//0", "a:x.org/24", "a:foo:bar/baz.example.org", "a:1.2.3.4.org", "a:%{d}", "a:x.%{d}.org.",
		"mx//64", "ptr", "ptr:x.org", "ip4:0.0.0.0/0", "ip6:::/0", "ip6:::ffff:192.0.2.1", "exists:%{l1r+-}.x.org", "exists:x%%", "exists:%{d}%_",
		"exists:a.xn--p1ai", "include:%{d999999999999999999999}", "x=", "x=%{t}", "a-b_c.d=%%", "exp=x.org", "redirect=x.org", "A:X.ORG", "aLL",
	}
	for _, s := range good {
		_, err := Parse("v=spf1 " + s)
		assert.NoError(t, err, s)
	}
	bad := []string{
		"foo", "all:x.org", "all/8", "a:", "a/", "a//", "a/33", "a//129", "a/24/64", "a/024", "a:x.org/", "a:x", "a:x.123", "a:1.2.3.4", "a:2001:db8::1",
		"a:x.-org", "a:x.org-", "a:.", "a:..", "a:x.o_g", "a:%{d}x", "mx:", "mx/33", "ptr:", "ptr/24", "ptr:x.org/24", "ip4", "ip4:", "ip4:1.2.3", "ip4:1.2.3.4/33", "ip4:01.2.3.4",
		"ip4:1.2.3.4/", "ip4:1.2.3.4/+8", "ip4:1.2.3.4//32", "ip4:::1", "ip6:1.2.3.4", "ip6:fe80::1%eth0", "ip6:::1/129", "ip6:::1/0128", "include", "include:",
		"exists", "exists:x", "exists/8", "exp=", "redirect=", "redirect:x.org", "exp=x", "exp=a.org exp=b.org", "redirect=a.org REDIRECT=b.org",
		"a:%", "a:%x.org", "a:%{}.org", "a:%{d", "a:%{d0}", "a:%{d00r}", "a:%{dx}", "a:%{d1r;}", "a:%{z}", "a:%{c}", "a:%{r}", "a:%{t}", "x=%{z}", "x=%", "x=%(d)",
		"1x=y", "=y", "x y=z", "+", "-", "++all", "+exp=x.org", "a\tall", "a\x00", "a:ü.org", "\x7fa", "a=b:%",
	}
	for _, s := range bad {
		_, err := Parse("v=spf1 " + s)
		var se *SyntaxError
		if assert.ErrorAs(t, err, &se, s) {
			assert.NotEmpty(t, se.Reason)
			assert.True(t, printable(err.Error()), "%q", err)
		}
	}
	for _, s := range []string{"", "v=spf", "v=spf1a", "v=spf2.0/pra", "v=spf1\tall", " v=spf1", "spf1"} {
		_, err := Parse(s)
		assert.Error(t, err, s)
		assert.False(t, IsRecord(s))
	}
	_, err := Parse("v=spf1 " + strings.Repeat("a ", 40<<10))
	assert.Error(t, err)
}

func TestMacroExpand(t *testing.T) {
	// The examples of RFC 7208 §7.4.
	e := &evaluation{local: "strong-bad", domain: "email.example.com", ip: netip.MustParseAddr("192.0.2.3"), helo: "h x.org", ptrDone: true}
	v6 := *e
	v6.ip = netip.MustParseAddr("2001:db8::cb01")
	cases := []struct {
		e        *evaluation
		in, want string
	}{
		{e, "%{s}", "strong-bad@email.example.com"},
		{e, "%{o}", "email.example.com"},
		{e, "%{d}", "email.example.com"},
		{e, "%{d4}", "email.example.com"},
		{e, "%{d3}", "email.example.com"},
		{e, "%{d2}", "example.com"},
		{e, "%{d1}", "com"},
		{e, "%{dr}", "com.example.email"},
		{e, "%{d2r}", "example.email"},
		{e, "%{l}", "strong-bad"},
		{e, "%{l-}", "strong.bad"},
		{e, "%{lr}", "strong-bad"},
		{e, "%{lr-}", "bad.strong"},
		{e, "%{l1r-}", "strong"},
		{e, "%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"},
		{e, "%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"},
		{e, "%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"},
		{e, "%{ir}.%{v}.%{l1r-}.lp._spf.%{d2}", "3.2.0.192.in-addr.strong.lp._spf.example.com"},
		{e, "%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"},
		{&v6, "%{ir}.%{v}._spf.%{d2}", "1.0.B.C.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.B.D.0.1.0.0.2.ip6._spf.example.com"},
		{e, "%{H}%%%_%-%{p}%{c}%{r}", "h%20x.org% %20unknown192.0.2.3unknown"},
		{&v6, "%{C}", "2001%3Adb8%3A%3Acb01"},
		{e, "%{s3@}", "strong-bad@email.example.com"},
	}
	for _, c := range cases {
		m, reason := parseMacro(c.in, anyMacro)
		if strings.Contains(c.in, "@") {
			assert.NotEmpty(t, reason, c.in)
			continue
		}
		require.Empty(t, reason, c.in)
		assert.Equal(t, c.want, m.expand(c.e.values("email.example.com")), c.in)
	}
}

func TestTruncate(t *testing.T) {
	assert.Equal(t, "b.org", truncate("b.org"))
	long := strings.Repeat("a.", 126) + "b"
	assert.Equal(t, long, truncate("xyz."+long))
	assert.Equal(t, long+".", truncate("xyz.xyz."+long+"."))
	single := strings.Repeat("a", 300)
	assert.Equal(t, single, truncate(single))
}

// FuzzParse checks that parsing ends, and that what is valid stays so when
// written down again from its terms.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"v=spf1", "v=spf1 -all", "v=spf1 a mx/24//64 ip4:192.0.2.0/24 ip6:2001:db8::/32 include:%{d2r.}.x.org ?ptr ~exists:%{ir}.x.org exp=a.b redirect=c.d x=%%",
		"v=spf1 a:%", "v=spf1 a/0//0/0", "V=SPF1 a:%{", "v=spf1 a:%{d}%_", "v=spf1 ip6:::%/",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := Parse(s)
		if err != nil {
			if len(err.Error()) > 1000 {
				t.Fatalf("error of %d octets", len(err.Error()))
			}
			return
		}
		if !printable(s) {
			t.Fatalf("%q accepted", s)
		}
		again := "v=spf1"
		for _, d := range r.Directives {
			again += " " + d.Text
			d.Domain.Literal()
		}
		if !r.Redirect.IsZero() {
			again += " redirect=" + r.Redirect.String()
		}
		if !r.Exp.IsZero() {
			again += " exp=" + r.Exp.String()
		}
		r2, err := Parse(again)
		if err != nil || len(r2.Directives) != len(r.Directives) {
			t.Fatalf("%q: %v", again, err)
		}
	})
}

// FuzzMacro expands with hostile values.
func FuzzMacro(f *testing.F) {
	f.Add("%{s}.%{l1r-}.%{ir}.%{v}", "user+tag", "example.org", "h")
	f.Add("%{S3r.-+,/_=}%%%_%-", "a\r\nb", "x.y", "\xff")
	f.Add("%{h}.%{p}.%{d200}", strings.Repeat("a.", 200), "x.y", "..")
	f.Fuzz(func(t *testing.T, s, local, domain, helo string) {
		m, reason := parseMacro(s, anyMacro)
		if reason != "" {
			return
		}
		e := &evaluation{local: local, domain: domain, helo: helo, ip: netip.MustParseAddr("2001:db8::1"), ptrDone: true}
		text := m.expand(e.values(domain))
		if most := (len(s) + 1) * (3*(len(local)+len(domain)+len(helo)) + 100); len(text) > most {
			t.Fatalf("%q expands to %d octets", s, len(text))
		}
		name, ok := e.target(m, domain)
		if ok && (len(name) > maxName || strings.Contains(name, "..") || !isASCII(name)) {
			t.Fatalf("%q is no name to ask for", name)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	s := "v=spf1 include:_spf.example.org ip4:192.0.2.0/24 ip4:198.51.100.0/24 ip6:2001:db8::/32 a mx exists:%{ir}._spf.%{d} -all"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(s); err != nil {
			b.Fatal(err)
		}
	}
}
