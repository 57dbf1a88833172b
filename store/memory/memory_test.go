package memory_test

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
	"github.com/posta-mail/posta/store/storetest"
)

func TestStore(t *testing.T) {
	storetest.Run(t, storetest.Config{
		New:        func(testing.TB) store.Store { return memory.New() },
		SetUIDNext: memory.SetUIDNext,
		Abilities:  storetest.AllAbilities(),
		InMemory:   true,
	})
}

// With next to no history and grace the rest of the contract still holds.
func TestStoreSmall(t *testing.T) {
	st := memory.Options{Grace: -1, History: 3}.New()
	defer st.Close()
	box := inbox(t, st)
	place(t, st, 10)
	s, err := box.Snapshot(t.Context())
	require.NoError(t, err)
	for uid := store.UID(1); uid <= 5; uid++ {
		_, err = box.Expunge(t.Context(), store.UIDs(uid))
		require.NoError(t, err)
	}
	_, err = box.Open(t.Context(), s.At(0))
	require.ErrorIs(t, err, store.ErrExpunged, "no grace")
	_, err = box.Changes(t.Context(), s.ModSeq())
	require.ErrorIs(t, err, store.ErrHistoryGone)
	c, err := box.Changes(t.Context(), s.ModSeq()+2)
	require.NoError(t, err, "what is still known")
	require.True(t, c.Vanished.Equal(store.UIDs(3, 4, 5)), "%v", c.Vanished)

	a, err := st.Account(t.Context(), "anna", "anna")
	require.NoError(t, err)
	for i := range 6 {
		_, err := a.Create(t.Context(), fmt.Sprint(i), store.CreateOptions{})
		require.NoError(t, err)
	}
	_, err = a.Changes(t.Context(), 1)
	require.ErrorIs(t, err, store.ErrHistoryGone)
	now, err := box.Snapshot(t.Context())
	require.NoError(t, err)
	events, err := a.Changes(t.Context(), now.ModSeq()+3)
	require.NoError(t, err)
	require.Len(t, events.Events, 3)
}

func inbox(t testing.TB, st *memory.Store) store.Mailbox {
	t.Helper()
	require.NoError(t, st.CreateAccount(t.Context(), "anna"))
	a, err := st.Account(t.Context(), "anna", "anna")
	require.NoError(t, err)
	box, err := a.Mailbox(t.Context(), store.Inbox)
	require.NoError(t, err)
	return box
}

func place(t testing.TB, st *memory.Store, n int) {
	t.Helper()
	for i := range n {
		s, err := st.Stage(t.Context(), strings.NewReader(fmt.Sprintf("Subject: %d\r\n\r\n", i)))
		require.NoError(t, err)
		p := st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s, Prefix: []byte("X: y\r\n")}})
		require.NoError(t, p[0].Err)
		require.NoError(t, s.Discard())
	}
}

func TestGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.Options{Grace: time.Minute}.New()
		defer st.Close()
		box := inbox(t, st)
		place(t, st, 3)
		s, err := box.Snapshot(t.Context())
		require.NoError(t, err)
		_, err = box.Expunge(t.Context(), store.UIDs(1))
		require.NoError(t, err)
		time.Sleep(30 * time.Second)
		_, err = box.Expunge(t.Context(), store.UIDs(2))
		require.NoError(t, err)
		time.Sleep(29 * time.Second)
		held, err := box.Open(t.Context(), s.At(0))
		require.NoError(t, err)
		time.Sleep(time.Second)
		_, err = box.Open(t.Context(), s.At(0))
		require.ErrorIs(t, err, store.ErrExpunged)
		for d, err := range box.Details(t.Context(), []store.Row{s.At(0), s.At(1), s.At(2)}) {
			if d.Row.UID == 1 {
				require.ErrorIs(t, err, store.ErrExpunged)
				continue
			}
			require.NoError(t, err)
		}
		data, err := io.ReadAll(io.NewSectionReader(held, 0, held.Size()))
		require.NoError(t, err, "what is open stays so")
		require.Equal(t, "X: y\r\nSubject: 0\r\n\r\n", string(data))
		require.NoError(t, held.Close())
		require.NoError(t, held.Close())
	})
}

func TestTokensAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.New()
		defer st.Close()
		inbox(t, st)
		s, err := st.Stage(t.Context(), strings.NewReader("x"))
		require.NoError(t, err)
		again := func() store.Placed {
			p := st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s, Token: "t"}})
			require.NoError(t, p[0].Err)
			return p[0]
		}
		require.False(t, again().Duplicate)
		time.Sleep(24*time.Hour + time.Minute)
		require.True(t, again().Duplicate, "for at least a day")
		time.Sleep(24 * time.Hour)
		require.False(t, again().Duplicate)
	})
}

