package store_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"golang.org/x/text/unicode/norm"

	"github.com/posta-mail/posta/store"
)

func TestCanonicalName(t *testing.T) {
	for in, want := range map[string]string{
		"INBOX":             "INBOX",
		"inbox":             "INBOX",
		"InBoX/Lists":       "INBOX/Lists",
		"inboxes":           "inboxes",
		"Archive/inbox":     "Archive/inbox",
		"Sent":              "Sent",
		"e\u0301te\u0301":   "\u00e9t\u00e9",
		"\u212bngstrom":     "\u00c5ngstrom", // ANGSTROM SIGN
		"a.b/...":           "a.b/...",
		"with space/&":      "with space/&",
		"\u65e5\u672c/\\x~": "\u65e5\u672c/\\x~",
		strings.Repeat("x", 255) + "/" + strings.Repeat("y", 255): strings.Repeat("x", 255) + "/" + strings.Repeat("y", 255),
		strings.Repeat("a/", 31) + "a":                            strings.Repeat("a/", 31) + "a",
	} {
		got, err := store.CanonicalName(in)
		require.NoError(t, err, "%q", in)
		require.Equal(t, want, got)
	}
	for _, bad := range []string{
		"", "/", "a/", "/a", "a//b", ".", "..", "a/../b", "./a", "a/.", "a*", "a%b", "*",
		"a\x00b", "a\r\nb", "a\tb", "\x7f", "\u0085", "a\u2028", "a\u2029b", "\xff", "a\xc3", "\xed\xa0\x80",
		strings.Repeat("x", 256), "a/" + strings.Repeat("\u00e9", 128),
		strings.Repeat("a/", 32) + "a",                                           // 33 levels
		strings.Repeat(strings.Repeat("x", 250)+"/", 4),                          // and it ends in a separator
		strings.TrimSuffix(strings.Repeat(strings.Repeat("x", 250)+"/", 4), "/"), // 1003 octets
		strings.Repeat("x", 1<<20),
	} {
		_, err := store.CanonicalName(bad)
		require.ErrorIs(t, err, store.ErrInvalidName, "%.40q", bad)
	}
}

func TestParentAndBelow(t *testing.T) {
	require.Equal(t, "", store.Parent("a"))
	require.Equal(t, "a", store.Parent("a/b"))
	require.Equal(t, "a/b", store.Parent("a/b/c"))
	require.True(t, store.Below("a/b/c", "a"))
	require.True(t, store.Below("a/b", "a"))
	require.False(t, store.Below("a", "a"))
	require.False(t, store.Below("ab", "a"))
	require.False(t, store.Below("a", "a/b"))
}

func TestCheckAccountName(t *testing.T) {
	require.NoError(t, store.CheckAccountName("anna@example.org"))
	for _, bad := range []string{"", "a\x00", "a\n", "\xff", strings.Repeat("x", 256)} {
		require.ErrorIs(t, store.CheckAccountName(bad), store.ErrInvalidName, "%.20q", bad)
	}
}

func FuzzCanonicalName(f *testing.F) {
	for _, s := range []string{"INBOX", "inbox/x", "e\u0301", "a//b", "\xff", "a/\u0338b", "\u037e\u212a", "*", "\u2126/.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := store.CanonicalName(in)
		if err != nil {
			require.ErrorIs(t, err, store.ErrInvalidName)
			return
		}
		again, err := store.CanonicalName(got)
		require.NoError(t, err)
		require.Equal(t, got, again)
		require.True(t, utf8.ValidString(got) && norm.NFC.IsNormalString(got))
		require.LessOrEqual(t, len(got), store.MaxNameOctets)
		require.NotContains(t, "/"+got+"/", "//")
		require.NotContains(t, "/"+got+"/", "/../")
		if first, _, _ := strings.Cut(got, "/"); strings.EqualFold(first, "inbox") {
			require.Equal(t, store.Inbox, first)
		}
	})
}
