package pop3

import (
	"context"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/store"
)

// asked counts how often a mailbox is asked for unique-ids.
type asked struct {
	store.Store
	times *atomic.Int32
}

type askedAccount struct {
	store.Account
	times *atomic.Int32
}

type askedMailbox struct {
	store.Mailbox
	times *atomic.Int32
}

func (s asked) Account(ctx context.Context, name, actor string) (store.Account, error) {
	a, err := s.Store.Account(ctx, name, actor)
	return askedAccount{a, s.times}, err
}

func (a askedAccount) Mailbox(ctx context.Context, name string) (store.Mailbox, error) {
	mb, err := a.Account.Mailbox(ctx, name)
	return askedMailbox{mb, a.times}, err
}

func (m askedMailbox) UIDLs(context.Context) (map[store.UID]string, error) {
	m.times.Add(1)
	return map[store.UID]string{1: "one", 2: "two words", 4: "too\nmuch", 99: "nobody's"}, nil
}

// However often a client asks, the store is asked once, and an engine that
// keeps nonsense does no harm.
func TestUIDLIsAskedOnce(t *testing.T) {
	var times atomic.Int32
	s := &Server{Store: asked{testStore(t), &times}, Auth: testAuth{}, InsecureAuth: true}
	c := login(t, testServer(t, s), "anna")
	require.Zero(t, times.Load())
	for range 3 {
		c.say("UIDL 1\r\nUIDL\r\n")
		c.hear("+OK 1 one", "+OK 5", "1 one\r\n", "2 1", "3 ", "4 1", "5 ", ".\r\n")
	}
	require.EqualValues(t, 1, times.Load())
	c.say("DELE 1\r\nQUIT\r\n")
	c.hear("+OK", "+OK")
	c.hearEOF()
}

// What unique-ids cost is lent from the budget and given back; without memory
// for them there is no answer, rather than a wrong one.
func TestUIDLMemory(t *testing.T) {
	var times atomic.Int32
	for _, c := range []struct {
		max  int64
		want bool
	}{{0, true}, {10_000, true}, {200, false}} {
		acc, err := asked{testStore(t), &times}.Account(t.Context(), "anna", "anna")
		require.NoError(t, err)
		d := &maildrop{lock: &lock{}}
		d.mb, err = acc.Mailbox(t.Context(), store.Inbox)
		require.NoError(t, err)
		d.snap, err = d.mb.Snapshot(t.Context())
		require.NoError(t, err)
		b := wire.NewBudget(c.max)
		for range 2 {
			ok, err := d.loadUIDLs(t.Context(), b)
			require.NoError(t, err)
			require.Equal(t, c.want, ok)
		}
		require.True(t, !c.want || d.mark(0, b))
		if c.max > 0 && c.want {
			require.EqualValues(t, d.charged, b.Used())
			require.Greater(t, d.charged, 4*uidlOverhead)
		}
		b.Release(d.charged)
		require.Zero(t, b.Used())
	}
}
