package authres

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		name, in string
		want     *Header
	}{
		// RFC 8601 appendix B.
		{"B.2 nothing done", " example.org 1; none", &Header{ServID: "example.org", Version: 1}},
		{"B.3 one method", "example.com;\r\n    spf=pass smtp.mailfrom=example.net", &Header{ServID: "example.com", Version: 1,
			Results: []Result{{Method: "spf", MethodVersion: 1, Value: "pass", Props: []Prop{{"smtp", "mailfrom", "example.net"}}}}}},
		{"B.4 two methods", "example.com;\r\n\tauth=pass (cram-md5) smtp.auth=sender@example.net;\r\n\tspf=fail smtp.mailfrom=example.com",
			&Header{ServID: "example.com", Version: 1, Results: []Result{
				{Method: "auth", MethodVersion: 1, Value: "pass", Comment: "cram-md5", Props: []Prop{{"smtp", "auth", "sender@example.net"}}},
				{Method: "spf", MethodVersion: 1, Value: "fail", Props: []Prop{{"smtp", "mailfrom", "example.com"}}}}}},
		{"B.6 comments everywhere", "foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n" +
			" policy (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I wasn't expecting it) 1362471462",
			&Header{ServID: "foo.example.net", Version: 1, Results: []Result{{Method: "dkim", MethodVersion: 1, Value: "fail",
				Props: []Prop{{"policy", "expired", "1362471462"}}}}}},
		{"quoted", `"a \"b\"" ; x=y reason = "no;way\\" header.i="@e; f=g"`, &Header{ServID: `a "b"`, Version: 1,
			Results: []Result{{Method: "x", MethodVersion: 1, Value: "y", Reason: `no;way\`, Props: []Prop{{"header", "i", "@e; f=g"}}}}}},
		{"quoted local part", `h; spf=pass smtp.mailfrom="a b"@example.net`, &Header{ServID: "h", Version: 1,
			Results: []Result{{Method: "spf", MethodVersion: 1, Value: "pass", Props: []Prop{{"smtp", "mailfrom", `"a b"@example.net`}}}}}},
		{"unquoted base64", "h; dkim=pass header.b=ab/+=; dkim=none;", &Header{ServID: "h", Version: 1, Results: []Result{
			{Method: "dkim", MethodVersion: 1, Value: "pass", Props: []Prop{{"header", "b", "ab/+="}}},
			{Method: "dkim", MethodVersion: 1, Value: "none"}}}},
		{"no type, reason last", "h; dmarc=fail action=none header.from=e.com reason=000", &Header{ServID: "h", Version: 1, Results: []Result{
			{Method: "dmarc", MethodVersion: 1, Value: "fail", Reason: "000", Props: []Prop{{"", "action", "none"}, {"header", "from", "e.com"}}}}}},
		{"nested comment", `h; spf=pass (a (b \) c) d)`, &Header{ServID: "h", Version: 1, Results: []Result{
			{Method: "spf", MethodVersion: 1, Value: "pass", Comment: "a (b ) c) d"}}}},
		{"method version", "h; dkim/3=pass", &Header{ServID: "h", Version: 1, Results: []Result{{Method: "dkim", MethodVersion: 3, Value: "pass"}}}},
		{"UTF-8", "bücher.example; auth=pass smtp.auth=jürgen", &Header{ServID: "bücher.example", Version: 1, Results: []Result{
			{Method: "auth", MethodVersion: 1, Value: "pass", Props: []Prop{{"smtp", "auth", "jürgen"}}}}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.in)
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
		})
	}
}

func TestParseErrors(t *testing.T) {
	for in, want := range map[string]error{
		"":                          ErrSyntax,
		" \r\n ":                    ErrSyntax,
		";none":                     ErrSyntax,
		"h":                         ErrSyntax,
		"h;":                        ErrSyntax,
		"h; ;":                      ErrSyntax,
		"h none":                    ErrSyntax,
		"h; spf":                    ErrSyntax,
		"h; spf=":                   ErrSyntax,
		"h; spf pass":               ErrSyntax,
		"h; spf=pass smtp":          ErrSyntax,
		"h; spf=pass smtp.":         ErrSyntax,
		"h; spf=pass smtp.mailfrom": ErrSyntax,
		"h; spf=pass smtp.helo=":    ErrSyntax,
		"h; spf=pass (open":         ErrSyntax,
		"h; spf=pass (open\\":       ErrSyntax,
		`h; spf=pass x.y="open`:     ErrSyntax,
		`h; spf=pass x.y="open\`:    ErrSyntax,
		"h; spf=pass x.y=a\x00b":    ErrSyntax,
		"h; spf=pass x.y=a)":        ErrSyntax,
		"h; -=pass":                 ErrSyntax,
		"h; spf/x=pass":             ErrSyntax,
		"h; spf/99999999999=pass":   ErrSyntax,
		"h one; none":               ErrSyntax,
		"h 2; none":                 ErrVersion,
		"h; none; spf=pass":         ErrSyntax,
		"h" + strings.Repeat(";a=b", MaxResults+1):         ErrLimit,
		"h; a=b" + strings.Repeat(" c.d=e", MaxProps+1):    ErrLimit,
		"h " + strings.Repeat("(", MaxCommentDepth+1):      ErrLimit,
		"h; none" + strings.Repeat(" ", MaxFieldBytes):     ErrLimit,
		"h; a=" + strings.Repeat("b", 65):                  ErrSyntax,
		"h; " + strings.Repeat("(x)", 20000) + "a=b c.d=;": ErrSyntax,
	} {
		h, err := Parse(in)
		assert.ErrorIs(t, err, want, "%.60q", in)
		assert.Equal(t, want == ErrVersion, h != nil, "%.60q", in)
	}
}

func TestField(t *testing.T) {
	for _, c := range []struct {
		name string
		h    Header
		want string
	}{
		{"nothing", Header{ServID: "mx.example.org"}, "Authentication-Results: mx.example.org; none\r\n"},
		{"all methods", Header{ServID: "mx.example.org", Results: []Result{
			SPF("pass", "alice@example.com", "mail.example.com"),
			DKIM("pass", "example.com", "sel", "@example.com", "rsa-sha256", "ab/cdefg"),
			DMARC("pass", "example.com", "reject"),
			ARC("pass", "0", netip.MustParseAddr("::ffff:192.0.2.1")),
			IPRev("pass", netip.MustParseAddr("192.0.2.1"), "mail.example.com"),
			Auth("pass", "alice", ""),
			DNSWL("pass", "list.example", netip.MustParseAddr("127.0.5.2"), "good; sender", "na"),
			BIMI("pass", "example.com", "default"),
		}}, "Authentication-Results: mx.example.org;\r\n" +
			"\tspf=pass smtp.mailfrom=alice@example.com smtp.helo=mail.example.com;\r\n" +
			"\tdkim=pass header.d=example.com header.i=@example.com header.s=sel\r\n" +
			"\theader.a=rsa-sha256 header.b=\"ab/cdefg\";\r\n" +
			"\tdmarc=pass header.from=example.com policy.dmarc=reject;\r\n" +
			"\tarc=pass header.oldest-pass=0 smtp.remote-ip=192.0.2.1;\r\n" +
			"\tiprev=pass (mail.example.com) policy.iprev=192.0.2.1;\r\n" +
			"\tauth=pass smtp.auth=alice;\r\n" +
			"\tdnswl=pass dns.zone=list.example policy.ip=127.0.5.2\r\n" +
			"\tpolicy.txt=\"good; sender\" dns.sec=na;\r\n" +
			"\tbimi=pass header.d=example.com header.selector=default\r\n"},
		{"versions", Header{ServID: "h", Version: 2, Results: []Result{{Method: "x", MethodVersion: 2, Value: "y"}}},
			"Authentication-Results: h 2;\r\n\tx/2=y\r\n"},
		{"injection", Header{ServID: "h", Results: []Result{{Method: "spf", Value: "fail",
			Comment: "x) y=z (\r\nEvil: 1", Reason: "\"; dkim=pass\r\n", Props: []Prop{
				{"smtp", "mailfrom", "a@b; dkim=pass header.d=example.com"},
				{"smtp", "helo", "x\r\nEvil: yes\r\n\r\nbody"},
				{"header", "i", "\"\\\x00\x7f\u0085é\u2028\xff"},
			}}}},
			"Authentication-Results: h;\r\n" +
				"\tspf=fail (x\\) y=z \\(??Evil: 1) reason=\"\\\"; dkim=pass??\"\r\n" +
				"\tsmtp.mailfrom=\"a@b; dkim=pass header.d=example.com\"\r\n" +
				"\tsmtp.helo=\"x??Evil: yes????body\" header.i=\"\\\"\\\\??????\"\r\n"},
		{"utf-8", Header{ServID: "h", UTF8: true, Results: []Result{Auth("pass", "jürgen\u0085\u2029\u202e\u2066", "é\u200d@bücher.example")}},
			"Authentication-Results: h;\r\n\tauth=pass smtp.auth=\"jürgen????\" smtp.mailfrom=\"é\u200d@bücher.example\"\r\n"},
		{"utf-8 not allowed", Header{ServID: "h", Results: []Result{Auth("pass", "jürgen", "")}},
			"Authentication-Results: h;\r\n\tauth=pass smtp.auth=\"j?rgen\"\r\n"},
		{"address with two @", Header{ServID: "h", Results: []Result{SPF("none", "a@b@c", "[192.0.2.1]")}},
			"Authentication-Results: h;\r\n\tspf=none smtp.mailfrom=\"a@b@c\" smtp.helo=\"[192.0.2.1]\"\r\n"},
		{"too long a value", Header{ServID: "h", Results: []Result{SPF("none", strings.Repeat("a", 801), "x")}},
			"Authentication-Results: h;\r\n\tspf=none smtp.helo=x\r\n"},
		{"text cut", Header{ServID: "h", UTF8: true, Results: []Result{{Method: "x", Value: "y", Comment: strings.Repeat("a", 255) + "é"}}},
			"Authentication-Results: h;\r\n\tx=y\r\n\t(" + strings.Repeat("a", 255) + ")\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.h.Field()
			require.NoError(t, err)
			assert.Equal(t, c.want, got)
			_, body, _ := strings.Cut(got, ":")
			back, err := Parse(strings.TrimSuffix(body, "\r\n"))
			if c.h.Version == 2 {
				assert.ErrorIs(t, err, ErrVersion)
				return
			}
			require.NoError(t, err)
			assert.Len(t, back.Results, len(c.h.Results))
			for i, r := range c.h.Results {
				assert.Equal(t, r.Value, back.Results[i].Value)
			}
		})
	}
}

func TestFieldErrors(t *testing.T) {
	ok := Result{Method: "x", Value: "y"}
	for name, h := range map[string]Header{
		"no id":               {Results: []Result{ok}},
		"long id":             {ServID: strings.Repeat("a", 256)},
		"no method":           {ServID: "h", Results: []Result{{Value: "y"}}},
		"method with ;":       {ServID: "h", Results: []Result{{Method: "a;b", Value: "y"}}},
		"no result":           {ServID: "h", Results: []Result{ok, {Method: "x"}}},
		"result with CRLF":    {ServID: "h", Results: []Result{{Method: "x", Value: "y\r\n"}}},
		"property with space": {ServID: "h", Results: []Result{{Method: "x", Value: "y", Props: []Prop{{"a", "b c", "d"}}}}},
		"type with dot":       {ServID: "h", Results: []Result{{Method: "x", Value: "y", Props: []Prop{{"a.b", "c", "d"}}}}},
		"reason as property":  {ServID: "h", Results: []Result{{Method: "x", Value: "y", Props: []Prop{{"", "Reason", "d"}}}}},
	} {
		_, err := h.Field()
		assert.ErrorIs(t, err, ErrName, name)
	}
}

func TestLineLengths(t *testing.T) {
	h := Header{ServID: strings.Repeat(`"`, 255)}
	long := strings.Repeat(`"`, 400)
	for range 20 {
		h.Results = append(h.Results, Result{Method: strings.Repeat("m", 64), Value: strings.Repeat("v", 64), Comment: strings.Repeat("(", 999),
			Reason: long, Props: []Prop{{strings.Repeat("p", 64), strings.Repeat("q", 64), long[:399]}, {"a", "b", long}}})
	}
	f, err := h.Field()
	require.NoError(t, err)
	for line := range strings.SplitSeq(strings.TrimSuffix(f, "\r\n"), "\r\n") {
		assert.LessOrEqual(t, len(line), 998)
	}
}

func TestRemove(t *testing.T) {
	for _, c := range []struct {
		field string
		want  bool
	}{
		{"Authentication-Results: mx.example.org; dmarc=pass", true},
		{"authentication-RESULTS \t: MX.Example.ORG 1; none\r\n", true},
		{"Authentication-Results:\r\n (hi) \"mx.example.org\" (x); spf=pass", true},
		{"Authentication-Results: mx.example.org. ; none", true},
		{"Authentication-Results: mx.example.org 2; what is this", true},
		{"Authentication-Results: mx.xn--bcher-kva.example; none", true},
		{"Authentication-Results: mx.BÜCHER.example; none", true},
		{"Authentication-Results: other.example.org; dmarc=pass", false},
		{"Authentication-Results: other.example.org 2; dmarc=pass", false},
		{"Authentication-Results: sub.mx.example.org; dmarc=pass", false},
		{"Authentication-Results: other.example.org; (open", true},
		{"Authentication-Results: mx.example.org", true},
		{"Authentication-Results: ", true},
		{"Authentication-Results: other; a=b" + strings.Repeat(" c.d=e", 100), true},
		{"X-Authentication-Results: mx.example.org; dmarc=pass", false},
		{"ARC-Authentication-Results: i=1; mx.example.org; dmarc=pass", false},
		{"Authentication-Results", false},
		{"Subject: mx.example.org; dmarc=pass", false},
		{"", false},
	} {
		assert.Equal(t, c.want, Remove([]byte(c.field), "mx.example.org", "mx.bücher.example"), "%.60q", c.field)
	}
}

func TestFind(t *testing.T) {
	h, err := Parse("h; spf=pass smtp.helo=a; DKIM=pass HEADER.D=b header.d=c; dkim=fail")
	require.NoError(t, err)
	rs := h.Find("dkim")
	require.Len(t, rs, 2)
	assert.Equal(t, "b", rs[0].Prop("header", "d"))
	assert.Empty(t, rs[1].Prop("header", "d"))
	assert.Empty(t, h.Find("arc"))
}

func FuzzParse(f *testing.F) {
	f.Add(" example.org 1; none")
	f.Add("foo.example.net (foobar) 1 (baz);\r\n dkim (Because) / 1 (One) = (wait) fail\r\n policy (A) . (l) expired\r\n = 1362471462")
	f.Add(`"h\"" ; a=b (c (d)) reason="e" f.g="h"@i j=k;`)
	f.Add("h 2; x")
	f.Add("h; spf=pass smtp.mailfrom=é\xff")
	f.Fuzz(func(t *testing.T, body string) {
		h, err := Parse(body)
		Remove([]byte("Authentication-Results:"+body), "h")
		if err != nil {
			return
		}
		for _, utf8 := range []bool{false, true} {
			h.UTF8 = utf8
			f, err := h.Field()
			if err != nil {
				require.ErrorIs(t, err, ErrName)
				require.Greater(t, len(h.ServID), maxServID)
				return
			}
			require.NotContains(t, strings.ReplaceAll(f, "\r\n\t", ""), "\r\n\r\n")
			require.Equal(t, 1, strings.Count(strings.ReplaceAll(f, "\r\n\t", ""), "\n"))
			_, rest, _ := strings.Cut(strings.TrimSuffix(f, "\r\n"), ":")
			back, err := Parse(rest)
			require.NoError(t, err, "%q", f)
			require.Len(t, back.Results, len(h.Results))
			back.UTF8 = utf8
			again, err := back.Field()
			require.NoError(t, err)
			require.Equal(t, f, again)
		}
	})
}

// FuzzField: whatever the values are, there is one field, and it says what was
// meant and no more; so does the one for an ARC set.
func FuzzField(f *testing.F) {
	f.Add("h", "c", "r", "v", false)
	f.Add("h; x=y", ") z=w (", "\"; dkim=pass", "a@b\r\n\r\n; dmarc=pass (", false)
	f.Add("h\r\n", "\\", "é\u2028", "\"a b\"@é\xff\x00", true)
	f.Add("", strings.Repeat("(", 300), strings.Repeat("é", 200), "@", true)
	f.Fuzz(func(t *testing.T, id, comment, reason, value string, utf8 bool) {
		h := Header{ServID: id, UTF8: utf8, Results: []Result{
			{Method: "spf", MethodVersion: 1, Value: "fail", Comment: comment, Reason: reason, Props: []Prop{{"smtp", "helo", value}}},
			SPF("pass", value, comment), DKIM("pass", value, id, reason, comment, value), DMARC("fail", id, reason),
			DNSWL("pass", value, netip.Addr{}, comment, ""), BIMI("none", value, id), Auth("pass", value, reason), IPRev("fail", netip.Addr{}, comment),
		}}
		field, err := h.Field()
		if id == "" || len(id) > maxServID {
			require.ErrorIs(t, err, ErrName)
			return
		}
		require.NoError(t, err)
		body := oneField(t, field, FieldName, utf8)
		back, err := Parse(body)
		require.NoError(t, err)
		// What is meant: clean, cut, and without values that are empty or too long.
		want := Header{ServID: clean(id, utf8), Version: 1}
		for _, r := range h.Results {
			r.MethodVersion = 1
			r.Comment, r.Reason = cut(clean(r.Comment, utf8)), cut(clean(r.Reason, utf8))
			var kept []Prop
			for _, p := range r.Props {
				p.Value = clean(p.Value, utf8)
				if len((&writer{}).value(p.Value)) <= maxValue {
					kept = append(kept, p)
				}
			}
			r.Props = kept
			want.Results = append(want.Results, r)
		}
		require.Equal(t, &want, back)

		arc, err := h.ARCField(7)
		require.NoError(t, err)
		i, back, err := ParseARC(oneField(t, arc, ARCFieldName, utf8))
		require.NoError(t, err)
		require.Equal(t, 7, i)
		require.Equal(t, &want, back)
	})
}

// oneField demands that text is one well-formed field and returns its body.
func oneField(t *testing.T, text, name string, utf8 bool) string {
	t.Helper()
	got, body, ok := strings.Cut(text, ": ")
	require.True(t, ok)
	require.Equal(t, name, got)
	body, ok = strings.CutSuffix(body, "\r\n")
	require.True(t, ok)
	for i, line := range strings.Split(body, "\r\n") {
		require.LessOrEqual(t, len(line), 998)
		require.NotEmpty(t, strings.TrimSpace(line))
		if i > 0 {
			require.Equal(t, byte('\t'), line[0])
		}
		for _, r := range strings.TrimPrefix(line, "\t") {
			require.False(t, r < ' ' || r == 0x7f || r >= 0x80 && !utf8, "%q", line)
		}
	}
	return body
}

func TestParseARC(t *testing.T) {
	for _, c := range []struct {
		in       string
		instance int
		id       string
		err      error
	}{
		{" i=1; h; none", 1, "h", nil},
		{"\r\n (a) i (b) =\r\n\t07 (c) ; \"h\" 1 ; spf=pass", 7, "h", nil},
		{"i=50;h;spf=pass", 50, "h", nil},
		{"i=99; h; none", 99, "h", nil}, // whether there may be as many is ARC's business
		{"i=1; h; spf", 1, "", ErrSyntax},
		{"i=1;", 1, "", ErrSyntax},
		{"i=1; h 2; x", 1, "h", ErrVersion},
		{"i=0; h; none", 0, "", ErrSyntax},
		{"i=-1; h; none", 0, "", ErrSyntax},
		{"i=; h; none", 0, "", ErrSyntax},
		{"i=100; h; none", 0, "", ErrSyntax},
		{"I=1; h; none", 0, "", ErrSyntax}, // RFC 8617 §4.2.1 has %s
		{"i=1 h; none", 0, "", ErrSyntax},
		{"h; i=1; none", 0, "", ErrSyntax},
		{"i=1", 0, "", ErrSyntax},
		{"", 0, "", ErrSyntax},
		{"(open", 0, "", ErrSyntax},
		{"i=1; h; none" + strings.Repeat(" ", MaxFieldBytes), 0, "", ErrLimit},
	} {
		i, h, err := ParseARC(c.in)
		assert.ErrorIs(t, err, c.err, "%.60q", c.in)
		assert.Equal(t, c.instance, i, "%.60q", c.in)
		if assert.Equal(t, c.id != "", h != nil, "%.60q", c.in) && h != nil {
			assert.Equal(t, c.id, h.ServID)
		}
	}
	h := Header{ServID: "h"}
	for _, i := range []int{-1, 0, 51} {
		_, err := h.ARCField(i)
		assert.ErrorIs(t, err, ErrName)
	}
}

func BenchmarkField(b *testing.B) {
	h := Header{ServID: "mx.example.org", Results: []Result{
		SPF("pass", "alice@example.com", ""), DKIM("pass", "example.com", "sel", "@example.com", "rsa-sha256", "ab/cdefg"), DMARC("pass", "example.com", "none")}}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Field(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParse(b *testing.B) {
	const body = " mx.example.org;\r\n\tspf=pass smtp.mailfrom=alice@example.com;\r\n\tdkim=pass header.d=example.com header.s=sel\r\n" +
		"\theader.a=rsa-sha256 header.b=\"ab/cdefg\";\r\n\tdmarc=pass (p=none) header.from=example.com"
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Parse(body); err != nil {
			b.Fatal(err)
		}
	}
}
