package memory

import (
	"context"

	"github.com/posta-mail/posta/store"
)

// Quota implements store.Quotas.
func (s *Store) Quota(ctx context.Context, account string) (q store.Quota, err error) {
	a, err := s.open(ctx, account)
	if err != nil {
		return q, err
	}
	err = a.read(ctx, func() error {
		q = store.Quota{Used: a.used, Limit: a.limit}
		return nil
	})
	return q, err
}

// SetQuota implements store.Quotas.
func (s *Store) SetQuota(ctx context.Context, account string, limit store.Usage) error {
	a, err := s.open(ctx, account)
	if err != nil {
		return err
	}
	return a.write(ctx, func(*commit) error {
		a.limit = limit
		return nil
	})
}
