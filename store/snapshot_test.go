package store_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func rowsOf(uids ...store.UID) []store.Row {
	var rows []store.Row
	for _, u := range uids {
		rows = append(rows, store.Row{UID: u, Size: uint32(u) * 10, ModSeq: store.ModSeq(u), Created: store.ModSeq(u)})
	}
	return rows
}

func seq(from, to store.UID) (uids []store.UID) {
	for u := from; u <= to; u++ {
		uids = append(uids, u)
	}
	return uids
}

func TestSnapshotAccess(t *testing.T) {
	empty := store.NewSnapshot(3, 7, 1, 1, nil, nil)
	require.Zero(t, empty.Len())
	i, ok := empty.Find(1)
	require.False(t, ok)
	require.Zero(t, i)
	for range empty.Range(-5, 10) {
		t.Fatal("rows in an empty snapshot")
	}
	require.Empty(t, empty.AppendRows(nil, -5, 10))
	for range empty.Select(store.AllUIDs()) {
		t.Fatal("rows in an empty snapshot")
	}

	rows := rowsOf(seq(10, 1009)...)
	s := store.NewSnapshot(3, 7, 1010, 2000, []store.Flag{"$Junk"}, rows)
	rows[0].UID = 1 // the slice was copied
	require.Equal(t, 1000, s.Len())
	require.Equal(t, store.MailboxID(3), s.Mailbox())
	require.EqualValues(t, 7, s.UIDValidity())
	require.EqualValues(t, 1010, s.UIDNext())
	require.EqualValues(t, 2000, s.ModSeq())
	for i := range 1000 {
		require.Equal(t, store.UID(10+i), s.At(i).UID)
		j, ok := s.Find(store.UID(10 + i))
		require.True(t, ok)
		require.Equal(t, i, j)
	}
	i, ok = s.Find(5)
	require.False(t, ok)
	require.Zero(t, i)
	i, ok = s.Find(5000)
	require.False(t, ok)
	require.Equal(t, 1000, i)
	for _, r := range [][2]int{{0, 1000}, {0, 0}, {127, 129}, {128, 256}, {999, 1000}, {990, 5000}, {2000, 3000}, {-3, 2}, {5, 4}} {
		want := max(min(r[1], 1000)-max(r[0], 0), 0)
		n := 0
		all := s.AppendRows([]store.Row{{}}, r[0], r[1])
		require.Len(t, all, 1+want)
		for i, row := range s.Range(r[0], r[1]) {
			require.Equal(t, row, all[1+n])
			require.Equal(t, max(r[0], 0)+n, i)
			require.Equal(t, store.UID(10+i), row.UID)
			n++
		}
		require.Equal(t, want, n, "%v", r)
	}
	var got []store.UID
	for i, row := range s.Select(store.UIDSet{{1, 11}, {500, 501}, {1009, 1<<32 - 1}}) {
		require.Equal(t, row, s.At(i))
		got = append(got, row.UID)
	}
	require.Equal(t, []store.UID{10, 11, 500, 501, 1009}, got)
	for range s.Select(store.AllUIDs()) {
		break
	}
	for range s.All() {
		break
	}
	bits, ok := s.Bits(`\seen`, "$JUNK")
	require.True(t, ok)
	require.Equal(t, []store.Flag{`\Seen`, "$Junk"}, s.Flags(bits))
	_, ok = s.Bits("$Other")
	require.False(t, ok)
}

// mailboxModel is a mailbox the naive way.
type mailboxModel map[store.UID]store.Row

func (m mailboxModel) rows() []store.Row {
	return slices.SortedFunc(maps.Values(m), func(a, b store.Row) int { return int(a.UID) - int(b.UID) })
}

func (m mailboxModel) check(t *testing.T, s *store.Snapshot) {
	t.Helper()
	want := m.rows()
	require.Equal(t, len(want), s.Len())
	for i, r := range s.All() {
		if r != want[i] || s.At(i) != r {
			t.Fatalf("row %d is %v by All, %v by At, want %v", i, r, s.At(i), want[i])
		}
	}
}

// FuzzSnapshot drives With and Diff by a byte program against a map.
func FuzzSnapshot(f *testing.F) {
	f.Add(uint64(1), []byte{0, 200, 1, 3, 2, 9, 3, 40, 0, 20})
	f.Add(uint64(2), []byte{0, 255, 0, 255, 2, 255, 2, 200, 3, 1, 3, 2, 0, 7})
	f.Add(uint64(3), []byte{0, 129, 2, 1, 0, 1, 2, 128})
	f.Fuzz(snapshotProgram)
}

