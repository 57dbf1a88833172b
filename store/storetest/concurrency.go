package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var concurrencyChecks = []check{
	{"Concurrent/visibility", concurrentVisibility},
	{"Concurrent/everything", concurrentEverything},
	{"Concurrent/flags", concurrentFlags},
	{"Concurrent/accounts", concurrentAccounts},
	{"Concurrent/atomic-place", concurrentAtomicPlace},
	{"Concurrent/events", concurrentEvents},
}

// team runs goroutines that return errors, and workers that go on until the
// others are done.
type team struct {
	wg, background sync.WaitGroup
	stop           atomic.Bool
	mu             sync.Mutex
	errs           []error
}

func (t *team) fail(err error) {
	if err != nil {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.errs = append(t.errs, err)
		t.stop.Store(true)
	}
}

func (t *team) run(f func() error) { t.wg.Go(func() { t.fail(f()) }) }

// until calls f again and again until all that run are done.
func (t *team) until(f func() error) {
	t.background.Go(func() {
		for !t.stop.Load() {
			if err := f(); err != nil {
				t.fail(err)
				return
			}
		}
	})
}

func (t *team) wait() error {
	t.wg.Wait()
	t.stop.Store(true)
	t.background.Wait()
	return errors.Join(t.errs...)
}

// With 16 writers and 4 readers nobody sees a gap that is filled later, nor a
// change at or below a mod-sequence he has seen (RFC 9051 §2.3.1.1, RFC 7162 §3.1).
func concurrentVisibility(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	s := k.stage(mail(1))
	const writers, each = 16, 15
	var t team
	placed := make([][]store.Placed, writers)
	for w := range writers {
		t.run(func() error {
			for i := range each {
				targets := make([]store.Target, 1+i%3)
				for j := range targets {
					targets[j] = store.Target{Account: "anna", Mailbox: store.Inbox, Body: s}
				}
				for _, p := range k.st.Place(ctx, targets) {
					if p.Err != nil {
						return p.Err
					}
					placed[w] = append(placed[w], p)
				}
				// Read your writes.
				now, err := mb.Snapshot(ctx)
				if err != nil {
					return err
				}
				last := placed[w][len(placed[w])-1]
				if _, ok := now.Find(last.UID); !ok || now.ModSeq() < last.ModSeq {
					return fmt.Errorf("UID %d is filed, but not to be seen", last.UID)
				}
				f, err := mb.Flag(ctx, store.UIDs(last.UID), store.FlagUpdate{Flags: []store.Flag{store.FlagSeen}})
				if err != nil {
					return err
				}
				if f.ModSeq <= last.ModSeq || f.ModSeq <= now.ModSeq() {
					return fmt.Errorf("UID %d flagged at %d, after %d was seen", last.UID, f.ModSeq, now.ModSeq())
				}
				if now, err = mb.Snapshot(ctx); err != nil {
					return err
				}
				n, ok := now.Find(last.UID)
				if !ok || now.At(n).ModSeq != f.ModSeq || now.At(n).Flags&store.BitSeen == 0 {
					return fmt.Errorf("UID %d is flagged, but that is not to be seen", last.UID)
				}
			}
			return nil
		})
	}
	for range 2 {
		var seen *store.Snapshot
		t.until(func() error {
			now, err := mb.Snapshot(ctx)
			if err == nil && seen != nil {
				err = follows(seen, now)
			}
			seen = now
			return err
		})
		var built *store.Snapshot
		t.until(func() (err error) {
			if built == nil {
				built, err = mb.Snapshot(ctx)
				return err
			}
			c, err := mb.Changes(ctx, built.ModSeq())
			if err != nil {
				return err
			}
			now := built.With(c)
			err = follows(built, now)
			built = now
			return err
		})
	}
	require.NoError(k, t.wait())
	all := map[store.UID]bool{}
	for w := range placed {
		for i, p := range placed[w] {
			require.False(k, all[p.UID], "UID %d given twice", p.UID)
			all[p.UID] = true
			if i > 0 {
				require.Greater(k, p.UID, placed[w][i-1].UID)
			}
		}
	}
	require.Equal(k, len(all), k.snap(mb).Len())
}

