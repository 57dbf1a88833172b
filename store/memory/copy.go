package memory

import (
	"context"

	"github.com/posta-mail/posta/store"
)

func (mb openMailbox) Copy(ctx context.Context, uids store.UIDSet, dest store.MailboxID) (store.Copied, error) {
	return mb.copy(ctx, uids, dest, false)
}

func (mb openMailbox) Move(ctx context.Context, uids store.UIDSet, dest store.MailboxID) (store.Copied, error) {
	return mb.copy(ctx, uids, dest, true)
}

func (mb openMailbox) copy(ctx context.Context, uids store.UIDSet, dest store.MailboxID, move bool) (out store.Copied, err error) {
	err = mb.write(ctx, func(c *commit) error {
		to := mb.a.byID[dest]
		if to == nil {
			return store.ErrNotFound
		}
		out.UIDValidity = to.snap.UIDValidity()
		return mb.transfer(c, to, uids, move, &out)
	})
	if err != nil {
		return store.Copied{}, err
	}
	return out, nil
}

// transfer copies messages, and removes them if they move.
func (mb openMailbox) transfer(c *commit, to *mailbox, uids store.UIDSet, move bool, out *store.Copied) error {
	from := mb.mailbox
	for _, r := range from.snap.Select(uids) {
		copied := r
		if mb.actor != "" && !move {
			copied.Flags &^= store.BitSeen // whoever copies, copies his own
		}
		table := to.snap.Keywords()
		if ch := c.byBox[to]; ch != nil {
			table = ch.keywords
		}
		bits, table, err := store.TranslateFlags(copied.Flags, from.snap.Keywords(), table)
		if err != nil {
			return err
		}
		copied.Flags = bits
		uid, err := c.add(to, copied)
		if err != nil {
			return err
		}
		c.box(to).keywords = table
		mb.carrySeen(c, r.UID, to, uid, move)
		if move {
			c.remove(from, r)
		}
		out.From, out.To, out.ModSeq = append(out.From, r.UID), append(out.To, uid), c.modSeq
	}
	return nil
}
