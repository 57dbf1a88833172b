package memory

import (
	"context"
	"errors"
	"iter"
	"sort"
	"time"

	"github.com/posta-mail/posta/store"
)

// mailbox is a mailbox's state, guarded by the account's lock. Its messages are the rows of its snapshot.
type mailbox struct {
	a           *account
	id          store.MailboxID
	name        string
	specialUse  string
	gone        bool
	snap        *store.Snapshot
	changed     store.ModSeq // last change of messages; 0 before the first
	unseen      int
	deleted     int
	size        int64
	deletedSize int64
	uidls       map[store.UID]string
	seen        map[string]*store.Snapshot // private \Seen by actor, see store.SeenView
	unmarked    *store.Snapshot            // that of who has none
	views       views
	tombs       []tomb // ascending
	tombRanges  int
	low         store.ModSeq // tombs up to it may be missing
}

// tomb is what one commit expunged.
type tomb struct {
	modSeq store.ModSeq
	uids   store.UIDSet
}

// count adds a row to the counts, or takes it out.
func (mb *mailbox) count(r store.Row, by int) {
	if r.Flags&store.BitSeen == 0 {
		mb.unseen += by
	}
	if r.Flags&store.BitDeleted != 0 {
		mb.deleted += by
		mb.deletedSize += int64(by) * int64(r.Size)
	}
	mb.size += int64(by) * int64(r.Size)
}

func (mb openMailbox) info() store.MailboxInfo {
	s, unseen := mb.view()
	return store.MailboxInfo{ID: mb.id, Name: mb.name, SpecialUse: mb.specialUse, Subscribed: mb.a.subs[mb.name],
		UIDValidity: mb.snap.UIDValidity(), UIDNext: s.UIDNext(), ModSeq: s.ModSeq(),
		Messages: s.Len(), Unseen: unseen, Deleted: mb.deleted, Size: mb.size, DeletedSize: mb.deletedSize}
}

// drop ends the mailbox's life; its messages go at once.
func (mb *mailbox) drop() {
	mb.gone = true
	for _, r := range mb.snap.All() {
		mb.a.unref(r.Ref)
	}
	delete(mb.a.byID, mb.id)
	mb.snap, mb.tombs, mb.seen, mb.uidls = nil, nil, nil, nil
	mb.a.dropNotes(mb.id)
}

func (mb *mailbox) read(ctx context.Context, f func() error) error {
	return mb.a.read(ctx, func() error {
		if mb.gone {
			return store.ErrNotFound
		}
		return f()
	})
}

func (mb *mailbox) write(ctx context.Context, f func(*commit) error) error {
	return mb.a.write(ctx, func(c *commit) error {
		if mb.gone {
			return store.ErrNotFound
		}
		return f(c)
	})
}

func (mb *mailbox) ID() store.MailboxID { return mb.id }

func (mb openMailbox) Info(ctx context.Context) (info store.MailboxInfo, err error) {
	err = mb.read(ctx, func() error { info = mb.info(); return nil })
	return info, err
}

func (mb openMailbox) Snapshot(ctx context.Context) (s *store.Snapshot, err error) {
	err = mb.read(ctx, func() error { s, _ = mb.view(); return nil })
	return s, err
}

func (mb openMailbox) Changes(ctx context.Context, since store.ModSeq) (store.Changes, error) {
	var snap *store.Snapshot
	var tombs []tomb
	err := mb.read(ctx, func() error {
		if since < mb.low {
			return store.ErrHistoryGone
		}
		snap, _ = mb.view()
		tombs = mb.tombs
		return nil
	})
	if err != nil {
		return store.Changes{}, err
	}
	c := store.Changes{Since: since, Through: max(snap.ModSeq(), since), UIDNext: snap.UIDNext(), Keywords: snap.Keywords()}
	if since >= snap.ModSeq() {
		return c, nil
	}
	for _, r := range snap.ChangedSince(since) {
		c.Rows = append(c.Rows, r)
	}
	var gone []store.UIDRange
	for _, t := range tombs[sort.Search(len(tombs), func(i int) bool { return tombs[i].modSeq > since }):] {
		gone = append(gone, t.uids...)
	}
	c.Vanished = store.UIDRanges(gone...)
	return c, nil
}

// content finds a message by its row, among those that are there and those
// expunged not long ago. The account is locked.
func (mb *mailbox) content(row store.Row) (*content, error) {
	if i, ok := mb.snap.Find(row.UID); ok {
		if r := mb.snap.At(i); r.Ref == row.Ref {
			return mb.a.contents[r.Ref], nil
		}
		return nil, store.ErrExpunged
	}
	ref, ok := mb.a.graves[graveKey{mb.id, row.UID}]
	if !ok || ref != row.Ref || mb.a.s.opt.Grace < 0 {
		return nil, store.ErrExpunged
	}
	return mb.a.contents[ref], nil
}

func (mb *mailbox) Open(ctx context.Context, row store.Row) (b store.Body, err error) {
	mb.a.purgeNow()
	err = mb.read(ctx, func() error {
		c, err := mb.content(row)
		if err == nil {
			b = openBody(c.prefix, c.body)
		}
		return err
	})
	return b, err
}

// purgeNow purges if something is due.
func (a *account) purgeNow() {
	now := time.Now()
	a.mu.RLock()
	due := len(a.graveAge) > 0 && !now.Before(a.graveAge[0].until)
	a.mu.RUnlock()
	if due {
		a.mu.Lock()
		a.purge(now)
		a.mu.Unlock()
	}
}

func (mb *mailbox) Details(ctx context.Context, rows []store.Row) iter.Seq2[store.Detail, error] {
	return func(yield func(store.Detail, error) bool) {
		mb.a.purgeNow()
		for _, row := range rows {
			d := store.Detail{Row: row}
			var c *content
			err := mb.read(ctx, func() (err error) {
				c, err = mb.content(row)
				return err
			})
			if err == nil {
				d.Outline, d.EmailID = store.WithPrefix(c.body.outline, c.prefix), c.emailID
			}
			if !yield(d, err) || err != nil && (err == ctx.Err() || errors.Is(err, store.ErrUnavailable)) {
				return
			}
		}
	}
}
