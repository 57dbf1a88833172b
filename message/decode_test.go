package message_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
)

// decodeAll decodes in pieces of all kinds and wants the same each time.
func decodeAll(t *testing.T, encoding, in string) string {
	t.Helper()
	out, err := io.ReadAll(message.DecodeBody(encoding, strings.NewReader(in)))
	require.NoError(t, err)
	for _, r := range []io.Reader{iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in)), iotest.HalfReader(strings.NewReader(in))} {
		again, err := io.ReadAll(iotest.OneByteReader(message.DecodeBody(encoding, r)))
		require.NoError(t, err)
		require.Equal(t, string(out), string(again))
	}
	return string(out)
}

func TestDecodeBase64(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""}, {"YQ==", "a"}, {"YWI=", "ab"}, {"YWJj", "abc"}, {"YWJj\r\n", "abc"}, {"YW\r\nJj\r\nZA==\r\n", "abcd"},
		{"YQ", "a"}, {"YWI", "ab"}, {"Y", ""}, {"YWJjZ", "abc"}, {"Y!W?J j", "abc"}, {"\x00YWJj\xff", "abc"},
		{"YQ==YQ==", "a"}, {"YQ==\r\n-- \r\nlist footer", "a"}, {"=", ""}, {"====", ""}, {"YWJj=ZGVm", "abc"}, {"-_-_", ""},
	} {
		assert.Equal(t, c.want, decodeAll(t, "Base64", c.in), "%q", c.in)
	}
	raw := bytes.Repeat([]byte{0, 1, 2, 250, 251, 252, 253}, 10000)
	enc := base64.StdEncoding.EncodeToString(raw)
	var lines strings.Builder
	for i := 0; i < len(enc); i += 76 {
		lines.WriteString(enc[i:min(i+76, len(enc))] + "\r\n")
	}
	assert.Equal(t, string(raw), decodeAll(t, "base64", lines.String()))
}

func TestDecodeQuotedPrintable(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""}, {"abc", "abc"}, {"a=3Db", "a=b"}, {"=c3=BC", "ü"}, {"a=\r\nb", "ab"}, {"a=\nb", "ab"}, {"a= \t\r\nb", "ab"},
		{"a \t\r\nb", "a\r\nb"}, {"a \nb", "a\nb"}, {"a b", "a b"}, {"a  ", "a"}, {"a\r\n", "a\r\n"}, {"a=20\r\n", "a \r\n"},
		{"=", ""}, {"a=", "a"}, {"=\r\n", ""}, {"a= ", "a"}, {"=4", "=4"}, {"=ZZ", "=ZZ"}, {"=4Z", "=4Z"}, {"==3D", "=="}, {"= x", "= x"},
		{"a\rb", "a\rb"}, {"a\r", "a\r"}, {"a \rb", "a \rb"}, {"a \r\r\n", "a \r\r\n"}, {"=\rb", "=\rb"}, {"=\r", ""}, {"\x00\xff", "\x00\xff"}, {"=00", "\x00"},
		{"a\r=\r\n", "a\r"},
	} {
		assert.Equal(t, c.want, decodeAll(t, "quoted-printable", c.in), "%q", c.in)
	}
	spaces := strings.Repeat(" ", 5000)
	assert.Equal(t, spaces+"x", decodeAll(t, "quoted-printable", spaces+"x"))
	out := decodeAll(t, "quoted-printable", "="+spaces+"x")
	assert.Equal(t, "="+spaces+"x", out)
	assert.LessOrEqual(t, len(decodeAll(t, "quoted-printable", "a"+strings.Repeat(" ", 100)+"\r\n")), 3)
}

func TestDecodeIdentity(t *testing.T) {
	for _, enc := range []string{"", "7bit", "8bit", "binary", "x-unknown"} {
		assert.Equal(t, "a=3D\r\n", decodeAll(t, enc, "a=3D\r\n"))
	}
}

func TestDecodeErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, enc := range []string{"base64", "quoted-printable"} {
		r := message.DecodeBody(enc, io.MultiReader(strings.NewReader("YWJj"), iotest.ErrReader(broken)))
		out, err := io.ReadAll(r)
		require.ErrorIs(t, err, broken)
		assert.NotEmpty(t, out, "what was read before the error is given")
		n, err := r.Read(nil)
		assert.Zero(t, n)
		require.NoError(t, err)
		_, err = io.ReadAll(message.DecodeBody(enc, stuck{}))
		require.ErrorIs(t, err, io.ErrNoProgress)
	}
}

