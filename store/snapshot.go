package store

import (
	"iter"
	"math"
	"slices"
	"sort"
	"sync/atomic"
	"unsafe"
)

// Snapshot is a mailbox at one mod-sequence: immutable, safe for concurrent
// use, shared. Rows are numbered from 0, ascending by UID. A changed mailbox
// is a new Snapshot that shares the pages that did not change.
type Snapshot struct {
	id          MailboxID
	uidValidity uint32
	uidNext     UID
	modSeq      ModSeq
	keywords    []Flag
	pages       []*rowPage
	starts      []uint32 // number of the first row of each page
	count       int
	octets      atomic.Int64 // once they have been asked for
}

// NewSnapshot builds a snapshot from rows ascending by UID. The slices are
// copied, and the rows packed.
func NewSnapshot(id MailboxID, uidValidity uint32, uidNext UID, modSeq ModSeq, keywords []Flag, rows []Row) *Snapshot {
	var b SnapshotBuilder
	b.Add(rows...)
	return b.Snapshot(id, uidValidity, uidNext, modSeq, keywords)
}

// SnapshotBuilder makes a snapshot of rows that come bit by bit, so that a
// large mailbox need never be in memory unpacked. The zero value is ready.
type SnapshotBuilder struct {
	pages []*rowPage
	rows  []Row // of the page to come
}

// Add adds rows, ascending by UID and above all before. They are copied.
func (b *SnapshotBuilder) Add(rows ...Row) {
	if len(b.rows) > 0 || len(rows) < pageRows {
		n := min(pageRows-len(b.rows), len(rows))
		b.rows = append(b.rows, rows[:n]...)
		if rows = rows[n:]; len(b.rows) < pageRows {
			return
		}
		b.pages, b.rows = append(b.pages, packRows(b.rows)), b.rows[:0]
	}
	full := len(rows) / pageRows * pageRows
	b.pages = paginate(b.pages, rows[:full])
	b.rows = append(b.rows, rows[full:]...)
}

// Snapshot returns the snapshot of all rows. The builder must not be used
// again.
func (b *SnapshotBuilder) Snapshot(id MailboxID, uidValidity uint32, uidNext UID, modSeq ModSeq, keywords []Flag) *Snapshot {
	s := &Snapshot{id: id, uidValidity: uidValidity, uidNext: uidNext, modSeq: modSeq, keywords: append([]Flag(nil), keywords...)}
	s.pages = slices.Clip(paginate(b.pages, b.rows))
	s.number()
	return s
}

// number completes starts, which may hold those of the first pages.
func (s *Snapshot) number() {
	s.count = 0
	if k := len(s.starts); k > 0 {
		s.count = int(s.starts[k-1]) + s.pages[k-1].n
	} else {
		s.starts = make([]uint32, 0, len(s.pages))
	}
	for _, p := range s.pages[len(s.starts):] {
		s.starts = append(s.starts, uint32(s.count))
		s.count += p.n
	}
}

// page returns the number of the page that row i is in.
func (s *Snapshot) page(i int) int {
	return sort.Search(len(s.starts), func(p int) bool { return int(s.starts[p]) > i }) - 1
}

// Mailbox is the mailbox the snapshot is of.
func (s *Snapshot) Mailbox() MailboxID { return s.id }

// UIDValidity is the mailbox's UIDVALIDITY.
func (s *Snapshot) UIDValidity() uint32 { return s.uidValidity }

// UIDNext is greater than every UID ever assigned when the snapshot was made.
func (s *Snapshot) UIDNext() UID { return s.uidNext }

// ModSeq is the highest mod-sequence the snapshot contains, expunges included.
func (s *Snapshot) ModSeq() ModSeq { return s.modSeq }

// Keywords is the table that gives FlagBits their meaning. Not to be changed.
func (s *Snapshot) Keywords() []Flag { return s.keywords }

// Len is the number of messages.
func (s *Snapshot) Len() int { return s.count }

// Octets is about the memory the snapshot takes, pages that it shares with
// others included.
func (s *Snapshot) Octets() int64 {
	n := s.octets.Load()
	if n == 0 {
		n = int64(unsafe.Sizeof(*s)) + int64(cap(s.pages))*8 + int64(cap(s.starts))*4
		for _, p := range s.pages {
			n += p.octets()
		}
		s.octets.Store(n)
	}
	return n
}

