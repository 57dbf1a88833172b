package smtp

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/wire"
)

func TestReplyLines(t *testing.T) {
	for _, tc := range []struct {
		name string
		r    Reply
		utf8 bool
		want string
	}{
		{"plain", Reply{250, EnhancedCode{2, 0, 0}, "OK"}, false, "250 2.0.0 OK\r\n"},
		{"no enhanced code", Reply{Code: 220, Text: "hi"}, false, "220 hi\r\n"},
		{"lines", Reply{550, EnhancedCode{5, 7, 1}, "one\ntwo\n"}, false, "550-5.7.1 one\r\n550 5.7.1 two\r\n"},
		{"CRLF in text", Reply{550, EnhancedCode{5, 7, 1}, "one\r\n250 two\rthree"}, false, "550-5.7.1 one\r\n550 5.7.1 250 two three\r\n"},
		{"controls", Reply{550, EnhancedCode{5, 7, 1}, "a\x00b\tc\x7f"}, false, "550 5.7.1 a b c \r\n"},
		{"no UTF-8", Reply{550, EnhancedCode{5, 7, 1}, "grün"}, false, "550 5.7.1 gr?n\r\n"},
		{"UTF-8", Reply{550, EnhancedCode{5, 7, 1}, "grün\xff"}, true, "550 5.7.1 grün?\r\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var o output
			o.reply(tc.r, tc.utf8)
			require.Equal(t, tc.want, string(o.buf))
		})
	}
}

func TestLongReplies(t *testing.T) {
	for _, text := range []string{strings.Repeat("word ", 300), strings.Repeat("x", 3000), strings.Repeat("ü", 3000), strings.Repeat("y", 100000), strings.Repeat("\n", 20000), strings.Repeat("\x80", 3000)} {
		var b bytes.Buffer
		o := output{w: &b}
		o.reply(Reply{550, EnhancedCode{5, 7, 1}, text}, true)
		require.NoError(t, o.flush())
		for l := range strings.Lines(b.String()) {
			require.LessOrEqual(t, len(l), maxReplyLine)
			require.True(t, utf8.ValidString(l))
			require.True(t, strings.HasSuffix(l, "\r\n"))
		}
		require.Less(t, b.Len(), 200<<10)
	}
}

func TestSoundReplies(t *testing.T) {
	for _, tc := range []struct{ in, want Reply }{
		{Reply{550, EnhancedCode{4, 1, 1}, "x"}, Reply{550, EnhancedCode{5, 1, 1}, "x"}},
		{Reply{Code: 450, Text: "x"}, Reply{450, EnhancedCode{4, 0, 0}, "x"}},
		{Reply{}, Reply{451, EnhancedCode{4, 3, 0}, "Local error, try again later"}},
		{Reply{354, EnhancedCode{}, "x"}, Reply{451, EnhancedCode{4, 3, 0}, "Local error, try again later"}},
		{Reply{600, EnhancedCode{}, "x"}, Reply{451, EnhancedCode{4, 3, 0}, "Local error, try again later"}},
		{Reply{250, EnhancedCode{2, -1, 1000}, ""}, Reply{250, EnhancedCode{2, 0, 999}, "OK"}},
		{Reply{Code: 550}, Reply{550, EnhancedCode{5, 0, 0}, "Refused"}},
	} {
		require.Equal(t, tc.want, tc.in.sound())
	}
}

func TestAsError(t *testing.T) {
	require.Equal(t, 451, AsError(errors.New("secret")).Code)
	require.NotContains(t, AsError(errors.New("secret")).Text, "secret")
	e := Errorf(550, EnhancedCode{5, 1, 1}, "no %s", "user")
	require.Equal(t, e, AsError(errors.Join(errors.New("x"), e)))
	require.Equal(t, "smtp: 550 5.1.1 no user", e.Error())
}

// What the server writes the client reads, whatever the text.
func FuzzReply(f *testing.F) {
	f.Add(550, 5, 7, 1, "one\ntwo", "250-a\r\n250 b\r\n")
	f.Add(250, 0, 0, 0, strings.Repeat("x", 600), "250-5.1.1 a\r\n251 b\r\n")
	f.Add(421, 4, 0, 0, "\r\n\x00ü\xff", "250 2.0.0\r\n")
	f.Fuzz(func(t *testing.T, code, e0, e1, e2 int, text, raw string) {
		var b bytes.Buffer
		o := output{w: &b}
		r := Reply{code, EnhancedCode{e0, e1, e2}, text}.sound()
		o.reply(r, true)
		require.NoError(t, o.flush())
		got, err := readReply(wire.NewReader(&b, nil).ReadLine)
		if strings.Count(r.Text, "\n") < maxReplyLines-30 {
			require.NoError(t, err)
			require.Equal(t, r.Code, got.Code)
			require.Equal(t, r.Enhanced, got.Enhanced)
			require.Zero(t, b.Len())
		}
		// And from a server that does not write as we do.
		got, err = readReply(wire.NewReader(strings.NewReader(raw), nil).ReadLine)
		if err == nil {
			require.True(t, got.Code >= 200 && got.Code <= 599)
			require.True(t, utf8.ValidString(got.Text))
			require.False(t, strings.ContainsAny(got.Text, "\r\x00"))
			require.LessOrEqual(t, strings.Count(got.Text, "\n"), maxReplyLines)
		}
	})
}
