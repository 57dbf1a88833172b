package sqlite

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"

	"github.com/posta-mail/posta/store"
)

// strays are rows that belong to an account or a mailbox that is not there.
// Those of dead and token outlive both.
var strays = [...]struct{ what, where string }{
	{"expunges", "FROM tombstone WHERE mailbox NOT IN (SELECT id FROM mailbox)"},
	{"unique-ids", "FROM uidl WHERE mailbox NOT IN (SELECT id FROM mailbox)"},
	{"events", "FROM event WHERE account NOT IN (SELECT id FROM account)"},
	{"subscriptions", "FROM subscription WHERE account NOT IN (SELECT id FROM account)"},
	{"annotations", "FROM annotation WHERE account NOT IN (SELECT id FROM account)"},
	{"annotations", "FROM annotation WHERE mailbox<>0 AND NOT EXISTS (SELECT 1 FROM mailbox m WHERE m.id=annotation.mailbox AND m.account=annotation.account)"},
	{"private flags", "FROM private WHERE mailbox NOT IN (SELECT id FROM mailbox)"},
	{"hashes of bodies", "FROM body WHERE off<0 OR seg<=0"},
}

// orphans finds rows of what is not there.
func (a *audit) orphans() error {
	for _, s := range strays {
		var n int
		if err := a.db.QueryRowContext(a.ctx, "SELECT count(*) "+s.where).Scan(&n); err != nil {
			return readError(err)
		}
		if n == 0 {
			continue
		}
		err := a.found(Problem{Err: damage("%d %s of what is not there", n, s.what)}, func() error {
			if s.what == "private flags" {
				err := a.exec(`DELETE FROM page WHERE id>>25 IN (SELECT box ` + s.where + `)`)
				if err != nil {
					return err
				}
			}
			return a.exec("DELETE " + s.where)
		})
		if err != nil {
			return err
		}
	}
	if err := a.privates(); err != nil {
		return err
	}
	return a.hashes()
}

// privates are the pages of other actors' \Seen flags, and their counts.
func (a *audit) privates() error {
	type view struct {
		box, mailbox             store.MailboxID
		actor                    string
		modSeq, messages, unseen int64
	}
	var views []view
	err := eachRow(a.ctx, a.db, "SELECT box, mailbox, actor, modseq, messages, unseen FROM private", func(rows *sql.Rows) error {
		var v view
		err := rows.Scan(&v.box, &v.mailbox, &v.actor, &v.modSeq, &v.messages, &v.unseen)
		views = append(views, v)
		return err
	})
	if err != nil {
		return readError(err)
	}
	for _, v := range views {
		a.state.nextBox = max(a.state.nextBox, uint64(v.box)+1)
		b := a.boxes[v.mailbox]
		if b == nil {
			continue // told
		}
		p := b.problem(a.accounts[b.account], "")
		rows, bad, err := a.rowsOf(v.box)
		if err != nil {
			return err
		}
		for _, key := range slices.Sorted(maps.Keys(bad)) {
			p.Err = fmt.Errorf("private flags of %s: %w", v.actor, bad[key])
			if err := a.found(p, a.sql("DELETE FROM page WHERE id=?", key)); err != nil {
				return err
			}
		}
		var got mbox
		top := int64(0)
		for _, r := range rows {
			got.count(r, 1)
			top = max(top, int64(r.ModSeq))
		}
		if int64(got.Messages) == v.messages && int64(got.Unseen) == v.unseen && top <= v.modSeq {
			continue
		}
		p.Err = damage("private flags of %s: counts are %d and %d at %d; the rows say %d and %d at %d", v.actor,
			v.messages, v.unseen, v.modSeq, got.Messages, got.Unseen, top)
		err = a.found(p, a.sql("UPDATE private SET messages=?, unseen=?, modseq=max(modseq, ?) WHERE box=?", got.Messages, got.Unseen, top, int64(v.box)))
		if err != nil {
			return err
		}
	}
	return nil
}

