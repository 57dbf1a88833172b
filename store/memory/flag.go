package memory

import (
	"context"

	"github.com/posta-mail/posta/store"
)

func (mb openMailbox) Flag(ctx context.Context, uids store.UIDSet, update store.FlagUpdate) (out store.Flagged, err error) {
	err = mb.write(ctx, func(c *commit) error {
		bits, table, err := update.Bits(mb.snap.Keywords())
		if err != nil {
			return err
		}
		seen, _ := mb.view()
		for _, r := range seen.Select(uids) {
			if update.UnchangedSince != nil && r.ModSeq > *update.UnchangedSince {
				out.Failed.Add(r.UID)
				continue
			}
			if now := update.Op.Apply(r.Flags, bits); now != r.Flags {
				c.box(mb.mailbox).keywords = table
				mb.setFlags(c, r, now)
				out.Changed.Add(r.UID)
			}
		}
		if len(out.Changed) > 0 {
			out.ModSeq = c.modSeq
		}
		return nil
	})
	if err != nil {
		return store.Flagged{}, err
	}
	return out, nil
}

// FlagLater implements store.FlagPipeliner. There is no disk to wait for: the
// flags are changed when it returns.
func (mb openMailbox) FlagLater(ctx context.Context, uids store.UIDSet, update store.FlagUpdate) (wait func() (store.Flagged, error)) {
	done, err := mb.Flag(ctx, uids, update)
	return func() (store.Flagged, error) { return done, err }
}

func (mb openMailbox) Expunge(ctx context.Context, uids store.UIDSet, with ...store.Flag) (out store.Expunged, err error) {
	err = mb.write(ctx, func(c *commit) error {
		bits, known := mb.snap.Bits(with...)
		if !known {
			return nil // no message has them all
		}
		seen, _ := mb.view()
		for _, r := range seen.Select(uids) {
			if r.Flags&bits == bits {
				i, _ := mb.snap.Find(r.UID)
				c.remove(mb.mailbox, mb.snap.At(i))
				out.UIDs.Add(r.UID)
				out.ModSeq = c.modSeq
			}
		}
		return nil
	})
	if err != nil {
		return store.Expunged{}, err
	}
	return out, nil
}
