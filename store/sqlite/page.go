package sqlite

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/posta-mail/posta/internal/varint"
	"github.com/posta-mail/posta/store"
)

// A page holds the rows of one range of 128 UIDs of a mailbox, so that a UID
// alone tells the page and pages never split or move.
const (
	pageShift = 7
	pageRows  = 1 << pageShift
	pageBits  = 32 - pageShift // of a page's number
	pageMask  = 1<<pageBits - 1
)

// pageNo is the number of the page a UID belongs to.
func pageNo(uid store.UID) uint32 { return uint32(uid) >> pageShift }

// pageKey is the database key of a page.
func pageKey(id store.MailboxID, no uint32) int64 { return int64(id)<<pageBits | int64(no) }

// A page, of rows or of places, begins with pageRows plus its version, and ends
// with a checksum. In version 1 both were missing, and the count, which comes
// next, is at most pageRows.
const (
	pageVersion = 2
	pageMark    = pageRows + pageVersion
	pageSumSize = 4
)

// sealPage appends the checksum of a page that begins at from: SQLite keeps
// none, and a reference that is wrong would be another message. The page's
// number is part of it.
func sealPage(b []byte, from int, no uint64) []byte {
	return binary.LittleEndian.AppendUint32(b, pageSum(b[from:], no))
}

func pageSum(b []byte, no uint64) uint32 {
	var key [8]byte
	binary.LittleEndian.PutUint64(key[:], no)
	return crc32.Update(crc32.Checksum(key[:], castagnoli), castagnoli, b)
}

// pageHead reads what a page begins with, and checks its checksum.
func pageHead(b []byte, no uint64, what string) (v varint.Reader, version int, n uint64, err error) {
	v = varint.Reader{Rest: b}
	version, n = 1, v.Next()
	if n > pageRows {
		end := len(b) - pageSumSize
		switch {
		case n > pageMark:
			return v, 0, 0, fmt.Errorf("%w: page of %s of version %d, this is %d", store.ErrCorrupt, what, n-pageRows, pageVersion)
		case end < 0 || binary.LittleEndian.Uint32(b[end:]) != pageSum(b[:end], no):
			return v, 0, 0, fmt.Errorf("%w: checksum of page of %s", store.ErrCorrupt, what)
		}
		v = varint.Reader{Rest: b[:end]}
		version = int(v.Next() - pageRows)
		n = v.Next()
	}
	if n > pageRows || v.Bad {
		return v, 0, 0, fmt.Errorf("%w: page of %d %s", store.ErrCorrupt, n, what)
	}
	return v, version, n, nil
}

// appendPage packs rows, ascending by UID, of one page: differences to the row
// before, as varints.
func appendPage(b []byte, no uint32, rows []store.Row) []byte {
	from := len(b)
	b = binary.AppendUvarint(b, pageMark)
	b = binary.AppendUvarint(b, uint64(len(rows)))
	prev := store.Row{UID: store.UID(no << pageShift)}
	for i := range rows {
		r := &rows[i]
		b = binary.AppendUvarint(b, uint64(r.UID-prev.UID))
		b = binary.AppendUvarint(b, uint64(r.Size))
		b = binary.AppendUvarint(b, uint64(r.Flags))
		b = binary.AppendVarint(b, int64(r.Created-prev.Created))
		b = binary.AppendUvarint(b, uint64(r.ModSeq-r.Created))
		b = binary.AppendVarint(b, r.Date-prev.Date)
		b = binary.AppendVarint(b, int64(r.Ref-prev.Ref))
		b = binary.AppendVarint(b, r.Saved-r.Date)
		prev = *r
	}
	return sealPage(b, from, uint64(no))
}

// decodePage appends the rows of a page, of any version, to rows. Version 1
// did not know when messages were saved: at their internal date, it is said.
func decodePage(rows []store.Row, no uint32, b []byte) ([]store.Row, error) {
	v, version, n, err := pageHead(b, uint64(no), "rows")
	if err != nil {
		return rows, err
	}
	prev := store.Row{UID: store.UID(no << pageShift)}
	for i := range n {
		r := store.Row{UID: prev.UID + store.UID(v.Next())}
		r.Size = uint32(v.Next())
		r.Flags = store.FlagBits(v.Next())
		r.Created = prev.Created + store.ModSeq(v.Signed())
		r.ModSeq = r.Created + store.ModSeq(v.Next())
		r.Date = prev.Date + v.Signed()
		r.Ref = prev.Ref + uint64(v.Signed())
		r.Saved = r.Date
		if version >= 2 {
			r.Saved += v.Signed()
		}
		if v.Bad || pageNo(r.UID) != no || r.UID == 0 || i > 0 && r.UID <= prev.UID {
			return rows, fmt.Errorf("%w: page of rows", store.ErrCorrupt)
		}
		rows = append(rows, r)
		prev = r
	}
	if len(v.Rest) > 0 { // or a flipped bit would make version 2 pass for 1
		return rows, fmt.Errorf("%w: page of rows is too long", store.ErrCorrupt)
	}
	return rows, nil
}