func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.Options{MaxBytes: 200 << 10, Grace: time.Minute}.New()
		defer st.Close()
		box := inbox(t, st)
		_, err := st.Stage(t.Context(), strings.NewReader(strings.Repeat("x", 201<<10)))
		require.ErrorIs(t, err, store.ErrNoSpace)
		require.Zero(t, memory.Used(st), "nothing is kept")
		s, err := st.Stage(t.Context(), strings.NewReader(strings.Repeat("x", 150<<10)))
		require.NoError(t, err)
		target := store.Target{Account: "anna", Mailbox: store.Inbox, Body: s}
		for range 3 { // the bytes are kept once
			require.NoError(t, st.Place(t.Context(), []store.Target{target})[0].Err)
		}
		require.NoError(t, s.Discard())
		_, err = st.Stage(t.Context(), strings.NewReader(strings.Repeat("x", 60<<10)))
		require.ErrorIs(t, err, store.ErrNoSpace)
		small, err := st.Stage(t.Context(), strings.NewReader("x"))
		require.NoError(t, err)
		target.Body, target.Prefix = small, []byte("X: "+strings.Repeat("y", 60<<10)+"\r\n")
		require.ErrorIs(t, st.Place(t.Context(), []store.Target{target})[0].Err, store.ErrNoSpace)
		_, err = st.Spool().Enqueue(t.Context(), []store.SpoolItem{{Body: small}, {Body: small, Envelope: make([]byte, 60<<10)}})
		require.ErrorIs(t, err, store.ErrNoSpace)
		list, err := st.Spool().List(t.Context(), 0, 10)
		require.NoError(t, err)
		require.Empty(t, list)
		a, err := st.Account(t.Context(), "anna", "anna")
		require.NoError(t, err)
		_, err = a.(store.Annotations).Annotate(t.Context(), 0, store.Annotation{Key: "k", Value: make([]byte, 60<<10)})
		require.ErrorIs(t, err, store.ErrNoSpace)

		_, err = box.Expunge(t.Context(), store.AllUIDs())
		require.NoError(t, err)
		_, err = st.Stage(t.Context(), strings.NewReader(strings.Repeat("x", 60<<10)))
		require.ErrorIs(t, err, store.ErrNoSpace, "within the grace time it is still there")
		time.Sleep(time.Minute)
		_, err = st.Stage(t.Context(), strings.NewReader(strings.Repeat("x", 60<<10)))
		require.NoError(t, err, "expunged bodies go when space is needed")
	})
}

// Whatever happened, deleting it all gives all octets back.
func TestNothingLeaks(t *testing.T) {
	st := memory.Options{Grace: time.Nanosecond}.New()
	ctx := t.Context()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			name := fmt.Sprint("user", w)
			for i := range 20 {
				if err := st.CreateAccount(ctx, name); err != nil {
					t.Error(err)
				}
				a, err := st.Account(ctx, name, name)
				if err != nil {
					t.Error(err)
					return
				}
				box, _ := a.Mailbox(ctx, store.Inbox)
				a.Create(ctx, "b", store.CreateOptions{})
				b, _ := a.Mailbox(ctx, "b")
				s, _ := st.Stage(ctx, strings.NewReader(strings.Repeat("x", i*10_000)))
				foreign, _ := store.StageTemp(ctx, t.TempDir(), strings.NewReader("foreign"))
				st.Place(ctx, []store.Target{{Account: name, Mailbox: "b", Body: s, Prefix: []byte("X: y\r\n"), Token: "t"},
					{Account: name, Mailbox: store.Inbox, Body: foreign, Prefix: []byte("X: y\r\n")},
					{Account: name, Mailbox: store.Inbox, Body: s, Prefix: []byte("X: y\r\n"), Token: "t"}})
				st.Place(ctx, []store.Target{{Account: name, Mailbox: "none", Body: foreign, Prefix: []byte("X: y\r\n")}})
				notes := a.(store.Annotations)
				for _, id := range []store.MailboxID{0, b.ID(), 1 << 40} {
					for n := range 3 {
						notes.Annotate(ctx, id, store.Annotation{Key: "same", Value: []byte("x")},
							store.Annotation{Key: "k", Value: make([]byte, 100*n)}, store.Annotation{Key: fmt.Sprint(n), Value: []byte("y")})
					}
					notes.Annotate(ctx, id, store.Annotation{Key: "k"}, store.Annotation{Key: "none"})
				}
				st.SetQuota(ctx, name, store.Usage{Messages: 3})
				st.Place(ctx, []store.Target{{Account: name, Mailbox: "b", Body: foreign, Prefix: []byte("X: y\r\n")}}) // over quota
				st.SetQuota(ctx, name, store.Usage{})
				b.Copy(ctx, store.AllUIDs(), box.ID())
				b.Move(ctx, store.AllUIDs(), b.ID())
				snap, _ := box.Snapshot(ctx)
				body, err := box.Open(ctx, snap.At(0))
				if err != nil {
					t.Error(err)
					return
				}
				box.Expunge(ctx, store.UIDs(1))
				ids, _ := st.Spool().Enqueue(ctx, []store.SpoolItem{{Body: s, Envelope: []byte("e")}, {Body: foreign, Site: "s"}})
				st.Spool().Enqueue(ctx, []store.SpoolItem{{Body: s, Envelope: []byte("e")}, {Body: foreign, Site: strings.Repeat("s", 300)}})
				l, _ := st.Spool().Lease(ctx, time.Now(), 10, time.Minute)
				for _, it := range l {
					st.Spool().Settle(ctx, it.ID, it.Fence, &store.Reschedule{Envelope: []byte("longer"), Site: "x", Hold: true}, nil)
					st.Spool().Settle(ctx, it.ID, it.Fence, nil, []store.SpoolItem{{Body: s}}) // lost by now
				}
				for _, id := range ids {
					st.Spool().Remove(ctx, id)
				}
				if i%2 == 0 {
					a.Delete(ctx, "b")
				}
				if err := st.DeleteAccount(ctx, name); err != nil {
					t.Error(err)
				}
				s.Discard()
				foreign.Discard()
				body.Close()
			}
		})
	}
	wg.Wait()
	for {
		l, err := st.Spool().List(ctx, 0, 10)
		require.NoError(t, err)
		if len(l) == 0 {
			break
		}
		for _, e := range l {
			require.NoError(t, st.Spool().Remove(ctx, e.ID))
		}
	}
	require.Zero(t, memory.Used(st))
	require.NoError(t, st.Close())
}

