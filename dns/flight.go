package dns

import (
	"context"
	"sync"
)

// key names a question; the class is always IN.
type key struct {
	name  string
	qtype uint16
}

// flights joins lookups of one key that run at the same time. Unlike a plain
// single flight nobody is bound to the context of whoever came first, and the
// work is cancelled when the last waiter has gone.
type flights struct {
	mu sync.Mutex
	m  map[key]*flight
}

type flight struct {
	done    chan struct{}
	waiters int // guarded by flights.mu
	cancel  context.CancelFunc
	e       *entry // e and err are set before done is closed
	err     error
}

func (f *flights) do(ctx context.Context, k key, work func(context.Context, key) (*entry, error)) (*entry, error) {
	f.mu.Lock()
	fl := f.m[k]
	if fl == nil {
		wctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		fl = &flight{done: make(chan struct{}), cancel: cancel}
		if f.m == nil {
			f.m = make(map[key]*flight)
		}
		f.m[k] = fl
		go func() {
			defer cancel()
			fl.e, fl.err = work(wctx, k)
			f.forget(k, fl)
			close(fl.done)
		}()
	}
	fl.waiters++
	f.mu.Unlock()

	select {
	case <-fl.done:
		return fl.e, fl.err
	case <-ctx.Done():
	}
	f.mu.Lock()
	if fl.waiters--; fl.waiters == 0 {
		if f.m[k] == fl { // who comes now starts afresh
			delete(f.m, k)
		}
		fl.cancel()
	}
	f.mu.Unlock()
	return nil, contextError(ctx, k.name, k.qtype)
}

func (f *flights) forget(k key, fl *flight) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.m[k] == fl {
		delete(f.m, k)
	}
}
