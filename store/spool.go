package store

import (
	"context"
	"time"
)

// Spool keeps messages on their way, durably. The queue owns the meaning of
// an item's Envelope; the spool keeps the keys it is scheduled by. Safe for
// concurrent use, also by several processes where the engine allows them.
type Spool interface {
	// Enqueue adds all items in one commit, or none. Their Body may be
	// shared between them and with mailboxes; it is kept once. IDs are
	// assigned and returned in order.
	Enqueue(ctx context.Context, items []SpoolItem) ([]ItemID, error)

	// Lease takes up to max items that are due at now and not leased, oldest
	// due first, for ttl. Held items are left out, and those of the sites
	// named by except, however many wait there. A lease that expires is
	// given to the next caller with a higher Fence.
	Lease(ctx context.Context, now time.Time, max int, ttl time.Duration, except ...string) ([]LeasedItem, error)
	// Extend prolongs a lease to now+ttl; ErrConflict if it was lost.
	Extend(ctx context.Context, id ItemID, fence uint64, now time.Time, ttl time.Duration) error
	// Settle ends a lease: the item is rescheduled with next, or removed if
	// next is nil, and the items of enqueue (a bounce, say) are added, all
	// in one commit. ErrConflict, and nothing done, if the lease was lost.
	Settle(ctx context.Context, id ItemID, fence uint64, next *Reschedule, enqueue []SpoolItem) ([]ItemID, error)

	// NextDue is the earliest time at which an item that is not held may be
	// leased: its due time, or its lease's end. ok is false when there is
	// none. Items that are not leased are left out if their site is in except.
	NextDue(ctx context.Context, except ...string) (due time.Time, ok bool, err error)
	// Watch wakes up after an item was enqueued, settled or steered;
	// coalesced. Closed when ctx ends or the store closes.
	Watch(ctx context.Context) <-chan struct{}

	// Open reads an item's message, prefix and body as one.
	Open(ctx context.Context, id ItemID) (Body, error)
	// List returns up to max items with ids greater than after, in id order.
	List(ctx context.Context, after ItemID, max int) ([]SpoolEntry, error)
	// Steer changes the due time or the hold of an item, leased or not;
	// ErrNotFound if it is gone.
	Steer(ctx context.Context, id ItemID, steer Steer) error
	// Remove drops an item that is not leased; ErrInUse if it is.
	Remove(ctx context.Context, id ItemID) error
}

// Spooler is implemented by stores that have a spool.
type Spooler interface{ Spool() Spool }

// ItemID names a spool item: grows strictly, never reused.
type ItemID uint64

// SpoolItem is an item to be enqueued.
type SpoolItem struct {
	Due      time.Time // the zero time: at once
	Site     string    // destination the item is scheduled under, such as a domain; at most 255 octets
	Envelope []byte    // opaque, at most 1 MiB
	Prefix   []byte    // header lines in front of Body, as in Target
	Body     Staged
	Hold     bool // enqueue, but do not lease until steered
}

// SpoolEntry is an item as the spool knows it.
type SpoolEntry struct {
	ID       ItemID
	Due      time.Time
	Site     string
	Attempts int       // leases given so far
	Leased   time.Time // end of the lease; zero if not leased
	Hold     bool
	Created  time.Time
	Size     int64 // octets of the message, prefix included
	Envelope []byte
}

// LeasedItem is an item and the fence that proves the lease.
type LeasedItem struct {
	SpoolEntry
	Fence uint64
}

// Reschedule is the next state of an item.
type Reschedule struct {
	Due      time.Time
	Site     string
	Envelope []byte
	Hold     bool
}

// Steer says what to change; nil fields stay.
type Steer struct {
	Due  *time.Time
	Hold *bool
}
