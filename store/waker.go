package store

import (
	"context"
	"sync"
)

// Waker hands out coalesced wake-ups, for engines to build Watch on. The zero
// value is ready. Safe for concurrent use. It runs no goroutine of its own.
type Waker struct {
	mu       sync.Mutex
	watchers map[chan struct{}]func() bool // stops the AfterFunc of its context
	closed   bool
}

// Watch returns a channel that holds one value after any number of calls of
// Wake since the last receive. It is closed when ctx ends or the Waker
// closes. A caller that looks at the truth after Watch returned, and again
// after each receive, misses nothing.
func (w *Waker) Watch(ctx context.Context) <-chan struct{} {
	ch := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || ctx.Err() != nil {
		close(ch)
		return ch
	}
	if w.watchers == nil {
		w.watchers = make(map[chan struct{}]func() bool)
	}
	w.watchers[ch] = context.AfterFunc(ctx, func() { w.drop(ch) })
	return ch
}

// drop closes one watcher, unless Close has.
func (w *Waker) drop(ch chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, ok := w.watchers[ch]; ok {
		delete(w.watchers, ch)
		close(ch)
	}
}

// Wake wakes all watchers. It never blocks. Call it after the commit is
// visible.
func (w *Waker) Wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for ch := range w.watchers {
		select {
		case ch <- struct{}{}:
		default: // one is waiting already
		}
	}
}

// Close closes all channels, and those of later calls of Watch at once.
func (w *Waker) Close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for ch, stop := range w.watchers {
		stop()
		close(ch)
	}
	w.watchers = nil
}
