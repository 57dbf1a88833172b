package store

import (
	"iter"
	"math"
	"sort"
)

// pageRows is how many rows a full page of a snapshot holds.
const pageRows = 128

// rowPage is an immutable run of rows ascending by UID, shared by snapshots.
type rowPage []Row

// Snapshot is a mailbox at one mod-sequence: immutable, safe for concurrent
// use, shared. Rows are numbered from 0, ascending by UID. A changed mailbox
// is a new Snapshot that shares the pages that did not change.
type Snapshot struct {
	id          MailboxID
	uidValidity uint32
	uidNext     UID
	modSeq      ModSeq
	keywords    []Flag
	pages       []rowPage
	starts      []int // number of the first row of each page
	count       int
}

// NewSnapshot builds a snapshot from rows ascending by UID. The slices are
// copied.
func NewSnapshot(id MailboxID, uidValidity uint32, uidNext UID, modSeq ModSeq, keywords []Flag, rows []Row) *Snapshot {
	s := &Snapshot{id: id, uidValidity: uidValidity, uidNext: uidNext, modSeq: modSeq, keywords: append([]Flag(nil), keywords...)}
	s.pages = paginate(nil, append([]Row(nil), rows...))
	s.number()
	return s
}

// paginate cuts rows, which it keeps, into pages.
func paginate(pages []rowPage, rows []Row) []rowPage {
	for len(rows) > 0 {
		n := min(pageRows, len(rows))
		pages = append(pages, rowPage(rows[:n:n]))
		rows = rows[n:]
	}
	return pages
}

// number completes starts, which may hold those of the first pages.
func (s *Snapshot) number() {
	s.count = 0
	if k := len(s.starts); k > 0 {
		s.count = s.starts[k-1] + len(s.pages[k-1])
	}
	for _, p := range s.pages[len(s.starts):] {
		s.starts = append(s.starts, s.count)
		s.count += len(p)
	}
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

// At returns row i, 0 ≤ i < Len().
func (s *Snapshot) At(i int) Row {
	p := sort.SearchInts(s.starts, i+1) - 1
	return s.pages[p][i-s.starts[p]]
}

// Find returns the number of the message with this UID, or where it would be.
func (s *Snapshot) Find(uid UID) (i int, ok bool) {
	p := sort.Search(len(s.pages), func(i int) bool { pg := s.pages[i]; return pg[len(pg)-1].UID >= uid })
	if p == len(s.pages) {
		return s.count, false
	}
	pg := s.pages[p]
	j := sort.Search(len(pg), func(j int) bool { return pg[j].UID >= uid })
	return s.starts[p] + j, pg[j].UID == uid
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
		p := sort.SearchInts(s.starts, from+1) - 1
		for i := from; p < len(s.pages); p++ {
			for _, r := range s.pages[p][i-s.starts[p]:] {
				if i >= to || !yield(i, r) {
					return
				}
				i++
			}
		}
	}
}

// Select yields the rows whose UIDs are in the set, with their numbers,
// ascending. Its cost is bounded by the ranges of the set and the messages
// found, whatever UIDs the set names.
func (s *Snapshot) Select(set UIDSet) iter.Seq2[int, Row] {
	return func(yield func(int, Row) bool) {
		for _, r := range set {
			from, _ := s.Find(r.From)
			if from == s.count {
				return
			}
			for i, row := range s.Range(from, s.count) {
				if row.UID > r.To {
					break
				}
				if !yield(i, row) {
					return
				}
			}
		}
	}
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
	same := sort.Search(len(s.pages), func(i int) bool { p := s.pages[i]; return p[len(p)-1].UID >= first })
	n.pages = append(make([]rowPage, 0, len(s.pages)+len(rows)/pageRows+2), s.pages[:same]...)
	for _, p := range s.pages[same:] {
		last := p[len(p)-1].UID
		k := sort.Search(len(rows), func(i int) bool { return rows[i].UID > last })
		if q := p.with(rows[:k], gone); len(q) > 0 {
			n.pages = append(n.pages, q)
		}
		rows = rows[k:]
	}
	full := len(n.pages)
	n.pages = appendRows(n.pages, rows, gone)
	same = max(min(same, full-1)-1, 0) // the last page may have been filled up, the one before be merged with
	n.pages = append(n.pages[:same], mergeSmall(n.pages[same:])...)
	n.starts = append(make([]int, 0, len(n.pages)), s.starts[:same]...)
	n.number()
	return n
}

// with returns the page after changes to its own UIDs; itself if none apply.
func (p rowPage) with(rows []Row, gone UIDSet) rowPage {
	if len(rows) == 0 && !gone.Overlaps(p[0].UID, p[len(p)-1].UID) {
		return p
	}
	q := make(rowPage, 0, len(p)+len(rows))
	for _, r := range p {
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
	return q
}

// appendRows adds new rows behind the last page, filling it up.
func appendRows(pages []rowPage, rows []Row, gone UIDSet) []rowPage {
	var fresh []Row
	if n := len(pages); n > 0 && len(pages[n-1]) < pageRows && len(rows) > 0 {
		fresh = append(fresh, pages[n-1]...)
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
func mergeSmall(pages []rowPage) []rowPage {
	out := pages[:0]
	for _, p := range pages {
		if n := len(out); n > 0 && len(out[n-1])+len(p) <= pageRows/2 {
			out[n-1] = append(append(make(rowPage, 0, len(out[n-1])+len(p)), out[n-1]...), p...)
			continue
		}
		out = append(out, p)
	}
	return out
}

// Diff tells how to get from old to new, two snapshots of one mailbox: the
// rows of new that are new or differ, ascending, and the UIDs of old that are
// missing. Shared pages cost nothing.
func Diff(old, new *Snapshot) Changes {
	c := Changes{Since: old.modSeq, Through: new.modSeq, UIDNext: new.uidNext, Keywords: new.keywords}
	i, j := 0, 0 // pages
	var a, b []Row
	for {
		if len(a) == 0 && len(b) == 0 && i < len(old.pages) && j < len(new.pages) && samePage(old.pages[i], new.pages[j]) {
			i, j = i+1, j+1
			continue
		}
		if len(a) == 0 && i < len(old.pages) {
			a, i = old.pages[i], i+1
		}
		if len(b) == 0 && j < len(new.pages) {
			b, j = new.pages[j], j+1
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

func samePage(p, q rowPage) bool { return len(p) == len(q) && &p[0] == &q[0] }
