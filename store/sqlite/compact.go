package sqlite

import (
	"context"
	"database/sql"

	"github.com/posta-mail/posta/store"
)

// Bounds of compaction.
const (
	compactBelow    = 0.5     // share of a segment in use
	compactSegments = 8       // in one sweep
	compactBytes    = 4 << 20 // in one commit
)

// movement is a part of a compaction: records copied behind the active
// segment, and who refers to them. Nothing else changes where a message is,
// and sweeps run one at a time, so what was read before still holds.
type movement struct {
	records []movedRecord
	refs    []movedRef
	items   []movedItem
	pending map[recordLoc]bool      // in records
	to      map[recordLoc]recordLoc // of the whole compaction so far
	bytes   int64
}

type movedRecord struct {
	from, to recordLoc
	kind     byte
	raw      []byte
}

type movedRef struct {
	ref uint64
	place
}

type movedItem struct {
	id   store.ItemID
	body recordLoc
}

// relocate is a place after the movement.
func (m *movement) relocate(l place) place {
	if to, ok := m.to[recordLoc{l.seg, l.off}]; ok {
		l.seg, l.off = to.seg, to.off
	}
	if to, ok := m.to[recordLoc{l.bodySeg, l.bodyOff}]; ok {
		l.bodySeg, l.bodyOff = to.seg, to.off
	}
	return l
}

// usage is what of each segment is referred to, in octets.
type usage struct {
	octets map[uint64]int64
	last   recordLoc           // the body counted last; sharers mostly follow each other
	shared map[recordLoc]int64 // octets of bodies without a placement behind them so far
}

// add counts a place. A body is counted with the one placement that is right
// behind it; what others refer to is gathered.
func (u *usage) add(l *place) {
	u.octets[l.seg] += l.size
	switch loc := (recordLoc{l.bodySeg, l.bodyOff}); {
	case l.follows():
		u.octets[loc.seg] += l.bodyBytes + recOverhead
		u.last = loc
	case loc != u.last:
		u.body(loc, l.bodyBytes)
	}
}

func (u *usage) body(loc recordLoc, size int64) { u.shared[loc] = size + recOverhead }

// follows reports whether the placement is right behind its body.
func (l *place) follows() bool {
	return l.seg == l.bodySeg && l.bodyOff+l.bodyBytes+recOverhead == l.off
}

