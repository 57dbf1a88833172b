package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
)

// Filer is the part of a Store, and of a Guard, that files messages.
type Filer interface {
	Stage(ctx context.Context, r io.Reader) (Staged, error)
	Place(ctx context.Context, targets []Target) []Placed
}

// Limits of what an Across files in one commit; one message always fits.
const (
	acrossMessages = 64
	acrossOctets   = 16 << 20
)

// Across copies or moves messages to a mailbox of another account, or of
// another store, which is copying and then expunging. Nothing is lost whatever
// fails in between, and nothing comes twice if it is done again: each message
// has a token made of Operation, its place and its destination. A copy that was
// made before and is gone from there is made again.
//
// Messages keep flags and internal date, as far as the Filer, if it is a Guard,
// permits; \Seen is that of the actor of From. Memory is bounded: they are filed
// in batches of at most 64 messages or 16 MiB, each in one commit. All fields
// but Operation are required. An Across is a value.
type Across struct {
	From   Account
	Source Mailbox // of From
	// Filer files into To: the Store or Guard that opened it.
	Filer   Filer
	To      Account
	Mailbox string // of To, by name
	// Operation names what is done, so that doing it again is known from doing
	// the same another time: copying what has been copied already makes no
	// second copy within the life of a token, unless Operation is another.
	// Moves need none.
	Operation string
}

// Copy copies the messages named; UIDs that do not exist, and messages that are
// expunged meanwhile, are left out. An error comes with what has been copied
// until then. ErrNotFound: no such destination.
func (t Across) Copy(ctx context.Context, uids UIDSet) (Copied, error) {
	return t.run(ctx, uids, false)
}

// Move is Copy, each batch followed by its Expunge. What has been copied when
// an error comes may not have been expunged: moving it again does that.
func (t Across) Move(ctx context.Context, uids UIDSet) (Copied, error) {
	return t.run(ctx, uids, true)
}

func (t Across) run(ctx context.Context, uids UIDSet, moving bool) (done Copied, err error) {
	dest, err := t.To.Mailbox(ctx, t.Mailbox)
	if err != nil {
		return done, err
	}
	snap, err := t.Source.Snapshot(ctx)
	if err != nil {
		return done, err
	}
	uids = uids.Intersect(UIDSet{{1, max(snap.UIDNext(), 2) - 1}}) // what comes meanwhile is not meant
	for !uids.Empty() {
		// Of each batch as it is now, so that no change of flags is lost for long.
		if snap, err = t.Source.Snapshot(ctx); err != nil {
			return done, err
		}
		b := batch{Across: t, dest: dest, snap: snap}
		var size int64
		for _, row := range snap.Select(uids) {
			if size += int64(row.Size); len(b.rows) == acrossMessages || len(b.rows) > 0 && size > acrossOctets {
				break
			}
			b.rows = append(b.rows, row)
		}
		if len(b.rows) == 0 {
			return done, nil
		}
		uids = uids.Without(UIDSet{{1, b.rows[len(b.rows)-1].UID}})
		if err := b.copy(ctx, &done); err != nil {
			return done, err
		}
		if moving && len(b.from) > 0 {
			if _, err := t.Source.Expunge(ctx, UIDs(b.from...)); err != nil {
				return done, err
			}
		}
	}
	return done, nil
}

// batch is what an Across files in one commit.
type batch struct {
	Across
	dest Mailbox
	snap *Snapshot // of the source
	rows []Row
	from []UID // those of rows that could be copied
}

func (b *batch) copy(ctx context.Context, done *Copied) error {
	var targets []Target
	defer func() {
		for _, t := range targets {
			_ = t.Body.Discard() // or the store's grace time ends
		}
	}()
	for _, row := range b.rows {
		staged, err := b.stage(ctx, row)
		if errors.Is(err, ErrExpunged) {
			continue
		}
		if err != nil {
			return err
		}
		b.from = append(b.from, row.UID)
		targets = append(targets, Target{Account: b.To.Name(), Mailbox: b.Mailbox, Body: staged,
			Flags: b.snap.Flags(row.Flags), Date: row.InternalDate(), Token: b.token(row.UID, 0)})
	}
	placed, err := b.place(ctx, targets)
	if err != nil {
		return err
	}
	for i, p := range placed {
		done.From, done.To = append(done.From, b.from[i]), append(done.To, p.UID)
		done.UIDValidity, done.ModSeq = p.UIDValidity, max(done.ModSeq, p.ModSeq)
	}
	return nil
}

func (b *batch) stage(ctx context.Context, row Row) (Staged, error) {
	body, err := b.Source.Open(ctx, row)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	return b.Filer.Stage(ctx, io.NewSectionReader(body, 0, body.Size()))
}

// place files targets. One whose token has been used before is taken for filed
// if it is still there, or if nobody may look.
func (b *batch) place(ctx context.Context, targets []Target) ([]Placed, error) {
	out := make([]Placed, len(targets))
	todo := make([]int, len(targets))
	for i := range todo {
		todo[i] = i
	}
	for again := 1; len(todo) > 0; again++ {
		if again > 100 {
			return nil, fmt.Errorf("%w: copies vanish as soon as they are made", ErrConflict)
		}
		now := make([]Target, len(todo))
		for k, i := range todo {
			now[k] = targets[i]
		}
		duplicates := false
		for k, p := range b.Filer.Place(ctx, now) {
			if p.Err != nil {
				return nil, p.Err
			}
			out[todo[k]] = p
			duplicates = duplicates || p.Duplicate
		}
		if !duplicates {
			return out, nil
		}
		present, err := b.present(ctx)
		if err != nil {
			return nil, err
		}
		var gone []int
		for _, i := range todo {
			if out[i].Duplicate && !present(out[i].UID) {
				targets[i].Token = b.token(b.from[i], again)
				gone = append(gone, i)
			}
		}
		todo = gone
	}
	return out, nil
}

// present tells what is in the destination.
func (b *batch) present(ctx context.Context) (func(UID) bool, error) {
	snap, err := b.dest.Snapshot(ctx)
	switch {
	case errors.Is(err, ErrReadOnly), errors.Is(err, ErrNotFound):
		return func(UID) bool { return true }, nil
	case err != nil:
		return nil, err
	}
	return func(uid UID) bool { _, ok := snap.Find(uid); return ok }, nil
}

// token names the copy of a message, the again-th one.
func (b *batch) token(uid UID, again int) string {
	return fmt.Sprintf("across/%x", sha256.Sum256(fmt.Appendf(nil, "%q %q %d %d %d %q %d %d",
		b.Operation, b.From.Name(), b.snap.Mailbox(), b.snap.UIDValidity(), uid, b.To.Name(), b.dest.ID(), again)))
}
