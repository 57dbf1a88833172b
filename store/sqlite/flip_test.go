//go:build !race

// Not under the race detector, which makes so many crashes and faults several
// times slower: TestKill and the contract run there.

package sqlite

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// readable is every message that can be read, by account and digest; small says
// which bodies are checked whenever they are read.
func readable(t *testing.T, st *Store) (texts map[string]int, err error) {
	t.Helper()
	texts = make(map[string]int)
	for name, err := range st.Accounts(t.Context()) {
		if err != nil {
			return texts, err
		}
		a, err := st.Account(t.Context(), name, name)
		if err != nil {
			return texts, err
		}
		boxes, err := a.Mailboxes(t.Context())
		if err != nil {
			return texts, err
		}
		for _, info := range boxes {
			mb, err := a.Mailbox(t.Context(), info.Name)
			if err != nil {
				continue // a name that is none any more
			}
			snap, err := mb.Snapshot(t.Context())
			if err != nil {
				continue
			}
			for _, row := range snap.All() {
				b, err := mb.Open(t.Context(), row)
				if err != nil {
					continue
				}
				if b.Size() <= readWhole {
					data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
					require.NoError(t, err)
					texts[digest(string(data))]++
				}
				require.NoError(t, b.Close())
			}
		}
	}
	return texts, nil
}

// Any bits of any file inverted: no panic, nothing read that was not filed,
// every error is a named one; and after a repair nothing is left to say, and at
// most what was hit is gone.
func TestFlips(t *testing.T) {
	r := filled(t, Options{})
	require.NoError(t, r.place(strings.Repeat("large ", 20<<10)).Err)
	for i := range 200 { // more than a page of each
		require.NoError(t, r.place(letter(1000+i)).Err)
	}
	want, err := readable(t, r.st)
	require.NoError(t, err)
	require.NoError(t, r.st.Close())
	files, err := filepath.Glob(filepath.Join(r.dir, "segments", "*.seg"))
	require.NoError(t, err)
	rounds := 400
	if testing.Short() {
		rounds = 60
	}
	rnd := rand.New(rand.NewPCG(5, 6))
	for round := range rounds {
		dir := copyFolder(t, r.dir)
		file := dbName
		if round%3 == 0 {
			name, err := filepath.Rel(r.dir, files[rnd.IntN(len(files))])
			require.NoError(t, err)
			file = name
		}
		info, err := os.Stat(filepath.Join(dir, file))
		require.NoError(t, err)
		what := fmt.Sprintf("round %d: %s", round, file)
		for range 1 + round%2*rnd.IntN(20) {
			off := rnd.Int64N(info.Size())
			if round%7 == 0 {
				off %= 4096
			}
			mask := byte(1) << rnd.IntN(8)
			what += fmt.Sprintf(" %d^%#x", off, mask)
			flip(t, filepath.Join(dir, file), off, mask)
		}
		flipRound(t, dir, file, what, want)
		require.NoError(t, os.RemoveAll(dir))
	}
}

func flipRound(t *testing.T, dir, file, what string, want map[string]int) {
	opt := Options{SweepEvery: -1}
	look := opt
	look.ReadOnly = true
	if st, err := look.Open(dir); err == nil {
		got, _ := readable(t, st)
		for text, n := range got {
			require.NotZero(t, want[text], "%s: %d read as right", what, n)
		}
		_ = st.Check(t.Context(), func(p Problem) { require.ErrorIs(t, p, store.ErrCorrupt, what) })
		require.NoError(t, st.Close())
	}
	require.NoError(t, opt.Repair(t.Context(), dir, func(p Problem) { require.ErrorIs(t, p, store.ErrCorrupt, what) }), what)
	st, err := opt.Open(dir)
	require.NoError(t, err, what)
	defer st.Close()
	require.NoError(t, st.Check(t.Context(), func(p Problem) { t.Errorf("%s: %v", what, p) }))
	got, err := readable(t, st)
	require.NoError(t, err, what)
	missing := 0
	for _, text := range slices.Sorted(maps.Keys(want)) {
		if got[text] == 0 {
			missing++
		}
	}
	for text := range got {
		require.NotZero(t, want[text], what)
	}
	limit := 0
	if file != dbName {
		limit = strings.Count(what, "^")
	}
	require.LessOrEqual(t, missing, limit, what)
}