func snapshotProgram(t *testing.T, seed uint64, program []byte) {
	if len(program) > 60 {
		program = program[:60]
	}
	rnd := rand.New(rand.NewPCG(seed, 1))
	m := mailboxModel{}
	s := store.NewSnapshot(1, 1, 1, 1, nil, nil)
	modSeq, next := store.ModSeq(1), store.UID(1)
	type moment struct {
		s *store.Snapshot
		m mailboxModel
	}
	past := []moment{{s, maps.Clone(m)}}
	for i := 0; i+1 < len(program); i += 2 {
		modSeq++
		c := store.Changes{Since: modSeq - 1, Through: modSeq}
		n := int(program[i+1])
		switch program[i] % 4 {
		case 0: // new messages
			for range n {
				r := store.Row{UID: next, ModSeq: modSeq, Created: modSeq, Size: 1}
				next += store.UID(1 + rnd.IntN(3))
				c.Rows = append(c.Rows, r)
			}
		case 1: // flags
			for _, r := range m.rows() {
				if rnd.IntN(256) < n {
					r.Flags ^= store.FlagBits(1 << rnd.IntN(5))
					r.ModSeq = modSeq
					c.Rows = append(c.Rows, r)
				}
			}
		case 2: // expunge
			for _, r := range m.rows() {
				if rnd.IntN(256) < n {
					c.Vanished.Add(r.UID)
				}
			}
			c.Vanished.Add(next + 5) // unknown UIDs do no harm
		case 3: // all in one, some created and gone at once
			for range n / 4 {
				r := store.Row{UID: next, ModSeq: modSeq, Created: modSeq, Size: 2}
				next++
				c.Rows = append(c.Rows, r)
				if rnd.IntN(3) == 0 {
					c.Vanished.Add(r.UID)
				}
			}
		}
		c.UIDNext = next
		for _, r := range c.Rows {
			m[r.UID] = r
		}
		for u := range c.Vanished.All() {
			delete(m, u)
		}
		s = s.With(c)
		m.check(t, s)
		require.Equal(t, next, s.UIDNext())
		require.Equal(t, modSeq, s.ModSeq())
		require.LessOrEqual(t, store.PageCount(s), 2+s.Len()/16, "pages are merged")
		past = append(past, moment{s, maps.Clone(m)})
	}
	for _, p := range past {
		p.m.check(t, p.s) // older snapshots did not change
		d := store.Diff(p.s, s)
		m.check(t, p.s.With(d))
		if p.s == s {
			require.Empty(t, d.Rows)
			require.Empty(t, d.Vanished)
		}
		for _, r := range d.Rows {
			require.NotEqual(t, p.m[r.UID], r, "only what differs")
		}
	}
}

// TestSnapshotPrograms is a stretch of what the fuzz target does.
func TestSnapshotPrograms(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		program := make([]byte, 2*rnd.IntN(30))
		for i := range program {
			program[i] = byte(rnd.Uint32())
			if i%2 == 1 && rnd.IntN(2) == 0 {
				program[i] %= 8 // few messages as often as many
			}
		}
		snapshotProgram(t, seed, program)
	}
}

func TestSnapshotKeepsExpunged(t *testing.T) {
	s := store.NewSnapshot(1, 1, 4, 4, nil, rowsOf(1, 2, 3))
	c := store.Changes{Since: 4, Through: 5, Rows: rowsOf(4), Vanished: store.UIDs(2), UIDNext: 5}
	c.Vanished = nil // a session that has not been told yet
	n := s.With(c)
	require.Equal(t, 4, n.Len())
}

func TestSnapshotSharesPages(t *testing.T) {
	s := store.NewSnapshot(1, 1, 100_001, 1, nil, rowsOf(seq(1, 100_000)...))
	changed := s.At(50_000)
	changed.Flags = store.BitSeen
	n := s.With(store.Changes{Through: 2, Rows: []store.Row{changed}, UIDNext: 100_001})
	require.Equal(t, store.PageCount(s)-1, store.SharedPages(s, n))
	d := store.Diff(s, n)
	require.Equal(t, []store.Row{changed}, d.Rows)
	n = n.With(store.Changes{Through: 3, Vanished: store.UIDs(1), UIDNext: 100_001})
	require.Equal(t, store.PageCount(s)-2, store.SharedPages(s, n))
}

func TestSnapshotKeywordsGrow(t *testing.T) {
	s := store.NewSnapshot(1, 1, 1, 1, []store.Flag{"a"}, nil)
	n := s.With(store.Changes{Through: 2, Keywords: []store.Flag{"a", "b"}})
	require.Equal(t, []store.Flag{"a"}, s.Keywords())
	require.Equal(t, []store.Flag{"a", "b"}, n.Keywords())
	require.Equal(t, n.Keywords(), n.With(store.Changes{Through: 3}).Keywords())
}

func BenchmarkSnapshot(b *testing.B) {
	for _, n := range []int{10_000, 500_000} {
		s := store.NewSnapshot(1, 1, store.UID(n+1), 1, nil, rowsOf(seq(1, store.UID(n))...))
		b.Run(fmt.Sprintf("append/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			c := store.Changes{Through: 2, Rows: []store.Row{{UID: store.UID(n + 1)}}}
			for b.Loop() {
				s.With(c)
			}
		})
		b.Run(fmt.Sprintf("iterate/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for _, r := range s.All() {
					if r.UID == 0 {
						b.Fatal()
					}
				}
			}
		})
		b.Run(fmt.Sprintf("diff-one/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			r := s.At(n / 2)
			r.Flags = 1
			t := s.With(store.Changes{Through: 2, Rows: []store.Row{r}})
			for b.Loop() {
				store.Diff(s, t)
			}
		})
	}
}

func TestSnapshotFirstWithout(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		rows := rowsOf(seq(1, store.UID(1+rnd.IntN(600)))...)
		odd := rnd.IntN(len(rows) + 20) // mostly few rows differ, so that pages are all alike
		for i := range rows {
			rows[i].Flags = store.BitSeen | store.BitFlagged
			if i >= odd && rnd.IntN(3) == 0 {
				rows[i].Flags = store.FlagBits(rnd.IntN(4))
			}
		}
		s := store.NewSnapshot(1, 1, 1000, 1, nil, rows)
		for _, bits := range []store.FlagBits{0, store.BitSeen, store.BitSeen | store.BitFlagged, store.BitDraft} {
			want := slices.IndexFunc(rows, func(r store.Row) bool { return r.Flags&bits != bits })
			if want < 0 {
				want = len(rows)
			}
			require.Equal(t, want, s.FirstWithout(bits), "of %d, %b", len(rows), bits)
		}
	}
	require.Zero(t, store.NewSnapshot(1, 1, 1, 1, nil, nil).FirstWithout(store.BitSeen))
}
