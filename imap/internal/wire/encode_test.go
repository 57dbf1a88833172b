package wire

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/posta-mail/posta/message"
)

func TestAppendString(t *testing.T) {
	for _, c := range []struct{ in, rev1, rev2 string }{
		{"", `""`, `""`},
		{"plain text", `"plain text"`, `"plain text"`},
		{`a"b\c`, `"a\"b\\c"`, `"a\"b\\c"`},
		{"ü", "{2}\r\nü", `"ü"`},
		{`ü"`, "{3}\r\nü\"", `"ü\""`},
		{"\xff", "{1}\r\n\xff", "{1}\r\n\xff"},
		{"a\r\nb", "{4}\r\na\r\nb", "{4}\r\na\r\nb"},
		{"a\x00b", "{3}\r\na b", "{3}\r\na b"},
		{"a\tb\x7f", "\"a\tb\x7f\"", "\"a\tb\x7f\""},
	} {
		assert.Equal(t, c.rev1, string(AppendString(nil, c.in, false)), "%q", c.in)
		assert.Equal(t, c.rev2, string(AppendString(nil, c.in, true)), "%q", c.in)
	}
	assert.Equal(t, "NIL", string(AppendNString(nil, "x", false, true)))
	for in, want := range map[string]string{"abc": "abc", "a b": `"a b"`, "": `""`, "a]": `"a]"`, "é": "{2}\r\né"} {
		assert.Equal(t, want, string(AppendAstring(nil, in, false)), "%q", in)
	}
	assert.Equal(t, `"é"`, string(AppendAstring(nil, "é", true)))
	assert.Equal(t, "a??b", string(AppendText(nil, "a\r\nb")))
}

func TestEnvelope(t *testing.T) {
	h := message.ParseHeader([]byte("From: A <a@x>, \"B, C\" <b@y>\r\nSubject:\r\nTo: Team: d@z, root;\r\nCc: <@relay:e@w>\r\nMessage-ID: <1@x>\r\n\r\n"))
	want := `(NIL "" (("A" NIL "a" "x")("B, C" NIL "b" "y")) (("A" NIL "a" "x")("B, C" NIL "b" "y")) (("A" NIL "a" "x")("B, C" NIL "b" "y"))` +
		` ((NIL NIL "Team" NIL)(NIL NIL "d" "z")(NIL NIL "root" ".MISSING-HOST-NAME.")(NIL NIL NIL NIL)) ((NIL "@relay" "e" "w")) NIL NIL "<1@x>")`
	assert.Equal(t, want, string(AppendEnvelope(nil, message.ParseEnvelope(h), false)))
}

func TestBodyStructure(t *testing.T) {
	text := "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-ID: <i>\r\nContent-Language: en, de\r\n\r\nhello\r\nyou\r\n" +
		"--b\r\nContent-Type: message/rfc822\r\nContent-Disposition: attachment; filename*0=\"a\"; filename*1=\"b.eml\"\r\n\r\nSubject: in\r\n\r\nx\r\n--b--\r\n"
	o := message.ParseBytes([]byte(text), nil)
	assert.Equal(t, `(("text" "plain" ("charset" "utf-8") "<i>" NIL "7bit" 10 1 NIL NIL ("en" "de") NIL)`+
		`("message" "rfc822" NIL NIL NIL "7bit" 16 (NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0 NIL NIL NIL NIL) 2 NIL ("attachment" ("filename" "ab.eml")) NIL NIL)`+
		` "mixed" ("boundary" "b") NIL NIL NIL)`, string(AppendBodyStructure(nil, o.Root, true, false)))
	assert.Equal(t, `(("text" "plain" ("charset" "utf-8") "<i>" NIL "7bit" 10 1)("message" "rfc822" NIL NIL NIL "7bit" 16 (NIL "in" NIL NIL NIL NIL NIL NIL NIL NIL) ("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 1 0) 2) "mixed")`,
		string(AppendBodyStructure(nil, o.Root, false, false)))
}
