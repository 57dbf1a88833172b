package imap

import (
	"strings"
	"testing"
	"testing/iotest"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPreviewText(t *testing.T) {
	for _, c := range []struct {
		markup   bool
		in, want string
	}{
		{false, "", ""},
		{false, " \r\n\t ", ""},
		{false, "a\r\n\r\n  b  ", "a b"},
		{false, "one\r\n> two\r\n >three\r\nfour > five", "one four > five"},
		{false, strings.Repeat("ab ", 100), strings.Repeat("ab ", 66) + "ab"},
		{false, strings.Repeat("ä", 300), strings.Repeat("ä", 200)},
		{false, strings.Repeat("x", 199) + " y", strings.Repeat("x", 199)},
		{false, "\ufeffa\u200e\u202eb\x07\x7f\x00c\u00a0d", "abc d"},
		{false, "\xff\xc3", ""},
		{false, "\U0001f469\u200d\U0001f680", "\U0001f469\u200d\U0001f680"},
		{true, "<p>a</p><p>b</p>", "a b"},
		{true, "a<b>b</b>c<BR>d", "abc d"},
		{true, "<style>x</style><STYLE type=a>y</Style>z", "z"},
		{true, "<head><title>t</title></head><body>z", "z"},
		{true, "a &lt;b&gt; &#228;&nbsp;&amp;c &amp", "a <b> ä &c &"},
		{true, "a<!-- - -->b", "ab"},
		{true, "a < b <<p>c", "a < b < c"},
		{true, "a<!-- <p> > -- x -->b<!>c", "ab c"},
		{true, "&;&&#0;&copy&verylongnamethatisnoentityatall;", "&;&©&verylongnamethatisnoentityatall;"},
		{true, "<" + strings.Repeat("x", 10_000) + ">z", "z"},
		{true, strings.Repeat("<i>", 10_000) + "z", "z"},
		{true, "<script>if (a<b) {}</script>z", "z"},
		{true, "<script>a<</script >z</p", "z"},
	} {
		whole, err := previewText(strings.NewReader(c.in), c.markup, make([]byte, headerKeep))
		require.NoError(t, err)
		assert.Equal(t, c.want, whole, "%.100q", c.in)
		bytewise, err := previewText(iotest.OneByteReader(strings.NewReader(c.in)), c.markup, make([]byte, headerKeep))
		require.NoError(t, err)
		assert.Equal(t, c.want, bytewise, "octet by octet: %.100q", c.in)
	}
	_, err := previewText(iotest.ErrReader(assert.AnError), false, make([]byte, headerKeep))
	assert.ErrorIs(t, err, assert.AnError)
}

func FuzzPreview(f *testing.F) {
	f.Add("a <b>c</b> &amp; > d", true)
	f.Add("> a\r\nb\xff\u202e", false)
	f.Fuzz(func(t *testing.T, text string, markup bool) {
		s, err := previewText(strings.NewReader(text), markup, make([]byte, headerKeep))
		if err != nil || !utf8.ValidString(s) || utf8.RuneCountInString(s) > previewChars || strings.ContainsFunc(s, unicode.IsControl) {
			t.Fatalf("%q, %v", s, err)
		}
		again, err := previewText(iotest.HalfReader(strings.NewReader(text)), markup, make([]byte, headerKeep))
		if err != nil || s != again {
			t.Fatalf("%q, in pieces %q, %v", s, again, err)
		}
	})
}
