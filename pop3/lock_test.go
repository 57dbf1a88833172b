package pop3

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// leaseStore is a store whose leases can be made to fail.
type leaseStore struct {
	store.Store
	store.Leases
	mu       sync.Mutex
	extend   error // of Extend, if set
	extended int
	released int
}

func (s *leaseStore) Lease(ctx context.Context, account, name string, ttl time.Duration) (store.Lease, error) {
	l, err := s.Leases.Lease(ctx, account, name, ttl)
	if err != nil {
		return nil, err
	}
	return &spiedLease{l, s}, nil
}

func (s *leaseStore) set(extend error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extend = extend
}

func (s *leaseStore) counts() (extended, released int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.extended, s.released
}

type spiedLease struct {
	store.Lease
	s *leaseStore
}

func (l *spiedLease) Extend(ctx context.Context, ttl time.Duration) error {
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.extended++
	if l.s.extend != nil {
		return l.s.extend
	}
	return l.Lease.Extend(ctx, ttl)
}

func (l *spiedLease) Release(ctx context.Context) error {
	time.Sleep(time.Second) // a store far away
	l.s.mu.Lock()
	defer l.s.mu.Unlock()
	l.s.released++
	return l.Lease.Release(ctx)
}

func lockBubble(t *testing.T, f func(t *testing.T, l *memnet.Listener, st *memory.Store, ls *leaseStore)) {
	ls := &leaseStore{}
	bubble(t, &Server{Store: ls}, func(t *testing.T, l *memnet.Listener, st *memory.Store) {
		ls.Store = st
		f(t, l, st, ls)
		// Whatever happened, nothing keeps on prolonging.
		synctest.Wait()
		time.Sleep(time.Minute)
		before, _ := ls.counts()
		time.Sleep(time.Hour)
		after, _ := ls.counts()
		require.Equal(t, before, after)
	})
}

func inUse(t testing.TB, l *memnet.Listener, user string) {
	t.Helper()
	c := newTalk(t, l)
	c.hear("+OK ")
	c.say("USER " + user + "\r\nPASS " + password + "\r\nQUIT\r\n")
	c.hear("+OK ", "-ERR [IN-USE] ", "+OK Bye")
	c.hearEOF()
}

// The lock is held for as long as the session lives, and not longer.
func TestLockLivesWithSession(t *testing.T) {
	lockBubble(t, func(t *testing.T, l *memnet.Listener, _ *memory.Store, ls *leaseStore) {
		c := login(t, l, "anna")
		for range 10 {
			time.Sleep(9 * time.Minute)
			inUse(t, l, "anna")
			c.say("NOOP\r\n")
			c.hear("+OK ")
		}
		extended, _ := ls.counts()
		require.GreaterOrEqual(t, extended, 90)
		c.say("QUIT\r\n")
		c.hear("+OK Bye")
		// Who has read the answer can log in at once.
		login(t, l, "anna").say("QUIT\r\n")
		time.Sleep(time.Minute)
		_, released := ls.counts()
		require.Equal(t, 2, released)
	})
}

// A lock that somebody else has taken over ends the session, and nothing is
// deleted.
func TestLockLost(t *testing.T) {
	for _, cmd := range []string{"NOOP", "QUIT", "RETR 1"} {
		lockBubble(t, func(t *testing.T, l *memnet.Listener, st *memory.Store, ls *leaseStore) {
			c := login(t, l, "anna")
			c.say("DELE 1\r\n")
			c.hear("+OK ")
			ls.set(fmt.Errorf("taken: %w", store.ErrConflict))
			time.Sleep(lockExtend + time.Second)
			c.say(cmd + "\r\n")
			c.hear("-ERR [SYS/TEMP] Lock of the mailbox lost, nothing was deleted")
			c.hearEOF()
			require.Equal(t, allFive, uids(t, st, "anna"))
		})
	}
}

// QUIT asks once more, since what it does cannot be undone.
func TestLockLostAtTheEnd(t *testing.T) {
	for _, err := range []error{store.ErrConflict, store.ErrUnavailable} {
		lockBubble(t, func(t *testing.T, l *memnet.Listener, st *memory.Store, ls *leaseStore) {
			c := login(t, l, "anna")
			c.say("DELE 1\r\n")
			c.hear("+OK ")
			ls.set(fmt.Errorf("extend: %w", err))
			c.say("QUIT\r\n")
			c.hear("-ERR [SYS/TEMP] Messages were not deleted")
			c.hearEOF()
			require.Equal(t, allFive, uids(t, st, "anna"))
		})
	}
}

// Failures that pass do not end a session; when the lock may have expired it
// ends.
func TestLockCannotBeExtended(t *testing.T) {
	lockBubble(t, func(t *testing.T, l *memnet.Listener, st *memory.Store, ls *leaseStore) {
		c := login(t, l, "anna")
		c.say("DELE 1\r\n")
		c.hear("+OK ")
		ls.set(store.ErrUnavailable)
		time.Sleep(lockExtend + time.Second)
		c.say("NOOP\r\n")
		c.hear("+OK ")
		ls.set(nil)
		time.Sleep(lockTTL)
		c.say("NOOP\r\n")
		c.hear("+OK ")
		ls.set(store.ErrUnavailable)
		time.Sleep(2 * lockTTL)
		c.say("STAT\r\n")
		c.hear("-ERR [SYS/TEMP] Lock of the mailbox lost, nothing was deleted")
		c.hearEOF()
		require.Equal(t, allFive, uids(t, st, "anna"))
	})
}
