package store_test

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// TestSeenView compares the view, kept up to date bit by bit, with one that is
// computed afresh.
func TestSeenView(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	shared := store.NewSnapshot(1, 7, 1, 1, nil, nil)
	private := store.NewSnapshot(1, 7, 1, 0, nil, nil)
	var view store.SeenView
	at, next := store.ModSeq(1), store.UID(1)
	for range 600 {
		at++
		switch rng.IntN(4) {
		case 0, 1:
			r := store.Row{UID: next, ModSeq: at, Created: at, Flags: store.FlagBits(rng.IntN(4))}
			next++
			shared = shared.With(store.Changes{Through: at, UIDNext: next, Rows: []store.Row{r}})
		case 2:
			if uid := store.UID(1 + rng.IntN(int(next))); uid < next {
				gone := store.UIDSet{{From: uid, To: uid}}
				shared = shared.With(store.Changes{Through: at, UIDNext: next, Vanished: gone})
				if rng.IntN(2) == 0 { // engines may tidy up later
					private = private.With(store.Changes{Through: at, Vanished: gone})
				}
			}
		default:
			if uid := store.UID(1 + rng.IntN(int(next))); uid < next {
				r := store.Row{UID: uid, ModSeq: at, Created: at, Flags: store.FlagBits(rng.IntN(2))}
				private = private.With(store.Changes{Through: at, UIDNext: next, Rows: []store.Row{r}})
			}
		}
		if rng.IntN(3) > 0 {
			continue
		}
		got, unseen := view.Merge(shared, private)
		want := 0
		require.Equal(t, shared.Len(), got.Len())
		for i, r := range got.All() {
			w := shared.At(i)
			w.Flags &^= store.BitSeen
			if k, ok := private.Find(w.UID); ok {
				w.Flags |= private.At(k).Flags & store.BitSeen
				w.ModSeq = max(w.ModSeq, private.At(k).ModSeq)
			}
			require.Equal(t, w, r)
			if w.Flags&store.BitSeen == 0 {
				want++
			}
		}
		require.Equal(t, want, unseen)
		require.Equal(t, max(shared.ModSeq(), private.ModSeq()), got.ModSeq())
		require.Equal(t, shared.UIDNext(), got.UIDNext())
		again, _ := view.Merge(shared, private)
		require.Same(t, got, again)
	}
	got, unseen := new(store.SeenView).Merge(shared, nil)
	require.Equal(t, got.Len(), unseen)
}
