package memory

import "sync/atomic"

// budget counts octets.
type budget struct {
	limit int64 // negative: none
	used  atomic.Int64
}

func (b *budget) reserve(n int64) bool {
	if now := b.used.Add(n); b.limit >= 0 && now > b.limit && n > 0 {
		b.used.Add(-n)
		return false
	}
	return true
}

func (b *budget) release(n int64) { b.used.Add(-n) }
