package sqlite

import (
	"database/sql"
	"fmt"
	"math"
	"slices"
)

// refSet is a set of references, in pieces of a page of places.
type refSet map[uint64]*[refRows / 64]uint64

func (s refSet) add(ref uint64) {
	w := s[ref>>refShift]
	if w == nil {
		w = new([refRows / 64]uint64)
		s[ref>>refShift] = w
	}
	i := ref & (refRows - 1)
	w[i/64] |= 1 << (i % 64)
}

func (s refSet) has(ref uint64) bool {
	w := s[ref>>refShift]
	i := ref & (refRows - 1)
	return w != nil && w[i/64]>>(i%64)&1 != 0
}

// octets reads all that references and the spool's items refer to.
func (a *audit) octets() error {
	err := a.eachPlaces(func(no uint64, page *refPage, err error) error {
		if err != nil {
			a.noRefs = true
			return a.found(Problem{Err: fmt.Errorf("references from %d: %w", no<<refShift, err)}, a.sql("DELETE FROM ref WHERE id=?", int64(no)))
		}
		for i := range page {
			l := &page[i]
			if l.seg == 0 {
				continue
			}
			ref := no<<refShift | uint64(i)
			a.topRef = max(a.topRef, ref+1)
			if err := a.verify(ref, l); err != nil {
				if err := a.notDamage(err); err != nil {
					return err
				}
				a.bad[ref] = err
			}
		}
		return a.ctx.Err()
	})
	if err != nil {
		return readError(err)
	}
	// Read here, spool looks only at what came since.
	type body struct {
		loc  recordLoc
		size int64
	}
	var bodies []body
	err = eachRow(a.ctx, a.db, "SELECT DISTINCT bodyseg, bodyoff, bodysize FROM spool", func(rows *sql.Rows) error {
		var b body
		err := rows.Scan(&b.loc.seg, &b.loc.off, &b.size)
		bodies = append(bodies, b)
		return err
	})
	for _, b := range bodies {
		if err == nil {
			_ = a.body(b.loc, b.size, 0)
			err = a.ctx.Err()
		}
	}
	return readError(err)
}

// notDamage returns errors of reading that say nothing about what is stored.
func (a *audit) notDamage(err error) error {
	if err = segmentError(err); isCorrupt(err) {
		return nil
	}
	return err
}

// eachPlaces calls fn for every page of places, part by part, so that no long
// read keeps the write-ahead log.
func (a *audit) eachPlaces(fn func(no uint64, page *refPage, err error) error) error {
	for next, more := int64(math.MinInt64), true; more; {
		more = false
		type item struct {
			no  int64
			p   *refPage
			err error
		}
		var items []item
		err := eachRow(a.ctx, a.db, "SELECT id, data FROM ref WHERE id>=? ORDER BY id LIMIT 1000", func(rows *sql.Rows) error {
			var it item
			var data sql.RawBytes
			if err := rows.Scan(&it.no, &data); err != nil {
				return err
			}
			it.p, it.err = decodeRefPage(uint64(it.no), data)
			items = append(items, it)
			next, more = it.no+1, it.no < math.MaxInt64
			return nil
		}, next)
		if err != nil {
			return err
		}
		for _, it := range items {
			if err := fn(uint64(it.no), it.p, it.err); err != nil {
				return err
			}
		}
	}
	return nil
}

// verify reads what a place refers to, and sees that it is that.
func (a *audit) verify(ref uint64, l *place) error {
	var id uint64
	err := a.withSegment(l.seg, func(h *segHandle) error {
		if l.size > maxPlacement {
			return damage("placement of %d octets", l.size)
		}
		if int64(cap(a.buf)) < l.size {
			a.buf = make([]byte, l.size)
		}
		buf := a.buf[:l.size]
		if err := readFull(h.file, buf, l.off); err != nil {
			return err
		}
		payload, _, err := openRecord(buf, kindPlacement)
		if err != nil {
			return err
		}
		got, body, ok := placementIDs(payload)
		if !ok || got != ref {
			return damage("another message's placement")
		}
		id = body
		return nil
	})
	if err != nil {
		return fmt.Errorf("placement: %w", err)
	}
	if err := a.body(recordLoc{l.bodySeg, l.bodyOff}, l.bodyBytes, id); err != nil {
		return fmt.Errorf("body: %w", err)
	}
	return nil
}

// maxPlacement bounds the octets of a placement record: prefix, outline and
// names are below it.
const maxPlacement = 64 << 20

func (a *audit) withSegment(num uint64, fn func(h *segHandle) error) error {
	h, err := a.seg.acquire(num)
	if err != nil {
		return err
	}
	defer h.release()
	return fn(h)
}

