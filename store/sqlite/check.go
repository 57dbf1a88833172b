package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/posta-mail/posta/store"
)

// Check reads all that is stored and hands what is damaged or does not fit
// together to report. It changes nothing; Options.Repair does. Mail is
// delivered and read meanwhile; sweeps wait. The error returned is that of
// the check itself. Reading takes as long as copying the folder would.
func (s *Store) Check(ctx context.Context, report func(Problem)) error {
	if err := s.enter(); err != nil {
		return err
	}
	defer s.leave()
	s.sweep1.Lock() // nothing moves, and no reference is erased
	defer s.sweep1.Unlock()
	c := &checker{s: s, ctx: ctx, report: report, buf: make([]byte, 64<<10)}
	for _, step := range []func() error{c.database, c.mailboxes, c.bodies, c.spool} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

type checker struct {
	s      *Store
	ctx    context.Context
	report func(Problem)
	buf    []byte
	last   recordLoc // the body checked last
}

func (c *checker) problem(format string, args ...any) {
	c.report(Problem{Err: damage(format, args...)})
}

func (c *checker) database() error {
	rows, err := c.s.reader.QueryContext(c.ctx, "PRAGMA quick_check")
	if err != nil {
		return readError(err)
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return readError(err)
		}
		if text != "ok" {
			c.problem("database: %s", text)
		}
	}
	return readError(rows.Err())
}

// mailboxes compares rows with counts, and looks every reference up.
func (c *checker) mailboxes() error {
	type box struct {
		id      store.MailboxID
		account int64
		name    sql.NullString
	}
	var boxes []box
	err := each(c.s.q.allBoxes, func(rows *sql.Rows) error {
		var b box
		err := rows.Scan(&b.id, &b.account, &b.name)
		boxes = append(boxes, b)
		return err
	})
	if err != nil {
		return readError(err)
	}
	for _, b := range boxes {
		if err := c.ctx.Err(); err != nil {
			return err
		}
		if !b.name.Valid {
			c.problem("mailbox %d of no account", b.id)
		}
		snap, info, err := c.s.q.mailbox(b.id)
		if err == errNoMailbox {
			continue // deleted meanwhile
		}
		if err != nil {
			c.report(Problem{Account: b.name.String, Err: damage("mailbox %d: %w", b.id, err)})
			continue
		}
		c.mailbox(b.account, b.name.String, snap, info)
	}
	return nil
}

func (c *checker) mailbox(account int64, name string, snap *store.Snapshot, info *store.MailboxInfo) {
	at := Problem{Account: name, Mailbox: info.Name}
	problem := func(uid store.UID, format string, args ...any) {
		p := at
		p.UID, p.Err = uid, damage(format, args...)
		c.report(p)
	}
	var got mbox
	for _, r := range snap.All() {
		got.count(r, 1)
		if r.UID >= snap.UIDNext() || r.ModSeq > snap.ModSeq() {
			problem(r.UID, "mod-sequence %d, beyond UIDNEXT %d or mod-sequence %d", r.ModSeq, snap.UIDNext(), snap.ModSeq())
		}
		if l, err := c.s.lookup(account, r.Ref); err != nil {
			problem(r.UID, "%v", err)
		} else if int64(r.Size) != l.prefix+l.bodyBytes {
			problem(r.UID, "%d octets of %d", l.prefix+l.bodyBytes, r.Size)
		}
	}
	if got.Messages != info.Messages || got.Unseen != info.Unseen || got.Deleted != info.Deleted || got.Size != info.Size {
		problem(0, "counts are %d, %d, %d, %d; the messages say %d, %d, %d, %d",
			info.Messages, info.Unseen, info.Deleted, info.Size, got.Messages, got.Unseen, got.Deleted, got.Size)
	}
}

// bodies reads every record that is referred to.
func (c *checker) bodies() error {
	return readError(c.s.eachRef(func(ref uint64, l *place) error {
		if err := c.record(recordLoc{l.seg, l.off}, l.size, kindPlacement); err != nil {
			c.problem("reference %d: placement: %w", ref, err)
		}
		c.body(recordLoc{l.bodySeg, l.bodyOff}, l.bodyBytes, fmt.Sprintf("reference %d", ref))
		return c.ctx.Err()
	}))
}

func (c *checker) spool() error {
	type item struct {
		loc  recordLoc
		size int64
	}
	var items []item
	err := each(c.s.q.spoolBodies, func(rows *sql.Rows) error {
		var i item
		err := rows.Scan(&i.loc.seg, &i.loc.off, &i.size)
		items = append(items, i)
		return err
	})
	for _, i := range items {
		c.body(i.loc, i.size, "spool")
	}
	return readError(err)
}

func (c *checker) body(loc recordLoc, size int64, of string) {
	if loc == c.last {
		return
	}
	c.last = loc
	if err := c.record(loc, size+recOverhead, kindBody); err != nil {
		c.problem("%s: body: %w", of, err)
	}
}

// record reads a record to its end, in pieces.
func (c *checker) record(loc recordLoc, size int64, kind byte) error {
	h, err := c.s.seg.acquire(loc.seg)
	if err != nil {
		return err
	}
	defer h.release()
	return checkRecord(h.file, loc, size, kind, c.buf)
}
