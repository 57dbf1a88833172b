package memory

import (
	"context"
	"fmt"

	"github.com/posta-mail/posta/store"
)

// flagBits gives the bits of an update and the table after it. What a removal
// names and nobody has is no keyword of the mailbox because of that.
func flagBits(table []store.Flag, u store.FlagUpdate) (store.FlagBits, []store.Flag, error) {
	if u.Op > store.FlagsReplace {
		return 0, nil, fmt.Errorf("%w: flag operation %d", store.ErrInvalid, u.Op)
	}
	if u.Op != store.FlagsRemove {
		return store.InternFlags(table, u.Flags)
	}
	var bits store.FlagBits
	for _, f := range u.Flags {
		b := store.FlagBit(f, table)
		if b == 0 && !store.ValidKeyword(f) {
			return 0, nil, fmt.Errorf("%w: flag %.40q", store.ErrInvalid, f)
		}
		bits |= b
	}
	return bits, table, nil
}

func (mb openMailbox) Flag(ctx context.Context, uids store.UIDSet, update store.FlagUpdate) (out store.Flagged, err error) {
	err = mb.write(ctx, func(c *commit) error {
		bits, table, err := flagBits(mb.snap.Keywords(), update)
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
