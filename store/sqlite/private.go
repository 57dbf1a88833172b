package sqlite

import (
	"context"
	"database/sql"
	"maps"

	"github.com/posta-mail/posta/store"
)

// The \Seen flags of an actor who is not the owner are kept as a hidden
// mailbox: a row with UID, flags and mod-sequence for each message whose flag
// he has ever changed. Its id is one of mailboxes, so that pages and snapshots
// are the same; the mailbox it belongs to knows it by the actor's name.

// other is the actor if that is not the owner, else empty.
func (a *accountHandle) other() string {
	if a.actor == a.name {
		return ""
	}
	return a.actor
}

// viewKey names a mailbox as seen by an actor.
type viewKey struct {
	id    store.MailboxID
	actor string
}

// hiddenOf is the published \Seen of an actor in a mailbox; nil: he has none.
func (a *account) hiddenOf(m *mbox, actor string) *mbox {
	if actor == "" {
		return nil
	}
	return a.hidden[m.actors[actor]]
}

// view is a mailbox as the actor sees it.
func (s *Store) view(ctx context.Context, e *entry, id store.MailboxID, actor string) (*store.Snapshot, error) {
	if actor == "" {
		return s.snapshot(ctx, e, id)
	}
	for try := 0; ; try++ {
		shared, private, ok, err := s.halves(ctx, e, id, actor)
		if !ok && err == nil && try == 3 {
			shared, private, err = s.settledHalves(ctx, e.name, id, actor)
			ok = true
		}
		if err != nil {
			return nil, err
		}
		if ok {
			key := viewKey{id, actor}
			e.mu.Lock()
			v := e.views[key]
			if v == nil {
				v = new(store.SeenView)
				e.views[key] = v
			}
			e.mu.Unlock()
			merged, _ := v.Merge(shared, private)
			s.snaps.touch(e, key, merged.Octets())
			return merged, nil
		}
	}
}

// halves are the mailbox and the actor's flags; ok says that they are of one
// moment.
func (s *Store) halves(ctx context.Context, e *entry, id store.MailboxID, actor string) (shared, private *store.Snapshot, ok bool, err error) {
	if shared, err = s.snapshot(ctx, e, id); err != nil {
		return nil, nil, false, err
	}
	e.mu.RLock()
	m := e.boxOf(id)
	var hidden store.MailboxID
	if m != nil {
		hidden = m.actors[actor]
	}
	e.mu.RUnlock()
	if hidden != 0 {
		if private, err = s.snapshot(ctx, e, hidden); err == errNoMailbox {
			return nil, nil, false, nil // gone since
		} else if err != nil {
			return nil, nil, false, err
		}
	}
	e.mu.RLock()
	defer e.mu.RUnlock()
	if m = e.boxOf(id); m == nil {
		return nil, nil, false, errNoMailbox
	}
	ok = m.ModSeq == shared.ModSeq() && m.actors[actor] == hidden
	if h := e.boxOf(hidden); ok && h != nil {
		ok = h.ModSeq == private.ModSeq()
	}
	return shared, private, ok, nil
}

