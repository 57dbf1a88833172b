package sqlite

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// as opens INBOX of anna for an actor.
func (r *rig) as(actor string) store.Mailbox {
	r.t.Helper()
	a, err := r.st.Account(r.t.Context(), "anna", actor)
	require.NoError(r.t, err)
	mb, err := a.Mailbox(r.t.Context(), store.Inbox)
	require.NoError(r.t, err)
	return mb
}

func (r *rig) seen(mb store.Mailbox, uids store.UIDSet) {
	r.t.Helper()
	_, err := mb.Flag(r.t.Context(), uids, store.FlagUpdate{Flags: []store.Flag{store.FlagSeen}})
	require.NoError(r.t, err)
}

// private compares what the database says of hidden mailboxes with their pages.
func (r *rig) private() (rows int) {
	r.t.Helper()
	hidden, err := r.st.reader.Query("SELECT box, messages, unseen FROM private")
	require.NoError(r.t, err)
	defer hidden.Close()
	for hidden.Next() {
		var id store.MailboxID
		var want, got mbox
		require.NoError(r.t, hidden.Scan(&id, &want.Messages, &want.Unseen))
		snap, err := r.st.q.snapshot(id, true)
		require.NoError(r.t, err)
		for _, row := range snap.All() {
			require.LessOrEqual(r.t, row.ModSeq, snap.ModSeq())
			got.count(row, 1)
		}
		require.Equal(r.t, want.MailboxInfo, got.MailboxInfo)
		rows += got.Messages
	}
	return rows
}

// Flags of actors go with messages, mailboxes, accounts, and their own account.
func TestPrivateCleanup(t *testing.T) {
	r := newRig(t, Options{})
	ctx := t.Context()
	for i := range 300 {
		require.NoError(t, r.place(letter(i)).Err)
	}
	require.NoError(t, r.st.CreateAccount(ctx, "bob"))
	for _, actor := range []string{"bob", "carol", "dave"} {
		r.seen(r.as(actor), store.AllUIDs())
	}
	_, err := r.as("carol").Flag(ctx, store.UIDs(1, 2), store.FlagUpdate{Op: store.FlagsRemove, Flags: []store.Flag{store.FlagSeen}})
	require.NoError(t, err)
	require.Equal(t, 900, r.private())
	_, err = r.inbox().Expunge(ctx, store.UIDs(1, 130, 131, 300))
	require.NoError(t, err)
	require.Equal(t, 888, r.private())
	info, err := r.as("carol").Info(ctx)
	require.NoError(t, err)
	require.Equal(t, 1, info.Unseen)
	box, err := r.account().Create(ctx, "Box", store.CreateOptions{})
	require.NoError(t, err)
	_, err = r.inbox().Move(ctx, store.UIDs(2, 3, 4), box.ID)
	require.NoError(t, err)
	require.Equal(t, 887, r.private(), "what carol has not seen needs no row")
	r.reopen()
	require.NoError(t, r.account().Delete(ctx, "Box"))
	require.Equal(t, 3*293, r.private())
	require.Equal(t, 3, r.count("SELECT count(*) FROM private"))

	_, err = r.as("bob").Flag(ctx, store.UIDs(5), store.FlagUpdate{Op: store.FlagsRemove, Flags: []store.Flag{store.FlagSeen}})
	require.NoError(t, err)
	modSeq := r.changes().Through
	require.NoError(t, r.st.DeleteAccount(ctx, "bob"))
	require.Equal(t, 2*293, r.private())
	r.reopen()
	require.GreaterOrEqual(t, r.changes().Through, modSeq)
	info, err = r.as("bob").Info(ctx)
	require.NoError(t, err)
	require.Equal(t, 293, info.Unseen, "another bob")
	require.NoError(t, r.account().Rename(ctx, "INBOX", "Old"))
	require.Equal(t, 2*293, r.private())
	require.NoError(t, r.st.DeleteAccount(ctx, "anna"))
	require.Zero(t, r.count("SELECT count(*) FROM private"))
	require.Zero(t, r.count("SELECT count(*) FROM page"))
	require.Empty(t, r.check())
}

