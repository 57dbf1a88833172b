package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/posta-mail/posta/store"
)

// Spool implements store.Spooler: the spool shares bodies, segments and
// commits with the mailboxes.
func (s *Store) Spool() store.Spool { return spoolHandle{s} }

type spoolHandle struct{ s *Store }

// spoolWrite is what a batch does to an item's row.
type spoolWrite struct {
	item    *spoolItem
	add     *spoolAdd // a new row
	remove  bool
	content *store.Reschedule // new site and envelope
}

// spoolAdd is an item to be enqueued, copied from the caller.
type spoolAdd struct {
	due      int64
	hold     bool
	site     string
	envelope []byte
	prefix   []byte
	body     *staged
	created  int64
}

// spoolAdds are the items of one call.
type spoolAdds struct {
	items []spoolAdd
	bytes int64
}

func (s *Store) prepareItems(ctx context.Context, items []store.SpoolItem) (*spoolAdds, error) {
	adds := new(spoolAdds)
	for i := range items {
		it := &items[i]
		err := it.Check()
		var body *staged
		if err == nil {
			body, err = s.adopt(ctx, it.Body)
		}
		if err == nil && s.opt.Dedupe == DedupeStore {
			if err = s.verify(ctx, body, ""); err != nil {
				body.release()
			}
		}
		if err != nil {
			adds.release()
			return nil, err
		}
		adds.items = append(adds.items, spoolAdd{
			due: s.dueNanos(it.Due), hold: it.Hold, site: it.Site, body: body, created: s.now().UnixNano(),
			envelope: append([]byte{}, it.Envelope...), prefix: append([]byte{}, it.Prefix...),
		})
		adds.bytes += int64(len(it.Envelope)+len(it.Prefix)) + recOverhead
		if _, written := body.located(); !written {
			adds.bytes += body.size
		}
	}
	return adds, nil
}

func (a *spoolAdds) release() {
	for i := range a.items {
		a.items[i].body.release()
	}
}

// enqueue adds the items to the batch.
func (t *tx) enqueue(adds *spoolAdds) []store.ItemID {
	ids := make([]store.ItemID, 0, len(adds.items))
	p := &t.s.spool
	for i := range adds.items {
		add := &adds.items[i]
		it := &spoolItem{DueNode: store.DueNode{ID: store.ItemID(t.state.nextItem), Due: add.due}, site: add.site, hold: add.hold}
		t.state.nextItem++
		t.need(add.body, nil)
		p.items[it.ID] = it
		p.attach(it)
		t.undo = append(t.undo, func() {
			p.detach(it)
			delete(p.items, it.ID)
		})
		t.write(it).add = add
		ids = append(ids, it.ID)
	}
	return ids
}

// write is what the batch does to an item's row.
func (t *tx) write(it *spoolItem) *spoolWrite {
	t.dirty, t.spoolHit = true, true
	if t.spool == nil {
		t.spool = make(map[store.ItemID]*spoolWrite)
	}
	w := t.spool[it.ID]
	if w == nil {
		w = &spoolWrite{item: it}
		t.spool[it.ID] = w
	}
	return w
}

// reschedule changes an item's schedule, until rolled back.
func (t *tx) reschedule(it *spoolItem, change func(it *spoolItem)) *spoolWrite {
	p, old := &t.s.spool, *it
	p.detach(it)
	change(it)
	p.attach(it)
	t.undo = append(t.undo, func() {
		p.detach(it)
		it.Due, it.site, it.lease, it.attempts, it.hold = old.Due, old.site, old.lease, old.attempts, old.hold
		p.attach(it)
	})
	return t.write(it)
}

// drop removes an item, until rolled back.
func (t *tx) drop(it *spoolItem) {
	p := &t.s.spool
	p.detach(it)
	delete(p.items, it.ID)
	t.undo = append(t.undo, func() {
		p.items[it.ID] = it
		p.attach(it)
	})
	t.write(it).remove = true
}

// mutate submits a change of the spool; plan has its lock.
func (h spoolHandle) mutate(ctx context.Context, adds *spoolAdds, plan func(t *tx, p *spoolState) error) error {
	r := &request{plan: func(t *tx) error {
		t.s.spool.mu.Lock()
		defer t.s.spool.mu.Unlock()
		return plan(t, &t.s.spool)
	}}
	if adds != nil {
		r.bytes, r.release = adds.bytes, adds.release
	}
	return h.s.submit(ctx, r)[0]
}

