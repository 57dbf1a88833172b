package message_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"

	"github.com/posta-mail/posta/message"
)

func TestDecodeWords(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		// RFC 2047 §8.
		{"from", "=?US-ASCII?Q?Keith_Moore?= <moore@cs.utk.edu>", "Keith Moore <moore@cs.utk.edu>"},
		{"to", "=?ISO-8859-1?Q?Keld_J=F8rn_Simonsen?= <keld@dkuug.dk>", "Keld Jørn Simonsen <keld@dkuug.dk>"},
		{"subject", "=?ISO-8859-1?B?SWYgeW91IGNhbiByZWFkIHRoaXMgeW8=?= =?ISO-8859-2?B?dSB1bmRlcnN0YW5kIHRoZSBleGFtcGxlLg==?=", "If you can read this you understand the example."},
		{"a", "(=?ISO-8859-1?Q?a?=)", "(a)"},
		{"a b", "(=?ISO-8859-1?Q?a?= b)", "(a b)"},
		{"ab", "(=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=)", "(ab)"},
		{"ab two spaces", "(=?ISO-8859-1?Q?a?=  =?ISO-8859-1?Q?b?=)", "(ab)"},
		{"ab folded", "(=?ISO-8859-1?Q?a?=\r\n    =?ISO-8859-1?Q?b?=)", "(ab)"},
		{"a_b", "(=?ISO-8859-1?Q?a_b?=)", "(a b)"},
		{"a_ b", "(=?ISO-8859-1?Q?a?= =?ISO-8859-2?Q?_b?=)", "(a b)"},
		// RFC 2231 §5.
		{"language", "=?US-ASCII*EN?Q?Keith_Moore?=", "Keith Moore"},
		// Character sets.
		{"utf-8", "=?utf-8?b?R3LDvMOfZQ==?=", "Grüße"},
		{"lower case", "=?utf-8?q?Gr=c3=bc=c3=9fe?=", "Grüße"},
		{"iso-2022-jp", "=?iso-2022-jp?b?GyRCJDMkcyRLJEEkTxsoQg==?=", "こんにちは"},
		{"shift_jis", "=?shift_jis?b?grGC8YLJgr+CzQ==?=", "こんにちは"},
		{"koi8-r", "=?koi8-r?q?=F0=D2=C9=D7=C5=D4?=", "Привет"},
		{"gb2312", "=?gb2312?b?xOO6ww==?=", "你好"},
		{"windows-1252", "=?windows-1252?q?=80?=", "€"},
		{"utf-16 without a mark", "=?utf-16?b?AGE=?=", "a"},
		{"split character", "=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "ü"},
		{"split in base64", "=?UTF-8?b?w7zD?= =?utf-8?b?vA==?=", "üü"},
		{"set changes", "=?utf-8?q?=C3?= =?iso-8859-1?q?=BC?=", "\uFFFD¼"},
		// Leniency.
		{"glued", "x=?utf-8?q?y?=z", "xyz"},
		{"space inside", "=?utf-8?q?a b?=", "a b"},
		{"no padding", "=?utf-8?b?YQ?=", "a"},
		{"empty text", "a =?utf-8?q??= b", "a  b"},
		{"bad escape", "=?utf-8?q?=ZZ=4?=", "=ZZ=4"},
		{"control characters", "=?utf-8?q?a=0D=0Ab=00c?=", "a  b c"},
		{"bad octets", "=?utf-8?q?=FF?=", "\uFFFD"},
		// No words.
		{"unknown set", "=?x-none?q?a?= b", "=?x-none?q?a?= b"},
		{"utf-7", "=?utf-7?q?+AGE-?=", "=?utf-7?q?+AGE-?="},
		{"no set", "=??q?a?=", "=??q?a?="},
		{"unknown encoding", "=?utf-8?x?a?=", "=?utf-8?x?a?="},
		{"not closed", "=?utf-8?q?a", "=?utf-8?q?a"},
		{"question mark", "=?utf-8?q?a?b?=", "=?utf-8?q?a?b?="},
		{"bits", "=? =?= =?utf-8 =?utf-8?q", "=? =?= =?utf-8 =?utf-8?q"},
		{"unknown, then known", "=?x?q?a?= =?utf-8?q?b?=", "=?x?q?a?= b"},
		{"bad 8 bit", "caf\xe9 =?utf-8?q?a?=", "caf\uFFFD a"},
		{"plain", "nothing special", "nothing special"},
		{"empty", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) { assert.Equal(t, c.want, message.DecodeWords(c.in)) })
	}
}

func TestDecodeWordsIsLinear(t *testing.T) {
	for _, unit := range []string{"=?", "=?utf-8?q?", "=?utf-8?q?a?=", "=?a?q?=?", "?", "=?utf-8?b?Y?= ", "=?iso-8859-1?q?=FC?= =?utf-8?q?a?= ", "=?x-none?q?a?= "} {
		start := time.Now()
		message.DecodeWords(strings.Repeat(unit, (1<<20)/len(unit)))
		assert.Less(t, time.Since(start), 2*time.Second, unit)
	}
}

func TestEncodeWords(t *testing.T) {
	assert.Equal(t, "plain, (text) with \"quotes\"", message.EncodeWords("plain, (text) with \"quotes\""))
	assert.Equal(t, "=?utf-8?q?Gru=C3=9F_aus_Bonn_an_alle?=", message.EncodeWords("Gruß aus Bonn an alle"))
	assert.Equal(t, "=?utf-8?b?44GT44KT44Gr44Gh44Gv?=", message.EncodeWords("こんにちは"))
	assert.Equal(t, "=?utf-8?q?aaa__bbb_ccc_=C3=BC?=", message.EncodeWords("aaa\r\nbbb\x00ccc ü"))
	assert.NotEqual(t, "=?utf-8?q?x?=", message.EncodeWords("=?utf-8?q?x?="), "text that looks encoded is encoded")
	for _, s := range []string{strings.Repeat("ä", 500), strings.Repeat("日本", 300), strings.Repeat("a", 1000), "x" + strings.Repeat("😀", 200),
		"Re: " + strings.Repeat("wörter ", 50), "\x01", "=?", "tab\tä", "  ä  ", "ä" + strings.Repeat(" ", 200)} {
		out := message.EncodeWords(s)
		assert.Equal(t, s, message.DecodeWords(out))
		for w := range strings.SplitSeq(out, " ") {
			assert.LessOrEqual(t, len(w), 75)
			assert.True(t, strings.HasPrefix(w, "=?utf-8?") && strings.HasSuffix(w, "?="), w)
			one := message.DecodeWords(w)
			assert.True(t, utf8.ValidString(one) && !strings.Contains(one, "\uFFFD"), "no split character in %s", w)
		}
	}
}
