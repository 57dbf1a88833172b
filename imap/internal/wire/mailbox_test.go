package wire

import (
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMailbox(t *testing.T) {
	_, err := DecodeMailbox("&AGE-", false)
	require.ErrorIs(t, err, ErrMailboxName)
	plain, err := DecodeMailbox("&AOQ-", false)
	require.NoError(t, err)
	assert.Equal(t, "ä", plain)
	_, err = DecodeMailbox("\xff", true)
	require.ErrorIs(t, err, ErrMailboxName)
	assert.Equal(t, `"&AOQ-"`, string(AppendMailbox(nil, "ä", false)))
	assert.Equal(t, `"ä"`, string(AppendMailbox(nil, "ä", true)))
	assert.Equal(t, `"a&-\"b"`, string(AppendMailbox(nil, `a&"b`, false)))
	assert.Equal(t, `"a&b"`, string(AppendMailbox(nil, `a&b`, true)))
}

// naive is a LIST pattern as a regular expression.
func naive(pattern string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`^(?s:`)
	for i := range len(pattern) {
		switch pattern[i] {
		case '*':
			b.WriteString(`.*`)
		case '%':
			b.WriteString(`[^/]*`)
		default:
			b.WriteString(regexp.QuoteMeta(pattern[i : i+1]))
		}
	}
	b.WriteString(`)$`)
	return regexp.MustCompile(b.String())
}

func TestPattern(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		fold          int
		want          bool
	}{
		{"*", "", 0, true}, {"*", "a/b", 0, true}, {"%", "a", 0, true}, {"%", "a/b", 0, false}, {"%/%", "a/b", 0, true},
		{"a%", "ab", 0, true}, {"a%b", "axxb", 0, true}, {"a%b", "a/b", 0, false}, {"a*b", "a/b", 0, true}, {"", "", 0, true}, {"", "a", 0, false},
		{"inbox", "INBOX", 5, true}, {"inbox", "INBOX", 0, false}, {"InBoX/A", "INBOX/A", 5, true}, {"inbox/a", "INBOX/A", 5, false}, {"i*", "INBOX", 5, true},
		{"%*%*%*a", "x/y/a", 0, true}, {"*%", "a/b", 0, true}, {"%%", "a/b", 0, false}, {"@", "`", 1, false},
		{strings.Repeat("ab", 100), strings.Repeat("ab", 100), 0, true},
		{strings.Repeat("a", 64) + "*", strings.Repeat("a", 63), 0, false},
		{strings.Repeat("a", 64) + "*", strings.Repeat("a", 64), 0, true},
		{strings.Repeat("a", 63) + "*b", strings.Repeat("a", 70) + "b", 0, true},
	} {
		assert.Equal(t, c.want, NewPattern(c.pattern, '/').Match(c.name, c.fold), "%q %q", c.pattern, c.name)
	}
	assert.False(t, NewPattern(strings.Repeat("a", maxPattern+1), '/').Match(strings.Repeat("a", maxPattern+1), 0))
}

// TestPatternIsLinear matches what makes backtracking matchers run for ever.
func TestPatternIsLinear(t *testing.T) {
	p := NewPattern(strings.Repeat("*a%a", 1000)+"b", '/')
	name := strings.Repeat("a", 1000)
	start := time.Now()
	for range 100 {
		assert.False(t, p.Match(name, 0))
	}
	assert.Less(t, time.Since(start), 5*time.Second)
}

func FuzzPattern(f *testing.F) {
	for _, s := range [][2]string{{"*", "a/b"}, {"%a%", "ba"}, {"*%*a", "x/a"}, {"a*b%c", "axbyc"}, {strings.Repeat("a*", 70), strings.Repeat("a", 80)}} {
		f.Add(s[0], s[1])
	}
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if len(pattern) > 200 || len(name) > 200 || !utf8.ValidString(pattern) || !utf8.ValidString(name) {
			return
		}
		for i := range len(pattern) {
			if pattern[i] >= 0x80 {
				return // the oracle quotes octet by octet
			}
		}
		want := naive(pattern).MatchString(name)
		if got := NewPattern(pattern, '/').Match(name, 0); got != want {
			t.Fatalf("%q matches %q: %v", pattern, name, got)
		}
	})
}