func TestText(t *testing.T) {
	for _, c := range []struct{ name, field, body, want string }{
		{"plain", "", "abc", "abc"},
		{"utf-8", "Content-Type: text/plain; charset=utf-8\r\n", "ü", "ü"},
		{"utf-8 with a mark", "Content-Type: text/plain; charset=utf-8\r\n", "\xef\xbb\xbfü", "ü"},
		{"latin-1", "Content-Type: text/plain; charset=ISO-8859-1\r\n", "\xfc", "ü"},
		{"qp and latin-1", "Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n", "=FC=\r\nx", "üx"},
		{"base64 and utf-16", "Content-Type: text/plain; charset=utf-16le\r\nContent-Transfer-Encoding: base64\r\n", "YQBiAA==", "ab"},
		{"iso-2022-jp", "Content-Type: text/plain; charset=iso-2022-jp\r\n", "\x1b$B$3$s\x1b(B", "こん"},
		{"unlabelled 8 bit", "", "caf\xe9!", "caf\uFFFD!"},
		{"unlabelled utf-8", "", "café", "café"},
		{"unknown", "Content-Type: text/plain; charset=x-none\r\n", "a\xffb", "a\uFFFDb"},
		{"utf-7", "Content-Type: text/plain; charset=utf-7\r\n", "+AGE-", "+AGE-"},
		{"replacement", "Content-Type: text/plain; charset=iso-2022-cn\r\n", "abc", "abc"},
		{"not text", "Content-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n", "YWL/", "ab\uFFFD"},
		{"multipart", "Content-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: base64\r\n", "YWJj", "YWJj"},
		{"cp932", "Content-Type: text/plain; charset=CP932\r\n", "\x82\xb1", "こ"},
		{"ibm850", "Content-Type: text/plain; charset=ibm850\r\n", "\x81", "ü"},
	} {
		t.Run(c.name, func(t *testing.T) {
			msg := []byte(c.field + "\r\n" + c.body)
			o := message.ParseBytes(msg, nil)
			out, err := io.ReadAll(message.Text(o.Root, o.Root.BodyReader(bytes.NewReader(msg))))
			require.NoError(t, err)
			assert.Equal(t, c.want, string(out))
			head, err := io.ReadAll(o.Root.HeaderReader(bytes.NewReader(msg)))
			require.NoError(t, err)
			assert.Equal(t, c.field+"\r\n", string(head))
		})
	}
}

// Whatever the octets are, each character set gives valid UTF-8 and no error.
func TestCharsets(t *testing.T) {
	random := make([]byte, 20000)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	for name, sample := range map[string]struct{ in, want string }{
		"us-ascii": {"a", "a"}, "ANSI_X3.4-1968": {"a", "a"}, "utf8": {"ü", "ü"}, "UTF-16": {"\xfe\xff\x00a", "a"}, "utf-16be": {"\x00a", "a"},
		"utf-16le": {"a\x00", "a"}, "utf-32": {"\x00\x00\x00a", "a"}, "utf-32be": {"\x00\x00\x00a", "a"}, "utf-32le": {"a\x00\x00\x00", "a"},
		"hz-gb-2312": {"~{VP~}", "中"}, "ibm437": {"\x81", "ü"}, "cp850": {"\x81", "ü"}, "cp852": {"\x81", "ü"}, "cp858": {"\xd5", "€"},
		"cp936": {"\xd6\xd0", "中"}, "cp949": {"\xb0\xa1", "가"}, "cp950": {"\xa4\xa4", "中"}, "ks_c_5601-1987": {"\xb0\xa1", "가"},
		"iso-8859-8-i": {"\xe0", "א"}, "iso-8859-15": {"\xa4", "€"}, "windows-1251": {"\xcf", "П"}, "koi8-u": {"\xf0", "П"},
		"gb18030": {"\xd6\xd0", "中"}, "big5": {"\xa4\xa4", "中"}, "euc-jp": {"\xa4\xb3", "こ"}, "\"utf-8\"": {"ü", "ü"},
		"no-such-set": {"ü", "ü"}, strings.Repeat("x", 50): {"ü", "ü"},
	} {
		p := &message.Part{Type: "text", Subtype: "plain", Params: []message.Param{{Name: "charset", Value: name}}}
		out, err := io.ReadAll(message.Text(p, strings.NewReader(sample.in)))
		require.NoError(t, err, name)
		assert.Equal(t, sample.want, string(out), name)
		out, err = io.ReadAll(message.Text(p, bytes.NewReader(random)))
		require.NoError(t, err, name)
		assert.True(t, utf8.Valid(out), name)
		assert.LessOrEqual(t, len(out), 4*len(random), name)
	}
}
