package store

import (
	"encoding/binary"
	"sort"
	"unsafe"
)

// pageRows is how many rows a full page of a snapshot holds.
const pageRows = 128

// rowPage is an immutable run of rows ascending by UID, shared by snapshots.
// It is packed by columns: in each, what a row has above the column's least
// value, in as few octets as the greatest needs. That is 12 to 30 octets a row
// for most mailboxes.
type rowPage struct {
	n    int
	last UID    // of the last row
	top  ModSeq // highest
	cols [columns]column
	data []byte
}

// column says where the values of one field of Row are in a page's data.
type column struct {
	base  uint64
	off   uint32
	width uint8 // octets: 0, 1, 2, 4 or 8
}

// The columns of a page.
const (
	colUID = iota
	colSize
	colFlags
	colModSeq
	colCreated
	colDate
	colSaved
	colRef
	columns
)

// signBit keeps the order of times before 1970 when they become unsigned.
const signBit = 1 << 63

func (r *Row) column(c int) uint64 {
	switch c {
	case colUID:
		return uint64(r.UID)
	case colSize:
		return uint64(r.Size)
	case colFlags:
		return uint64(r.Flags)
	case colModSeq:
		return uint64(r.ModSeq)
	case colCreated:
		return uint64(r.Created)
	case colDate:
		return uint64(r.Date) ^ signBit
	case colSaved:
		return uint64(r.Saved) ^ signBit
	}
	return r.Ref
}

func (r *Row) setColumn(c int, v uint64) {
	switch c {
	case colUID:
		r.UID = UID(v)
	case colSize:
		r.Size = uint32(v)
	case colFlags:
		r.Flags = FlagBits(v)
	case colModSeq:
		r.ModSeq = ModSeq(v)
	case colCreated:
		r.Created = ModSeq(v)
	case colDate:
		r.Date = int64(v ^ signBit)
	case colSaved:
		r.Saved = int64(v ^ signBit)
	case colRef:
		r.Ref = v
	}
}

// packRows makes a page of rows, of which there is at least one.
func packRows(rows []Row) *rowPage {
	p := &rowPage{n: len(rows), last: rows[len(rows)-1].UID}
	size := 0
	for c := range p.cols {
		low, high := rows[0].column(c), rows[0].column(c)
		for i := range rows {
			v := rows[i].column(c)
			low, high = min(low, v), max(high, v)
		}
		if c == colModSeq {
			p.top = ModSeq(high)
		}
		p.cols[c] = column{base: low, off: uint32(size), width: widthOf(high - low)}
		size += int(p.cols[c].width) * p.n
	}
	p.data = make([]byte, size)
	for c := range p.cols {
		p.pack(c, rows)
	}
	return p
}

func widthOf(v uint64) uint8 {
	switch {
	case v == 0:
		return 0
	case v < 1<<8:
		return 1
	case v < 1<<16:
		return 2
	case v < 1<<32:
		return 4
	}
	return 8
}

func (p *rowPage) pack(c int, rows []Row) {
	col := &p.cols[c]
	b := p.data[col.off:]
	switch col.width {
	case 1:
		for i := range rows {
			b[i] = byte(rows[i].column(c) - col.base)
		}
	case 2:
		for i := range rows {
			binary.LittleEndian.PutUint16(b[2*i:], uint16(rows[i].column(c)-col.base))
		}
	case 4:
		for i := range rows {
			binary.LittleEndian.PutUint32(b[4*i:], uint32(rows[i].column(c)-col.base))
		}
	case 8:
		for i := range rows {
			binary.LittleEndian.PutUint64(b[8*i:], rows[i].column(c)-col.base)
		}
	}
}

// value is one field of row i.
func (p *rowPage) value(c, i int) uint64 {
	col := &p.cols[c]
	b := p.data[col.off:]
	switch col.width {
	case 1:
		return col.base + uint64(b[i])
	case 2:
		return col.base + uint64(binary.LittleEndian.Uint16(b[2*i:]))
	case 4:
		return col.base + uint64(binary.LittleEndian.Uint32(b[4*i:]))
	case 8:
		return col.base + binary.LittleEndian.Uint64(b[8*i:])
	}
	return col.base
}

// row unpacks one row.
func (p *rowPage) row(i int) Row {
	return Row{
		UID: UID(p.value(colUID, i)), Size: uint32(p.value(colSize, i)), Flags: FlagBits(p.value(colFlags, i)),
		ModSeq: ModSeq(p.value(colModSeq, i)), Created: ModSeq(p.value(colCreated, i)),
		Date: int64(p.value(colDate, i) ^ signBit), Saved: int64(p.value(colSaved, i) ^ signBit), Ref: p.value(colRef, i),
	}
}

