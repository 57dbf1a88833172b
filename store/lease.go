package store

import (
	"context"
	"time"
)

// Leaser is an optional ability of a Store: exclusive, expiring, fenced locks
// on a name within an account, honoured by all processes that share the
// store. Where it is missing, Leases serves one process.
type Leaser interface {
	// Lease takes the lock or returns ErrInUse. It holds for ttl and is
	// extended by Lease.Extend.
	Lease(ctx context.Context, account, name string, ttl time.Duration) (Lease, error)
}

// Lease is a lock that is held.
type Lease interface {
	// Fence grows with every holder of this name.
	Fence() uint64
	// Extend prolongs the lease to now+ttl; ErrConflict if it was lost.
	Extend(ctx context.Context, ttl time.Duration) error
	// Release gives the lock up; harmless if it was lost.
	Release(ctx context.Context) error
}
