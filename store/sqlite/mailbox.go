package sqlite

import (
	"context"
	"fmt"
	"iter"
	"sync"

	"github.com/posta-mail/posta/store"
)

// detailBuffers hold one placement record, of most messages.
var detailBuffers = sync.Pool{New: func() any { b := make([]byte, 8<<10); return &b }}

// mailboxHandle is a mailbox by its id. It holds nothing.
type mailboxHandle struct {
	a  *accountHandle
	id store.MailboxID
}

func (m *mailboxHandle) ID() store.MailboxID { return m.id }

// enter begins a call: the account and the mailbox exist.
func (m *mailboxHandle) enter(ctx context.Context) (*entry, error) {
	e, err := m.a.enter(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := e.mailbox(m.id); err != nil {
		m.a.leave(e)
		return nil, err
	}
	return e, nil
}

func (m *mailboxHandle) Info(ctx context.Context) (store.MailboxInfo, error) {
	e, err := m.enter(ctx)
	if err != nil {
		return store.MailboxInfo{}, err
	}
	defer m.a.leave(e)
	e.mu.RLock()
	defer e.mu.RUnlock()
	b := e.boxOf(m.id)
	if b == nil {
		return store.MailboxInfo{}, errNoMailbox
	}
	return e.a.info(b, m.a.other()), nil
}

func (m *mailboxHandle) Snapshot(ctx context.Context) (*store.Snapshot, error) {
	e, err := m.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer m.a.leave(e)
	return m.a.s.view(ctx, e, m.id, m.a.other())
}

func (m *mailboxHandle) Changes(ctx context.Context, since store.ModSeq) (store.Changes, error) {
	e, err := m.enter(ctx)
	if err != nil {
		return store.Changes{}, err
	}
	defer m.a.leave(e)
	snap, err := m.a.s.view(ctx, e, m.id, m.a.other())
	if err != nil {
		return store.Changes{}, err
	}
	c := store.Changes{Since: since, Through: max(snap.ModSeq(), since), UIDNext: snap.UIDNext(), Keywords: snap.Keywords()}
	for _, r := range snap.ChangedSince(since) {
		c.Rows = append(c.Rows, r)
	}
	if err := m.a.s.q.vanished(&c.Vanished, m.id, since, c.Through); err != nil {
		return store.Changes{}, readError(err)
	}
	// After the tombstones were read: a sweep raises the mark as it removes
	// them.
	b, err := e.mailbox(m.id)
	if err != nil {
		return store.Changes{}, err
	}
	if since < b.low {
		return store.Changes{}, fmt.Errorf("%w: before %d", store.ErrHistoryGone, b.low)
	}
	return c, nil
}

func (m *mailboxHandle) Open(ctx context.Context, row store.Row) (store.Body, error) {
	e, err := m.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer m.a.leave(e)
	var b store.Body
	err = m.a.s.read(e.accountID(), row.Ref, func(l place) (err error) {
		b, err = m.a.s.openPlace(l)
		return err
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

// detailPiece are the details of a few rows.
type detailPiece struct {
	details [detailRows]store.Detail
	errs    [detailRows]error
}

const (
	// detailRows is how many details are read at a time.
	detailRows = 32
	// detailBytes is about how many octets of packed outlines are, beyond one.
	detailBytes = 256 << 10
)

// Details reads the details of a few rows at a time and holds nothing between
// them.
func (m *mailboxHandle) Details(ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
	return func(yield func(store.Detail, error) bool) {
		if len(rows) < 2 { // without the room for many
			for _, r := range rows {
				yield(m.oneDetail(ctx, r))
			}
			return
		}
		var p detailPiece
		for len(rows) > 0 {
			n := m.details(ctx, rows[:min(detailRows, len(rows))], &p)
			for i := range n {
				if !yield(p.details[i], p.errs[i]) {
					return
				}
			}
			rows = rows[n:]
			if err := ctx.Err(); err != nil && len(rows) > 0 {
				yield(store.Detail{Row: rows[0]}, err)
				return
			}
		}
	}
}

func (m *mailboxHandle) oneDetail(ctx context.Context, row store.Row) (store.Detail, error) {
	e, err := m.enter(ctx)
	if err != nil {
		return store.Detail{Row: row}, err
	}
	defer m.a.leave(e)
	buf := detailBuffers.Get().(*[]byte)
	defer detailBuffers.Put(buf)
	d, _, err := m.a.s.detail(e.accountID(), row, *buf)
	return d, err
}

// details reads the details of the first rows and returns of how many.
func (m *mailboxHandle) details(ctx context.Context, rows []store.Row, p *detailPiece) int {
	e, err := m.enter(ctx)
	if err != nil {
		for i, r := range rows {
			p.details[i], p.errs[i] = store.Detail{Row: r}, err
		}
		return len(rows)
	}
	defer m.a.leave(e)
	account := e.accountID()
	buf := detailBuffers.Get().(*[]byte)
	defer detailBuffers.Put(buf)
	octets := int64(0)
	for i, r := range rows {
		var n int64
		p.details[i], n, p.errs[i] = m.a.s.detail(account, r, *buf)
		if octets += n; octets > detailBytes {
			return i + 1
		}
	}
	return len(rows)
}
