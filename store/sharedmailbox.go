package store

import (
	"context"
	"iter"
)

// sharedMailbox is a mailbox as somebody else may use it.
type sharedMailbox struct {
	inner Mailbox
	acc   *sharedAccount
}

var (
	_ Mailbox    = (*sharedMailbox)(nil)
	_ BodyReader = (*sharedMailbox)(nil)
)

func (m *sharedMailbox) check(ctx context.Context, op operation) (Rights, error) {
	return m.acc.check(ctx, m.inner.ID(), op)
}

func (m *sharedMailbox) ID() MailboxID { return m.inner.ID() }

func (m *sharedMailbox) Info(ctx context.Context) (MailboxInfo, error) {
	r, err := m.check(ctx, opRead)
	if err != nil {
		return MailboxInfo{}, err
	}
	info, err := m.inner.Info(ctx)
	return visible(info, r), err
}

func (m *sharedMailbox) Snapshot(ctx context.Context) (*Snapshot, error) {
	if _, err := m.check(ctx, opRead); err != nil {
		return nil, err
	}
	return m.inner.Snapshot(ctx)
}

func (m *sharedMailbox) Changes(ctx context.Context, since ModSeq) (Changes, error) {
	if _, err := m.check(ctx, opRead); err != nil {
		return Changes{}, err
	}
	return m.inner.Changes(ctx, since)
}

func (m *sharedMailbox) Open(ctx context.Context, row Row) (Body, error) {
	if _, err := m.check(ctx, opRead); err != nil {
		return nil, err
	}
	return m.inner.Open(ctx, row)
}

func (m *sharedMailbox) Details(ctx context.Context, rows []Row) iter.Seq2[Detail, error] {
	return func(yield func(Detail, error) bool) {
		if _, err := m.check(ctx, opRead); err != nil {
			yield(Detail{}, err)
			return
		}
		m.inner.Details(ctx, rows)(yield)
	}
}

// Bodies implements BodyReader.
func (m *sharedMailbox) Bodies(ctx context.Context, rows []Row) iter.Seq2[Body, error] {
	return func(yield func(Body, error) bool) {
		if _, err := m.check(ctx, opRead); err != nil {
			yield(nil, err)
			return
		}
		Bodies(ctx, m.inner, rows)(yield)
	}
}

// Flag changes the flags that the actor may change and leaves the others as
// they are; ErrReadOnly if he may change none of those named (RFC 4314 §4).
// FlagsReplace takes up to three commits if he may not change them all.
func (m *sharedMailbox) Flag(ctx context.Context, uids UIDSet, update FlagUpdate) (Flagged, error) {
	r, err := m.check(ctx, opFlag)
	if err != nil {
		return Flagged{}, err
	}
	if r.Has(rightFlags) {
		return m.inner.Flag(ctx, uids, update)
	}
	asked := len(update.Flags)
	update.Flags = r.flags(update.Flags)
	if asked > 0 && len(update.Flags) == 0 {
		return Flagged{}, denied()
	}
	if update.Op != FlagsReplace {
		return m.inner.Flag(ctx, uids, update)
	}
	return m.replaceFlags(ctx, uids, update, r)
}

// replaceFlags does what a replacement would by taking away and adding, which
// nobody else's change of the other flags can get lost by.
func (m *sharedMailbox) replaceFlags(ctx context.Context, uids UIDSet, update FlagUpdate, r Rights) (Flagged, error) {
	unwanted, err := settable(ctx, m.inner, r, update.Flags)
	if err != nil {
		return Flagged{}, err
	}
	done, err := m.inner.Flag(ctx, uids, FlagUpdate{Op: FlagsRemove, Flags: unwanted, UnchangedSince: update.UnchangedSince})
	if err != nil {
		return done, err
	}
	add := func(to UIDSet, since *ModSeq) error {
		if to.Empty() || len(update.Flags) == 0 {
			return nil
		}
		more, err := m.inner.Flag(ctx, to, FlagUpdate{Op: FlagsAdd, Flags: update.Flags, UnchangedSince: since})
		done = Flagged{max(done.ModSeq, more.ModSeq), done.Changed.Union(more.Changed), done.Failed.Union(more.Failed)}
		return err
	}
	if update.UnchangedSince == nil {
		return done, add(uids, nil)
	}
	// What has just been changed here has a mod-sequence of its own by now.
	touched, at := done.Changed, done.ModSeq
	err = add(uids.Without(touched).Without(done.Failed), update.UnchangedSince)
	if err == nil {
		err = add(touched, &at)
	}
	return done, err
}

// settable names the flags of a mailbox that rights permit to set, but for
// some.
func settable(ctx context.Context, mb Mailbox, r Rights, but []Flag) ([]Flag, error) {
	snap, err := mb.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	left, _ := snap.Bits(but...)
	return r.flags(snap.Flags(^left)), nil
}

func (m *sharedMailbox) Expunge(ctx context.Context, uids UIDSet, with ...Flag) (Expunged, error) {
	if _, err := m.check(ctx, opExpunge); err != nil {
		return Expunged{}, err
	}
	return m.inner.Expunge(ctx, uids, with...)
}

func (m *sharedMailbox) Copy(ctx context.Context, uids UIDSet, dest MailboxID) (Copied, error) {
	return m.transfer(ctx, opRead, m.inner.Copy, uids, dest)
}

func (m *sharedMailbox) Move(ctx context.Context, uids UIDSet, dest MailboxID) (Copied, error) {
	return m.transfer(ctx, opMove, m.inner.Move, uids, dest)
}

// transfer copies or moves, and takes away the flags that the actor may not
// set there in a second commit (RFC 4314 §4). An error of that comes with the
// result of the first.
func (m *sharedMailbox) transfer(ctx context.Context, op operation, do func(context.Context, UIDSet, MailboxID) (Copied, error),
	uids UIDSet, dest MailboxID) (Copied, error) {
	if _, err := m.check(ctx, op); err != nil {
		return Copied{}, err
	}
	r, err := m.acc.check(ctx, dest, opInsert)
	if err != nil {
		return Copied{}, err
	}
	done, err := do(ctx, uids, dest)
	if err != nil || len(done.To) == 0 || r.Has(rightFlags) {
		return done, err
	}
	ctx = context.WithoutCancel(ctx)
	box, err := m.acc.byID(ctx, dest)
	if err != nil {
		return done, err
	}
	forbidden, err := settable(ctx, box, rightFlags&^r, nil)
	if err == nil {
		_, err = box.Flag(ctx, UIDs(done.To...), FlagUpdate{Op: FlagsRemove, Flags: forbidden})
	}
	return done, err
}
