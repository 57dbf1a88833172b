package sqlite

import (
	"context"

	"github.com/posta-mail/posta/store"
)

// Quota implements store.Quotas. What is used is kept with the account.
func (s *Store) Quota(ctx context.Context, account string) (store.Quota, error) {
	a := &accountHandle{s: s, name: account, actor: account}
	e, err := a.enter(ctx)
	if err != nil {
		return store.Quota{}, err
	}
	defer a.leave(e)
	e.mu.RLock()
	defer e.mu.RUnlock()
	if e.a == nil {
		return store.Quota{}, errNoAccount
	}
	return store.Quota{Used: e.a.used, Limit: e.a.limit}, nil
}

// SetQuota implements store.Quotas.
func (s *Store) SetQuota(ctx context.Context, account string, limit store.Usage) error {
	a := &accountHandle{s: s, name: account, actor: account}
	return a.mutate(ctx, func(a *acctTx) error {
		a.limit = limit
		a.touched, a.row, a.t.dirty = true, true, true
		return nil
	})
}

// admit is called by plans before they add anything: no other change comes
// between it and the commit.
func (a *acctTx) admit(add store.Usage) error {
	return store.Quota{Used: a.used, Limit: a.limit}.Admit(add)
}
