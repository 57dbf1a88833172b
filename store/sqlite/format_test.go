package sqlite

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func TestRecord(t *testing.T) {
	for _, payload := range []string{"", "x", "a longer one\r\n"} {
		b := appendRecord([]byte("before"), kindBody, 7, []byte(payload))[6:]
		got, h, err := openRecord(b, kindBody)
		require.NoError(t, err)
		require.Equal(t, payload, string(got))
		require.EqualValues(t, 7, h.id)
		_, _, err = openRecord(b, kindPlacement)
		require.ErrorIs(t, err, store.ErrCorrupt)
		for i := range b { // any octet matters
			bad := bytes.Clone(b)
			bad[i] ^= 0x10
			_, _, err := openRecord(bad, kindBody)
			require.ErrorIs(t, err, store.ErrCorrupt, "octet %d", i)
			end, why := scanRecords(bytes.NewReader(bad), 0, int64(len(bad)), nil)
			require.Zero(t, end)
			require.ErrorIs(t, why, store.ErrCorrupt, "octet %d", i)
		}
		for n := range b { // and any length but the whole
			_, _, err := openRecord(b[:n], kindBody)
			require.ErrorIs(t, err, store.ErrCorrupt)
			end, why := scanRecords(bytes.NewReader(b[:n]), 0, int64(n), nil)
			require.Zero(t, end)
			require.Equal(t, n > 0, why != nil)
		}
	}
}

func TestScanStops(t *testing.T) {
	one := appendRecord(nil, kindBody, 1, []byte("one"))
	both := appendRecord(one, kindPlacement, 2, bytes.Repeat([]byte("two"), 50_000))
	var ids []uint64
	end, why := scanRecords(bytes.NewReader(both), 0, int64(len(both)), func(off int64, h recordHeader) error {
		ids = append(ids, h.id)
		return nil
	})
	require.NoError(t, why)
	require.EqualValues(t, len(both), end)
	require.Equal(t, []uint64{1, 2}, ids)
	end, why = scanRecords(bytes.NewReader(both), 0, int64(len(both)-1), nil)
	require.ErrorIs(t, why, store.ErrCorrupt)
	require.EqualValues(t, len(one), end)
	stop := errors.New("stop")
	end, why = scanRecords(bytes.NewReader(both), 0, int64(len(both)), func(off int64, h recordHeader) error {
		if h.id == 2 {
			return stop
		}
		return nil
	})
	require.ErrorIs(t, why, stop)
	require.EqualValues(t, len(one), end)
	// A length beyond the file, with a header that is sound.
	h := recordHeader{kind: kindBody, length: 1 << 61}
	head := h.encode()
	end, why = scanRecords(bytes.NewReader(append(head[:], make([]byte, 100)...)), 0, 132, nil)
	require.ErrorIs(t, why, store.ErrCorrupt)
	require.Zero(t, end)
}

func TestSegmentHeader(t *testing.T) {
	h := encodeSegmentHeader(77, 1_700_000_000)
	num, err := decodeSegmentHeader(h[:])
	require.NoError(t, err)
	require.EqualValues(t, 77, num)
	for i := range h {
		bad := h
		bad[i]++
		_, err := decodeSegmentHeader(bad[:])
		require.ErrorIs(t, err, store.ErrCorrupt, "octet %d", i)
	}
}

// FuzzScan: whatever a segment holds, the scanner ends, stays within it, and
// what it accepted is what appendRecord writes.
func FuzzScan(f *testing.F) {
	one := appendRecord(nil, kindBody, 1, []byte("one"))
	f.Add([]byte{})
	f.Add(one)
	f.Add(appendRecord(one, kindPlacement, 2, []byte("two")))
	f.Add(one[:len(one)-3])
	f.Add(append(one[:len(one):len(one)], "PREC\x01B"...))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzScan(t, b)
		if len(b) >= recHeaderSize { // with a checksum that lets the header pass
			b = bytes.Clone(b)
			copy(b, recMagic)
			b[4], b[6] = recVersion, codecPlain
			binary.LittleEndian.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
			fuzzScan(t, b)
		}
	})
}

func fuzzScan(t *testing.T, b []byte) {
	var again []byte
	end, why := scanRecords(bytes.NewReader(b), 0, int64(len(b)), func(off int64, h recordHeader) error {
		if off != int64(len(again)) {
			t.Fatalf("record at %d after %d octets", off, len(again))
		}
		rec := b[off : off+h.size()]
		payload, _, err := openRecord(rec, h.kind)
		if err != nil {
			t.Fatalf("accepted what openRecord refuses: %v", err)
		}
		again = append(again, rec...)
		splitPlacement(payload)
		return nil
	})
	if end != int64(len(again)) || end > int64(len(b)) || (why == nil) != (end == int64(len(b))) {
		t.Fatalf("end %d of %d, %d accepted: %v", end, len(b), len(again), why)
	}
}

