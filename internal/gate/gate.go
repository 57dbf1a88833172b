// Package gate lets Close wait for the calls under way.
package gate

import (
	"context"
	"sync"
)

// Gate counts the calls under way, so that Close can wait for them. It is open
// until then.
type Gate struct {
	// Refusal is what Enter returns once the gate has been closed. Required.
	Refusal error

	mu     sync.Mutex
	calls  int
	closed bool
	idle   chan struct{} // closed when the last call has left
}

// Enter begins a call; Leave ends it. It is ctx's error if that is over, and
// Refusal once the gate has been closed.
func (g *Gate) Enter(ctx context.Context) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return g.Refusal
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	g.calls++
	return nil
}

// Leave ends a call.
func (g *Gate) Leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.calls--; g.closed && g.calls == 0 {
		close(g.idle)
	}
}

// Closed reports whether the gate has been closed.
func (g *Gate) Closed() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.closed
}

// Close refuses new calls and waits for those under way; false if it was
// closed before.
func (g *Gate) Close() bool {
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
