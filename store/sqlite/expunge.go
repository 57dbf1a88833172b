package sqlite

import (
	"context"
	"slices"

	"github.com/posta-mail/posta/store"
)

func (m *mailboxHandle) Expunge(ctx context.Context, uids store.UIDSet, with ...store.Flag) (store.Expunged, error) {
	res := new(store.Expunged)
	uids, with = slices.Clone(uids), slices.Clone(with) // the caller's again if ctx ends
	err := m.mutate(ctx, true, func(b *boxTx, snap *store.Snapshot) error {
		*res = store.Expunged{}
		bits, known := snap.Bits(with...)
		if !known {
			return nil // no message has such a keyword
		}
		if err := b.loadMarks(); err != nil {
			return err
		}
		see, err := b.seeing(m.a.other())
		if err != nil {
			return err
		}
		rows := selected(snap, uids, func(r *store.Row) bool {
			flags, _ := see(r)
			return flags&bits == bits
		})
		if len(rows) > 0 {
			res.ModSeq = b.a.next()
			res.UIDs = b.remove(res.ModSeq, rows)
		}
		return nil
	})
	if err != nil {
		return store.Expunged{}, err
	}
	return *res, nil
}