func (r *rig) changes() store.AccountChanges {
	r.t.Helper()
	c, err := r.account().Changes(r.t.Context(), 0)
	require.NoError(r.t, err)
	return c
}

// The hidden mailboxes cannot be reached by their ids.
func TestPrivateHidden(t *testing.T) {
	r := newRig(t, Options{})
	ctx := t.Context()
	require.NoError(t, r.place(letter(1)).Err)
	r.seen(r.as("bob"), store.AllUIDs())
	id := store.MailboxID(r.count("SELECT box FROM private"))
	for range 2 {
		_, err := r.inbox().Copy(ctx, store.AllUIDs(), id)
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = r.account().(store.Annotations).Annotate(ctx, id, store.Annotation{Key: "k", Value: []byte{}})
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = r.account().(store.Annotations).Annotations(ctx, id, "")
		require.ErrorIs(t, err, store.ErrNotFound)
		target := store.Target{Account: "anna", Mailbox: store.Inbox, Body: r.stage(letter(2)), Replaces: 1, ReplacesIn: id}
		require.ErrorIs(t, r.st.Place(ctx, []store.Target{target})[0].Err, store.ErrNotFound)
		err = r.st.do(ctx, func(t *tx) error { // in a batch that has them at hand
			a, err := t.existing("anna")
			require.NoError(r.t, err)
			b, err := a.named(store.Inbox)
			require.NoError(r.t, err)
			_, err = b.marks("bob")
			require.NoError(r.t, err)
			_, err = a.box(id)
			return err
		})
		require.ErrorIs(t, err, store.ErrNotFound)
		r.reopen()
	}
	boxes, err := r.account().Mailboxes(ctx)
	require.NoError(t, err)
	require.Len(t, boxes, 1)
}

// A snapshot has of a commit the shared flags and the private one, or neither.
func TestPrivateOneMoment(t *testing.T) {
	for name, memory := range map[string]int64{"cached": 0, "not": -1} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{SnapshotMemory: memory})
			for i := range 10 {
				require.NoError(t, r.place(letter(i)).Err)
			}
			ctx, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer stop()
			var wg sync.WaitGroup
			wg.Go(func() {
				for i := 0; ctx.Err() == nil; i++ {
					_, err := r.as("bob").Flag(t.Context(), store.UIDs(store.UID(i%10+1)), store.FlagUpdate{
						Op: store.FlagOp(i / 10 % 2), Flags: []store.Flag{store.FlagSeen, store.FlagFlagged}})
					if err != nil {
						t.Error(err)
					}
				}
			})
			for range 2 {
				wg.Go(func() {
					mb := r.as("bob")
					for at := store.ModSeq(0); ctx.Err() == nil; {
						snap, err := mb.Snapshot(t.Context())
						if err != nil {
							t.Error(err)
							return
						}
						if snap.ModSeq() < at {
							t.Errorf("%d after %d", snap.ModSeq(), at)
						}
						at = snap.ModSeq()
						for _, row := range snap.All() {
							if (row.Flags&store.BitSeen == 0) != (row.Flags&store.BitFlagged == 0) {
								t.Errorf("half a change: %b", row.Flags)
								return
							}
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// What a failed commit did to an actor's flags is not seen.
func TestPrivateFails(t *testing.T) {
	r := newRig(t, Options{})
	require.NoError(t, r.place(letter(1)).Err)
	r.seen(r.as("bob"), store.AllUIDs())
	r.database(func(point string) error {
		if point == "commit" {
			return errDisk
		}
		return nil
	})
	_, err := r.as("bob").Flag(t.Context(), store.AllUIDs(), store.FlagUpdate{Op: store.FlagsRemove, Flags: []store.Flag{store.FlagSeen}})
	require.Error(t, err)
	snap, err := r.as("bob").Snapshot(t.Context())
	require.NoError(t, err)
	require.Equal(t, store.BitSeen, snap.At(0).Flags)
	r.database(nil)
	r.reopen()
	snap, err = r.as("bob").Snapshot(t.Context())
	require.NoError(t, err)
	require.Equal(t, store.BitSeen, snap.At(0).Flags)
	require.Equal(t, 1, r.private())
}
