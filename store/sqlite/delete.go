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
		delete(a.allNames(), name)
		a.t.dead = append(a.t.dead, deadRow{a: a, refs: snapshotRefs(snap)})
		a.event(store.MailboxDeleted, at, b.m.ID, name, "")
		return nil
	})
}
