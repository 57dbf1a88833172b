package sqlite

import (
	"context"
	"database/sql"

	"github.com/posta-mail/posta/store"
)

// Rows that a batch adds or removes.
type (
	uidlRow struct {
		b    *boxTx
		uid  store.UID
		uidl string
	}
	uidlsGone struct {
		b    *boxTx
		uids store.UIDSet
	}
)

// UIDLs implements store.UIDLs.
func (m *mailboxHandle) UIDLs(ctx context.Context) (map[store.UID]string, error) {
	e, err := m.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer m.a.leave(e)
	if b, err := e.mailbox(m.id); err != nil || !b.uidls {
		return nil, err
	}
	uidls := make(map[store.UID]string)
	err = each(m.a.s.q.uidls, func(rows *sql.Rows) error {
		var uid store.UID
		var uidl string
		err := rows.Scan(&uid, &uidl)
		uidls[uid] = uidl
		return err
	}, int64(m.id))
	return uidls, readError(err)
}

// flushUIDLs writes unique-ids of new messages and removes those of messages
// that are gone. UIDs are never given again, so the order is the same for all.
func (t *tx) flushUIDLs(ctx context.Context, w *writerConn) error {
	var values []any
	for _, r := range t.uidls {
		if !r.b.deleted {
			values = append(values, int64(r.b.m.ID), int64(r.uid), r.uidl)
		}
	}
	if err := w.insert(ctx, stUIDLPut, values); err != nil {
		return err
	}
	for _, g := range t.uidlsGone {
		for _, r := range g.uids {
			if err := w.exec(ctx, stUIDLDel, int64(g.b.m.ID), int64(r.From), int64(r.To)); err != nil {
				return err
			}
		}
	}
	return nil
}
