package maildir

import (
	"context"

	"github.com/posta-mail/posta/store"
)

// SetUIDNext changes a mailbox's UIDNEXT, so that tests reach the end of UIDs.
func SetUIDNext(s *Store, account, mailbox string, next store.UID) error {
	ctx := context.Background()
	a, err := s.pin(ctx, account)
	if err != nil {
		return err
	}
	defer s.unpin(a)
	return a.update(ctx, func(t *tx) error {
		b, err := t.st.find(mailbox)
		if err != nil {
			return err
		}
		bt, err := t.box(b.ID)
		if err != nil {
			return err
		}
		bt.UIDNext = next
		bt.ModSeq, t.dirty = t.modSeq, true
		return nil
	})
}
