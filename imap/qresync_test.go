package imap

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// expand lists the numbers of a set.
func expand(s wire.NumSet) (out []uint64) {
	for _, r := range s.Ranges {
		for n := min(r.From, r.To); n <= max(r.From, r.To); n++ {
			out = append(out, uint64(n))
		}
	}
	return out
}

// randomSet is a set of n numbers, ascending, in ranges.
func randomSet(rnd *rand.Rand, n int) (s wire.NumSet) {
	at := uint32(0)
	for n > 0 {
		k := 1 + rnd.IntN(n)
		at += 1 + uint32(rnd.IntN(4))
		s.Ranges = append(s.Ranges, wire.NumRange{From: at, To: at + uint32(k) - 1})
		at, n = at+uint32(k)-1, n-k
	}
	return s
}

// TestMatched compares with looking at each pair.
func TestMatched(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 20000 {
		var uids []store.UID
		at := store.UID(0)
		for range rnd.IntN(20) {
			at += 1 + store.UID(rnd.IntN(3)*rnd.IntN(3))
			uids = append(uids, at)
		}
		v := viewOf(uids...)
		n := 1 + rnd.IntN(12)
		q := &wire.QResync{Matched: true, Numbers: randomSet(rnd, n), UIDs: randomSet(rnd, n)}
		numbers, named := expand(q.Numbers), expand(q.UIDs)
		var want store.UID
		for i := range numbers {
			if numbers[i] <= uint64(len(uids)) && uint64(uids[numbers[i]-1]) == named[i] {
				want = max(want, uids[numbers[i]-1])
			}
		}
		require.Equal(t, want, v.matched(q), "%v: %v %v", uids, q.Numbers, q.UIDs)
	}
	const big = 1<<32 - 1
	v := viewOf(1, big)
	require.Equal(t, store.UID(1), v.matched(&wire.QResync{Numbers: set(1, big), UIDs: set(1, big)}))
	require.Equal(t, store.UID(big), v.matched(&wire.QResync{Numbers: set(2, 2), UIDs: set(big, big)}))
	require.Zero(t, v.matched(&wire.QResync{}))
	require.Zero(t, viewOf().matched(&wire.QResync{Numbers: set(1, big), UIDs: set(1, big)}))
}

// pairs is a set of ranges.
func pairs(uids ...store.UID) (s store.UIDSet) {
	for i := 0; i < len(uids); i += 2 {
		s.AddRange(uids[i], uids[i+1])
	}
	return s
}

func TestMissing(t *testing.T) {
	const big = 1<<32 - 1
	snap := viewOf(3, 5, 6, big).told
	for _, c := range []struct{ set, want store.UIDSet }{
		{store.AllUIDs(), pairs(1, 2, 4, 4, 7, big-1)},
		{store.UIDs(3, 5), nil},
		{pairs(1, 3, 5, 8, big, big), pairs(1, 2, 7, 8)},
		{nil, nil},
	} {
		require.Equal(t, c.want, missing(snap, c.set))
	}
	require.Equal(t, store.AllUIDs(), missing(viewOf().told, store.AllUIDs()))
}

// changing is a mailbox whose history is as told.
type changing struct {
	store.Mailbox
	changes store.Changes
	err     error
}

func (c changing) Changes(context.Context, store.ModSeq) (store.Changes, error) {
	return c.changes, c.err
}

func TestVanished(t *testing.T) {
	rows := []store.Row{{UID: 2, ModSeq: 2}, {UID: 6, ModSeq: 9}, {UID: 7, ModSeq: 3}}
	v := &view{told: store.NewSnapshot(1, 1, 10, 20, nil, rows)}
	ask := func(mb changing, since store.ModSeq, within store.UIDSet, above store.UID) store.UIDSet {
		t.Helper()
		v.mb = mb
		gone, err := v.vanished(t.Context(), since, within, above)
		require.NoError(t, err)
		return gone
	}
	kept := changing{changes: store.Changes{Vanished: pairs(3, 4, 9, 12)}}
	require.Equal(t, pairs(3, 4, 9, 9), ask(kept, 5, store.AllUIDs(), 0), "what came after the snapshot is not told")
	require.Equal(t, pairs(4, 4), ask(kept, 5, pairs(4, 8), 0))
	require.Equal(t, pairs(9, 9), ask(kept, 5, store.AllUIDs(), 6))
	require.Empty(t, ask(kept, 20, store.AllUIDs(), 0))
	require.Empty(t, ask(kept, 5, nil, 0))
	require.Empty(t, ask(kept, 5, store.AllUIDs(), 9))

	// Expunged after the snapshot was taken: that will be told as it is.
	kept.changes.Vanished = pairs(2, 4)
	require.Equal(t, pairs(3, 4), ask(kept, 5, store.AllUIDs(), 0))

	lost := changing{err: store.ErrHistoryGone}
	require.Equal(t, pairs(1, 1, 3, 5, 8, 9), ask(lost, 5, store.AllUIDs(), 0))
	require.Equal(t, pairs(3, 3, 5, 5), ask(lost, 5, pairs(3, 3, 5, 6), 0))
	require.Equal(t, pairs(3, 5, 8, 9), ask(lost, 5, store.AllUIDs(), 2))

	v.mb = changing{err: store.ErrUnavailable}
	_, err := v.vanished(t.Context(), 5, store.AllUIDs(), 0)
	require.ErrorIs(t, err, store.ErrUnavailable)

	v.told = store.NewSnapshot(1, 1, 1, 20, nil, nil)
	require.Empty(t, ask(lost, 5, store.AllUIDs(), 0), "a mailbox that never had a message")
}