// place says where the octets of a message are. The zero value is a message
// that is gone.
type place struct {
	seg       uint64 // of the placement record; 0: gone
	off       int64  // of the placement record
	size      int64  // of the placement record
	prefix    int64  // octets of prefix in it
	bodySeg   uint64
	bodyOff   int64 // of the body record
	bodyBytes int64 // of the body
	account   int64 // whose message it is
}

// Places are kept like rows: 128 references to a page.
const (
	refShift = 7
	refRows  = 1 << refShift
)

// refPage is a page of places, by the low bits of the reference.
type refPage [refRows]place

// encode packs the page of a number.
func (p *refPage) encode(no uint64) []byte {
	n := refRows
	for n > 0 && p[n-1].seg == 0 {
		n--
	}
	b := binary.AppendUvarint(nil, pageMark)
	b = binary.AppendUvarint(b, uint64(n))
	var prev place
	for i := range p[:n] {
		l := &p[i]
		b = binary.AppendUvarint(b, l.seg)
		if l.seg == 0 {
			continue
		}
		b = binary.AppendVarint(b, l.off-prev.off)
		b = binary.AppendUvarint(b, uint64(l.size))
		b = binary.AppendUvarint(b, uint64(l.prefix))
		b = binary.AppendUvarint(b, l.bodySeg)
		b = binary.AppendVarint(b, l.bodyOff-l.off)
		b = binary.AppendUvarint(b, uint64(l.bodyBytes))
		b = binary.AppendUvarint(b, uint64(l.account))
		prev = *l
	}
	return sealPage(b, 0, no)
}

func decodeRefPage(no uint64, b []byte) (*refPage, error) {
	p := new(refPage)
	v, _, n, err := pageHead(b, no, "places")
	if err != nil {
		return nil, err
	}
	var prev place
	for i := range n {
		l := place{seg: v.Next()}
		if l.seg == 0 {
			continue
		}
		l.off = prev.off + v.Signed()
		l.size = int64(v.Next())
		l.prefix = int64(v.Next())
		l.bodySeg = v.Next()
		l.bodyOff = l.off + v.Signed()
		l.bodyBytes = int64(v.Next())
		l.account = int64(v.Next())
		if l.off < 0 || l.size < 0 || l.prefix < 0 || l.prefix > l.size || l.bodyOff < 0 || l.bodyBytes < 0 {
			return nil, fmt.Errorf("%w: page of places", store.ErrCorrupt)
		}
		p[i], prev = l, l
	}
	if v.Bad || len(v.Rest) > 0 {
		return nil, fmt.Errorf("%w: page of places", store.ErrCorrupt)
	}
	return p, nil
}

// encodeUIDs and decodeUIDs pack the UIDs of a tombstone.
func encodeUIDs(set store.UIDSet) []byte {
	var b []byte
	prev := store.UID(0)
	for _, r := range set {
		b = binary.AppendUvarint(b, uint64(r.From-prev))
		b = binary.AppendUvarint(b, uint64(r.To-r.From))
		prev = r.To
	}
	return b
}

func decodeUIDs(set *store.UIDSet, b []byte) error {
	v := varint.Reader{Rest: b}
	prev := uint64(0)
	for len(v.Rest) > 0 {
		from := prev + v.Next()
		to := from + v.Next()
		if v.Bad || from == 0 || to > 1<<32-1 {
			return fmt.Errorf("%w: tombstone", store.ErrCorrupt)
		}
		set.AddRange(store.UID(from), store.UID(to))
		prev = to
	}
	return nil
}

// encodeRefs and decodeRefs pack references to bodies.
func encodeRefs(refs []uint64) []byte {
	var b []byte
	prev := uint64(0)
	for _, r := range refs {
		b = binary.AppendVarint(b, int64(r-prev))
		prev = r
	}
	return b
}

func decodeRefs(b []byte) ([]uint64, error) {
	var refs []uint64
	v := varint.Reader{Rest: b}
	prev := uint64(0)
	for len(v.Rest) > 0 {
		prev += uint64(v.Signed())
		refs = append(refs, prev)
	}
	if v.Bad {
		return nil, fmt.Errorf("%w: references", store.ErrCorrupt)
	}
	return refs, nil
}
