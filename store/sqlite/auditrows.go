package sqlite

import (
	"database/sql"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/posta-mail/posta/store"
)

// mailboxes goes over the rows of all mailboxes.
func (a *audit) mailboxes() error {
	for _, id := range slices.Sorted(maps.Keys(a.boxes)) {
		if err := a.ctx.Err(); err != nil {
			return err
		}
		r := rowAudit{a: a, b: a.boxes[id], acc: a.accounts[a.boxes[id].account], pages: make(map[uint32]bool)}
		if err := r.run(); err != nil {
			return err
		}
	}
	return nil
}

// rowAudit goes over the rows of one mailbox.
type rowAudit struct {
	a     *audit
	b     *auditBox
	acc   *auditAccount // nil: there is none
	rows  []store.Row
	pages map[uint32]bool // to be written
	gone  store.UIDSet
	holes bool // pages could not be read
}

func (r *rowAudit) found(uid store.UID, err error, mend func() error) error {
	p := r.b.problem(r.acc, "")
	p.UID, p.Err = uid, corrupt(err)
	return r.a.found(p, mend)
}

func (r *rowAudit) run() error {
	rows, bad, err := r.a.rowsOf(r.b.ID)
	if err != nil {
		return err
	}
	r.rows, r.holes = rows, len(bad) > 0
	for _, key := range slices.Sorted(maps.Keys(bad)) {
		no := uint32(key & pageMask)
		first := uint64(no) << pageShift
		err := r.found(0, fmt.Errorf("UIDs %d to %d: %w", max(first, 1), first+pageRows-1, bad[key]), func() error {
			r.a.noPage[key] = true
			r.pages[no] = true
			// What was there may have had any of these UIDs.
			r.b.UIDNext = store.UID(max(uint64(r.b.UIDNext), min(first+1, math.MaxUint32)))
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, step := range []func() error{r.each, r.marks, r.tombstones, r.uidls, r.counts} {
		if err := step(); err != nil {
			return err
		}
	}
	return r.write()
}

// each looks at every row, and takes those out that have no octets.
func (r *rowAudit) each() error {
	a, known := r.a, store.FlagBits(1)<<(5+len(r.b.keywords))-1
	if len(r.b.keywords) >= 59 {
		known = math.MaxUint64
	}
	kept := r.rows[:0]
	for _, row := range r.rows {
		l, lost, err := r.lookup(row)
		if err != nil {
			return err
		}
		if lost != nil {
			if err := r.lose(row, &l, lost); err != nil {
				return err
			}
			r.gone.Add(row.UID)
			r.pages[pageNo(row.UID)] = true
			if !a.mending() {
				kept = append(kept, row)
				a.used.add(row.Ref)
			}
			continue
		}
		a.used.add(row.Ref)
		if size := l.prefix + l.bodyBytes; int64(row.Size) != size {
			if err := r.found(row.UID, damage("has %d octets, its row says %d", size, row.Size), nil); err != nil {
				return err
			}
			if a.mending() {
				row.Size, row.ModSeq = uint32(size), r.acc.next()
				r.pages[pageNo(row.UID)] = true
			}
		}
		if row.Flags&^known != 0 {
			if err := r.found(row.UID, damage("has flags that the mailbox has no names for"), nil); err != nil {
				return err
			}
			if a.mending() {
				row.Flags, row.ModSeq = row.Flags&known, r.acc.next()
				r.pages[pageNo(row.UID)] = true
			}
		}
		kept = append(kept, row)
	}
	r.rows = kept
	return nil
}

// lose tells of a message whose octets are gone, and where what is left of them
// is.
func (r *rowAudit) lose(row store.Row, l *place, lost error) error {
	if r.a.mending() && l.account == r.b.account && l.seg != 0 {
		name, err := r.a.setAside(row.Ref, l)
		if err != nil {
			return err
		}
		if name != "" {
			lost = fmt.Errorf("what is left is in %s: %w", name, lost)
		}
	}
	return r.found(row.UID, lost, nil)
}

// lookup finds a row's octets; lost says why there are none.
func (r *rowAudit) lookup(row store.Row) (l place, lost, err error) {
	a := r.a
	l, lost = a.place(row.Ref)
	if lost != nil && !isCorrupt(lost) {
		return l, nil, lost
	}
	if lost == nil && l.seg == 0 {
		lost = damage("its octets are gone")
	}
	if lost != nil && a.mending() {
		if l, err = a.relocate(row.Ref, r.b.account); err != nil {
			return l, nil, err
		}
		if l.seg != 0 {
			return l, nil, r.found(row.UID, fmt.Errorf("where its octets are was not known: %w", lost), nil)
		}
	}
	if lost == nil && l.account != r.b.account {
		return place{}, damage("is a message of another account"), nil
	}
	if lost == nil {
		lost = a.bad[row.Ref]
	}
	return l, lost, nil
}

// marks are UIDNEXT and the mailbox's mod-sequence.
func (r *rowAudit) marks() error {
	b, top := r.b, store.ModSeq(0)
	for i := range r.rows {
		top = max(top, r.rows[i].ModSeq)
	}
	if n := len(r.rows); n > 0 && r.rows[n-1].UID >= b.UIDNext {
		last := r.rows[n-1].UID
		if err := r.found(0, damage("UIDNEXT is %d, there is a UID %d", b.UIDNext, last), nil); err != nil {
			return err
		}
		b.UIDNext, b.changed = store.UID(min(uint64(last)+1, math.MaxUint32)), true
	}
	if top > b.ModSeq {
		if err := r.found(0, damage("its mod-sequence is %d, there is a message of %d", b.ModSeq, top), nil); err != nil {
			return err
		}
		b.ModSeq, b.changed = top, true
	}
	if r.acc != nil {
		r.acc.modSeq = max(r.acc.modSeq, b.ModSeq)
	}
	return nil
}

// tombstones must be readable, and of messages that are not there.
func (r *rowAudit) tombstones() error {
	type tomb struct {
		modSeq int64
		uids   store.UIDSet
		err    error
	}
	var tombs []tomb
	err := eachRow(r.a.ctx, r.a.db, "SELECT modseq, uids FROM tombstone WHERE mailbox=?", func(rows *sql.Rows) error {
		var t tomb
		var data sql.RawBytes
		if err := rows.Scan(&t.modSeq, &data); err != nil {
			return err
		}
		t.err = decodeUIDs(&t.uids, data)
		tombs = append(tombs, t)
		return nil
	}, int64(r.b.ID))
	if err != nil {
		return readError(err)
	}
	for _, t := range tombs {
		if t.err == nil && store.ModSeq(t.modSeq) > r.b.ModSeq {
			t.err = damage("expunge of mod-sequence %d, that of the mailbox is %d", t.modSeq, r.b.ModSeq)
		}
		if t.err == nil {
			for i := range r.rows {
				if t.uids.Contains(r.rows[i].UID) {
					t.err = damage("UID %d is there and was expunged", r.rows[i].UID)
					break
				}
			}
		}
		if t.err == nil {
			continue
		}
		err := r.found(0, t.err, func() error {
			// What it said is not known any more, nor what happened before.
			at := r.acc.next()
			r.b.low, r.b.ModSeq, r.b.changed = at, at, true
			return r.a.exec("DELETE FROM tombstone WHERE mailbox=? AND modseq=?", int64(r.b.ID), t.modSeq)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// uidls are of messages that are there.
func (r *rowAudit) uidls() error {
	var stray []int64
	any := false
	err := eachRow(r.a.ctx, r.a.db, "SELECT uid FROM uidl WHERE mailbox=?", func(rows *sql.Rows) error {
		var uid int64
		err := rows.Scan(&uid)
		any = true
		_, ok := slices.BinarySearchFunc(r.rows, uid, func(row store.Row, uid int64) int { return int(int64(row.UID) - uid) })
		if !ok && !r.gone.Contains(store.UID(uid)) && !r.a.noPage[pageKey(r.b.ID, uint32(uid)>>pageShift)] {
			stray = append(stray, uid)
		}
		return err
	}, int64(r.b.ID))
	if err != nil {
		return readError(err)
	}
	for _, uid := range stray {
		err := r.found(store.UID(uid), damage("has a unique-id, and is not there"),
			r.a.sql("DELETE FROM uidl WHERE mailbox=? AND uid=?", int64(r.b.ID), uid))
		if err != nil {
			return err
		}
	}
	if any && !r.b.uidls {
		r.b.uidls, r.b.changed = true, true
		return r.found(0, damage("has unique-ids, its row says not"), nil)
	}
	return nil
}

// counts are what the rows say, those included that will be taken out.
func (r *rowAudit) counts() error {
	var got mbox
	for _, row := range r.rows {
		got.count(row, 1)
	}
	b := &r.b.mbox
	said, is := counted(b), counted(&got)
	if said == is {
		return nil
	}
	b.Messages, b.Unseen, b.Deleted, b.Size, b.DeletedSize = got.Messages, got.Unseen, got.Deleted, got.Size, got.DeletedSize
	r.b.changed = true
	if r.holes || r.a.mending() && len(r.pages) > 0 {
		return nil // follows from what was told
	}
	return r.found(0, damage("counts are %s; the messages say %s", said, is), nil)
}

// write puts down what was mended.
func (r *rowAudit) write() error {
	a, b := r.a, r.b
	if !a.mending() {
		return nil
	}
	if len(r.gone) > 0 {
		at := r.acc.next()
		b.ModSeq, b.changed = at, true
		err := a.exec("INSERT OR REPLACE INTO tombstone (mailbox, modseq, at, uids) VALUES (?,?,?,?)", int64(b.ID), int64(at), a.now.Unix(), encodeUIDs(r.gone))
		if err != nil {
			return err
		}
		for _, g := range r.gone {
			if err := a.exec("DELETE FROM uidl WHERE mailbox=? AND uid BETWEEN ? AND ?", int64(b.ID), int64(g.From), int64(g.To)); err != nil {
				return err
			}
		}
	}
	if len(r.pages) > 0 {
		if len(r.gone) == 0 {
			b.ModSeq, b.changed = r.acc.next(), true
		}
		if err := a.savePages(b.ID, r.rows, r.pages); err != nil {
			return err
		}
	}
	if b.changed {
		return a.save(b)
	}
	return nil
}
