package dns

import (
	"net/netip"
	"strings"
	"testing"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestCanonicalName(t *testing.T) {
	long := strings.Repeat("a.", 126) + "b" // 253 octets
	cases := []struct {
		in, want string
		err      error
	}{
		{"Example.ORG", "example.org", nil},
		{"example.org.", "example.org", nil},
		{"_dmarc.example.org", "_dmarc.example.org", nil},
		{"_25._tcp.Bücher.example", "_25._tcp.xn--bcher-kva.example", nil},
		{"faß.de", "xn--fa-hia.de", nil},
		{"例え。テスト", "xn--r8jz45g.xn--zckzah", nil},
		{".", ".", nil},
		{`a\.b.org`, `a\.b.org`, nil},
		{long, long, nil},
		{long + ".", long, nil},
		{long + "c", "", errNameLong},
		{strings.Repeat("a", 63) + ".org", strings.Repeat("a", 63) + ".org", nil},
		{strings.Repeat("a", 64) + ".org", "", errLabelLong},
		{"", "", errNameEmpty},
		{"..", "", errLabelEmpty},
		{".org", "", errLabelEmpty},
		{"a..org", "", errLabelEmpty},
		{"\xffa.org", "", errNameUnicode},
		{strings.Repeat("a", 2000), "", errNameLong},
	}
	for _, c := range cases {
		got, err := CanonicalName(c.in)
		assert.Equal(t, c.want, got, c.in)
		assert.Equal(t, c.err, err, c.in)
	}
}

func TestReverseName(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.13":        "13.2.0.192.in-addr.arpa",
		"::ffff:192.0.2.13": "13.2.0.192.in-addr.arpa",
		"2001:db8::cb01":    "1.0.b.c.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
	} {
		assert.Equal(t, want, ReverseName(netip.MustParseAddr(in)))
	}
	assert.Empty(t, ReverseName(netip.Addr{}))
}

// Our escapes must be the codec's own, octet for octet: names are compared.
func TestWireNames(t *testing.T) {
	for c := range 256 {
		if c == '.' || 'A' <= c && c <= 'Z' {
			continue
		}
		name := toWire("x" + string([]byte{byte(c)}) + "y.test")
		buf := make([]byte, 64)
		n, err := mdns.PackDomainName(name, buf, 0, nil, false)
		require.NoError(t, err)
		assert.Equal(t, 1+3+1+4+1, n, "%q", name)
		assert.EqualValues(t, c, buf[2])
		back, _, err := mdns.UnpackDomainName(buf[:n], 0)
		require.NoError(t, err)
		assert.Equal(t, name, back)
	}
}

// FuzzCanonicalName checks that what is accepted can be asked for and is stable.
func FuzzCanonicalName(f *testing.F) {
	for _, s := range []string{"example.org", "bücher.de.", `a\b`, "\x00.x", "xn--a.org", "。", "a\u00ad.b", strings.Repeat("ß", 40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, err := CanonicalName(s)
		if err != nil {
			return
		}
		if len(name) > maxName {
			t.Fatalf("%q gives a name of %d octets", s, len(name))
		}
		again, err := CanonicalName(name)
		if err != nil || again != name {
			t.Fatalf("%q: %q, then %q, %v", s, name, again, err)
		}
		buf := make([]byte, 300)
		if _, err := mdns.PackDomainName(toWire(name), buf, 0, nil, false); err != nil {
			t.Fatalf("%q: %v", name, err)
		}
	})
}

// FuzzAnswer feeds hostile messages to the decoder and everything behind it.
func FuzzAnswer(f *testing.F) {
	q := newQuery("example.org", mdns.TypeTXT, true)
	seed := func(rrs ...string) {
		m := new(mdns.Msg)
		m.SetReply(q)
		for _, s := range rrs {
			rr, err := mdns.NewRR(s)
			if err != nil {
				f.Fatal(err)
			}
			m.Answer = append(m.Answer, rr)
		}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	seed(`example.org. 300 IN TXT "v=spf1 " "-all\000\"\\"`)
	seed(`example.org. 1 IN CNAME a.test.`, `a.test. 1 IN CNAME b.test.`, `b.test. 1 IN TXT "x"`)
	seed(`example.org. 1 IN CNAME a.test.`, `a.test. 1 IN CNAME example.org.`)
	seed()
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) >= 2 {
			b[0], b[1] = byte(q.Id>>8), byte(q.Id)
		}
		m, err := decode(q, b)
		if err != nil || m.Truncated {
			return
		}
		extendedError(m)
		refers(m)
		v, err := interpret(m, "example.org", mdns.TypeTXT, maxChain)
		if err != nil {
			return
		}
		if v.links > maxChain || v.ttl < 0 {
			t.Fatalf("%+v", v)
		}
		for _, rr := range v.rrs {
			if txt, ok := rr.(*mdns.TXT); ok {
				joinTXT(txt.Txt)
			}
		}
	})
}
