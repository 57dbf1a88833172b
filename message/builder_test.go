package message_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
)

func TestWriteField(t *testing.T) {
	for _, c := range []struct{ name, value, want string }{
		{"Subject", "hello", "Subject: hello\r\n"},
		{"Subject", "", "Subject:\r\n"},
		{"Subject", "  \t ", "Subject:\r\n"},
		{"Subject", " a  b\tc ", "Subject: a  b\tc\r\n"},
		{"X", strings.Repeat("x", 75), "X: " + strings.Repeat("x", 75) + "\r\n"},
		{"X", strings.Repeat("x", 70) + " yyyyy", "X: " + strings.Repeat("x", 70) + "\r\n yyyyy\r\n"},
		{"X", strings.Repeat("x", 70) + " \t yyyyy", "X: " + strings.Repeat("x", 70) + "\r\n \t yyyyy\r\n"},
		{"X", strings.Repeat("x", 900), "X: " + strings.Repeat("x", 900) + "\r\n"},
		{"X", strings.Repeat("x", 997), "X:\r\n " + strings.Repeat("x", 997) + "\r\n"},
		{"To", "grün", "To: grün\r\n"},
	} {
		got, err := message.WriteField([]byte("~"), c.name, c.value)
		require.NoError(t, err)
		assert.Equal(t, "~"+c.want, string(got))
	}
}

func TestWriteFieldErrors(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        error
	}{
		{"", "x", message.ErrFieldName},
		{"a b", "x", message.ErrFieldName},
		{"a:", "x", message.ErrFieldName},
		{"a\r\nb", "x", message.ErrFieldName},
		{"ä", "x", message.ErrFieldName},
		{strings.Repeat("n", 77), "x", message.ErrFieldName},
		{"A", "x\r\nBcc: y", message.ErrFieldValue},
		{"A", "x\ny", message.ErrFieldValue},
		{"A", "x\ry", message.ErrFieldValue},
		{"A", "x\x00y", message.ErrFieldValue},
		{"A", "x\xff", message.ErrFieldValue},
		{"A", strings.Repeat("x", 998), message.ErrLineTooLong},
		{"A", "b" + strings.Repeat(" ", 1000) + "c", message.ErrLineTooLong},
	} {
		got, err := message.WriteField([]byte("~"), c.name, c.value)
		require.ErrorIs(t, err, c.want, "%.20q: %.20q", c.name, c.value)
		assert.Equal(t, "~", string(got), "nothing is added")
	}
	_, err := message.WriteField(nil, strings.Repeat("n", 76), "x")
	require.NoError(t, err)
	assert.True(t, message.ValidFieldName("X-Y"))
	assert.False(t, message.ValidFieldName(strings.Repeat("n", 77)))
	assert.False(t, message.ValidFieldValue("a\nb"))
}

var at = time.Date(2026, 11, 2, 10, 11, 12, 0, time.FixedZone("", 3600))

// build writes a message and checks what holds for all of them.
func build(t *testing.T, b *message.Builder) (string, *message.Outline) {
	t.Helper()
	msg, err := b.Bytes()
	require.NoError(t, err)
	o := message.ParseBytes(msg, nil)
	assert.Empty(t, o.Defects)
	for line := range strings.SplitSeq(string(msg), "\r\n") {
		assert.LessOrEqual(t, len(line), 998)
		assert.NotContains(t, line, "\n")
		assert.NotContains(t, line, "\r")
	}
	return string(msg), o
}

func start() *message.Builder {
	return new(message.Builder).AddDate(at).AddAddresses("From", message.Address{Name: "Jürgen", Mailbox: "j", Host: "example.org"})
}

func TestBuilderText(t *testing.T) {
	got, _ := build(t, start().AddText("Subject", "Hello").AddMessageID("<1@example.org>").SetText("one\ntwo\r\nthree\rfour"))
	assert.Equal(t, "Date: Mon, 02 Nov 2026 10:11:12 +0100\r\nFrom: =?utf-8?q?J=C3=BCrgen?= <j@example.org>\r\nSubject: Hello\r\n"+
		"Message-ID: <1@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii\r\n"+
		"Content-Transfer-Encoding: 7bit\r\n\r\none\r\ntwo\r\nthree\r\nfour", got)
	got, _ = build(t, start())
	assert.True(t, strings.HasSuffix(got, "<j@example.org>\r\n\r\n"), "no body, no MIME fields")
}

