package store_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func TestInternFlags(t *testing.T) {
	table := []store.Flag{"$Junk"}
	bits, out, err := store.InternFlags(table, []store.Flag{`\SEEN`, "$junk", "work", "WORK"})
	require.NoError(t, err)
	require.Equal(t, []store.Flag{"$Junk", "work"}, out)
	require.Equal(t, []store.Flag{"$Junk"}, table)
	require.Equal(t, []store.Flag{`\Seen`, "$Junk", "work"}, store.FlagNames(bits, out))

	for _, bad := range []store.Flag{"", `\Recent`, `\Foo`, "a b", "(", "a\r\n", `a\b`, "\u00e9", "a]"} {
		_, same, err := store.InternFlags(table, []store.Flag{"new", bad})
		require.ErrorIs(t, err, store.ErrInvalid, "%q", bad)
		require.Equal(t, table, same)
	}

	var full []store.Flag
	for i := range store.MaxKeywords {
		_, full, err = store.InternFlags(full, []store.Flag{store.Flag(fmt.Sprint("k", i))})
		require.NoError(t, err)
	}
	_, _, err = store.InternFlags(full, []store.Flag{"one-more"})
	require.ErrorIs(t, err, store.ErrLimit)
	bits, _, err = store.InternFlags(full, []store.Flag{"K58"})
	require.NoError(t, err, "a known one still fits")
	require.Equal(t, store.FlagBits(1)<<63, bits)
}

func TestInternFlagsSharesNoArray(t *testing.T) {
	table := append(make([]store.Flag, 0, 10), "a")
	_, one, err := store.InternFlags(table, []store.Flag{"b"})
	require.NoError(t, err)
	_, _, err = store.InternFlags(table, []store.Flag{"c"})
	require.NoError(t, err)
	require.Equal(t, []store.Flag{"a", "b"}, one)
}

func TestTranslateFlags(t *testing.T) {
	from := []store.Flag{"x", "y"}
	bits, _, _ := store.InternFlags(from, []store.Flag{`\Flagged`, "y"})
	got, to, err := store.TranslateFlags(bits, from, []store.Flag{"q"})
	require.NoError(t, err)
	require.Equal(t, []store.Flag{"q", "y"}, to)
	require.Equal(t, []store.Flag{`\Flagged`, "y"}, store.FlagNames(got, to))
	got, to, err = store.TranslateFlags(store.BitSeen, from, nil)
	require.NoError(t, err)
	require.Equal(t, store.BitSeen, got)
	require.Empty(t, to)
}

func TestFlagOps(t *testing.T) {
	old, bits := store.BitSeen|store.BitDraft, store.BitSeen|store.BitDeleted
	require.Equal(t, store.BitSeen|store.BitDraft|store.BitDeleted, store.FlagsAdd.Apply(old, bits))
	require.Equal(t, store.BitDraft, store.FlagsRemove.Apply(old, bits))
	require.Equal(t, bits, store.FlagsReplace.Apply(old, bits))
}
