package pop3

import (
	"context"

	"github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/store"
)

// maildrop is the mailbox of a session as it was at login, and which of its
// messages are marked deleted. Messages are numbered from 1 for clients, from
// 0 here.
type maildrop struct {
	mb    store.Mailbox
	snap  *store.Snapshot
	lock  *lock
	count int   // messages that are not marked
	size  int64 // their octets
	// marks has one bit for each message; nil until the first mark.
	marks   []uint64
	uidls   map[store.UID]string // see loadUIDLs
	asked   bool                 // for them
	charged int                  // octets of the budget for marks and uidls
}

// open locks an account's INBOX and takes its snapshot. ErrInUse: another
// session has the lock.
func (sh *shared) open(ctx context.Context, account string) (*maildrop, error) {
	acc, err := sh.store.Account(ctx, account, account)
	if err != nil {
		return nil, err
	}
	k, err := takeLock(ctx, sh.leaser, account)
	if err != nil {
		return nil, err
	}
	d := &maildrop{lock: k}
	if d.mb, err = acc.Mailbox(ctx, store.Inbox); err == nil {
		d.snap, err = d.mb.Snapshot(ctx)
	}
	if err != nil {
		_ = k.release() // or it expires
		return nil, err
	}
	d.unmark()
	return d, nil
}

// close gives everything back.
func (d *maildrop) close(b *wire.Budget) {
	_ = d.lock.release() // or it expires
	b.Release(d.charged)
	d.charged = 0
}

func (d *maildrop) marked(i int) bool {
	return d.marks != nil && d.marks[i/64]&(1<<(i%64)) != 0
}

// mark marks message i, which is not marked, as deleted; false when the
// budget has nothing left for it.
func (d *maildrop) mark(i int, b *wire.Budget) bool {
	if d.marks == nil {
		words := (d.snap.Len() + 63) / 64
		if !b.Acquire(8 * words) {
			return false
		}
		d.marks, d.charged = make([]uint64, words), d.charged+8*words
	}
	d.marks[i/64] |= 1 << (i % 64)
	d.count--
	d.size -= int64(d.snap.At(i).Size)
	return true
}

// unmark takes all marks away.
func (d *maildrop) unmark() {
	clear(d.marks)
	d.count, d.size = d.snap.Len(), 0
	for _, row := range d.snap.All() {
		d.size += int64(row.Size)
	}
}

// deleted are the messages that are marked.
func (d *maildrop) deleted() store.UIDSet {
	var uids store.UIDSet
	if d.count == d.snap.Len() {
		return nil
	}
	for i, row := range d.snap.All() {
		if d.marked(i) {
			uids.Add(row.UID)
		}
	}
	return uids
}
