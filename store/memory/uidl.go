package memory

import (
	"context"
	"maps"

	"github.com/posta-mail/posta/store"
)

// UIDLs implements store.UIDLs.
func (mb openMailbox) UIDLs(ctx context.Context) (uidls map[store.UID]string, err error) {
	err = mb.read(ctx, func() error {
		uidls = maps.Clone(mb.uidls)
		return nil
	})
	return uidls, err
}
