package sqlite

import (
	"context"

	"github.com/posta-mail/posta/store"
)

// SetUIDNext moves a mailbox to the end of its UIDs.
func SetUIDNext(s *Store, account, mailbox string, next store.UID) error {
	return s.do(context.Background(), func(t *tx) error {
		a, err := t.existing(account)
		if err != nil {
			return err
		}
		b, err := a.named(mailbox)
		if err != nil {
			return err
		}
		if _, err := b.snapshot(); err != nil {
			return err
		}
		at := a.next()
		b.m.UIDNext = next
		b.apply(at, nil, nil)
		return nil
	})
}