func TestBuilderEncodings(t *testing.T) {
	long := strings.Repeat("x", 999)
	for _, c := range []struct {
		text     string
		eightBit bool
		encoding string
	}{
		{"plain\r\n", false, "7bit"}, {"", false, "7bit"}, {"grün\r\n", false, "quoted-printable"}, {"grün\r\n", true, "8bit"},
		{long, false, "quoted-printable"}, {long + "ü", true, "quoted-printable"}, {"nul\x00", false, "quoted-printable"},
		{"space \r\ntab\t\r\n= \r\n.\r\nFrom x\r\n" + strings.Repeat("ü ", 300) + " ", false, "quoted-printable"},
	} {
		b := start()
		b.EightBit = c.eightBit
		msg, o := build(t, b.SetText(c.text))
		assert.Equal(t, c.encoding, o.Root.Encoding)
		out, err := io.ReadAll(message.Text(o.Root, o.Root.BodyReader(strings.NewReader(msg))))
		require.NoError(t, err)
		assert.Equal(t, c.text, string(out))
		if c.encoding == "quoted-printable" {
			for line := range strings.SplitSeq(msg[o.Root.BodyOffset:], "\r\n") {
				assert.LessOrEqual(t, len(line), 76)
				assert.False(t, strings.HasSuffix(line, " ") || strings.HasSuffix(line, "\t"))
			}
		}
	}
}

func TestBuilderSubjects(t *testing.T) {
	for _, s := range []string{"", "Grüße", strings.Repeat("langes Wörtchen ", 40), strings.Repeat("日本語", 100), strings.Repeat("word ", 100) + "end", "=?utf-8?q?x?=", strings.Repeat("x", 1500)} {
		msg, o := build(t, start().AddText("Subject", s))
		assert.Equal(t, strings.TrimSpace(s), strings.TrimSpace(o.Envelope.SubjectText()))
		for line := range strings.SplitSeq(msg, "\r\n") {
			assert.LessOrEqual(t, len(line), 78, line)
			if strings.Contains(line, "=?") {
				assert.LessOrEqual(t, len(line), 76, line)
			}
		}
	}
}

func TestBuilderAddresses(t *testing.T) {
	list := []message.Address{{Name: "A, B", Mailbox: "a b", Host: "example.org"}, {Mailbox: "team"}, {Name: "Ü", Mailbox: "u", Host: "example.org"},
		{Mailbox: "v", Host: "[192.0.2.1]"}, {}, {Mailbox: "none"}, {}, {Mailbox: "last", Host: "example.org"}}
	msg, o := build(t, start().AddAddresses("To", list...))
	assert.Contains(t, msg, `To: "A, B" <"a b"@example.org>, team: =?utf-8?b?w5w=?= <u@example.org>,`)
	var got []string
	for _, a := range o.Envelope.To {
		got = append(got, a.String())
	}
	assert.Equal(t, []string{`"A, B" <"a b"@example.org>`, "team:", "=?utf-8?b?w5w=?= <u@example.org>", "v@[192.0.2.1]", ";", "none:", ";", "last@example.org"}, got)
	for _, bad := range [][]message.Address{
		{{Mailbox: "a\r\nBcc: x", Host: "b"}}, {{Name: "a\nb", Mailbox: "a", Host: "b"}}, {{Mailbox: "a", Host: "b\r\nX: y"}},
		{{Mailbox: "a", Host: "b> , <c"}}, {{Mailbox: "a", Host: message.NoHost}}, {{Host: "b"}}, {{}}, {{Mailbox: "g"}},
		{{Mailbox: "g"}, {Mailbox: "h"}, {}, {}}, {{Mailbox: "a", Host: "b c"}}, {{Mailbox: "a", Host: "[x]]"}},
	} {
		_, err := start().AddAddresses("To", bad...).Bytes()
		require.ErrorIs(t, err, message.ErrFieldValue, "%v", bad)
	}
}

func TestBuilderReport(t *testing.T) {
	original := "From: x@example.org\nSubject: grün\n\nbody with a lone LF\n" + strings.Repeat("y", 2000)
	text := new(message.Builder).SetText("Your message could not be delivered.\n")
	status := new(message.Builder).SetBody("message/delivery-status", "7bit", strings.NewReader("Reporting-MTA: dns; mx.example.org\r\n"))
	returned := new(message.Builder).Add("Content-Description", "the message").SetBody("message/rfc822", "8bit", strings.NewReader(original))
	b := start().Add("Auto-Submitted", "auto-replied").
		SetMultipart("report", []message.Param{{Name: "report-type", Value: "delivery-status"}}, text, status, returned)
	msg, err := b.Bytes()
	require.NoError(t, err)
	o := message.ParseBytes(msg, nil)
	root := o.Root
	assert.Equal(t, "multipart/report", root.MediaType())
	assert.Equal(t, "delivery-status", root.Param("report-type"))
	require.Len(t, root.Parts, 3)
	assert.Equal(t, "text/plain", root.Parts[0].MediaType())
	assert.Equal(t, "message/delivery-status", root.Parts[1].MediaType())
	assert.Equal(t, "the message", root.Parts[2].Description)
	assert.True(t, root.Parts[2].IsMessage())
	assert.Equal(t, "grün", root.Parts[2].Envelope.Subject)
	assert.Zero(t, o.Traits&message.HasBareLF, "line ends are made CRLF")
	assert.Contains(t, string(msg), "Content-Transfer-Encoding: 8bit", "the multipart is as wide as its parts")
	assert.Equal(t, 1, strings.Count(string(msg), "MIME-Version"), "at the top only")
	assert.False(t, o.HasDefect(message.UnlabelledEightBit) || o.HasDefect(message.MissingBoundary))
}