// At returns row i, 0 ≤ i < Len().
func (s *Snapshot) At(i int) Row {
	p := s.page(i)
	return s.pages[p].row(i - int(s.starts[p]))
}

// Find returns the number of the message with this UID, or where it would be.
func (s *Snapshot) Find(uid UID) (i int, ok bool) {
	p := s.pageOf(uid)
	if p == len(s.pages) {
		return s.count, false
	}
	pg := s.pages[p]
	j := pg.find(uid)
	return int(s.starts[p]) + j, UID(pg.value(colUID, j)) == uid
}

// pageOf returns the first page that ends at uid or behind it.
func (s *Snapshot) pageOf(uid UID) int {
	return sort.Search(len(s.pages), func(i int) bool { return s.pages[i].last >= uid })
}

// All yields every row with its number.
func (s *Snapshot) All() iter.Seq2[int, Row] { return s.Range(0, s.count) }

// Range yields rows from up to but not including to, with their numbers. What
// lies outside 0 to Len() is left out.
func (s *Snapshot) Range(from, to int) iter.Seq2[int, Row] {
	return func(yield func(int, Row) bool) {
		from, to := max(from, 0), min(to, s.count)
		if from >= to {
			return
		}
		p := s.page(from)
		if to-from <= fewRows {
			for i := from; i < to; i++ {
				for i >= int(s.starts[p])+s.pages[p].n {
					p++
				}
				if !yield(i, s.pages[p].row(i-int(s.starts[p]))) {
					return
				}
			}
			return
		}
		s.rangePages(p, from, to, yield)
	}
}

// fewRows is up to how many rows are unpacked one by one.
const fewRows = 8

// rangePages is Range for many rows, from page p on.
func (s *Snapshot) rangePages(p, from, to int, yield func(int, Row) bool) {
	var buf rowBuffer
	for i := from; i < to; p++ {
		start, pg := int(s.starts[p]), s.pages[p]
		for _, r := range pg.rows(&buf, i-start, min(pg.n, to-start)) {
			if !yield(i, r) {
				return
			}
			i++
		}
	}
}

// AppendRows appends the rows from up to but not including to, as Range yields
// them, and returns the extended slice. It costs the least where all of them
// are needed.
func (s *Snapshot) AppendRows(rows []Row, from, to int) []Row {
	from, to = max(from, 0), min(to, s.count)
	if from >= to {
		return rows
	}
	n := len(rows)
	rows = slices.Grow(rows, to-from)[:n+to-from]
	for p := s.page(from); from < to; p++ {
		pg, i := s.pages[p], from-int(s.starts[p])
		k := min(pg.n-i, to-from)
		pg.unpackAll(rows[n:n+k], i)
		n, from = n+k, from+k
	}
	return rows
}

// Select yields the rows whose UIDs are in the set, with their numbers,
// ascending. Its cost is bounded by the ranges of the set and the messages
// found, whatever UIDs the set names.
func (s *Snapshot) Select(set UIDSet) iter.Seq2[int, Row] {
	return func(yield func(int, Row) bool) {
		for from, to := range s.Spans(set) {
			for i, row := range s.Range(from, to) {
				if !yield(i, row) {
					return
				}
			}
		}
	}
}

// Spans yields the numbers of the messages whose UIDs are in the set, as
// ascending runs from up to but not including to, each of at least one message.
// It costs less than Select where rows are not needed.
func (s *Snapshot) Spans(set UIDSet) iter.Seq2[int, int] {
	return func(yield func(int, int) bool) {
		for _, r := range set {
			from, _ := s.Find(r.From)
			if from == s.count {
				return
			}
			to, last := s.Find(r.To)
			if last {
				to++
			}
			if from < to && !yield(from, to) {
				return
			}
		}
	}
}

// ChangedSince yields the rows that were created or changed after since, with
// their numbers. Pages without one cost nothing.
func (s *Snapshot) ChangedSince(since ModSeq) iter.Seq2[int, Row] {
	return func(yield func(int, Row) bool) {
		var buf rowBuffer
		for i, p := range s.pages {
			if p.top <= since {
				continue
			}
			for j, r := range p.rows(&buf, 0, p.n) {
				if r.ModSeq > since && !yield(int(s.starts[i])+j, r) {
					return
				}
			}
		}
	}
}

