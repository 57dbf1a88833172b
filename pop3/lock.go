package pop3

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/posta-mail/posta/store"
)

// The exclusive lock of a mailbox (RFC 1939 §4) is a lease, so that a process
// that dies gives it up. It is prolonged for as long as the session lives.
const (
	lockName   = "pop3"
	lockTTL    = 2 * time.Minute
	lockExtend = lockTTL / 3
	lockRetry  = lockTTL / 12
	lockWait   = 10 * time.Second // for one answer of the store
)

// lock is the lock that a session holds.
type lock struct {
	lease store.Lease
	turn  chan struct{} // one call of lease at a time; its holder may use timer

	timer *time.Timer

	mu    sync.Mutex
	until time.Time // it holds surely
	gone  bool      // lost to somebody else
	done  bool      // released
}

func takeLock(ctx context.Context, l store.Leaser, account string) (*lock, error) {
	now := time.Now()
	lease, err := l.Lease(ctx, account, lockName, lockTTL)
	if err != nil {
		return nil, err
	}
	k := &lock{lease: lease, turn: make(chan struct{}, 1), until: now.Add(lockTTL)}
	k.turn <- struct{}{}
	k.timer = time.AfterFunc(lockExtend, k.tick)
	<-k.turn
	return k, nil
}

// tick prolongs the lock from time to time.
func (k *lock) tick() {
	k.turn <- struct{}{}
	defer func() { <-k.turn }()
	if gone, done := k.state(); gone || done {
		return
	}
	err := k.extend()
	if gone, _ := k.state(); gone {
		return
	}
	next := lockExtend
	if err != nil {
		next = lockRetry
	}
	k.timer.Reset(next)
}

// state reports whether the lock was lost to somebody else, or released.
func (k *lock) state() (gone, done bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.gone, k.done
}

// extend prolongs the lock, for the holder of turn.
func (k *lock) extend() error {
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	now := time.Now()
	err := k.lease.Extend(ctx, lockTTL)
	k.mu.Lock()
	defer k.mu.Unlock()
	switch {
	case err == nil:
		k.until = now.Add(lockTTL)
	case errors.Is(err, store.ErrConflict):
		k.gone = true
	}
	return err
}

// lost reports whether somebody else may hold the lock by now.
func (k *lock) lost() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.gone || !time.Now().Before(k.until)
}

// confirm makes sure that the lock holds, for what cannot be undone. It is
// errLock if it does not.
func (k *lock) confirm() error {
	k.turn <- struct{}{}
	defer func() { <-k.turn }()
	if gone, _ := k.state(); gone {
		return errLock
	}
	err := k.extend()
	if gone, _ := k.state(); gone {
		return errors.Join(errLock, err)
	}
	return err
}

func (k *lock) release() error {
	k.turn <- struct{}{}
	defer func() { <-k.turn }()
	if _, done := k.state(); done {
		return nil
	}
	k.mu.Lock()
	k.done = true
	k.mu.Unlock()
	k.timer.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	return k.lease.Release(ctx)
}
