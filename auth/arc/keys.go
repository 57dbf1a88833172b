package arc

import (
	"context"
	"fmt"
	"sync"

	"github.com/posta-mail/posta/auth/dkim"
)

// maxParallel is how many keys of a message are fetched at a time.
const maxParallel = 8

// key is a key on its way; records and err are set when done is closed.
type key struct {
	domain, selector string
	done             chan struct{}
	records          []*dkim.KeyRecord
	err              error
}

func (k *key) wait(ctx context.Context) ([]*dkim.KeyRecord, error) {
	select {
	case <-k.done:
		return k.records, k.err
	default:
	}
	select {
	case <-k.done:
		return k.records, k.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", dkim.ErrKeyUnavailable, ctx.Err())
	}
}

// fetch sends for the keys of signatures, once for each, in their order.
func (v *Verifier) fetch(ctx context.Context, list []*signature) map[string]*key {
	keys := make(map[string]*key, len(list))
	queue := make([]*key, 0, len(list))
	for _, s := range list {
		if name := s.keyName(); keys[name] == nil {
			k := &key{domain: s.domain, selector: s.selector, done: make(chan struct{})}
			keys[name] = k
			queue = append(queue, k)
		}
	}
	source := &dkim.Verifier{Resolver: v.Resolver, MaxRecordBytes: v.MaxRecordBytes}
	var mu sync.Mutex
	next := func() *key {
		mu.Lock()
		defer mu.Unlock()
		if len(queue) == 0 {
			return nil
		}
		k := queue[0]
		queue = queue[1:]
		return k
	}
	for range min(maxParallel, len(queue)) {
		go func() {
			for k := next(); k != nil; k = next() {
				if err := ctx.Err(); err != nil {
					k.err = fmt.Errorf("%w: %w", dkim.ErrKeyUnavailable, err)
				} else {
					k.records, k.err = source.LookupKey(ctx, k.domain, k.selector)
				}
				close(k.done)
			}
		}()
	}
	return keys
}
