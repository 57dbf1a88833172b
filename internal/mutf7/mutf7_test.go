package mutf7

import (
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func Test(t *testing.T) {
	for encoded, plain := range map[string]string{
		"":                                "",
		"INBOX":                           "INBOX",
		"a&-b":                            "a&b",
		"&-":                              "&",
		"&AOQ-":                           "ä",
		"Entw&APw-rfe":                    "Entwürfe",
		"&U,BTFw-":                        "台北",
		"~peter/mail/&U,BTFw-/&ZeVnLIqe-": "~peter/mail/台北/日本語",
		"&2D3cqQ-":                        "💩",
		"&-&AOQ-&-":                       "&ä&",
		"&AAk-":                           "\t",
		"x&AOQA9g-y":                      "xäöy",
	} {
		got, err := Decode(encoded)
		require.NoError(t, err, encoded)
		assert.Equal(t, plain, got)
		assert.Equal(t, encoded, Encode(plain))
	}
	for _, bad := range []string{
		"&", "&AOQ", "a&", "&AOQ-&APY-", // superfluous shift
		"&AGE-", "&AOQAYQ-", // encoded printables
		"&AO-", "&A-", "&AAAA-x", // bits left over
		"&2D0-", "&3Kk-", "&2D0AYQ-", "&3KnYPQ-", // lone surrogates
		"&AOR-", "&AOQ=-", "&AO/-", "&\r\n-", "ä", "a\x7f", "a\x00b", "&AO Q-",
	} {
		_, err := Decode(bad)
		assert.ErrorIs(t, err, ErrEncoding, bad)
	}
}

func Fuzz(f *testing.F) {
	for _, s := range []string{"a&-b", "&AOQ-", "&U,BTFw-", "&2D3cqQ-", "&AGE-", "ä", "💩", "&", "&AOQ-&APY-"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if plain, err := Decode(s); err == nil {
			if !utf8.ValidString(plain) {
				t.Fatalf("%q decodes to %q", s, plain)
			}
			if back := Encode(plain); back != s {
				t.Fatalf("%q decodes to %q, which encodes to %q", s, plain, back)
			}
		}
		if utf8.ValidString(s) {
			enc := Encode(s)
			if !printable(enc) {
				t.Fatalf("%q encodes to %q", s, enc)
			}
			if back, err := Decode(enc); err != nil || back != s {
				t.Fatalf("%q encodes to %q, which decodes to %q, %v", s, enc, back, err)
			}
		}
	})
}