// FirstWithout returns the number of the first row that lacks one of the flags,
// and Len() if none does. Where many rows in a row have the same flags it costs
// little.
func (s *Snapshot) FirstWithout(bits FlagBits) int {
	for i, p := range s.pages {
		col := &p.cols[colFlags]
		if col.width == 0 && FlagBits(col.base)&bits == bits {
			continue
		}
		for j := range p.n {
			if FlagBits(p.value(colFlags, j))&bits != bits {
				return int(s.starts[i]) + j
			}
		}
	}
	return s.count
}

// Flags names the flags of a row of this snapshot, system flags first.
func (s *Snapshot) Flags(bits FlagBits) []Flag { return FlagNames(bits, s.keywords) }

// Bits is the set of the named flags that the snapshot's table knows; ok is
// false if one of them is a keyword no message of the mailbox ever had.
func (s *Snapshot) Bits(flags ...Flag) (bits FlagBits, ok bool) {
	ok = true
	for _, f := range flags {
		if b := FlagBit(f, s.keywords); b != 0 {
			bits |= b
		} else {
			ok = false
		}
	}
	return bits, ok
}

// With applies changes that start at or before the snapshot's mod-sequence
// and returns the newer snapshot. Pages that do not change are shared. To keep
// messages that a session has not been told are gone, leave out Vanished.
func (s *Snapshot) With(c Changes) *Snapshot {
	n := &Snapshot{id: s.id, uidValidity: s.uidValidity, uidNext: max(s.uidNext, c.UIDNext), modSeq: max(s.modSeq, c.Through), keywords: s.keywords}
	if len(c.Keywords) > len(s.keywords) {
		n.keywords = append([]Flag(nil), c.Keywords...)
	}
	// The pages before the first change are shared without a look at them.
	rows, gone := c.Rows, c.Vanished
	first := UID(math.MaxUint32)
	if len(rows) > 0 {
		first = rows[0].UID
	}
	if len(gone) > 0 {
		first = min(first, gone[0].From)
	}
	same := s.pageOf(first)
	n.pages = append(make([]*rowPage, 0, len(s.pages)+len(rows)/pageRows+2), s.pages[:same]...)
	for _, p := range s.pages[same:] {
		k := sort.Search(len(rows), func(i int) bool { return rows[i].UID > p.last })
		if q := p.with(rows[:k], gone); q != nil {
			n.pages = append(n.pages, q)
		}
		rows = rows[k:]
	}
	full := len(n.pages)
	n.pages = appendRows(n.pages, rows, gone)
	same = max(min(same, full-1)-1, 0) // the last page may have been filled up, the one before be merged with
	n.pages = append(n.pages[:same], mergeSmall(n.pages[same:])...)
	n.starts = append(make([]uint32, 0, len(n.pages)), s.starts[:same]...)
	n.number()
	return n
}

// Diff tells how to get from old to new, two snapshots of one mailbox: the
// rows of new that are new or differ, ascending, and the UIDs of old that are
// missing. Shared pages cost nothing.
func Diff(old, new *Snapshot) Changes {
	c := Changes{Since: old.modSeq, Through: new.modSeq, UIDNext: new.uidNext, Keywords: new.keywords}
	i, j := 0, 0 // pages
	var a, b []Row
	var bufA, bufB rowBuffer
	for {
		if len(a) == 0 && len(b) == 0 && i < len(old.pages) && j < len(new.pages) && old.pages[i] == new.pages[j] {
			i, j = i+1, j+1
			continue
		}
		if len(a) == 0 && i < len(old.pages) {
			a, i = old.pages[i].rows(&bufA, 0, old.pages[i].n), i+1
		}
		if len(b) == 0 && j < len(new.pages) {
			b, j = new.pages[j].rows(&bufB, 0, new.pages[j].n), j+1
		}
		switch {
		case len(a) == 0 && len(b) == 0:
			return c
		case len(b) == 0 || len(a) > 0 && a[0].UID < b[0].UID:
			c.Vanished.Add(a[0].UID)
			a = a[1:]
		case len(a) == 0 || b[0].UID < a[0].UID:
			c.Rows = append(c.Rows, b[0])
			b = b[1:]
		default:
			if a[0] != b[0] {
				c.Rows = append(c.Rows, b[0])
			}
			a, b = a[1:], b[1:]
		}
	}
}
