package sqlite

import (
	"context"
	"errors"
	"slices"

	"github.com/posta-mail/posta/store"
)

// Copy shares the bodies: the new rows have the references of the old.
func (m *mailboxHandle) Copy(ctx context.Context, uids store.UIDSet, dest store.MailboxID) (store.Copied, error) {
	return m.copy(ctx, uids, dest, false)
}

func (m *mailboxHandle) Move(ctx context.Context, uids store.UIDSet, dest store.MailboxID) (store.Copied, error) {
	return m.copy(ctx, uids, dest, true)
}

func (m *mailboxHandle) copy(ctx context.Context, uids store.UIDSet, dest store.MailboxID, move bool) (store.Copied, error) {
	res := new(store.Copied)
	uids = slices.Clone(uids) // the caller's again if ctx ends
	err := m.mutate(ctx, true, func(b *boxTx, snap *store.Snapshot) (err error) {
		*res, err = b.copy(snap, m.a.other(), uids, dest, move)
		return err
	})
	if err != nil {
		return store.Copied{}, err
	}
	return *res, nil
}

func (b *boxTx) copy(snap *store.Snapshot, actor string, uids store.UIDSet, dest store.MailboxID, move bool) (res store.Copied, err error) {
	d, err := b.a.box(dest)
	if err != nil {
		return res, err
	}
	res.UIDValidity = d.m.UIDValidity
	rows := selected(snap, uids, nil)
	if len(rows) == 0 {
		return res, nil
	}
	if err := d.room(len(rows)); err != nil {
		return res, err
	}
	if !move {
		add := store.Usage{Messages: int64(len(rows))}
		for _, r := range rows {
			add.Octets += int64(r.Size)
		}
		if err := b.a.admit(add); err != nil {
			return res, err
		}
	}
	if err := errors.Join(b.loadMarks(), d.loadMarks()); err != nil {
		return res, err
	}
	table := d.m.keywords
	bits := make([]store.FlagBits, len(rows))
	for i, r := range rows {
		flags := r.Flags
		if actor != "" && !move {
			flags &^= store.BitSeen // that is the owner's, to whom the copy is new
		}
		if bits[i], table, err = store.TranslateFlags(flags, b.m.keywords, table); err != nil {
			return store.Copied{}, err
		}
	}
	d.m.keywords = table
	res.ModSeq = b.a.next()
	saved := b.a.t.s.now().Unix()
	for i, r := range rows {
		n := r
		n.Flags, n.Saved = bits[i], saved
		res.From = append(res.From, r.UID)
		res.To = append(res.To, d.add(res.ModSeq, n))
	}
	b.carry(res.ModSeq, d, res.From, res.To, actor, move)
	if move {
		b.remove(res.ModSeq, rows)
	}
	return res, nil
}