// Everything at once: what readers build from Changes is what there is.
func concurrentEverything(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	one, two := k.box(a, store.Inbox), k.create(a, "Two")
	k.add(a, store.Inbox, 0, 20)
	s := k.stage(mail(1))
	var t team
	for w := range 6 {
		t.run(func() error {
			rnd := rand.New(rand.NewPCG(uint64(w), 9))
			mb, other := one, two
			if w%2 == 1 {
				mb, other = two, one
			}
			for range 25 {
				now, err := mb.Snapshot(ctx)
				if err != nil {
					return err
				}
				var some store.UIDSet
				for _, r := range now.All() {
					if rnd.IntN(4) == 0 {
						some.Add(r.UID)
					}
				}
				switch rnd.IntN(6) {
				case 0, 1:
					box := []string{store.Inbox, "Two"}[rnd.IntN(2)]
					err = k.st.Place(ctx, []store.Target{{Account: "anna", Mailbox: box, Body: s}})[0].Err
				case 2:
					op := store.FlagOp(rnd.IntN(3))
					_, err = mb.Flag(ctx, some, store.FlagUpdate{Op: op, Flags: []store.Flag{store.FlagSeen, store.Flag(fmt.Sprint("k", rnd.IntN(5)))}})
				case 3:
					if some.Len() > 8 {
						some = some[:1]
					}
					_, err = mb.Copy(ctx, some, other.ID())
				case 4:
					_, err = mb.Move(ctx, some, other.ID())
				case 5:
					_, err = mb.Expunge(ctx, some)
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
	}
	var past [2][]*store.Snapshot
	for i, mb := range []store.Mailbox{one, two} {
		t.until(func() error {
			now, err := mb.Snapshot(ctx)
			if err != nil {
				return err
			}
			if n := len(past[i]); n > 0 {
				if err := follows(past[i][n-1], now); err != nil {
					return err
				}
				if now.ModSeq() == past[i][n-1].ModSeq() {
					return nil
				}
			}
			past[i] = append(past[i], now)
			for j, r := range now.All() {
				if j > 3 {
					break
				}
				b, err := mb.Open(ctx, r)
				if err != nil {
					return err
				}
				b.Close()
			}
			return nil
		})
	}
	require.NoError(k, t.wait())
	k.replay(one, past[0], k.snap(one))
	k.replay(two, past[1], k.snap(two))
}

// Flag changes are operations: none is lost.
func concurrentFlags(k *kit) {
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	k.add(a, store.Inbox, 1, 3)
	var t team
	var want []store.Flag
	for w := range 8 {
		f := store.Flag(fmt.Sprint("writer-", w))
		want = append(want, f)
		t.run(func() error {
			for range 10 {
				for _, op := range []store.FlagOp{store.FlagsAdd, store.FlagsRemove, store.FlagsAdd} {
					r, err := mb.Flag(k.Context(), store.AllUIDs(), store.FlagUpdate{Op: op, Flags: []store.Flag{f}})
					if err != nil {
						return err
					}
					if r.ModSeq == 0 && r.Changed.Len() > 0 {
						return errors.New("changed without a mod-sequence")
					}
				}
			}
			return nil
		})
	}
	require.NoError(k, t.wait())
	s := k.snap(mb)
	for _, r := range s.All() {
		require.Equal(k, want, sorted(s.Flags(r.Flags)))
	}
	// The same with UnchangedSince: of those who saw the same state one wins.
	since := k.snap(mb).ModSeq()
	var winners atomic.Int32
	for w := range 8 {
		t.run(func() error {
			r, err := mb.Flag(k.Context(), store.AllUIDs(), store.FlagUpdate{Op: store.FlagsReplace, Flags: []store.Flag{store.Flag(fmt.Sprint("writer-", w))}, UnchangedSince: &since})
			if err == nil && r.Changed.Len() == 3 {
				winners.Add(1)
			}
			return err
		})
	}
	require.NoError(k, t.wait())
	require.EqualValues(k, 1, winners.Load())
}

func concurrentAccounts(k *kit) {
	ctx := k.Context()
	var t team
	for w := range 8 {
		name := fmt.Sprintf("user%d", w/2) // two fight for each
		t.run(func() error {
			for range 10 {
				if err := k.st.CreateAccount(ctx, name); err != nil && !errors.Is(err, store.ErrExists) {
					return err
				}
				s, err := k.st.Stage(ctx, &pattern{n: 1000})
				if err != nil {
					return err
				}
				p := k.st.Place(ctx, []store.Target{{Account: name, Mailbox: store.Inbox, Body: s}})
				s.Discard()
				if err := p[0].Err; err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				for _, err := range k.st.Accounts(ctx) {
					if err != nil {
						return err
					}
				}
				if err := k.st.DeleteAccount(ctx, name); err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(k, t.wait())
}

// All messages of one call appear together.
func concurrentAtomicPlace(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	mb := k.box(a, store.Inbox)
	s := k.stage(mail(1))
	const batch = 7
	var t team
	for range 4 {
		t.run(func() error {
			targets := make([]store.Target, batch)
			for i := range targets {
				targets[i] = store.Target{Account: "anna", Mailbox: store.Inbox, Body: s}
			}
			for range 15 {
				p := k.st.Place(ctx, targets)
				for i := range p {
					if p[i].Err != nil {
						return p[i].Err
					}
				}
			}
			return nil
		})
	}
	for range 2 {
		t.until(func() error {
			now, err := mb.Snapshot(ctx)
			if err == nil && now.Len()%batch != 0 {
				err = fmt.Errorf("%d messages, not a multiple of %d", now.Len(), batch)
			}
			return err
		})
	}
	require.NoError(k, t.wait())
	require.Equal(k, 4*15*batch, k.snap(mb).Len())
}

// Who follows an account's events knows its mailboxes, and misses no change.
func concurrentEvents(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	s := k.stage(mail(1))
	var t team
	for w := range 4 {
		name := fmt.Sprint("box", w)
		t.run(func() error {
			for i := range 12 {
				if _, err := a.Create(ctx, name, store.CreateOptions{}); err != nil {
					return err
				}
				if p := k.st.Place(ctx, []store.Target{{Account: "anna", Mailbox: name, Body: s}}); p[0].Err != nil {
					return p[0].Err
				}
				moved := fmt.Sprintf("moved%d/%d", w, i)
				if err := a.Rename(ctx, name, moved); err != nil {
					return err
				}
				if i%2 == 0 {
					if err := a.Delete(ctx, moved); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	boxes, changed, at := map[store.MailboxID]string{}, map[store.MailboxID]store.ModSeq{}, store.ModSeq(0)
	follow := func() error {
		c, err := a.Changes(ctx, at)
		if err != nil {
			return err
		}
		for _, e := range c.Events {
			if e.ModSeq <= at || e.ModSeq > c.Through {
				return fmt.Errorf("event at %d, between %d and %d", e.ModSeq, at, c.Through)
			}
			switch e.Kind {
			case store.MailboxCreated:
				boxes[e.Mailbox] = e.Name
			case store.MailboxRenamed:
				if boxes[e.Mailbox] != e.OldName {
					return fmt.Errorf("%s was renamed, known as %s", e.OldName, boxes[e.Mailbox])
				}
				boxes[e.Mailbox] = e.Name
			case store.MailboxDeleted:
				delete(boxes, e.Mailbox)
			case store.MailboxChanged:
				changed[e.Mailbox] = e.ModSeq
			}
		}
		at = c.Through
		return nil
	}
	t.until(follow)
	require.NoError(k, t.wait())
	require.NoError(k, follow())
	infos, err := a.Mailboxes(ctx)
	require.NoError(k, err)
	for _, i := range infos {
		require.Equal(k, i.Name, boxes[i.ID])
		delete(boxes, i.ID)
		if i.Messages > 0 {
			require.NotZero(k, changed[i.ID], "a change of %s was not told", i.Name)
		}
	}
	require.Empty(k, boxes)
}
