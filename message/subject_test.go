package message

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
)

func TestBaseSubject(t *testing.T) {
	for in, want := range map[string]struct {
		base  string
		reply bool
	}{
		"":                                  {"", false},
		"hello":                             {"hello", false},
		" hello\t  world ":                  {"hello world", false},
		"Re: hello":                         {"hello", true},
		"RE:hello":                          {"hello", true},
		"re : hello":                        {"hello", true},
		"Fw: hello":                         {"hello", true},
		"FWD: hello":                        {"hello", true},
		"Re[2]: hello":                      {"hello", true},
		"Re [2] : hello":                    {"hello", true},
		"Re[2][3]: hello":                   {"Re[2][3]: hello", false},
		"Re: Fwd: RE: hello":                {"hello", true},
		"[list] hello":                      {"hello", false},
		"[list] Re: hello":                  {"hello", true},
		"Re: [list] hello":                  {"hello", true},
		"Re: [a] [b]Re:[c] hello":           {"hello", true},
		"[a][b] hello":                      {"hello", false},
		"[list]":                            {"[list]", false},
		"[a] [b]":                           {"[b]", false},
		"Re: [list]":                        {"[list]", true},
		"[list] Re:":                        {"", true},
		"Re:":                               {"", true},
		"Re: Re:":                           {"", true},
		"hello (fwd)":                       {"hello", true},
		"hello (FWD) (fwd)":                 {"hello", true},
		"(fwd)":                             {"", true},
		"hello(fwd":                         {"hello(fwd", false},
		"[fwd: hello]":                      {"hello", true},
		"[Fwd: Re: hello (fwd)]":            {"hello", true},
		"[fwd: [fwd: hello]]":               {"hello", true},
		"[fwd: [list] hello ]":              {"hello", true},
		"[fwd:]":                            {"", true},
		"[fwd: a] b":                        {"b", false},
		"[fwd: a][fwd: b]":                  {"b", true},
		"[fwd: hello":                       {"[fwd: hello", false},
		"[unclosed hello":                   {"[unclosed hello", false},
		"[a[b] hello":                       {"[a[b] hello", false},
		"Regarding: hello":                  {"Regarding: hello", false},
		"Re hello":                          {"Re hello", false},
		"fwdx: hello":                       {"fwdx: hello", false},
		"hello Re: there":                   {"hello Re: there", false},
		"=?utf-8?q?Re=3A_caf=C3=A9?=":       {"café", true},
		"=?utf-8?q?Re=3A?= =?utf-8?q?_x?=":  {"x", true},
		"AW: hello":                         {"AW: hello", false},
		"Re: =?iso-8859-1?q?=5Blist=5D_x?=": {"x", true},
	} {
		base, reply := BaseSubject(in)
		assert.Equal(t, want.base, base, "%q", in)
		assert.Equal(t, want.reply, reply, "%q", in)
	}
}

// What a sender repeats without end takes linear time.
func TestBaseSubjectHostile(t *testing.T) {
	const n = 200_000
	for _, s := range []string{
		strings.Repeat("[a]", n), strings.Repeat("Re:", n), strings.Repeat("[fwd:", n) + strings.Repeat("]", n),
		strings.Repeat("(fwd)", n), strings.Repeat("[a", n), strings.Repeat("re [", n), strings.Repeat(" ", n), strings.Repeat("[a] re:", n), strings.Repeat("[a]", n) + "x",
	} {
		began := time.Now()
		BaseSubject(s)
		assert.Less(t, time.Since(began), 2*time.Second, s[:10])
	}
}

func FuzzBaseSubject(f *testing.F) {
	for _, s := range []string{"Re: [a] b (fwd)", "[fwd: [x] re[2]: y]", "[a][b]", "=?utf-8?q?Re=3A_x?=", "re\t[ :", "[fwd:]"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		base, reply := BaseSubject(s)
		assert.True(t, utf8.ValidString(base))
		assert.Equal(t, strings.Trim(base, " \t"), base)
		if strings.Contains(base, "=?") {
			return // what was decoded may look encoded
		}
		again, more := BaseSubject(base)
		assert.Equal(t, base, again, "of %q", s)
		assert.False(t, more, "of %q", s)
		if !strings.ContainsAny(s, ":)=") {
			assert.False(t, reply, "%q", s)
		}
	})
}
