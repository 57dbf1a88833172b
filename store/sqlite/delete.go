package sqlite

import (
	"context"
	"fmt"

	"github.com/posta-mail/posta/store"
)

func (a *accountHandle) Delete(ctx context.Context, name string) error {
	name, err := store.CanonicalName(name)
	if err != nil {
		return errNoMailbox // such a mailbox cannot be
	}
	if name == store.Inbox {
		return fmt.Errorf("%w: INBOX cannot be deleted", store.ErrReadOnly)
	}
	a.warm(ctx, name)
	return a.mutate(ctx, func(a *acctTx) error {
		b, err := a.named(name)
		if err != nil {
			return err
		}
		snap, err := b.snapshot()
		if err != nil {
			return err
		}
		at := a.next()
		b.deleted = true
		b.dropHidden()
		a.used.Octets -= b.m.Size
		a.used.Messages -= int64(b.m.Messages)
		a.used.Mailboxes--
		delete(a.allNames(), name)
		a.t.dead = append(a.t.dead, deadRow{a: a, refs: snapshotRefs(snap)})
		a.event(store.MailboxDeleted, at, b.m.ID, name, "")
		return nil
	})
}

// warm reads the snapshot of a mailbox whose messages a mutation will need, so
// that the committer need not wait for it.
func (a *accountHandle) warm(ctx context.Context, name string) {
	mb, err := a.Mailbox(ctx, name)
	if err == nil {
		_, _ = mb.Snapshot(ctx) // the mutation will meet the same error
	}
}