// settledHalves asks the committer, where writers leave no moment between.
func (s *Store) settledHalves(ctx context.Context, name string, id store.MailboxID, actor string) (shared, private *store.Snapshot, err error) {
	var got struct{ shared, private *store.Snapshot }
	res := &got
	err = s.do(ctx, func(t *tx) (err error) {
		a, err := t.existing(name)
		if err != nil {
			return err
		}
		b, err := a.box(id)
		if err != nil {
			return err
		}
		if res.shared, err = b.snapshot(); err != nil {
			return err
		}
		res.private, err = b.marks(actor)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	return res.shared, res.private, nil
}

// warmMarks reads the \Seen flags of an actor, or of all, that a mutation will
// need.
func (s *Store) warmMarks(ctx context.Context, e *entry, id store.MailboxID, actor string, all bool) error {
	var ids []store.MailboxID
	e.mu.RLock()
	if m := e.boxOf(id); m != nil {
		for name, hidden := range m.actors {
			if all || name == actor {
				ids = append(ids, hidden)
			}
		}
	}
	e.mu.RUnlock()
	for _, hidden := range ids {
		if _, err := s.snapshot(ctx, e, hidden); err != nil && err != errNoMailbox {
			return err
		}
	}
	return nil
}

// hidden is an actor's mailbox of flags as of the batch, nil if there is none.
func (b *boxTx) hidden(actor string) *boxTx {
	id := b.m.actors[actor]
	if id == 0 {
		return nil
	}
	a := b.a
	if h := a.boxes[id]; h != nil {
		return h
	}
	h := &boxTx{a: a, m: *a.e.a.hidden[id]}
	a.e.mu.RLock()
	h.snap = a.e.snaps[id]
	a.e.mu.RUnlock()
	a.boxes[id] = h
	return h
}

// marks are an actor's flags as of the batch; nil if he has none.
func (b *boxTx) marks(actor string) (*store.Snapshot, error) {
	if h := b.hidden(actor); h != nil {
		return h.snapshot()
	}
	return nil, nil
}

// loadMarks reads the flags of all actors: what remove and mark do afterwards
// cannot fail.
func (b *boxTx) loadMarks() error {
	for actor := range b.m.actors {
		if _, err := b.marks(actor); err != nil {
			return err
		}
	}
	return nil
}

// seeing is how an actor sees the flags of rows, and when they changed for him,
// as of the batch.
func (b *boxTx) seeing(actor string) (func(r *store.Row) (store.FlagBits, store.ModSeq), error) {
	if actor == "" {
		return func(r *store.Row) (store.FlagBits, store.ModSeq) { return r.Flags, r.ModSeq }, nil
	}
	marks, err := b.marks(actor)
	if err != nil {
		return nil, err
	}
	return func(r *store.Row) (store.FlagBits, store.ModSeq) {
		flags, at := r.Flags&^store.BitSeen, r.ModSeq
		if marks == nil {
			return flags, at
		}
		if i, ok := marks.Find(r.UID); ok {
			p := marks.At(i)
			flags |= p.Flags & store.BitSeen
			at = max(at, p.ModSeq)
		}
		return flags, at
	}, nil
}

// mark sets or clears an actor's flags, by rows that ascend, whose flags have
// been loaded.
func (b *boxTx) mark(at store.ModSeq, actor string, rows []store.Row) {
	if len(rows) == 0 {
		return
	}
	h := b.hidden(actor)
	if h == nil {
		h = b.addHidden(actor, at)
	}
	h.settle()
	for i := range rows {
		r := &rows[i]
		r.ModSeq, r.Created = at, at
		if k, ok := h.snap.Find(r.UID); ok {
			h.m.count(h.snap.At(k), -1)
		}
		h.m.count(*r, 1)
	}
	h.apply(at, rows, nil)
}

func (b *boxTx) addHidden(actor string, at store.ModSeq) *boxTx {
	t := b.a.t
	id := store.MailboxID(t.state.nextBox)
	t.state.nextBox++
	h := &boxTx{a: b.a, fresh: true, m: mbox{
		MailboxInfo: store.MailboxInfo{ID: id, UIDValidity: 1, UIDNext: 1, ModSeq: at}, of: b.m.ID, actor: actor,
	}}
	h.snap = store.NewSnapshot(id, 1, 1, at, nil, nil)
	b.a.boxes[id] = h
	if b.m.actors = maps.Clone(b.m.actors); b.m.actors == nil {
		b.m.actors = make(map[string]store.MailboxID)
	}
	b.m.actors[actor] = id
	b.changed = true
	return h
}

// unmark forgets everybody's flags of messages that go.
func (b *boxTx) unmark(at store.ModSeq, gone store.UIDSet) {
	for actor := range b.m.actors {
		h := b.hidden(actor)
		h.settle()
		rows := selected(h.snap, gone, nil)
		if len(rows) == 0 {
			continue
		}
		var uids store.UIDSet
		for _, r := range rows {
			h.m.count(r, -1)
			uids.Add(r.UID)
		}
		h.apply(at, nil, uids)
	}
}

// carry gives copies the \Seen of whoever copies, or, if they move, of all; in
// a copy the owner's is among the flags. All flags have been loaded.
func (b *boxTx) carry(at store.ModSeq, d *boxTx, from, to []store.UID, by string, move bool) {
	marks := make(map[string][]store.Row)
	for actor := range b.m.actors {
		if !move && actor != by {
			continue
		}
		snap := b.hidden(actor).snap
		for i, uid := range from {
			if k, ok := snap.Find(uid); ok && snap.At(k).Flags&store.BitSeen != 0 {
				marks[actor] = append(marks[actor], store.Row{UID: to[i], Flags: store.BitSeen})
			}
		}
	}
	for actor, rows := range marks {
		d.mark(at, actor, rows)
	}
}

// dropHidden forgets all flags of a mailbox that goes.
func (b *boxTx) dropHidden() {
	for actor := range b.m.actors {
		b.hidden(actor).deleted = true
	}
}

// forgetActor drops what an actor has of flags anywhere: another of his name
// may come.
func (t *tx) forgetActor(actor string) error {
	names, err := t.s.q.actorAccounts(actor)
	if err != nil {
		return readError(err)
	}
	for _, name := range names {
		a, err := t.account(name)
		if err != nil {
			return err
		}
		for _, b := range a.all() {
			b.hidden(actor)
		}
	}
	for _, a := range t.accounts {
		for _, h := range a.boxes {
			if h.m.of == 0 || h.m.actor != actor || h.deleted {
				continue
			}
			h.deleted = true
			if b, err := a.box(h.m.of); err == nil {
				b.m.actors = maps.Clone(b.m.actors)
				delete(b.m.actors, actor)
				b.changed = true
			}
			// The mod-sequence of the account may have been in that row alone.
			a.touched, a.row, t.dirty = true, true, true
		}
	}
	return nil
}

// actorAccounts lists the accounts in whose mailboxes an actor has flags.
func (q *queries) actorAccounts(actor string) ([]string, error) {
	return scanNames(q.actorNames, actor)
}

// hidden reads the flags that actors have of their own in an account.
func (q *queries) hidden(a *account) error {
	return each(q.accountHidden, func(rows *sql.Rows) error {
		h := &mbox{MailboxInfo: store.MailboxInfo{UIDValidity: 1, UIDNext: 1}}
		if err := rows.Scan(&h.ID, &h.of, &h.actor, &h.ModSeq, &h.Messages, &h.Unseen); err != nil {
			return err
		}
		if m := a.boxes[h.of]; m != nil {
			if m.actors == nil {
				m.actors = make(map[string]store.MailboxID)
			}
			m.actors[h.actor] = h.ID
			a.hidden[h.ID] = h
			a.modSeq = max(a.modSeq, h.ModSeq)
		}
		return nil
	}, a.id)
}
