package wire

import "sync/atomic"

// Budget is memory shared by many connections. The zero value and nil have no
// bound. Safe for concurrent use.
type Budget struct {
	max  int64
	used atomic.Int64
}

// NewBudget returns a budget of max octets; no bound if max is not positive.
func NewBudget(max int64) *Budget { return &Budget{max: max} }

// Used is how many octets are lent out.
func (b *Budget) Used() int64 {
	if b == nil {
		return 0
	}
	return b.used.Load()
}

// Max is the bound; 0 for none.
func (b *Budget) Max() int64 {
	if b == nil {
		return 0
	}
	return max(b.max, 0)
}

// Acquire takes n octets, or reports false when they are not there.
func (b *Budget) Acquire(n int) bool { return b.acquire(n) }

// Release gives octets back.
func (b *Budget) Release(n int) { b.release(n) }

func (b *Budget) acquire(n int) bool {
	if b == nil {
		return true
	}
	if used := b.used.Add(int64(n)); b.max > 0 && used > b.max {
		b.used.Add(-int64(n))
		return false
	}
	return true
}

func (b *Budget) release(n int) {
	if b != nil {
		b.used.Add(-int64(n))
	}
}
