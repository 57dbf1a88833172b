package store

import (
	"context"
	"fmt"
)

// Quotas is an optional ability of a Store: limits on what an account holds
// (RFC 9208). Limits are checked in the commit that would exceed them: Place,
// Copy and Create fail with ErrOverQuota, and what is there is never lost to a
// limit set below it. A replacement counts by its difference (RFC 8508 §3.4).
type Quotas interface {
	// Quota tells what an account uses and may use; ErrNotFound if there is
	// no such account.
	Quota(ctx context.Context, account string) (Quota, error)
	// SetQuota changes the limits, durably. The zero value lifts them all.
	SetQuota(ctx context.Context, account string, limit Usage) error
}

// Usage counts what an account holds. As a limit, zero means none and a
// negative value that nothing may be added.
type Usage struct {
	Octets    int64 // of all messages, each copy counted
	Messages  int64
	Mailboxes int64
}

// Quota is what an account uses and may use.
type Quota struct{ Used, Limit Usage }

// Admit returns ErrOverQuota, wrapped with the resource's name, if adding add
// would pass a limit. Only what grows is held to its limit, so that an account
// above it can still be tidied up.
func (q Quota) Admit(add Usage) error {
	for _, r := range [...]struct {
		name             string
		used, limit, add int64
	}{
		{"storage", q.Used.Octets, q.Limit.Octets, add.Octets},
		{"messages", q.Used.Messages, q.Limit.Messages, add.Messages},
		{"mailboxes", q.Used.Mailboxes, q.Limit.Mailboxes, add.Mailboxes},
	} {
		if r.add > 0 && r.limit != 0 && r.add > max(r.limit, 0)-r.used {
			return fmt.Errorf("%w: %s: %d used of %d, %d to be added", ErrOverQuota, r.name, r.used, max(r.limit, 0), r.add)
		}
	}
	return nil
}
