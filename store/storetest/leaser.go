package storetest

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var leaserChecks = []check{
	{"Leaser/exclusive", leaserExclusive},
	{"Leaser/expiry", leaserExpiry},
	{"Leaser/concurrent", leaserConcurrent},
}

// leaser gives the store's Leaser.
func (k *kit) leaser() store.Leaser {
	k.Helper()
	l, ok := k.st.(store.Leaser)
	require.True(k, ok, "the engine is no Leaser")
	k.account("anna")
	k.account("bob")
	return l
}

func leaserExclusive(k *kit) {
	ctx := k.Context()
	l := k.leaser()
	first, err := l.Lease(ctx, "anna", "pop", time.Hour)
	require.NoError(k, err)
	_, err = l.Lease(ctx, "anna", "pop", time.Hour)
	require.ErrorIs(k, err, store.ErrInUse)
	for _, other := range [][2]string{{"bob", "pop"}, {"anna", "other"}} {
		o, err := l.Lease(ctx, other[0], other[1], time.Hour)
		require.NoError(k, err)
		require.NoError(k, o.Release(ctx))
	}
	require.NoError(k, first.Extend(ctx, 2*time.Hour))
	require.NoError(k, first.Release(ctx))
	second, err := l.Lease(ctx, "anna", "pop", time.Hour)
	require.NoError(k, err)
	require.Greater(k, second.Fence(), first.Fence())
	require.ErrorIs(k, first.Extend(ctx, time.Hour), store.ErrConflict, "given up")
	require.NoError(k, first.Release(ctx), "harmless")
	_, err = l.Lease(ctx, "anna", "pop", time.Hour)
	require.ErrorIs(k, err, store.ErrInUse, "and it took nothing from the holder")
	require.NoError(k, second.Extend(ctx, time.Hour))
	require.NoError(k, second.Release(ctx))
}

func leaserExpiry(k *kit) {
	ctx := k.Context()
	l := k.leaser()
	first, err := l.Lease(ctx, "anna", "pop", 50*time.Millisecond)
	require.NoError(k, err)
	var second store.Lease
	require.Eventually(k, func() bool {
		second, err = l.Lease(ctx, "anna", "pop", time.Hour)
		return err == nil
	}, k.cfg.Patience, 5*time.Millisecond, "it expires")
	require.Greater(k, second.Fence(), first.Fence())
	require.ErrorIs(k, first.Extend(ctx, time.Hour), store.ErrConflict)
	require.NoError(k, first.Release(ctx))
	require.NoError(k, second.Extend(ctx, time.Hour))
}

func leaserConcurrent(k *kit) {
	l := k.leaser()
	var holders, taken atomic.Int32
	var t team
	for range 8 {
		t.run(func() error {
			for range 25 {
				h, err := l.Lease(k.Context(), "anna", "pop", time.Hour)
				if errors.Is(err, store.ErrInUse) {
					continue
				}
				if err != nil {
					return err
				}
				taken.Add(1)
				if holders.Add(1) > 1 {
					return errors.New("two holders")
				}
				holders.Add(-1)
				if err := h.Release(k.Context()); err != nil {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(k, t.wait())
	require.Positive(k, taken.Load())
}
