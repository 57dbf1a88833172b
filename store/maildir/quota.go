package maildir

import (
	"context"
	"fmt"

	"github.com/posta-mail/posta/store"
)

var _ store.Quotas = (*Store)(nil)

// Quota implements store.Quotas. What other programs deliver counts, and is
// never refused.
func (s *Store) Quota(ctx context.Context, name string) (q store.Quota, err error) {
	err = s.open(ctx, name, func(a *account) error {
		st, err := a.refreshAll(ctx)
		if err == nil {
			q = store.Quota{Used: st.used(), Limit: st.limit}
		}
		return err
	})
	return q, err
}

// SetQuota implements store.Quotas.
func (s *Store) SetQuota(ctx context.Context, name string, limit store.Usage) error {
	return s.open(ctx, name, func(a *account) error {
		return a.update(ctx, func(t *tx) error {
			if t.st.limit != limit {
				t.st.limit, t.dirty = limit, true
			}
			return nil
		})
	})
}

// open runs f with an account open.
func (s *Store) open(ctx context.Context, name string, f func(*account) error) error {
	if err := s.gate.Enter(ctx); err != nil {
		return err
	}
	defer s.gate.Leave()
	a, err := s.pin(ctx, name)
	if err != nil {
		return err
	}
	defer s.unpin(a)
	return a.check(f(a))
}

// used is what an account holds.
func (s *state) used() store.Usage {
	u := store.Usage{Mailboxes: int64(len(s.boxes))}
	for _, b := range s.boxes {
		u.Octets += b.Size
		u.Messages += int64(b.Messages)
	}
	return u
}

// admit holds what a commit adds to the limits.
func (t *tx) admit(before *state) error {
	if t.foreign || t.st.limit == (store.Usage{}) {
		return nil
	}
	old, now := before.used(), t.st.used()
	return store.Quota{Used: old, Limit: t.st.limit}.Admit(store.Usage{
		Octets: now.Octets - old.Octets, Messages: now.Messages - old.Messages, Mailboxes: now.Mailboxes - old.Mailboxes})
}

// formatLimit and parseLimit are limits as the index keeps them.
func formatLimit(u store.Usage) string {
	return fmt.Sprintf("%d %d %d", u.Octets, u.Messages, u.Mailboxes)
}

func parseLimit(s string) (u store.Usage, err error) {
	if s == "" {
		return u, nil
	}
	if _, err = fmt.Sscanf(s, "%d %d %d", &u.Octets, &u.Messages, &u.Mailboxes); err != nil {
		err = fmt.Errorf("%w: limits %.60q", store.ErrCorrupt, s)
	}
	return u, err
}
