package maildir

import (
	"context"
	"sync"

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
