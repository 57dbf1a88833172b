package store

import "sync"

// SeenView is a mailbox as an actor sees it who is not its owner: with his own
// \Seen flags (see Store.Account). It is for engines, which keep those flags as
// a Snapshot too: a row for each message whose \Seen the actor has ever changed,
// with the UID, BitSeen or nothing, and the mod-sequence of that change. The
// zero value is ready. Safe for concurrent use.
type SeenView struct {
	mu              sync.Mutex
	shared, private *Snapshot
	merged          *Snapshot
	unseen          int
}

// Merge returns the mailbox with private's \Seen in place of shared's, and how
// many messages the actor has not seen; private may be nil. Calls cost what has
// changed since the last one.
func (v *SeenView) Merge(shared, private *Snapshot) (*Snapshot, int) {
	if private == nil {
		private = NewSnapshot(shared.id, shared.uidValidity, 1, 0, nil, nil)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.merged == nil || v.shared.id != shared.id || v.shared.modSeq > shared.modSeq || v.private.modSeq > private.modSeq {
		empty := NewSnapshot(shared.id, shared.uidValidity, 1, 0, shared.keywords, nil)
		v.shared, v.private, v.merged, v.unseen = empty, NewSnapshot(shared.id, shared.uidValidity, 1, 0, nil, nil), empty, 0
	}
	if v.shared == shared && v.private == private {
		return v.merged, v.unseen
	}
	c := Diff(v.shared, shared)
	c.Rows = mergeRows(c.Rows, Diff(v.private, private).Rows, shared)
	c.Through = max(shared.modSeq, private.modSeq)
	for i := range c.Rows {
		r := &c.Rows[i]
		r.Flags &^= BitSeen
		if k, ok := private.Find(r.UID); ok {
			p := private.At(k)
			r.Flags |= p.Flags & BitSeen
			r.ModSeq = max(r.ModSeq, p.ModSeq)
		}
		v.unseen += unseen(*r) - v.unseenAt(r.UID)
	}
	for _, g := range c.Vanished {
		for _, r := range v.merged.Select(UIDSet{g}) {
			v.unseen -= unseen(r)
		}
	}
	v.shared, v.private, v.merged = shared, private, v.merged.With(c)
	return v.merged, v.unseen
}

// unseenAt is 1 if the message is in the view and not seen.
func (v *SeenView) unseenAt(uid UID) int {
	if i, ok := v.merged.Find(uid); ok {
		return unseen(v.merged.At(i))
	}
	return 0
}

func unseen(r Row) int {
	if r.Flags&BitSeen == 0 {
		return 1
	}
	return 0
}

// mergeRows adds to rows those of snap whose UIDs are in others only. Both are
// ascending, and so is the result.
func mergeRows(rows, others []Row, snap *Snapshot) []Row {
	if len(others) == 0 {
		return rows
	}
	out := make([]Row, 0, len(rows)+len(others))
	for _, o := range others {
		for len(rows) > 0 && rows[0].UID < o.UID {
			out, rows = append(out, rows[0]), rows[1:]
		}
		if len(rows) > 0 && rows[0].UID == o.UID {
			continue
		}
		if i, ok := snap.Find(o.UID); ok {
			out = append(out, snap.At(i))
		}
	}
	return append(out, rows...)
}
