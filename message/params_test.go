package message_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/posta-mail/posta/message"
)

func TestParseParams(t *testing.T) {
	type ps = []message.Param
	for _, c := range []struct {
		name, in, first string
		want            ps
		defects         int
	}{
		{"none", "text/plain", "text/plain", nil, 0},
		{"empty", "", "", nil, 0},
		{"token", "text/plain; charset=us-ascii", "text/plain", ps{{"charset", "us-ascii"}}, 0},
		{"quoted", `text/plain; Charset="us-ascii"`, "text/plain", ps{{"charset", "us-ascii"}}, 0},
		{"comment", `text/plain (x); charset=us-ascii (Plain text)`, "text/plain", ps{{"charset", "us-ascii"}}, 0},
		{"comments all over", `text/plain;(a)charset(b)=us-ascii(c);x="y"(d)`, "text/plain", ps{{"charset", "us-ascii"}, {"x", "y"}}, 0},
		{"quoted pairs", `a/b; x="a\"b\\c;d"`, "a/b", ps{{"x", `a"b\c;d`}}, 0},
		{"empty value", `a/b; x=""; y=`, "a/b", ps{{"x", ""}, {"y", ""}}, 0},
		{"semicolon at the end", `a/b; x=y;`, "a/b", ps{{"x", "y"}}, 0},
		{"spaces at the sign", `a/b; x = y ; z = "w"`, "a/b", ps{{"x", "y"}, {"z", "w"}}, 0},
		// RFC 2231.
		{"2231 §3", "message/external-body; access-type=URL;\r\n URL*0=\"ftp://\";\r\n URL*1=\"cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar\"",
			"message/external-body", ps{{"access-type", "URL"}, {"url", "ftp://cs.utk.edu/pub/moore/bulk-mailer/bulk-mailer.tar"}}, 0},
		{"2231 §4", "application/x-stuff; title*=us-ascii'en-us'This%20is%20%2A%2A%2Afun%2A%2A%2A", "application/x-stuff", ps{{"title", "This is ***fun***"}}, 0},
		{"2231 §4.1", "application/x-stuff; title*0*=us-ascii'en'This%20is%20even%20more%20; title*1*=%2A%2A%2Afun%2A%2A%2A%20; title*2=\"isn't it!\"",
			"application/x-stuff", ps{{"title", "This is even more ***fun*** isn't it!"}}, 0},
		{"out of order", `a/b; x*1=b; x*0=a; x*2=c`, "a/b", ps{{"x", "abc"}}, 0},
		{"gap", `a/b; x*0=a; x*2=c`, "a/b", ps{{"x", "a"}}, 0},
		{"latin-1", `a/b; x*=iso-8859-1''%FC`, "a/b", ps{{"x", "ü"}}, 0},
		{"character split over pieces", `a/b; x*0*=utf-8''%C3; x*1*=%BC`, "a/b", ps{{"x", "ü"}}, 0},
		{"no set", `a/b; x*=''%C3%BC`, "a/b", ps{{"x", "ü"}}, 0},
		{"unknown set", `a/b; x*=x-none''%C3%BC`, "a/b", ps{{"x", "ü"}}, 0},
		{"no quotes", `a/b; x*=%C3%BC`, "a/b", ps{{"x", "ü"}}, 0},
		{"encoded before plain", `a/b; x=plain; x*=utf-8''enc`, "a/b", ps{{"x", "enc"}}, 0},
		{"pieces before plain", `a/b; x=plain; x*0=pie; x*1=ces`, "a/b", ps{{"x", "pieces"}}, 0},
		{"control characters", `a/b; x*=utf-8''a%0D%0Ab%00`, "a/b", ps{{"x", "a  b "}}, 0},
		// Leniency.
		{"first of two", `a/b; x=1; X=2`, "a/b", ps{{"x", "1"}}, 0},
		{"file name without quotes", `attachment; filename=my report(1).pdf; size=3`, "attachment", ps{{"filename", "my report(1).pdf"}, {"size", "3"}}, 0},
		{"quote not closed", `a/b; x="y; z=w`, "a/b", ps{{"x", "y; z=w"}}, 1},
		{"text behind", `a/b; x="y" z; w=v`, "a/b", ps{{"x", "y"}, {"w", "v"}}, 1},
		{"no sign", `a/b; x; y=z`, "a/b", ps{{"y", "z"}}, 1},
		{"bad name", `a/b; x y=z; w=v`, "a/b", ps{{"w", "v"}}, 1},
		{"no name", `a/b; =z; w=v`, "a/b", ps{{"w", "v"}}, 1},
		{"only later pieces", `a/b; x*1=z`, "a/b", ps{}, 1},
		{"bad 8 bit", "a/b; x=caf\xe9", "a/b", ps{{"x", "caf\uFFFD"}}, 0},
		{"bad escape", `a/b; x*=utf-8''%zz%4`, "a/b", ps{{"x", "%zz%4"}}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			first, got, defects := message.ParseParams(c.in)
			assert.Equal(t, c.first, first)
			assert.Equal(t, c.want, got)
			assert.Len(t, defects, c.defects)
		})
	}
}

func TestParseParamsLimits(t *testing.T) {
	var b strings.Builder
	b.WriteString("a/b")
	for i := range 100000 {
		fmt.Fprintf(&b, "; name*%d=x", i)
	}
	_, got, defects := message.ParseParams(b.String())
	assert.Equal(t, []message.Param{{Name: "name", Value: strings.Repeat("x", 100)}}, got)
	assert.Equal(t, []message.DefectKind{message.TooManyParams}, kinds(defects))

	_, got, defects = message.ParseParams("a/b; x=y; z=" + strings.Repeat("(", 65) + strings.Repeat(")", 65) + "w")
	assert.Equal(t, message.Param{Name: "x", Value: "y"}, got[0])
	assert.Contains(t, kinds(defects), message.TooDeep)

	for _, unit := range []string{"(", ";", "; x=", "\"", "; x*0=y", "=", "()", "; x=\"", "a(b)", "; x=(y)z ", "'", "; x*='"} {
		start := time.Now()
		message.ParseParams("a" + strings.Repeat(unit, (1<<20)/len(unit)))
		assert.Less(t, time.Since(start), 2*time.Second, unit)
	}
}

func TestFormatParams(t *testing.T) {
	assert.Equal(t, `a/b; x=y; z="a b"; w="q\"\\"`, message.FormatParams("a/b", []message.Param{{Name: "X", Value: "y"}, {Name: "z", Value: "a b"}, {Name: "w", Value: `q"\`}}))
	assert.Equal(t, `a/b; x*=utf-8''gr%C3%BCn`, message.FormatParams("a/b", []message.Param{{Name: "x", Value: "grün"}}))
	assert.Equal(t, "a/b", message.FormatParams("a/b", []message.Param{{Name: "bad name", Value: "x"}, {Name: "", Value: "x"}, {Name: "x*", Value: "x"}}))
	for _, v := range []string{"", "x", "a b", `"\`, strings.Repeat("long ", 50), strings.Repeat("ü", 300), "it's 100% *", "=?utf-8?q?x?=", "a;b,c"} {
		s := message.FormatParams("a/b", []message.Param{{Name: "x", Value: v}, {Name: "y", Value: "z"}})
		first, got, defects := message.ParseParams(s)
		assert.Equal(t, "a/b", first)
		assert.Equal(t, []message.Param{{Name: "x", Value: v}, {Name: "y", Value: "z"}}, got, s)
		assert.Empty(t, defects)
	}
}