// Close waits for a call that is under way, and no longer lets one in.
func TestCloseWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := memory.New()
		r, w := io.Pipe()
		staged, closed := make(chan error, 1), make(chan error, 1)
		go func() {
			_, err := st.Stage(context.Background(), r)
			staged <- err
		}()
		synctest.Wait()
		go func() { closed <- st.Close() }()
		synctest.Wait()
		require.Empty(t, closed)
		require.ErrorIs(t, st.CreateAccount(t.Context(), "x"), store.ErrUnavailable, "at once")
		w.Close()
		require.NoError(t, <-staged)
		require.NoError(t, <-closed)
		require.ErrorIs(t, st.Close(), store.ErrUnavailable)
	})
}

func TestLease(t *testing.T) {
	st := memory.New()
	defer st.Close()
	inbox(t, st)
	l, err := st.Lease(t.Context(), "anna", "pop", time.Minute)
	require.NoError(t, err)
	_, err = st.Lease(t.Context(), "anna", "pop", time.Minute)
	require.ErrorIs(t, err, store.ErrInUse)
	require.NoError(t, l.Release(t.Context()))
	_, err = st.Lease(t.Context(), "nobody", "pop", time.Minute)
	require.ErrorIs(t, err, store.ErrNotFound)
}

func ExampleNew() {
	ctx := context.Background()
	st := memory.New()
	defer st.Close()
	if err := st.CreateAccount(ctx, "anna"); err != nil {
		panic(err)
	}
	anna, err := st.Account(ctx, "anna", "anna")
	if err != nil {
		panic(err)
	}
	if _, err := anna.Create(ctx, "Lists/Go", store.CreateOptions{}); err != nil {
		panic(err)
	}
	boxes, err := anna.Mailboxes(ctx)
	if err != nil {
		panic(err)
	}
	for _, b := range boxes {
		fmt.Println(b.Name, b.Messages)
	}
	// Output:
	// INBOX 0
	// Lists 0
	// Lists/Go 0
}

func BenchmarkStore(b *testing.B) {
	storetest.Bench(b, storetest.Config{New: func(testing.TB) store.Store { return memory.Options{MaxBytes: -1}.New() }})
}

// Views of more actors than are kept at hand are made again.
func TestManyViews(t *testing.T) {
	st := memory.New()
	defer st.Close()
	inbox(t, st)
	place(t, st, 3)
	for range 2 {
		for i := range 200 {
			a, err := st.Account(t.Context(), "anna", fmt.Sprint("actor", i))
			require.NoError(t, err)
			box, err := a.Mailbox(t.Context(), store.Inbox)
			require.NoError(t, err)
			info, err := box.Info(t.Context())
			require.NoError(t, err)
			require.Equal(t, 3, info.Unseen)
			require.LessOrEqual(t, memory.Views(st, "anna", store.Inbox), 64)
		}
	}
}