// rowBuffer has room for the rows of one page.
type rowBuffer [pageRows]Row

// rows unpacks rows from up to but not including to, into buf if they fit.
func (p *rowPage) rows(buf *rowBuffer, from, to int) []Row {
	rows := buf[:]
	if to-from > len(rows) {
		rows = make([]Row, to-from)
	}
	rows = rows[:to-from]
	p.unpackAll(rows, from)
	return rows
}

// unpackAll fills rows with those from from on.
func (p *rowPage) unpackAll(rows []Row, from int) {
	for c := range p.cols {
		p.unpack(c, rows, from)
	}
}

func (p *rowPage) unpack(c int, rows []Row, from int) {
	col := &p.cols[c]
	b := p.data[col.off+uint32(from)*uint32(col.width):]
	switch col.width {
	case 0:
		for i := range rows {
			rows[i].setColumn(c, col.base)
		}
	case 1:
		for i := range rows {
			rows[i].setColumn(c, col.base+uint64(b[i]))
		}
	case 2:
		for i := range rows {
			rows[i].setColumn(c, col.base+uint64(binary.LittleEndian.Uint16(b[2*i:])))
		}
	case 4:
		for i := range rows {
			rows[i].setColumn(c, col.base+uint64(binary.LittleEndian.Uint32(b[4*i:])))
		}
	case 8:
		for i := range rows {
			rows[i].setColumn(c, col.base+binary.LittleEndian.Uint64(b[8*i:]))
		}
	}
}

// find returns the first row whose UID is at least uid.
func (p *rowPage) find(uid UID) int {
	return sort.Search(p.n, func(i int) bool { return UID(p.value(colUID, i)) >= uid })
}

func (p *rowPage) first() UID { return UID(p.value(colUID, 0)) }

// octets is about the memory the page takes.
func (p *rowPage) octets() int64 { return int64(unsafe.Sizeof(*p)) + int64(cap(p.data)) }

// with returns the page after changes to its own UIDs: itself if none apply,
// nil if no row is left.
func (p *rowPage) with(rows []Row, gone UIDSet) *rowPage {
	if len(rows) == 0 && !gone.Overlaps(p.first(), p.last) {
		return p
	}
	if len(gone) == 0 && p.same(rows) {
		return packRows(rows)
	}
	var buf rowBuffer
	var out [pageRows]Row
	q := out[:0]
	for _, r := range p.rows(&buf, 0, p.n) {
		for len(rows) > 0 && rows[0].UID < r.UID {
			if !gone.Contains(rows[0].UID) {
				q = append(q, rows[0])
			}
			rows = rows[1:]
		}
		if len(rows) > 0 && rows[0].UID == r.UID {
			r, rows = rows[0], rows[1:]
		}
		if !gone.Contains(r.UID) {
			q = append(q, r)
		}
	}
	if len(q) == 0 {
		return nil
	}
	return packRows(q)
}

// same reports whether rows have the UIDs of the page.
func (p *rowPage) same(rows []Row) bool {
	if len(rows) != p.n {
		return false
	}
	for i := range rows {
		if rows[i].UID != UID(p.value(colUID, i)) {
			return false
		}
	}
	return true
}

// paginate packs rows into pages and adds them.
func paginate(pages []*rowPage, rows []Row) []*rowPage {
	for len(rows) > 0 {
		n := min(pageRows, len(rows))
		pages = append(pages, packRows(rows[:n]))
		rows = rows[n:]
	}
	return pages
}

// appendRows adds new rows behind the last page, filling it up.
func appendRows(pages []*rowPage, rows []Row, gone UIDSet) []*rowPage {
	var fresh []Row
	if n := len(pages); n > 0 && pages[n-1].n < pageRows && len(rows) > 0 {
		var buf rowBuffer
		fresh = append(make([]Row, 0, pages[n-1].n+len(rows)), pages[n-1].rows(&buf, 0, pages[n-1].n)...)
		pages = pages[:n-1]
	}
	for _, r := range rows {
		if !gone.Contains(r.UID) {
			fresh = append(fresh, r)
		}
	}
	return paginate(pages, fresh)
}

// mergeSmall joins neighbours that have shrunk, so that a mailbox that is
// emptied bit by bit does not keep a page for every message.
func mergeSmall(pages []*rowPage) []*rowPage {
	out := pages[:0]
	for _, p := range pages {
		if n := len(out); n > 0 && out[n-1].n+p.n <= pageRows/2 {
			var a, b rowBuffer
			rows := append(a[:0], out[n-1].rows(&a, 0, out[n-1].n)...)
			out[n-1] = packRows(append(rows, p.rows(&b, 0, p.n)...))
			continue
		}
		out = append(out, p)
	}
	return out
}
