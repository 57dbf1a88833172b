package store_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var _ store.Leaser = (*store.Leases)(nil)

func TestLeases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx := t.Context()
		var l store.Leases
		a, err := l.Lease(ctx, "anna", "pop", time.Minute)
		require.NoError(t, err)
		_, err = l.Lease(ctx, "anna", "pop", time.Minute)
		require.ErrorIs(t, err, store.ErrInUse)
		other, err := l.Lease(ctx, "bob", "pop", time.Minute)
		require.NoError(t, err, "another account")
		require.NoError(t, other.Release(ctx))

		time.Sleep(50 * time.Second)
		require.NoError(t, a.Extend(ctx, time.Minute))
		time.Sleep(50 * time.Second)
		_, err = l.Lease(ctx, "anna", "pop", time.Minute)
		require.ErrorIs(t, err, store.ErrInUse, "extended")
		time.Sleep(10 * time.Second)
		b, err := l.Lease(ctx, "anna", "pop", time.Minute)
		require.NoError(t, err, "expired")
		require.Greater(t, b.Fence(), a.Fence())
		require.ErrorIs(t, a.Extend(ctx, time.Hour), store.ErrConflict)
		require.NoError(t, a.Release(ctx), "harmless")
		_, err = l.Lease(ctx, "anna", "pop", time.Minute)
		require.ErrorIs(t, err, store.ErrInUse, "a lost lease releases nothing")
		require.NoError(t, b.Release(ctx))
		c, err := l.Lease(ctx, "anna", "pop", time.Minute)
		require.NoError(t, err)
		require.Greater(t, c.Fence(), b.Fence())
		time.Sleep(time.Minute)
		require.ErrorIs(t, c.Extend(ctx, time.Minute), store.ErrConflict, "expired, though nobody else has it")

		_, err = l.Lease(ctx, "anna", "x", 0)
		require.ErrorIs(t, err, store.ErrInvalid)
		require.ErrorIs(t, c.Extend(ctx, -1), store.ErrInvalid)
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		_, err = l.Lease(cancelled, "anna", "x", time.Second)
		require.ErrorIs(t, err, context.Canceled)
		require.ErrorIs(t, c.Extend(cancelled, time.Second), context.Canceled)
	})
}

func TestLeasesExclusive(t *testing.T) {
	var l store.Leases
	var holders, taken atomic.Int32
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 200 {
				h, err := l.Lease(t.Context(), "a", "n", time.Hour)
				if err != nil {
					continue
				}
				taken.Add(1)
				if holders.Add(1) != 1 {
					t.Error("two holders")
				}
				holders.Add(-1)
				h.Release(t.Context())
			}
		})
	}
	wg.Wait()
	require.Positive(t, taken.Load())
}

func TestLeasesForgetExpired(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l store.Leases
		for i := range 10000 {
			_, err := l.Lease(t.Context(), "a", fmt.Sprint(i), time.Second)
			require.NoError(t, err)
			time.Sleep(time.Second / 10)
		}
		require.Less(t, store.HeldLeases(&l), 100)
	})
}
