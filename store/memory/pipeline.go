package memory

import (
	"context"

	"github.com/posta-mail/posta/store"
)

// PlaceLater implements store.Pipeliner. There is no disk to wait for: the
// messages are filed when it returns.
func (s *Store) PlaceLater(ctx context.Context, targets []store.Target) (wait func() []store.Placed) {
	placed := s.Place(ctx, targets)
	return func() []store.Placed { return placed }
}
