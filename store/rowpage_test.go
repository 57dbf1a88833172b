package store_test

import (
	"math"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// TestSnapshotPacks keeps rows of every magnitude, extremes included, as they
// are.
func TestSnapshotPacks(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	extremes := []int64{math.MinInt64, -1, 0, 1, 255, 256, 1 << 16, 1 << 32, -62167219200, 253402300799, math.MaxInt64}
	for round := range 300 {
		pick := func() int64 {
			switch rng.IntN(3) {
			case 0:
				return extremes[rng.IntN(len(extremes))]
			case 1:
				return 1_790_000_000 + rng.Int64N(1<<(round%33))
			}
			return int64(rng.Uint64() >> rng.IntN(64))
		}
		rows := make([]store.Row, 1+rng.IntN(400))
		next := uint64(0)
		for i := range rows {
			if next += 1 + rng.Uint64N(1<<(round%23)); next > math.MaxUint32-400 {
				next = uint64(rows[i-1].UID) + 1
			}
			rows[i] = store.Row{
				UID: store.UID(next), Size: uint32(pick()), Flags: store.FlagBits(pick()), ModSeq: store.ModSeq(pick()),
				Created: store.ModSeq(pick()), Date: pick(), Saved: pick(), Ref: uint64(pick()),
			}
		}
		s := store.NewSnapshot(1, 1, math.MaxUint32, 1, nil, rows)
		var got []store.Row
		for i, r := range s.All() {
			require.Equal(t, r, s.At(i))
			got = append(got, r)
		}
		require.Equal(t, rows, got)
		var b store.SnapshotBuilder
		for left := rows; len(left) > 0; {
			k := 1 + rng.IntN(len(left))
			b.Add(left[:k]...)
			left = left[k:]
		}
		got = nil
		since := rows[rng.IntN(len(rows))].ModSeq
		for i, r := range b.Snapshot(1, 1, math.MaxUint32, 1, nil).ChangedSince(since) {
			require.Equal(t, rows[i], r)
			got = append(got, r)
		}
		require.Len(t, got, len(rows)-countIf(rows, func(r store.Row) bool { return r.ModSeq <= since }))
		for range 20 {
			from := rng.IntN(len(rows))
			to := from + rng.IntN(len(rows)-from+1)
			i := from
			for n, r := range s.Range(from, to) {
				require.Equal(t, i, n)
				require.Equal(t, rows[i], r)
				i++
			}
			require.Equal(t, to, i)
		}
	}
}

// mailRows are rows as a mailbox that is used has them: sizes, dates and flags
// that differ, some changed lately.
func mailRows(n int) []store.Row {
	rng := rand.New(rand.NewPCG(5, 6))
	rows := make([]store.Row, n)
	for i := range rows {
		at := store.ModSeq(1000 + 2*i)
		rows[i] = store.Row{
			UID: store.UID(i + 1 + i/10), Size: uint32(2000 + rng.IntN(100_000)), Flags: store.FlagBits(rng.Uint64N(1 << 12)),
			ModSeq: at, Created: at, Date: 1_700_000_000 + int64(60*i), Saved: 1_790_000_000 + int64(i/50), Ref: uint64(5_000_000 + 3*i),
		}
		if rng.IntN(10) == 0 {
			rows[i].ModSeq = store.ModSeq(2_000_000 + rng.IntN(1_000_000))
		}
	}
	return rows
}

// TestSnapshotMemory holds a mailbox to 48 octets a message, and a change of
// one of 500,000 messages to 200 KB of new memory.
func TestSnapshotMemory(t *testing.T) {
	const n = 500_000
	rows := mailRows(n)
	s := store.NewSnapshot(1, 1, 1<<30, 1, nil, rows)
	perRow := float64(s.Octets()) / n
	t.Logf("%.1f octets a message", perRow)
	require.Less(t, perRow, 48.0)
	change := rows[n/2]
	change.Flags ^= store.BitSeen
	change.ModSeq = 4_000_000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 100 {
		s.With(store.Changes{Through: 4_000_000, Rows: []store.Row{change}})
	}
	runtime.ReadMemStats(&after)
	each := (after.TotalAlloc - before.TotalAlloc) / 100
	t.Logf("%d octets for one change", each)
	require.Less(t, each, uint64(200_000))
}

func countIf(rows []store.Row, is func(store.Row) bool) (n int) {
	for _, r := range rows {
		if is(r) {
			n++
		}
	}
	return n
}
