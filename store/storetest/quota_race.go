package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// within looks at an account again and again while writers work: at no moment
// is it above its limit.
func (k *kit) within(t *team, account string) {
	q := k.quotas()
	for range 2 {
		t.until(func() error {
			got, err := q.Quota(k.Context(), account)
			if err == nil && got.Used.Octets > got.Limit.Octets {
				err = fmt.Errorf("%d octets used of %d", got.Used.Octets, got.Limit.Octets)
			}
			return err
		})
	}
}

// 16 writers fill an account: to the last message that fits, and not one octet
// more.
func quotaWriters(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	const fit, size = 100, 200
	k.limit(a, store.Usage{Octets: fit*size + size - 1, Mailboxes: 6})
	target := k.sized(a, store.Inbox, size)
	var t team
	var placed, made atomic.Int32
	for w := range 16 {
		t.run(func() error {
			for i := range 12 {
				switch p := k.st.Place(ctx, []store.Target{target}); {
				case p[0].Err == nil:
					placed.Add(1)
				case !errors.Is(p[0].Err, store.ErrOverQuota):
					return p[0].Err
				}
				switch _, err := a.Create(ctx, fmt.Sprintf("box-%d-%d", w, i), store.CreateOptions{}); {
				case err == nil:
					made.Add(1)
				case !errors.Is(err, store.ErrOverQuota):
					return err
				}
			}
			return nil
		})
	}
	k.within(&t, "anna")
	require.NoError(k, t.wait())
	require.EqualValues(k, fit, placed.Load(), "what fits is filed, and no more")
	require.EqualValues(k, 5, made.Load())
	require.EqualValues(k, fit*size, k.quota(a).Used.Octets)
}

// The same with all that changes what is used.
func quotaMixedWriters(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	one, two := k.box(a, store.Inbox), k.create(a, "Two")
	k.limit(a, store.Usage{Octets: 5001})
	var sizes []store.Target
	for i := range 8 {
		sizes = append(sizes, k.sized(a, store.Inbox, 50+37*i))
	}
	var t team
	var refused atomic.Int32
	for w := range 16 {
		t.run(func() error {
			rnd := rand.New(rand.NewPCG(uint64(w), 4))
			for range 15 {
				s, err := one.Snapshot(ctx)
				if err != nil {
					return err
				}
				var some store.UIDSet
				if s.Len() > 0 {
					some = store.UIDs(s.At(rnd.IntN(s.Len())).UID)
				}
				target := sizes[rnd.IntN(len(sizes))]
				switch rnd.IntN(8) {
				case 0, 1, 2:
					err = k.st.Place(ctx, []store.Target{target})[0].Err
				case 3, 4:
					if len(some) > 0 {
						target.Replaces, target.ReplacesIn = some[0].From, one.ID()
						target.Mailbox = []string{store.Inbox, "Two"}[rnd.IntN(2)]
						err = k.st.Place(ctx, []store.Target{target})[0].Err
					}
				case 5:
					_, err = one.Copy(ctx, some, two.ID())
				case 6:
					_, err = one.Move(ctx, some, two.ID())
				case 7:
					_, err = one.Expunge(ctx, some)
				}
				if errors.Is(err, store.ErrOverQuota) {
					refused.Add(1)
					err = nil
				}
				if err != nil && !isAny(err, store.ErrNotFound, store.ErrExpunged) {
					return err
				}
			}
			return nil
		})
	}
	k.within(&t, "anna")
	require.NoError(k, t.wait())
	require.NotZero(k, refused.Load(), "the limit was reached")
	require.LessOrEqual(k, k.quota(a).Used.Octets, int64(5001))
}