// eachRef calls fn for every place of the store, part by part, so that no long
// read keeps the write-ahead log.
func (s *Store) eachRef(fn func(ref uint64, l *place) error) error {
	for next, more := int64(0), true; more; {
		more = false
		var pages []*refPage
		var nums []int64
		err := each(s.q.someRefs, func(rows *sql.Rows) error {
			var data sql.RawBytes
			if err := rows.Scan(&next, &data); err != nil {
				return err
			}
			p, err := decodeRefPage(uint64(next), data)
			pages, nums = append(pages, p), append(nums, next)
			next, more = next+1, true
			return err
		}, next)
		if err != nil {
			return err
		}
		for k, p := range pages {
			for i := range p {
				if p[i].seg == 0 {
					continue
				}
				if err := fn(uint64(nums[k])<<refShift|uint64(i), &p[i]); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// used is how much of each segment messages and spool items refer to.
func (s *Store) used() (map[uint64]int64, error) {
	u := usage{octets: make(map[uint64]int64), shared: make(map[recordLoc]int64)}
	if err := s.eachRef(func(_ uint64, l *place) error { u.add(l); return nil }); err != nil {
		return nil, err
	}
	err := each(s.q.spoolBodies, func(rows *sql.Rows) error {
		var loc recordLoc
		var size int64
		err := rows.Scan(&loc.seg, &loc.off, &size)
		u.body(loc, size)
		return err
	})
	if err == nil && len(u.shared) > 0 {
		err = s.eachRef(func(_ uint64, l *place) error { // those that were counted
			if l.follows() {
				delete(u.shared, recordLoc{l.bodySeg, l.bodyOff})
			}
			return nil
		})
	}
	for loc, size := range u.shared {
		u.octets[loc.seg] += size
	}
	return u.octets, err
}

// compaction empties segments.
type compaction struct {
	s       *Store
	victims map[uint64]bool
	to      map[recordLoc]recordLoc
	m       *movement
}

// compact copies what is used of some segments to the active one. Nothing
// refers to them afterwards.
func (s *Store) compact(ctx context.Context, victims []uint64) error {
	c := &compaction{s: s, victims: make(map[uint64]bool), to: make(map[recordLoc]recordLoc)}
	for _, v := range victims {
		c.victims[v] = true
	}
	c.begin()
	err := s.eachRef(func(ref uint64, l *place) error {
		if !c.victims[l.seg] && !c.victims[l.bodySeg] {
			return nil
		}
		c.take(recordLoc{l.bodySeg, l.bodyOff}, l.bodyBytes+recOverhead, kindBody)
		c.take(recordLoc{l.seg, l.off}, l.size, kindPlacement) // behind its body, as it was written
		c.m.refs = append(c.m.refs, movedRef{ref, *l})
		return c.flush(ctx, compactBytes)
	})
	if err != nil {
		return err
	}
	type item struct {
		movedItem
		size int64
	}
	var items []item
	err = each(s.q.spoolItems, func(rows *sql.Rows) error {
		var i item
		err := rows.Scan(&i.id, &i.body.seg, &i.body.off, &i.size)
		if c.victims[i.body.seg] {
			items = append(items, i)
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, i := range items {
		if c.take(i.body, i.size+recOverhead, kindBody); !c.m.moves(i.body) {
			continue
		}
		c.m.items = append(c.m.items, i.movedItem)
		if err := c.flush(ctx, compactBytes); err != nil {
			return err
		}
	}
	return c.flush(ctx, 0)
}

func (c *compaction) begin() { c.m = &movement{to: c.to, pending: make(map[recordLoc]bool)} }

// moves reports whether a record is copied by this movement or was before.
func (m *movement) moves(from recordLoc) bool {
	_, done := m.to[from]
	return done || m.pending[from]
}

// take reads a record to be copied, unless it stays or was copied before.
func (c *compaction) take(from recordLoc, size int64, kind byte) {
	if !c.victims[from.seg] || c.m.moves(from) {
		return
	}
	raw, err := c.s.rawRecord(from, size, kind)
	if err != nil {
		c.s.opt.Logger.Error("segment cannot be compacted", "segment", from.seg, "offset", from.off, "error", err)
		delete(c.victims, from.seg) // it stays, and what is good of it can be read
		return
	}
	c.m.records = append(c.m.records, movedRecord{from: from, kind: kind, raw: raw})
	c.m.pending[from] = true
	c.m.bytes += size
}

// rawRecord reads a whole record and checks it.
func (s *Store) rawRecord(loc recordLoc, size int64, kind byte) ([]byte, error) {
	h, err := s.seg.acquire(loc.seg)
	if err != nil {
		return nil, err
	}
	defer h.release()
	raw := make([]byte, size)
	if err := readFull(h.file, raw, loc.off); err != nil {
		return nil, err
	}
	_, _, err = openRecord(raw, kind)
	return raw, err
}

// flush commits the movement when it has reached a size.
func (c *compaction) flush(ctx context.Context, size int64) error {
	m := c.m
	if len(m.refs)+len(m.items) == 0 || m.bytes < size && len(m.refs)+len(m.items) < sweepRefs {
		return nil
	}
	plan := func(t *tx) error {
		t.dirty = true
		t.moves = append(t.moves, m)
		return nil
	}
	// It must not be left running: the next part builds on it.
	err := c.s.submit(context.WithoutCancel(ctx), &request{plan: plan, bytes: m.bytes})[0]
	if err != nil {
		return err
	}
	c.begin()
	return ctx.Err()
}
