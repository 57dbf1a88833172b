package store

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Leases is a Leaser for one process, for stores that are none. The zero
// value is ready. Safe for concurrent use.
type Leases struct {
	mu    sync.Mutex
	held  map[leaseKey]*localLease
	fence uint64
	sweep int // drop expired leases when held grows to this
}

type leaseKey struct{ account, name string }

type localLease struct {
	of    *Leases
	key   leaseKey
	fence uint64
	end   time.Time
}

// Lease implements Leaser. A ttl that is not positive is ErrInvalid.
func (l *Leases) Lease(ctx context.Context, account, name string, ttl time.Duration) (Lease, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if ttl <= 0 {
		return nil, fmt.Errorf("%w: lease of %v", ErrInvalid, ttl)
	}
	now := time.Now()
	key := leaseKey{account, name}
	l.mu.Lock()
	defer l.mu.Unlock()
	if h := l.held[key]; h != nil && now.Before(h.end) {
		return nil, fmt.Errorf("%w: %s", ErrInUse, name)
	}
	l.expire(now)
	l.fence++
	h := &localLease{of: l, key: key, fence: l.fence, end: now.Add(ttl)}
	l.held[key] = h
	return h, nil
}

// expire drops what has expired, at a cost that is constant on average.
func (l *Leases) expire(now time.Time) {
	if l.held == nil {
		l.held = make(map[leaseKey]*localLease)
	}
	if len(l.held) < max(l.sweep, 64) {
		return
	}
	for k, h := range l.held {
		if !now.Before(h.end) {
			delete(l.held, k)
		}
	}
	l.sweep = 2 * len(l.held)
}

func (h *localLease) Fence() uint64 { return h.fence }

func (h *localLease) Extend(ctx context.Context, ttl time.Duration) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if ttl <= 0 {
		return fmt.Errorf("%w: lease of %v", ErrInvalid, ttl)
	}
	now := time.Now()
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	if h.of.held[h.key] != h || !now.Before(h.end) {
		return fmt.Errorf("%w: lease lost", ErrConflict)
	}
	h.end = now.Add(ttl)
	return nil
}

func (h *localLease) Release(context.Context) error {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	if h.of.held[h.key] == h {
		delete(h.of.held, h.key)
	}
	return nil
}
