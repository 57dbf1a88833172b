package sqlite

import (
	"context"
	"math"
	"slices"
	"strings"

	"github.com/posta-mail/posta/store"
)

// Rows that a batch adds.
type (
	tombRow struct {
		mailbox store.MailboxID
		modSeq  store.ModSeq
		uids    store.UIDSet
	}
	deadRow struct {
		a    *acctTx // nil: account was deleted since
		id   int64
		refs []uint64
	}
	eventRow struct {
		a   *acctTx
		seq int
		store.MailboxEvent
	}
	subRow struct {
		a    *acctTx
		name string
		on   bool
	}
)

// flush writes the batch into the open transaction.
func (t *tx) flush(ctx context.Context) error {
	w := t.s.w
	for _, a := range t.accounts {
		if a.touched {
			if err := a.flush(ctx, w); err != nil {
				return err
			}
		}
	}
	for _, step := range []func(context.Context, *writerConn) error{
		t.flushPages, t.flushRefs, t.flushHistory, t.flushNotes, t.flushUIDLs, t.flushHashes, t.flushTokens, t.flushSpool,
	} {
		if err := step(ctx, w); err != nil {
			return err
		}
	}
	for _, num := range t.segments {
		if err := w.exec(ctx, stSegmentPut, int64(num), t.s.now().Unix()); err != nil {
			return err
		}
	}
	for _, job := range t.jobs {
		if err := job(w); err != nil {
			return err
		}
	}
	if err := t.s.opt.fault("flush"); err != nil {
		return err
	}
	return t.state.save(ctx, w)
}

