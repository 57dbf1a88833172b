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

	mu    sync.Mutex
	timer *time.Timer
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
	k := &lock{lease: lease, until: now.Add(lockTTL)}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(lockExtend, k.tick)
	return k, nil
}

// tick prolongs the lock from time to time.
func (k *lock) tick() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.done || k.gone {
		return
	}
	switch err := k.extend(); {
	case err == nil:
		k.timer.Reset(lockExtend)
	case !k.gone:
		k.timer.Reset(lockRetry)
	}
}

// extend prolongs the lock; k.mu is held.
func (k *lock) extend() error {
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	now := time.Now()
	err := k.lease.Extend(ctx, lockTTL)
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
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.gone {
		return errLock
	}
	if err := k.extend(); k.gone {
		return errors.Join(errLock, err)
	} else if err != nil {
		return err
	}
	return nil
}

func (k *lock) release() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.done {
		return nil
	}
	k.done = true
	k.timer.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), lockWait)
	defer cancel()
	return k.lease.Release(ctx)
}
