package sqlite

import (
	"context"

	"github.com/posta-mail/posta/store"
)

// snapLoad is a snapshot being read while commits go on: what they publish
// meanwhile is kept here, under the entry's lock.
type snapLoad struct {
	done   chan struct{}
	snap   *store.Snapshot // published, newer than any that is read now
	deltas []store.Changes // published, messages added only
}

// snapshot returns the mailbox as of now, from the cache or the database.
func (s *Store) snapshot(ctx context.Context, e *entry, id store.MailboxID) (*store.Snapshot, error) {
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		e.mu.Lock()
		m := e.boxOf(id)
		if m == nil {
			e.mu.Unlock()
			return nil, errNoMailbox
		}
		if snap := e.snaps[id]; snap != nil {
			e.mu.Unlock()
			s.snaps.touch(e, viewKey{id: id}, snap.Octets())
			return snap, nil
		}
		if l := e.loads[id]; l != nil {
			e.mu.Unlock()
			select {
			case <-l.done:
			case <-ctx.Done():
			}
			continue
		}
		l := &snapLoad{done: make(chan struct{})}
		e.loads[id] = l
		e.mu.Unlock()
		return s.loadSnapshot(ctx, e, id, m.of != 0, l)
	}
}

func (s *Store) loadSnapshot(ctx context.Context, e *entry, id store.MailboxID, hidden bool, l *snapLoad) (*store.Snapshot, error) {
	snap, err := s.q.snapshot(id, hidden)
	if err != nil {
		snap = nil
	} else if e.behind(id, snap.ModSeq()) {
		// Committed, but not published yet. Wait, lest the next call, served
		// from the cache, returns an older one than this.
		s.do(context.WithoutCancel(ctx), func(*tx) error { return nil })
	}
	e.mu.Lock()
	delete(e.loads, id)
	close(l.done)
	if l.snap != nil && err == nil {
		snap = l.snap
	}
	keep := false
	if snap != nil {
		for _, d := range l.deltas {
			if d.Through > snap.ModSeq() {
				snap = snap.With(d)
			}
		}
		if m := e.boxOf(id); m != nil && m.ModSeq == snap.ModSeq() {
			e.snaps[id], keep = snap, true
		}
	}
	e.mu.Unlock()
	if keep {
		s.snaps.touch(e, viewKey{id: id}, snap.Octets())
	}
	return snap, readError(err)
}

// boxOf is the published mailbox, which may be a hidden one, nil if there is none; e is locked.
func (e *entry) boxOf(id store.MailboxID) *mbox {
	if e.a == nil {
		return nil
	}
	if m := e.a.boxes[id]; m != nil {
		return m
	}
	return e.a.hidden[id]
}

// behind reports whether what is published of a mailbox is older than at.
func (e *entry) behind(id store.MailboxID, at store.ModSeq) bool {
	e.mu.RLock()
	defer e.mu.RUnlock()
	m := e.boxOf(id)
	return m != nil && m.ModSeq < at
}
