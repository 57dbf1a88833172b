package smtp

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParsePath(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, tc := range []struct {
		in   string
		want Path
		out  string // String, if it is not in
	}{
		{in: "<>", want: Path{}},
		{in: "<a@example.org>", want: Path{"a", "example.org"}},
		{in: "<MiXed@EXAMPLE.Org>", want: Path{"MiXed", "example.org"}, out: "<MiXed@example.org>"},
		{in: "<Postmaster>", want: Path{"Postmaster", ""}},
		{in: "<pOSTMASTER>", want: Path{"pOSTMASTER", ""}},
		{in: "<a.b+c=d!#$%&'*/?^_`{|}~-@x>", want: Path{"a.b+c=d!#$%&'*/?^_`{|}~-", "x"}},
		{in: `<"a b"@example.org>`, want: Path{"a b", "example.org"}},
		{in: `<"a\"\\b"@example.org>`, want: Path{`a"\b`, "example.org"}},
		{in: `<"plain"@example.org>`, want: Path{"plain", "example.org"}, out: "<plain@example.org>"},
		{in: `<"\p\l"@example.org>`, want: Path{"pl", "example.org"}, out: "<pl@example.org>"},
		{in: `<"a..b"@example.org>`, want: Path{"a..b", "example.org"}},
		{in: `<".a"@example.org>`, want: Path{".a", "example.org"}},
		{in: `<"a@b"@example.org>`, want: Path{"a@b", "example.org"}},
		{in: `<"<>"@example.org>`, want: Path{"<>", "example.org"}},
		{in: "<@a.example,@b.example:u@c.example>", want: Path{"u", "c.example"}, out: "<u@c.example>"},
		{in: "<u@[192.0.2.1]>", want: Path{"u", "[192.0.2.1]"}},
		{in: "<u@[ipv6:2001:DB8:0:0::1]>", want: Path{"u", "[IPv6:2001:db8::1]"}, out: "<u@[IPv6:2001:db8::1]>"},
		{in: "<用户@例え.テスト>", want: Path{"用户", "xn--r8jz45g.xn--zckzah"}, out: "<用户@xn--r8jz45g.xn--zckzah>"},
		{in: "<u@BÜCHER.example>", want: Path{"u", "xn--bcher-kva.example"}, out: "<u@xn--bcher-kva.example>"},
		{in: "<u@XN--BCHER-KVA.example>", want: Path{"u", "xn--bcher-kva.example"}, out: "<u@xn--bcher-kva.example>"},
		{in: "<u@" + long + ".org>", want: Path{"u", long + ".org"}},
		{in: "<" + strings.Repeat("l", 256) + "@example.org>", want: Path{strings.Repeat("l", 256), "example.org"}},
		{in: "<u@1.2.3.4>", want: Path{"u", "1.2.3.4"}}, // grammar allows it
	} {
		got, err := ParsePath(tc.in)
		require.NoError(t, err, tc.in)
		require.Equal(t, tc.want, got, tc.in)
		require.NoError(t, got.check(), tc.in)
		if tc.out == "" {
			tc.out = tc.in
		}
		require.Equal(t, tc.out, got.String())
		again, err := ParsePath(got.String())
		require.NoError(t, err)
		require.Equal(t, got, again)
		if got.Domain != "" {
			again, err = ParseAddress(got.Address())
			require.NoError(t, err)
			require.Equal(t, got, again)
		}
	}
}

func TestParsePathRefuses(t *testing.T) {
	for _, in := range []string{
		"", "<", ">", "a@b", "<a@b", "<@b>", "<a@>", "<a>", "<a@b> ", "<a@b>x", "<<a@b>>", "< a@b>", "<a@b >",
		"<.a@b>", "<a.@b>", "<a..b@c>", `<""@b>`, `<"a@b>`, `<"a"b@c>`, `<"a\`, "<a b@c>", "<a\x00b@c>", "<\"\x00\"@c>",
		"<a\r\n@b>", "<\"a\r\n\"@b>", "<a@b\n>", "<\xff@b>", "<\"\xff\"@b>", "<a@\xff>", "<(x)a@b>", "<a,b@c>", "<a:b@c>",
		"<a@-b>", "<a@b->", "<a@b..c>", "<a@.b>", "<a@b.>", "<a@b_c>", "<a@b c>",
		"<a@" + strings.Repeat("b", 64) + ">", "<a@" + strings.Repeat("b.", 127) + "cc>",
		"<" + strings.Repeat("a", 257) + "@b>", `<"` + strings.Repeat("a", 257) + `"@b>`,
		"<a@[1.2.3]>", "<a@[1.2.3.4>", "<a@[1.2.3.4]x>", "<a@[::1]>", "<a@[IPv6:1.2.3.4]>", "<a@[IPv6:fe80::1%eth0]>", "<a@[]>", "<a@[x:y]>", "<a@[1.2.3.04]>",
		"<@a:b@c", "<@a,b@c>", "<@a,@b>", "<@:a@b>", "<@a:>",
		"<a@xn--\u00fc.example>", "<u@" + strings.Repeat("ü", 2000) + ">",
	} {
		p, err := ParsePath(in)
		require.ErrorIs(t, err, ErrPath, "%q gave %v", in, p)
	}
	for _, in := range []string{"", "a", "@b", "a@", "postmaster", "a@b>", "<a@b>", "a@b c", "a@b,c"} {
		_, err := ParseAddress(in)
		require.ErrorIs(t, err, ErrPath, in)
	}
}

// What a program puts together itself is checked before it is sent.
func TestPathCheck(t *testing.T) {
	for _, p := range []Path{{"", "b"}, {"a", ""}, {"a\r\nRCPT TO:<x", "b"}, {"a", "b>\r\n"}, {"a\x00", "b"}, {"a", "B"}, {"a", "bücher.example"}, {"\xff", "b"}, {"a", "[1.2.3.4"}} {
		require.ErrorIs(t, p.check(), ErrPath, "%q", p)
	}
}

// A path that is kept must not keep its command line.
func TestPathDoesNotPinItsLine(t *testing.T) {
	line := "<@" + strings.Repeat("a.", 100) + "a:u@example.org>"
	n := testing.AllocsPerRun(10, func() { _, _ = ParsePath(line) })
	require.LessOrEqual(t, n, 2.0)
}

func FuzzPath(f *testing.F) {
	for _, s := range []string{"<>", "<a@b>", `<"a\"b"@[1.2.3.4]>`, "<@a,@b:c@d>", "<用户@例え.テスト>", "<Postmaster>", "<a@[IPv6:::1]>", "<\"@", "<a@xn--a>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePath(s)
		if err != nil {
			require.ErrorIs(t, err, ErrPath)
			return
		}
		require.NoError(t, p.check())
		out := p.String()
		require.False(t, strings.ContainsAny(out, "\r\n\x00"), out)
		again, err := ParsePath(out)
		require.NoError(t, err, out)
		require.Equal(t, p, again)
		require.True(t, isASCII(p.Domain))
	})
}