// hashes name bodies that are there.
func (a *audit) hashes() error {
	type row struct {
		loc    recordLoc
		record uint64
	}
	var bad []row
	var last row
	err := eachRow(a.ctx, a.db, "SELECT DISTINCT seg, off, record FROM body WHERE seg>0 AND off>=0 ORDER BY 1, 2", func(rows *sql.Rows) error {
		var r row
		if err := rows.Scan(&r.loc.seg, &r.loc.off, &r.record); err != nil || r == last {
			return err
		}
		last = r
		err := a.withSegment(r.loc.seg, func(h *segHandle) error {
			var head [recHeaderSize]byte
			if err := readFull(h.file, head[:], r.loc.off); err != nil {
				return err
			}
			rec, err := decodeRecordHeader(head[:])
			if err == nil && (rec.kind != kindBody || rec.id != r.record) {
				err = damage("another record")
			}
			return err
		})
		if err != nil || a.checked[r.loc] {
			bad = append(bad, r)
			return a.notDamageOrNil(err)
		}
		return nil
	})
	if err != nil {
		return readError(err)
	}
	for _, r := range bad {
		err := a.found(Problem{Err: damage("hash of a body at %d of segment %d that is not there", r.loc.off, r.loc.seg)},
			a.sql("DELETE FROM body WHERE seg=? AND off=? AND record=?", int64(r.loc.seg), r.loc.off, int64(r.record)))
		if err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) notDamageOrNil(err error) error {
	if err == nil {
		return nil
	}
	return a.notDamage(err)
}

// spool sees that every item has its message.
func (a *audit) spool() error {
	type item struct {
		id     int64
		loc    recordLoc
		size   int64
		prefix []byte
	}
	var top int64
	var bad []item
	var errs []error
	kept := make(map[recordLoc]bool)
	err := eachRow(a.ctx, a.db, "SELECT id, bodyseg, bodyoff, bodysize, prefix FROM spool ORDER BY id", func(rows *sql.Rows) error {
		var it item
		if err := rows.Scan(&it.id, &it.loc.seg, &it.loc.off, &it.size, &it.prefix); err != nil {
			return err
		}
		top = max(top, it.id)
		kept[it.loc] = true
		if err := a.body(it.loc, it.size, 0); err != nil {
			bad, errs = append(bad, it), append(errs, err)
			return a.notDamage(err)
		}
		return a.ctx.Err()
	})
	if err != nil {
		return readError(err)
	}
	for i, it := range bad {
		why := corrupt(errs[i])
		if a.mending() {
			name, err := a.lost.save(fmt.Sprintf("spool-%d.eml", it.id), &bytesReader{it.prefix},
				a.readable(recordLoc{it.loc.seg, it.loc.off + recHeaderSize}, it.size))
			if err != nil {
				return err
			}
			if name != "" {
				why = fmt.Errorf("what is left is in %s: %w", name, why)
			}
		}
		err := a.found(Problem{Err: fmt.Errorf("spool item %d: %w", it.id, why)}, a.sql("DELETE FROM spool WHERE id=?", it.id))
		if err != nil {
			return err
		}
	}
	if s := &a.state; s.nextItem <= uint64(top) {
		was := s.nextItem
		s.nextItem = uint64(top) + 1
		if err := a.found(Problem{Err: damage("counter of spool items is %d, there is %d", was, top)}, nil); err != nil {
			return err
		}
	}
	return a.unknown(kept)
}

// unknown saves what segments hold and a database that lost rows does not know
// of: bodies that were in the spool, and parts that are no record.
func (a *audit) unknown(kept map[recordLoc]bool) error {
	if !a.mending() || !a.partial || a.index == nil {
		return nil
	}
	placed := make(map[uint64]bool, len(a.index.places))
	for _, p := range a.index.places {
		placed[p.body] = true
	}
	for _, id := range slices.Sorted(maps.Keys(a.index.bodies)) {
		b := a.index.bodies[id]
		if placed[id] || kept[b.recordLoc] {
			continue
		}
		name, err := a.lost.save(fmt.Sprintf("body-%d.eml", id), a.readable(recordLoc{b.seg, b.off + recHeaderSize}, b.size))
		if err == nil && name != "" {
			err = a.found(Problem{Err: damage("body %d, perhaps of the spool, is of no message: it is in %s", id, name)}, nil)
		}
		if err != nil {
			return err
		}
	}
	for _, d := range a.index.damaged {
		name, err := a.lost.save(fmt.Sprintf("segment-%d-at-%d.eml", d.seg, d.off), a.readable(d.recordLoc, d.size))
		if err == nil && name != "" {
			err = a.found(Problem{Err: damage("octets %d to %d of segment %d are no record: they are in %s", d.off, d.off+d.size-1, d.seg, name)}, nil)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
