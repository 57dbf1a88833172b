package sqlite

import (
	"context"
	"slices"

	"github.com/posta-mail/posta/store"
)

// mutate submits a change of a mailbox that exists. The snapshot is read
// beforehand, so that the committer need not wait for it, and so are the actor's
// \Seen flags or those of all.
func (m *mailboxHandle) mutate(ctx context.Context, all bool, plan func(b *boxTx, snap *store.Snapshot) error) error {
	return m.mutateLater(ctx, all, plan)()
}

// mutateLater is mutate in two halves: the change has its place among all others,
// and wait waits for it.
func (m *mailboxHandle) mutateLater(ctx context.Context, all bool, plan func(b *boxTx, snap *store.Snapshot) error) (wait func() error) {
	e, err := m.enter(ctx)
	if err != nil {
		return func() error { return err }
	}
	if _, err = m.a.s.snapshot(ctx, e, m.id); err == nil {
		err = m.a.s.warmMarks(ctx, e, m.id, m.a.other(), all)
	}
	if err != nil {
		m.a.leave(e)
		return func() error { return err }
	}
	reqs := []*request{{plan: func(t *tx) error {
		a, err := t.existing(m.a.name)
		if err != nil {
			return err
		}
		b, err := a.box(m.id)
		if err != nil {
			return err
		}
		snap, err := b.snapshot()
		if err != nil {
			return err
		}
		return plan(b, snap)
	}}}
	m.a.s.send(ctx, reqs)
	return func() error {
		defer m.a.leave(e)
		return await(ctx, reqs)[0]
	}
}

func (m *mailboxHandle) Flag(ctx context.Context, uids store.UIDSet, update store.FlagUpdate) (store.Flagged, error) {
	return m.FlagLater(ctx, uids, update)()
}

// FlagLater implements store.FlagPipeliner.
func (m *mailboxHandle) FlagLater(ctx context.Context, uids store.UIDSet, update store.FlagUpdate) (wait func() (store.Flagged, error)) {
	res := new(store.Flagged)
	uids, update.Flags = slices.Clone(uids), slices.Clone(update.Flags) // the caller's again
	done := m.mutateLater(ctx, false, func(b *boxTx, snap *store.Snapshot) (err error) {
		*res, err = b.flag(snap, m.a.other(), uids, update)
		return err
	})
	return func() (store.Flagged, error) {
		if err := done(); err != nil {
			return store.Flagged{}, err
		}
		return *res, nil
	}
}

func (b *boxTx) flag(snap *store.Snapshot, actor string, uids store.UIDSet, update store.FlagUpdate) (res store.Flagged, err error) {
	bits, table, err := update.Bits(b.m.keywords)
	if err != nil {
		return res, err
	}
	see, err := b.seeing(actor)
	if err != nil {
		return res, err
	}
	var marks []store.Row
	rows := selected(snap, uids, func(r *store.Row) bool {
		seen, at := see(r)
		if update.UnchangedSince != nil && at > *update.UnchangedSince {
			res.Failed.Add(r.UID)
			return false
		}
		now := update.Op.Apply(seen, bits)
		if now == seen {
			return false
		}
		res.Changed.Add(r.UID)
		if actor != "" && (now^seen)&store.BitSeen != 0 {
			marks = append(marks, store.Row{UID: r.UID, Flags: now & store.BitSeen})
		}
		return actor == "" || (now^seen)&^store.BitSeen != 0
	})
	if len(res.Changed) == 0 {
		return res, nil
	}
	res.ModSeq = b.a.next()
	if actor != "" {
		b.mark(res.ModSeq, actor, marks)
		if len(rows) == 0 {
			return res, nil
		}
	}
	b.m.keywords = table
	for i := range rows {
		r := &rows[i]
		b.m.count(*r, -1)
		now := update.Op.Apply(r.Flags, bits)
		if actor != "" { // the owner's \Seen stays as it is
			now = now&^store.BitSeen | r.Flags&store.BitSeen
		}
		r.Flags, r.ModSeq = now, res.ModSeq
		b.m.count(*r, 1)
	}
	b.apply(res.ModSeq, rows, nil)
	return res, nil
}