// body reads a body's record to its end; id 0: any.
func (a *audit) body(loc recordLoc, size int64, id uint64) error {
	if bad, ok := a.checked[loc]; ok && !bad {
		return nil
	}
	if len(a.checked) > 1<<20 {
		clear(a.checked)
	}
	err := a.withSegment(loc.seg, func(h *segHandle) error {
		if cap(a.buf) < 64<<10 {
			a.buf = make([]byte, 64<<10)
		}
		rec, err := scanRecord(h.file, loc.off, loc.off+size+recOverhead, a.buf[:64<<10])
		if err == nil && (rec.kind != kindBody || int64(rec.length) != size || id != 0 && rec.id != id) {
			err = damage("another record than expected at %d of segment %d", loc.off, loc.seg)
		}
		return err
	})
	a.checked[loc] = err != nil
	return err
}

// place looks a reference up.
func (a *audit) place(ref uint64) (place, error) {
	no := ref >> refShift
	p := a.cache[no]
	if p == nil {
		var data []byte
		err := a.db.QueryRowContext(a.ctx, "SELECT data FROM ref WHERE id=?", int64(no)).Scan(&data)
		switch {
		case err == sql.ErrNoRows:
			p = new(refPage)
		case err != nil:
			return place{}, readError(err)
		default:
			if p, err = decodeRefPage(no, data); err != nil {
				return place{}, err
			}
		}
		if len(a.cache) >= refCacheSize {
			clear(a.cache)
		}
		a.cache[no] = p
	}
	return p[ref&(refRows-1)], nil
}

// setPlace changes one; the zero value erases it.
func (a *audit) setPlace(ref uint64, l place) error {
	if _, err := a.place(ref); err != nil { // into the cache
		return err
	}
	no := ref >> refShift
	p := a.cache[no]
	p[ref&(refRows-1)] = l
	if *p == (refPage{}) {
		return a.exec("DELETE FROM ref WHERE id=?", int64(no))
	}
	return a.exec("INSERT OR REPLACE INTO ref (id, data) VALUES (?,?)", int64(no), p.encode(no))
}

func (a *audit) loadDead() error {
	type item struct {
		id  int64
		err error
	}
	var bad []item
	err := eachRow(a.ctx, a.db, "SELECT id, refs FROM dead", func(rows *sql.Rows) error {
		var it item
		var data sql.RawBytes
		if err := rows.Scan(&it.id, &data); err != nil {
			return err
		}
		var refs []uint64
		if refs, it.err = decodeRefs(data); it.err != nil {
			bad = append(bad, it)
		}
		for _, r := range refs {
			a.dying.add(r)
		}
		return nil
	})
	for _, it := range bad {
		if err == nil {
			err = a.found(Problem{Err: fmt.Errorf("dead references: %w", it.err)}, a.sql("DELETE FROM dead WHERE id=?", it.id))
		}
	}
	return readError(err)
}

// references finds those that no row has and no sweep would erase.
func (a *audit) references() error {
	var stray, copied []uint64
	owner := make(map[uint64]int64)
	err := a.eachPlaces(func(no uint64, page *refPage, err error) error {
		if err != nil {
			return nil // told
		}
		for i := range page {
			ref := no<<refShift | uint64(i)
			if page[i].seg == 0 || a.used.has(ref) {
				if page[i].seg != 0 && len(a.noPage) > 0 {
					copied = append(copied, ref)
				}
				continue
			}
			if _, bad := a.bad[ref]; bad || !a.dying.has(ref) || a.refiling() {
				stray = append(stray, ref)
				owner[ref] = page[i].account
			}
		}
		return a.ctx.Err()
	})
	if err != nil {
		return readError(err)
	}
	for _, ref := range copied {
		if err := a.refileCopied(ref); err != nil {
			return err
		}
	}
	slices.Sort(stray)
	for _, ref := range stray {
		if err, bad := a.bad[ref]; bad {
			err := a.found(Problem{Account: a.nameOf(owner[ref]), Err: fmt.Errorf("reference %d, of no message: %w", ref, corrupt(err))},
				func() error { return a.setPlace(ref, place{}) })
			if err != nil {
				return err
			}
			continue
		}
		if a.mending() {
			done, err := a.refile(ref)
			if err != nil {
				return err
			}
			if done || a.dying.has(ref) {
				continue
			}
		}
		err := a.found(Problem{Account: a.nameOf(owner[ref]), Err: damage("reference %d is of no message", ref)},
			a.sql("INSERT INTO dead (account, at, refs) VALUES (?,?,?)", owner[ref], a.now.Unix(), encodeRefs([]uint64{ref})))
		if err != nil {
			return err
		}
	}
	return a.fileAgain()
}