func (h spoolHandle) Enqueue(ctx context.Context, items []store.SpoolItem) ([]store.ItemID, error) {
	if err := h.s.enter(); err != nil {
		return nil, err
	}
	defer h.s.leave()
	if len(items) == 0 {
		return nil, ctx.Err()
	}
	adds, err := h.s.prepareItems(ctx, items)
	if err != nil {
		return nil, err
	}
	ids := new([]store.ItemID)
	err = h.mutate(ctx, adds, func(t *tx, _ *spoolState) error {
		*ids = t.enqueue(adds)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return *ids, nil
}

func (h spoolHandle) Lease(ctx context.Context, now time.Time, max int, ttl time.Duration, except ...string) ([]store.LeasedItem, error) {
	if ttl <= 0 {
		return nil, fmt.Errorf("%w: lease of %v", store.ErrInvalid, ttl)
	}
	if err := h.s.enter(); err != nil {
		return nil, err
	}
	defer h.s.leave()
	at, end := store.DueNanos(now), store.DueNanos(now.Add(ttl))
	leased := new([]store.LeasedItem)
	err := h.mutate(ctx, nil, func(t *tx, p *spoolState) error {
		*leased = nil
		for _, it := range p.take(at, max, except) {
			t.reschedule(it, func(it *spoolItem) { it.lease, it.attempts = end, it.attempts+1 })
			*leased = append(*leased, store.LeasedItem{Fence: uint64(it.attempts), SpoolEntry: store.SpoolEntry{
				ID: it.ID, Due: fromNanos(it.Due), Attempts: int(it.attempts), Leased: fromNanos(it.lease),
			}})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return h.complete(*leased)
}

// complete adds to leased items what is only in the database.
func (h spoolHandle) complete(leased []store.LeasedItem) ([]store.LeasedItem, error) {
	if len(leased) == 0 {
		return nil, nil
	}
	ids := make([]store.ItemID, len(leased))
	for i := range leased {
		ids[i] = leased[i].ID
	}
	list, err := json.Marshal(ids)
	if err != nil {
		return nil, err
	}
	rows := make(map[store.ItemID]store.SpoolEntry, len(ids))
	err = each(h.s.q.spoolSome, func(r *sql.Rows) error {
		e, err := scanEntry(r)
		rows[e.ID] = e
		return err
	}, string(list))
	if err != nil {
		return nil, readError(err)
	}
	out := leased[:0]
	for _, l := range leased {
		e, ok := rows[l.ID]
		if !ok {
			continue // its lease has expired already, and it was removed
		}
		l.Site, l.Envelope, l.Created, l.Size = e.Site, e.Envelope, e.Created, e.Size
		out = append(out, l)
	}
	return out, nil
}

// holding returns a leased item; ErrConflict if the lease was lost.
func (p *spoolState) holding(id store.ItemID, fence uint64) (*spoolItem, error) {
	it := p.items[id]
	if it == nil || it.lease == 0 || uint64(it.attempts) != fence {
		return nil, fmt.Errorf("%w: lease lost", store.ErrConflict)
	}
	return it, nil
}

func (h spoolHandle) Extend(ctx context.Context, id store.ItemID, fence uint64, now time.Time, ttl time.Duration) error {
	if ttl <= 0 {
		return fmt.Errorf("%w: lease of %v", store.ErrInvalid, ttl)
	}
	if err := h.s.enter(); err != nil {
		return err
	}
	defer h.s.leave()
	end := store.DueNanos(now.Add(ttl))
	return h.mutate(ctx, nil, func(t *tx, p *spoolState) error {
		it, err := p.holding(id, fence)
		if err == nil {
			t.reschedule(it, func(it *spoolItem) { it.lease = end })
		}
		return err
	})
}

func (h spoolHandle) Settle(ctx context.Context, id store.ItemID, fence uint64, next *store.Reschedule, enqueue []store.SpoolItem) ([]store.ItemID, error) {
	var due int64
	if next != nil {
		if err := next.Check(); err != nil {
			return nil, err
		}
		own := *next
		due = h.s.dueNanos(next.Due)
		own.Envelope = append([]byte{}, next.Envelope...)
		next = &own
	}
	if err := h.s.enter(); err != nil {
		return nil, err
	}
	defer h.s.leave()
	adds, err := h.s.prepareItems(ctx, enqueue)
	if err != nil {
		return nil, err
	}
	ids := new([]store.ItemID)
	err = h.mutate(ctx, adds, func(t *tx, p *spoolState) error {
		it, err := p.holding(id, fence)
		if err != nil {
			return err
		}
		if next == nil {
			t.drop(it)
		} else {
			t.reschedule(it, func(it *spoolItem) { it.Due, it.site, it.lease, it.hold = due, next.Site, 0, next.Hold }).content = next
		}
		*ids = t.enqueue(adds)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return *ids, nil
}

func (h spoolHandle) NextDue(ctx context.Context, except ...string) (time.Time, bool, error) {
	if err := ctx.Err(); err != nil {
		return time.Time{}, false, err
	}
	if err := h.s.enter(); err != nil {
		return time.Time{}, false, err
	}
	defer h.s.leave()
	h.s.spool.mu.Lock()
	defer h.s.spool.mu.Unlock()
	at, ok := h.s.spool.next(except)
	if !ok {
		return time.Time{}, false, nil
	}
	return fromNanos(at), true, nil
}

func (h spoolHandle) Watch(ctx context.Context) <-chan struct{} { return h.s.spool.wake.Watch(ctx) }

func (h spoolHandle) Open(ctx context.Context, id store.ItemID) (store.Body, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := h.s.enter(); err != nil {
		return nil, err
	}
	defer h.s.leave()
	for try := 0; ; try++ {
		var prefix []byte
		var loc recordLoc
		var size int64
		err := h.s.q.spoolRow.QueryRowContext(context.Background(), int64(id)).Scan(&prefix, &loc.seg, &loc.off, &size)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return nil, errNoItem
		case err != nil:
			return nil, readError(err)
		}
		b, err := h.s.openBody(loc, size, prefix)
		if err == nil {
			return b, nil
		}
		if !errors.Is(err, fs.ErrNotExist) || try == 3 {
			return nil, segmentError(err)
		}
		// Settled or moved meanwhile, and the segment removed.
	}
}

var errNoItem = fmt.Errorf("%w: spool item", store.ErrNotFound)

func (h spoolHandle) List(ctx context.Context, after store.ItemID, max int) (entries []store.SpoolEntry, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := h.s.enter(); err != nil {
		return nil, err
	}
	defer h.s.leave()
	if max <= 0 {
		return nil, nil
	}
	err = each(h.s.q.spoolList, func(rows *sql.Rows) error {
		e, err := scanEntry(rows)
		entries = append(entries, e)
		return err
	}, int64(after), max)
	return entries, readError(err)
}

func (h spoolHandle) Steer(ctx context.Context, id store.ItemID, steer store.Steer) error {
	if err := h.s.enter(); err != nil {
		return err
	}
	defer h.s.leave()
	own := store.Steer{}
	if steer.Due != nil {
		due := *steer.Due
		own.Due = &due
	}
	if steer.Hold != nil {
		hold := *steer.Hold
		own.Hold = &hold
	}
	return h.mutate(ctx, nil, func(t *tx, p *spoolState) error {
		it := p.items[id]
		if it == nil {
			return errNoItem
		}
		t.reschedule(it, func(it *spoolItem) {
			if own.Due != nil {
				it.Due = h.s.dueNanos(*own.Due)
			}
			if own.Hold != nil {
				it.hold = *own.Hold
			}
		})
		return nil
	})
}

func (h spoolHandle) Remove(ctx context.Context, id store.ItemID) error {
	if err := h.s.enter(); err != nil {
		return err
	}
	defer h.s.leave()
	return h.mutate(ctx, nil, func(t *tx, p *spoolState) error {
		it := p.items[id]
		if it == nil {
			return errNoItem
		}
		if it.lease > t.s.now().UnixNano() {
			return fmt.Errorf("%w: item is leased", store.ErrInUse)
		}
		t.drop(it)
		return nil
	})
}

// flushSpool writes the rows of items that changed.
func (t *tx) flushSpool(ctx context.Context, w *writerConn) error {
	t.s.spool.mu.Lock()
	for _, wr := range t.spool {
		if wr.add != nil {
			wr.item.seg = t.where(wr.add.body).seg
		}
		if wr.remove && wr.item.seg != t.s.seg.active.num {
			t.s.freed.Store(true)
		}
	}
	t.s.spool.mu.Unlock()
	var values []any
	for id, wr := range t.spool {
		it := wr.item
		var err error
		switch {
		case wr.remove && wr.add != nil:
		case wr.remove:
			err = w.exec(ctx, stSpoolDel, int64(id))
		case wr.add != nil:
			a := wr.add
			loc := t.where(a.body)
			site, envelope := a.site, a.envelope
			if wr.content != nil {
				site, envelope = wr.content.Site, wr.content.Envelope
			}
			values = append(values, int64(id), it.Due, it.lease, int64(it.attempts), it.hold, a.created, site, envelope, a.prefix,
				int64(loc.seg), loc.off, a.body.size)
		default:
			err = w.exec(ctx, stSpoolSet, it.Due, it.lease, int64(it.attempts), it.hold, int64(id))
			if err == nil && wr.content != nil {
				err = w.exec(ctx, stSpoolBody, wr.content.Site, wr.content.Envelope, int64(id))
			}
		}
		if err != nil {
			return err
		}
	}
	for _, m := range t.moves {
		for _, i := range m.items {
			to := m.to[i.body]
			t.s.spool.moved(i.id, to.seg)
			if err := w.exec(ctx, stSpoolMove, int64(to.seg), to.off, int64(i.id)); err != nil {
				return err
			}
		}
	}
	return w.insert(ctx, stSpoolPut, values)
}