// flush writes the account's own row and those of its mailboxes.
func (a *acctTx) flush(ctx context.Context, w *writerConn) error {
	for _, id := range a.goneBox {
		if err := deleteBox(ctx, w, 0, id); err != nil {
			return err
		}
	}
	for _, id := range a.gone {
		for _, st := range []stmtID{stAccountDel, stSubsDel, stAllNotesDel} {
			if err := w.exec(ctx, st, id); err != nil {
				return err
			}
		}
		if _, err := w.stmts[stEventsDel][0].ExecContext(ctx, id, int64(1<<62)); err != nil {
			return err
		}
	}
	switch {
	case a.absent:
		return nil
	case a.created:
		res, err := w.stmts[stAccountAdd][0].ExecContext(ctx, a.e.name, int64(a.modSeq), int64(a.low),
			a.limit.Octets, a.limit.Messages, a.limit.Mailboxes)
		if err != nil {
			return err
		}
		if a.id, err = res.LastInsertId(); err != nil {
			return err
		}
	case a.row:
		if err := w.exec(ctx, stAccountSet, int64(a.modSeq), int64(a.low), a.limit.Octets, a.limit.Messages,
			a.limit.Mailboxes, a.id); err != nil {
			return err
		}
	}
	for _, b := range a.boxes {
		if err := b.flush(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

// flush writes the mailbox's row.
func (b *boxTx) flush(ctx context.Context, w *writerConn) error {
	m := &b.m
	switch {
	case b.deleted && b.fresh, !b.changed && !b.deleted:
		return nil
	case b.deleted:
		return deleteBox(ctx, w, b.a.id, m.ID)
	case m.of != 0:
		return w.exec(ctx, stPrivatePut, int64(m.ID), int64(m.of), m.actor, int64(m.ModSeq), m.Messages, m.Unseen)
	case b.fresh:
		return w.exec(ctx, stBoxAdd, int64(m.ID), b.a.id, m.Name, m.SpecialUse, int64(m.UIDValidity), int64(m.UIDNext),
			int64(m.ModSeq), int64(m.created), int64(m.low), m.Messages, m.Unseen, m.Deleted, m.Size, m.DeletedSize, m.uidls, joinFlags(m.keywords))
	}
	old := b.a.e.a.boxes[m.ID]
	if old.Name != m.Name || len(old.keywords) != len(m.keywords) || old.low != m.low || old.uidls != m.uidls {
		if err := w.exec(ctx, stBoxName, m.Name, joinFlags(m.keywords), int64(m.low), m.uidls, int64(m.ID)); err != nil {
			return err
		}
	}
	return w.exec(ctx, stBoxSet, int64(m.UIDNext), int64(m.ModSeq), m.Messages, m.Unseen, m.Deleted, m.Size, m.DeletedSize, int64(m.ID))
}

func deleteBox(ctx context.Context, w *writerConn, account int64, id store.MailboxID) error {
	if err := w.exec(ctx, stBoxDel, int64(id)); err != nil {
		return err
	}
	if err := w.exec(ctx, stPagesDel, pageKey(id, 0), pageKey(id, pageMask)); err != nil {
		return err
	}
	if err := w.exec(ctx, stPrivateDel, int64(id)); err != nil {
		return err
	}
	if err := w.exec(ctx, stNotesDel, account, int64(id)); err != nil {
		return err
	}
	if err := w.exec(ctx, stUIDLDel, int64(id), 0, int64(math.MaxUint32)); err != nil {
		return err
	}
	return w.exec(ctx, stTombsDel, int64(id), int64(1<<62))
}

func joinFlags(flags []store.Flag) string {
	var b strings.Builder
	for i, f := range flags {
		if i > 0 {
			b.WriteByte(' ') // keywords are atoms
		}
		b.WriteString(string(f))
	}
	return b.String()
}

func splitFlags(s string) []store.Flag {
	var flags []store.Flag
	for f := range strings.FieldsSeq(s) {
		flags = append(flags, store.Flag(f))
	}
	return flags
}

// flushPages writes the pages of rows that changed.
func (t *tx) flushPages(ctx context.Context, w *writerConn) error {
	p := pagePutter{ctx: ctx, w: w, buf: t.s.scratch.pages[:0], values: t.s.scratch.values[:0]}
	defer func() {
		clear(p.values[:cap(p.values)])
		t.s.scratch.pages, t.s.scratch.values = keepBuffer(p.buf), p.values[:0]
	}()
	for _, a := range t.accounts {
		if !a.touched {
			continue
		}
		for _, b := range a.boxes {
			if b.deleted || len(b.pages) == 0 {
				continue
			}
			if err := b.flushPages(&p); err != nil {
				return err
			}
		}
	}
	return p.flush()
}

// pagePutter gathers pages for few statements. The blobs share one buffer that
// is used again once they are written.
type pagePutter struct {
	ctx    context.Context
	w      *writerConn
	values []any
	buf    []byte
}

func (p *pagePutter) put(id store.MailboxID, no uint32, rows []store.Row) error {
	if len(rows) == 0 {
		return p.w.exec(p.ctx, stPageDel, pageKey(id, no))
	}
	top := store.ModSeq(0)
	for i := range rows {
		top = max(top, rows[i].ModSeq)
	}
	from := len(p.buf)
	p.buf = appendPage(p.buf, no, rows)
	p.values = append(p.values, pageKey(id, no), int64(top), p.buf[from:len(p.buf):len(p.buf)])
	if len(p.values) >= 3*bulkRows[0] {
		return p.flush()
	}
	return nil
}

func (p *pagePutter) flush() error {
	err := p.w.insert(p.ctx, stPagePut, p.values)
	p.values, p.buf = p.values[:0], p.buf[:0]
	return err
}

func (b *boxTx) flushPages(p *pagePutter) error {
	b.settle()
	if b.snap == nil {
		return b.flushTail(p)
	}
	b.m.tail = nil // the snapshot has it
	rows := b.a.t.s.scratch.rows
	for no := range b.pages {
		i, _ := b.snap.Find(store.UID(no << pageShift))
		last, found := b.snap.Find(store.UID(no<<pageShift | (pageRows - 1)))
		if found {
			last++
		}
		rows = b.snap.AppendRows(rows[:0], i, last)
		b.a.t.s.scratch.rows = rows
		if err := p.put(b.m.ID, no, rows); err != nil {
			return err
		}
	}
	return nil
}

// flushTail writes the pages of a mailbox whose other rows are not in memory:
// it has only been appended to.
func (b *boxTx) flushTail(p *pagePutter) error {
	tail := b.m.tail
	if first := b.appended[0].UID; len(tail) == 0 || pageNo(tail[0].UID) != pageNo(first) {
		tail = nil
		if first&(pageRows-1) > 0 {
			var err error
			if tail, err = b.a.t.s.q.page(b.m.ID, pageNo(first)); err != nil {
				return err
			}
		}
	}
	for rows := b.appended; len(rows) > 0; {
		no, n := pageNo(rows[0].UID), 0
		for n < len(rows) && pageNo(rows[n].UID) == no {
			n++
		}
		// The published tail may share the array but ends before the new rows.
		tail = append(tail, rows[:n]...)
		if err := p.put(b.m.ID, no, tail); err != nil {
			return err
		}
		b.m.tail = tail
		rows, tail = rows[n:], nil
	}
	return nil
}

// flushRefs writes where new messages are, and that others are gone.
func (t *tx) flushRefs(ctx context.Context, w *writerConn) error {
	set := func(ref uint64, loc place) (err error) {
		no := ref >> refShift
		page := t.refPages[no]
		if page == nil {
			if page, err = t.s.refs.copyOf(t.s, no); err != nil {
				return err
			}
			if t.refPages == nil {
				t.refPages = make(map[uint64]*refPage)
			}
			t.refPages[no] = page
		}
		page[ref&(refRows-1)] = loc
		return nil
	}
	first := t.state.nextRef - uint64(len(t.locs))
	for i, loc := range t.locs {
		loc.account = t.places[i].owner.id
		if err := set(first+uint64(i), loc); err != nil {
			return err
		}
	}
	for _, m := range t.moves {
		for _, r := range m.refs {
			if err := set(r.ref, m.relocate(r.place)); err != nil {
				return err
			}
		}
	}
	for _, ref := range t.erase {
		if err := set(ref, place{}); err != nil {
			return err
		}
	}
	var values []any
	for no, p := range t.refPages {
		if *p == (refPage{}) {
			if err := w.exec(ctx, stRefDel, int64(no)); err != nil {
				return err
			}
			continue
		}
		values = append(values, int64(no), p.encode(no))
	}
	return w.insert(ctx, stRefPut, values)
}

// maxDeadRefs bounds what one row of dead references makes a sweep load.
const maxDeadRefs = 16 << 10

// flushHistory writes tombstones, dead references, events and subscriptions.
func (t *tx) flushHistory(ctx context.Context, w *writerConn) error {
	at := t.s.now().Unix()
	var values []any
	for _, r := range t.tombs {
		values = append(values, int64(r.mailbox), int64(r.modSeq), at, encodeUIDs(r.uids))
	}
	if err := w.insert(ctx, stTombPut, values); err != nil {
		return err
	}
	values = values[:0]
	for _, r := range t.dead {
		if r.a != nil {
			r.id = r.a.id
		}
		for part := range slices.Chunk(r.refs, maxDeadRefs) {
			values = append(values, r.id, at, encodeRefs(part))
		}
	}
	if err := w.insert(ctx, stDeadPut, values); err != nil {
		return err
	}
	values = values[:0]
	for _, r := range t.events {
		values = append(values, r.a.id, int64(r.ModSeq), r.seq, at, int(r.Kind), int64(r.Mailbox), r.Name, r.OldName)
	}
	if err := w.insert(ctx, stEventPut, values); err != nil {
		return err
	}
	for _, r := range t.subs {
		st := stSubDel
		if r.on {
			st = stSubPut
		}
		if err := w.exec(ctx, st, r.a.id, r.name); err != nil {
			return err
		}
	}
	return nil
}
