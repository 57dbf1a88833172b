package store_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func TestUIDSet(t *testing.T) {
	const most = math.MaxUint32
	s := store.UIDs(5, 3, 4, 9, 1)
	require.Equal(t, store.UIDSet{{1, 1}, {3, 5}, {9, 9}}, s)
	require.Equal(t, 5, s.Len())
	require.Equal(t, []store.UID{1, 3, 4, 5, 9}, slices.Collect(s.All()))
	s.AddRange(8, 2)
	require.Equal(t, store.UIDSet{{1, 9}}, s)
	s.Add(0)
	require.Equal(t, store.UIDSet{{1, 9}}, s)
	s.AddRange(0, 12)
	require.Equal(t, store.UIDSet{{1, 12}}, s)
	s.AddRange(most, 20)
	require.Equal(t, store.UIDSet{{1, 12}, {20, most}}, s)
	s.Add(most)
	s.AddRange(13, 19)
	require.True(t, s.Equal(store.AllUIDs()))
	require.Equal(t, most, s.Len())

	var last store.UIDSet
	last.AddRange(most-1, most)
	require.Equal(t, []store.UID{most - 1, most}, slices.Collect(last.All()), "ends at the last UID")
	for range last.All() {
		break
	}
	require.True(t, store.UIDSet(nil).Empty())
	require.True(t, store.UIDs().Empty())
	require.Empty(t, store.UIDs(0))
	require.Empty(t, store.UIDRanges(store.UIDRange{}))
	require.Equal(t, store.UIDSet{{1, 4}}, store.UIDRanges(store.UIDRange{4, 0}))
}

func TestUIDSetDescendingIsCheap(t *testing.T) {
	const n = 500_000
	uids := make([]store.UID, n)
	ranges := make([]store.UIDRange, n)
	for i := range uids {
		uids[i] = store.UID(2*(n-i) + 1)
		ranges[i] = store.UIDRange{From: uids[i], To: uids[i]}
	}
	require.Len(t, store.UIDs(uids...), n)
	require.Len(t, store.UIDRanges(ranges...), n)
}

// uidModel is a set of small UIDs the naive way.
type uidModel map[store.UID]bool

func (m uidModel) add(a, b store.UID) {
	for u := min(a, b); u <= max(a, b); u++ {
		if u != 0 {
			m[u] = true
		}
	}
}

func (m uidModel) check(t *testing.T, s store.UIDSet) {
	t.Helper()
	n := 0
	for i, r := range s {
		require.LessOrEqual(t, r.From, r.To)
		require.NotZero(t, r.From)
		if i > 0 {
			require.Greater(t, r.From, s[i-1].To+1, "ranges neither overlap nor touch")
		}
	}
	for u := range s.All() {
		if !m[u] {
			t.Fatalf("%d is in %v", u, s)
		}
		n++
	}
	require.Equal(t, len(m), n)
	require.Equal(t, len(m), s.Len())
	for u := store.UID(0); u < 300; u++ {
		if m[u] != s.Contains(u) {
			t.Fatalf("Contains(%d) of %v", u, s)
		}
	}
}

func FuzzUIDSet(f *testing.F) {
	f.Add([]byte{1, 2, 9, 4, 3, 3, 0, 255, 7, 7})
	f.Add([]byte{5, 5, 3, 3, 1, 1, 4, 4, 2, 2})
	f.Add([]byte{10, 20, 30, 40, 21, 29, 8, 9})
	f.Fuzz(uidSetProgram)
}

func uidSetProgram(t *testing.T, in []byte) {
	if len(in) > 400 {
		in = in[:400]
	}
	var a, b store.UIDSet
	ma, mb := uidModel{}, uidModel{}
	var ranges []store.UIDRange
	for i := 0; i+1 < len(in); i += 2 {
		from, to := store.UID(in[i]), store.UID(in[i+1])
		if i%4 == 0 || i < len(in)/3 {
			a.AddRange(from, to)
			ma.add(from, to)
			ranges = append(ranges, store.UIDRange{From: from, To: to})
		} else {
			b.AddRange(from, from)
			mb.add(from, from)
		}
	}
	ma.check(t, a)
	mb.check(t, b)
	require.True(t, a.Equal(store.UIDRanges(ranges...)))
	both, either := uidModel{}, uidModel{}
	for u := range ma {
		either[u] = true
		if mb[u] {
			both[u] = true
		}
	}
	for u := range mb {
		either[u] = true
	}
	both.check(t, a.Intersect(b))
	either.check(t, a.Union(b))
	ma.check(t, a) // neither operand changed
}

// TestUIDSetPrograms is a stretch of what the fuzz target does.
func TestUIDSetPrograms(t *testing.T) {
	for seed := range uint64(500) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		in := make([]byte, rnd.IntN(60))
		for i := range in {
			in[i] = byte(rnd.IntN(1 + rnd.IntN(256)))
		}
		uidSetProgram(t, in)
	}
}

func BenchmarkUIDSetAscending(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		var s store.UIDSet
		for u := store.UID(1); u <= 10_000; u++ {
			s.Add(u)
		}
	}
}

func BenchmarkUIDSetContains(b *testing.B) {
	var s store.UIDSet
	for u := store.UID(1); u <= 100_000; u += 2 {
		s.Add(u)
	}
	b.ReportAllocs()
	for b.Loop() {
		s.Contains(store.UID(rand.IntN(100_000)))
	}
}