func TestPage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, no := range []uint32{0, 1, 1000, pageNo(math.MaxUint32)} {
		var rows []store.Row
		for i := range pageRows {
			uid := store.UID(no<<pageShift + uint32(i))
			if uid == 0 || rnd.IntN(3) == 0 {
				continue
			}
			created := store.ModSeq(rnd.Uint64N(1 << 62))
			rows = append(rows, store.Row{
				UID: uid, Size: rnd.Uint32(), Flags: store.FlagBits(rnd.Uint64()), Created: created,
				ModSeq: created + store.ModSeq(rnd.IntN(1000)), Date: rnd.Int64() - 1<<62, Ref: rnd.Uint64(), Saved: rnd.Int64N(1 << 40),
			})
		}
		b := appendPage(nil, no, rows)
		got, err := decodePage(nil, no, b)
		require.NoError(t, err)
		require.Equal(t, rows, got)
		for n := range b {
			_, err := decodePage(nil, no, b[:n])
			require.ErrorIs(t, err, store.ErrCorrupt, "cut at %d", n)
		}
		_, err = decodePage(nil, no+1, b)
		require.ErrorIs(t, err, store.ErrCorrupt, "another page")
		flipped(t, b, func(b []byte) error { _, err := decodePage(nil, no, b); return err })
	}
}

func TestRefPage(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	p := new(refPage)
	for i := range p {
		if rnd.IntN(4) > 0 {
			p[i] = place{
				seg: rnd.Uint64N(1<<40) + 1, off: rnd.Int64N(1 << 50), size: 1000 + rnd.Int64N(1<<30), prefix: rnd.Int64N(1000),
				bodySeg: rnd.Uint64N(1 << 40), bodyOff: rnd.Int64N(1 << 50), bodyBytes: rnd.Int64N(1 << 32), account: rnd.Int64N(1 << 40),
			}
		}
	}
	b := p.encode(7)
	got, err := decodeRefPage(7, b)
	require.NoError(t, err)
	require.Equal(t, p, got)
	for n := range b {
		_, err := decodeRefPage(7, b[:n])
		require.ErrorIs(t, err, store.ErrCorrupt, "cut at %d", n)
	}
	_, err = decodeRefPage(8, b)
	require.ErrorIs(t, err, store.ErrCorrupt, "another page")
	flipped(t, b, func(b []byte) error { _, err := decodeRefPage(7, b); return err })
	empty, err := decodeRefPage(7, new(refPage).encode(7))
	require.NoError(t, err)
	require.Equal(t, new(refPage), empty)
}

// flipped: any bit matters.
func flipped(t *testing.T, b []byte, decode func(b []byte) error) {
	t.Helper()
	for i := range len(b) * 8 {
		bad := bytes.Clone(b)
		bad[i/8] ^= 1 << (i % 8)
		require.ErrorIs(t, decode(bad), store.ErrCorrupt, "bit %d", i)
	}
}

func TestPackedSets(t *testing.T) {
	for _, set := range []store.UIDSet{nil, store.UIDs(1), store.AllUIDs(), store.UIDs(5, 6, 7, 9, 1<<32-1)} {
		var got store.UIDSet
		require.NoError(t, decodeUIDs(&got, encodeUIDs(set)))
		require.True(t, set.Equal(got), "%v %v", set, got)
	}
	for _, refs := range [][]uint64{nil, {1}, {5, 3, 1 << 60, 7, 7}} {
		got, err := decodeRefs(encodeRefs(refs))
		require.NoError(t, err)
		require.Equal(t, refs, got)
	}
}

// FuzzPacked: blobs of the database may be damaged; decoding them ends in an
// error, not in a panic.
func FuzzPacked(f *testing.F) {
	f.Add([]byte{2, 1, 100, 1, 4, 0, 20, 3, 1, 200, 1, 0, 4, 0, 20, 3}) // version 1
	f.Add(appendPage(nil, 0, []store.Row{{UID: 1, Size: 2, ModSeq: 3, Created: 3}, {UID: 4, Size: 9, ModSeq: 7, Created: 5}}))
	p := refPage{1: {seg: 1, off: 32, size: 100, prefix: 10, bodySeg: 2, bodyOff: 32, bodyBytes: 5}}
	f.Add(p.encode(0))
	f.Add(encodeUIDs(store.UIDs(1, 2, 3, 9)))
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzPacked(t, b)
		fuzzPacked(t, sealPage(bytes.Clone(b), 0, 0)) // with a checksum that lets it pass
	})
}

func fuzzPacked(t *testing.T, b []byte) {
	if rows, err := decodePage(nil, 0, b); err == nil {
		again, err := decodePage(nil, 0, appendPage(nil, 0, rows))
		if err != nil || !slices.Equal(rows, again) {
			t.Fatalf("%v after %v: %v", again, rows, err)
		}
	}
	if p, err := decodeRefPage(0, b); err == nil {
		again, err := decodeRefPage(0, p.encode(0))
		if err != nil || *again != *p {
			t.Fatalf("places differ: %v", err)
		}
	}
	var set store.UIDSet
	_ = decodeUIDs(&set, b)
	_, _ = decodeRefs(b)
}