func TestBuilderAttachment(t *testing.T) {
	data := bytes.Repeat([]byte{0, 1, 2, 3, 254, 255, '\n'}, 5000)
	file := new(message.Builder).
		Add("Content-Disposition", message.FormatParams("attachment", []message.Param{{Name: "filename", Value: "größe.bin"}})).
		SetBody("application/octet-stream", "BASE64", iotest.OneByteReader(bytes.NewReader(data)))
	inner := new(message.Builder).SetMultipart("alternative", nil, new(message.Builder).SetText("text"), new(message.Builder).SetTextAs("html", "<p>ä</p>"))
	raw := new(message.Builder).SetBody("application/x-raw", "binary", strings.NewReader("a\nb"))
	wide := new(message.Builder).SetBody("text/plain; charset=utf-8", "8bit", strings.NewReader("ü"))
	msg, err := start().SetMultipart("mixed", nil, inner, file, raw, wide).Bytes()
	require.NoError(t, err)
	o := message.ParseBytes(msg, nil)
	p := o.Root.Section(2)
	assert.Equal(t, "größe.bin", p.FileName())
	got, err := io.ReadAll(message.DecodeBody(p.Encoding, p.BodyReader(bytes.NewReader(msg))))
	require.NoError(t, err)
	assert.Equal(t, data, got)
	assert.Equal(t, "text/html", o.Root.Section(1, 2).MediaType())
	p = o.Root.Section(3)
	assert.Equal(t, "a\nb", string(msg[p.BodyOffset:p.BodyOffset+p.BodySize]))
	assert.Contains(t, string(msg[:o.Header.Size]), "Content-Transfer-Encoding: binary")
}

func TestBuilderErrors(t *testing.T) {
	broken := errors.New("broken")
	for name, c := range map[string]struct {
		b    *message.Builder
		want error
	}{
		"injection":       {start().Add("Subject", "x\r\nBcc: y"), message.ErrFieldValue},
		"injected text":   {start().AddText("Subject", "x\r\nBcc: y"), message.ErrFieldValue},
		"name":            {start().Add("Sub ject", "x"), message.ErrFieldName},
		"the first stays": {start().Add("", "x").Add("A", "\n").SetText("x").SetBody("a/b", "z", nil).SetMultipart("mixed", nil), message.ErrFieldName},
		"8 bit in 7bit":   {start().SetBody("text/plain", "7bit", strings.NewReader("ä")), message.ErrBody},
		"NUL in 7bit":     {start().SetBody("text/plain", "", strings.NewReader("\x00")), message.ErrBody},
		"long in 7bit":    {start().SetBody("text/plain", "7bit", strings.NewReader(strings.Repeat("x", 999))), message.ErrLineTooLong},
		"encoding":        {start().SetBody("text/plain", "uuencode", strings.NewReader("x")), message.ErrBody},
		"no parts":        {start().SetMultipart("mixed", nil), message.ErrBody},
		"content type":    {start().SetBody("text/plain\r\nBcc: x", "7bit", strings.NewReader("x")), message.ErrFieldValue},
		"part":            {start().SetMultipart("mixed", nil, new(message.Builder).Add("", "")), message.ErrFieldName},
		"reader, 7bit":    {start().SetBody("a/b", "7bit", iotest.ErrReader(broken)), broken},
		"reader, base64":  {start().SetBody("a/b", "base64", iotest.ErrReader(broken)), broken},
		"reader, qp":      {start().SetBody("a/b", "quoted-printable", iotest.ErrReader(broken)), broken},
		"reader, binary":  {start().SetBody("a/b", "binary", iotest.ErrReader(broken)), broken},
	} {
		_, err := c.b.Bytes()
		require.ErrorIs(t, err, c.want, name)
	}
	require.Error(t, start().Add("", "").Err())
	for n := range 6 {
		parts := start().SetMultipart("mixed", nil, new(message.Builder).SetText("x"))
		_, err := parts.WriteTo(&failAfter{n})
		if n < 5 {
			require.ErrorIs(t, err, io.ErrShortWrite, n)
		}
	}
}

// failAfter fails after n writes.
type failAfter struct{ n int }

func (f *failAfter) Write(p []byte) (int, error) {
	if f.n--; f.n < 0 {
		return 0, io.ErrShortWrite
	}
	return len(p), nil
}

func TestNewMessageID(t *testing.T) {
	a, b := message.NewMessageID("example.org"), message.NewMessageID("example.org")
	assert.NotEqual(t, a, b)
	assert.Regexp(t, `^<[A-Z2-7]{26}@example\.org>$`, a)
	for _, host := range []string{"", "a b", "x>\r\nBcc: y", "a..b", strings.Repeat("x", 256)} {
		assert.Regexp(t, `^<[A-Z2-7]{26}@localhost\.invalid>$`, message.NewMessageID(host))
	}
	assert.Regexp(t, `@\[192\.0\.2\.1\]>$`, message.NewMessageID("[192.0.2.1]"))
}
