package memory

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/posta-mail/posta/store"
)

// gate counts the calls under way, so that Close can wait for them.
type gate struct {
	mu     sync.Mutex
	calls  int
	closed bool
	idle   chan struct{} // closed when the last call has left
}

// enter begins a call; leave ends it.
func (g *gate) enter(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return store.ErrUnavailable
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	g.calls++
	return nil
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls--; g.closed && g.calls == 0 {
		close(g.idle)
	}
}

// close refuses new calls and waits for those under way; false if it was
// closed before.
func (g *gate) close() bool {
	g.mu.Lock()
	if g.closed {
		g.mu.Unlock()
		return false
	}
	g.closed, g.idle = true, make(chan struct{})
	if g.calls == 0 {
		close(g.idle)
	}
	g.mu.Unlock()
	<-g.idle
	return true
}

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
