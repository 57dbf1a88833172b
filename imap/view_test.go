package imap

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// viewOf is a view of messages with the given UIDs.
func viewOf(uids ...store.UID) *view {
	rows := make([]store.Row, len(uids))
	next := store.UID(1)
	for i, u := range uids {
		rows[i] = store.Row{UID: u}
		next = u + 1
	}
	return &view{told: store.NewSnapshot(1, 1, next, 1, nil, rows)}
}

// set is a number set of pairs.
func set(pairs ...uint32) (s wire.NumSet) {
	for i := 0; i < len(pairs); i += 2 {
		s.Ranges = append(s.Ranges, wire.NumRange{From: pairs[i], To: pairs[i+1]})
	}
	return s
}

func TestSpans(t *testing.T) {
	const big = 1<<32 - 1
	v := viewOf(3, 5, 9, 10, 4000000000)
	for _, c := range []struct {
		set  wire.NumSet
		uid  bool
		want []span
	}{
		{set(1, 5), false, []span{{0, 5}}},
		{set(0, 0), false, []span{{4, 5}}},
		{set(4, 0, 1, 2, 2, 2), false, []span{{0, 2}, {3, 5}}},
		{set(3, 1, 4, 4), false, []span{{0, 4}}},
		{set(big, 0), false, []span{{4, 5}}}, // "n:*" always has the last
		{set(1, big), true, []span{{0, 5}}},
		{set(4, 8), true, []span{{1, 2}}},
		{set(11, 3999999999), true, []span{}},
		{set(big, 0), true, []span{{4, 5}}},
		{set(10, 9, 3, 3), true, []span{{0, 1}, {2, 4}}},
		{wire.NumSet{Saved: true}, false, []span{{1, 3}}},
		{wire.NumSet{Saved: true}, true, []span{{1, 3}}},
	} {
		got, err := v.spans(c.set, c.uid, store.UIDs(5, 7, 9))
		require.NoError(t, err)
		assert.Equal(t, c.want, got, "%v uid %v", c.set, c.uid)
	}
	for _, r := range [][2]uint32{{6, 6}, {1, 6}, {6, 1}, {1, big}} {
		_, err := v.spans(set(r[:]...), false, nil)
		assert.ErrorIs(t, err, errNumber, "%v", r)
	}
	empty := viewOf()
	_, err := empty.spans(set(1, 0), false, nil)
	require.ErrorIs(t, err, errNumber)
	got, err := empty.spans(set(1, 0), true, nil)
	require.NoError(t, err)
	require.Empty(t, got)
}

// TestSpansAgainstNaive compares with looking at each number in each range.
func TestSpansAgainstNaive(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	v := viewOf(2, 3, 5, 8, 13, 21, 34)
	for range 5000 {
		var s wire.NumSet
		for range 1 + rnd.IntN(4) {
			s.Ranges = append(s.Ranges, wire.NumRange{From: uint32(rnd.IntN(40)), To: uint32(rnd.IntN(40))})
		}
		spans, err := v.spans(s, true, nil)
		require.NoError(t, err)
		var got, want []store.UID
		for _, sp := range spans {
			for _, r := range v.told.Range(sp.from, sp.to) {
				got = append(got, r.UID)
			}
		}
		for _, row := range v.told.All() {
			for _, r := range s.Ranges {
				from, to := r.From, r.To
				if from == 0 {
					from = 34
				}
				if to == 0 {
					to = 34
				}
				if from > to {
					from, to = to, from
				}
				if uint32(row.UID) >= from && uint32(row.UID) <= to {
					want = append(want, row.UID)
					break
				}
			}
		}
		require.Equal(t, want, got, "%v", s)
	}
}

func TestFilterHeader(t *testing.T) {
	h := "From: a\r\nSUBJECT : b\r\n c\r\n\td\r\nno colon\r\nSubjects: no\r\n: none\r\nX-Last: y\n z\n\r\nbody"
	for _, c := range []struct {
		names []string
		not   bool
		want  string
	}{
		{[]string{"subject"}, false, "SUBJECT : b\r\n c\r\n\td\r\n\r\n"},
		{[]string{"FROM", "x-last"}, false, "From: a\r\nX-Last: y\n z\n\r\n"},
		{[]string{"nothing", ""}, false, "\r\n"},
		{[]string{"subject", "from"}, true, "no colon\r\nSubjects: no\r\n: none\r\nX-Last: y\n z\n\r\n"},
	} {
		assert.Equal(t, c.want, string(filterHeader([]byte(h), c.names, c.not, false)))
	}
	// A message that ends within its header has no empty line; one of which not
	// all was looked at has.
	for more, end := range map[bool]string{false: "", true: "\r\n"} {
		assert.Equal(t, end, string(filterHeader(nil, []string{"a"}, false, more)))
		assert.Equal(t, "a:\r\n"+end, string(filterHeader([]byte("a:"), []string{"a"}, false, more)))
		assert.Equal(t, "a: b\r\n"+end, string(filterHeader([]byte("a: b\r\nc: d\r\n"), []string{"a"}, false, more)))
	}
}

func TestLocate(t *testing.T) {
	text := "A: b\r\nContent-Type: multipart/mixed; boundary=x\r\n\r\n--x\r\n\r\none\r\n--x\r\nContent-Type: message/rfc822\r\n\r\nSubject: s\r\n\r\ninner\r\n--x--\r\n"
	o := message.ParseBytes([]byte(text), nil)
	part := func(txt wire.SectionText, path ...int) string {
		off, n, ok := locate(&wire.Section{Path: path, Text: txt}, int64(len(text)), o)
		if !ok {
			return "NIL"
		}
		return text[off : off+n]
	}
	assert.Equal(t, text, part(wire.SectionAll))
	assert.Equal(t, text[:51], part(wire.SectionHeader))
	assert.Equal(t, text[51:], part(wire.SectionTextOnly))
	assert.Equal(t, "one", part(wire.SectionAll, 1))
	assert.Equal(t, "\r\n", part(wire.SectionMIME, 1))
	assert.Equal(t, "NIL", part(wire.SectionHeader, 1))
	assert.Equal(t, "NIL", part(wire.SectionAll, 3))
	assert.Equal(t, "Subject: s\r\n\r\ninner", part(wire.SectionAll, 2))
	assert.Equal(t, "Subject: s\r\n\r\n", part(wire.SectionHeader, 2))
	assert.Equal(t, "inner", part(wire.SectionTextOnly, 2))
	assert.Equal(t, "inner", part(wire.SectionAll, 2, 1))
	assert.Equal(t, "NIL", part(wire.SectionAll, 2, 1, 1))
}

func TestCut(t *testing.T) {
	for _, c := range []struct {
		off, length   uint64
		n, from, size int64
	}{
		{0, 5, 10, 100, 5}, {8, 5, 10, 108, 2}, {10, 1, 10, 100, 0}, {1<<63 - 1, 1<<63 - 1, 10, 100, 0}, {0, 1<<63 - 1, 10, 100, 10}, {0, 4294967295, 0, 100, 0},
	} {
		from, size := cut(&wire.FetchItem{Partial: true, Offset: c.off, Length: c.length}, 100, c.n)
		assert.Equal(t, []int64{c.from, c.size}, []int64{from, size}, "%+v", c)
	}
}
