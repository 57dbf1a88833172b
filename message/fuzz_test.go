package message

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

// seeds adds the test messages.
func seeds(f *testing.F) {
	files, err := filepath.Glob("testdata/*.eml")
	require.NoError(f, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Add([]byte(numbered))
}

func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, msg []byte) {
		o := ParseBytes(msg, nil)
		checkOutline(t, msg, o)
		viaReader, err := Parse(bytes.NewReader(msg), int64(len(msg)), nil)
		require.NoError(t, err)
		require.Equal(t, o, viaReader)
		small := &Limits{HeaderBytes: 100, Fields: 5, Parts: 4, Depth: 2, Params: 2, Addresses: 2, CommentDepth: 1}
		require.NoError(t, ParseBytes(msg, small).valid())
	})
}

func FuzzHeader(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		h := ParseHeader(b)
		var all []byte
		for field := range h.Fields() {
			require.Equal(t, int64(len(all)), field.Offset())
			all = append(all, field.Raw()...)
			checkStrings(t, field.Name(), field.Value(), field.Text())
			require.True(t, utf8.ValidString(field.Text()))
			require.Equal(t, field.Name() != "", field.Is(field.Name()))
		}
		require.Equal(t, string(all), strings.TrimSuffix(strings.TrimSuffix(string(h.Raw()), string(h.Raw()[len(all):])), ""))
		require.True(t, bytes.HasPrefix(b, h.Raw()))
		require.Equal(t, string(h.Raw()), string(h.Without(func(Field) bool { return false })))
		h.Defects()

		read, rest, err := ReadHeader(iotest.HalfReader(bytes.NewReader(b)), nil)
		require.NoError(t, err)
		body, err := io.ReadAll(rest)
		require.NoError(t, err)
		require.Equal(t, string(h.Raw()), string(read.Raw()))
		require.Equal(t, string(b), string(read.Raw())+string(body))
		cut, rest, err := ReadHeader(bytes.NewReader(b), &Limits{HeaderBytes: 64})
		require.NoError(t, err)
		body, err = io.ReadAll(rest)
		require.NoError(t, err)
		require.Equal(t, string(b), string(cut.Raw())+string(body))
		require.LessOrEqual(t, cut.Len(), 66)
	})
}

func FuzzAddressList(f *testing.F) {
	for _, s := range []string{`John Doe <jdoe@machine.example>, "a, b" (c) <d@[1.2.3.4]>`, `g: a@b, <@r:c@d>;, x`, "a . b @ c . (x) d", `"\"" <@>,(((`,
		"=?utf-8?q?=C3=BC?= \"x\" =?b?=", "a@b <c@d> <e@f>", "\x00\r\n\xff:;<>@,."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		list, defects := ParseAddressList(s)
		checkAddresses(t, list)
		require.LessOrEqual(t, len(defects), maxDefects)
		// What is written again is read as the same addresses.
		var out strings.Builder
		for _, a := range list {
			if a.IsMailbox() && (a.Host == NoHost || !validHost(a.Host)) || a.IsGroupStart() && formatPhrase(a.groupName()) == "" {
				return
			}
			if out.Len() > 0 && !a.IsGroupEnd() && !strings.HasSuffix(out.String(), ":") {
				out.WriteString(",")
			}
			out.WriteString(a.String())
		}
		again, _ := ParseAddressList(out.String())
		require.Len(t, again, len(list), "%q", out.String())
		for i := range again {
			require.Equal(t, list[i].Addr(), again[i].Addr(), "%q", out.String())
			require.Equal(t, list[i].IsGroupStart(), again[i].IsGroupStart())
		}
	})
}

func FuzzParams(f *testing.F) {
	for _, s := range []string{`text/plain; charset="utf-8"; format=flowed`, `a/b; x*0*=utf-8''%C3; x*1*=%BC; x*2="c"`, `attachment; filename=a b(c).pdf (d)`,
		`a (b) ; (c) d (e) = (f) "g\"" (h); i*=j'k'l`, `; ; =; x="`, "a\x00\r\n/b; \xff=\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		first, params, defects := ParseParams(s)
		checkStrings(t, first)
		require.LessOrEqual(t, len(params), 100)
		require.LessOrEqual(t, len(defects), maxDefects)
		seen := map[string]bool{}
		for _, p := range params {
			checkStrings(t, p.Name, p.Value)
			require.True(t, isToken(p.Name) && p.Name == lowerASCII(p.Name))
			require.True(t, utf8.ValidString(p.Value))
			require.False(t, seen[p.Name])
			seen[p.Name] = true
			if len(p.Name) <= 40 && !strings.ContainsAny(p.Name, "*'%") && len(p.Value) < 1000 {
				_, again, bad := ParseParams(FormatParams("x/y", []Param{p}))
				require.Equal(t, []Param{p}, again)
				require.Empty(t, bad)
			}
		}
	})
}

func FuzzOutlineBinary(f *testing.F) {
	files, err := filepath.Glob("testdata/*.v1")
	require.NoError(f, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var o Outline
		e, eerr := UnmarshalEnvelope(b)
		if err := o.UnmarshalBinary(b); err != nil {
			require.ErrorIs(t, err, ErrOutline)
			return
		}
		require.NoError(t, eerr)
		require.Equal(t, o.Envelope, *e)
		stored, err := o.AppendBinary(nil)
		require.NoError(t, err)
		var back Outline
		require.NoError(t, back.UnmarshalBinary(stored))
		require.Equal(t, o, back)
	})
}

func FuzzDecode(f *testing.F) {
	f.Add("YWJj\r\nZA==", "a=3D=\r\nb \r\n")
	f.Add("=", "= \r= =4")
	f.Fuzz(func(t *testing.T, b64, qp string) {
		for enc, in := range map[string]string{"base64": b64, "quoted-printable": qp} {
			whole, err := io.ReadAll(DecodeBody(enc, strings.NewReader(in)))
			require.NoError(t, err)
			require.LessOrEqual(t, len(whole), len(in))
			pieces, err := io.ReadAll(DecodeBody(enc, iotest.OneByteReader(strings.NewReader(in))))
			require.NoError(t, err)
			require.Equal(t, string(whole), string(pieces))
		}
		require.True(t, utf8.ValidString(DecodeWords(qp)))
		text := cleanLine(qp)
		require.Equal(t, text, DecodeWords(EncodeWords(text)))
		if tm, err := ParseDate(qp); err == nil {
			again, err := ParseDate(FormatDate(tm))
			require.NoError(t, err)
			require.True(t, tm.Equal(again))
		}
		// Quoted-printable there and back.
		var b Builder
		msg, err := b.SetBody("text/plain", "quoted-printable", strings.NewReader(crlf(qp))).Bytes()
		require.NoError(t, err)
		o := ParseBytes(msg, nil)
		back, err := io.ReadAll(DecodeBody("quoted-printable", o.Root.BodyReader(bytes.NewReader(msg))))
		require.NoError(t, err)
		require.Equal(t, crlf(qp), string(back))
	})
}
