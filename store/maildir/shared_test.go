//go:build unix

package maildir_test

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/maildir"
)

// Two stores on one folder are as two processes: they share files and locks
// only.
func TestTwoProcesses(t *testing.T) {
	one := newRig(t, maildir.Options{})
	two := &rig{T: t, root: one.root, dir: one.dir}
	two.use(one.opened(maildir.Options{}))
	const writers, each = 3, 25
	var wg sync.WaitGroup
	var mu sync.Mutex
	given := map[store.UID]string{}
	for i, r := range []*rig{one, two} {
		for w := range writers {
			wg.Go(func() {
				for n := range each {
					text := fmt.Sprintf("Subject: %d-%d-%d\r\n\r\n", i, w, n)
					s, err := r.st.Stage(t.Context(), strings.NewReader(text))
					if !assert.NoError(t, err) {
						return
					}
					p := r.st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s, Token: fmt.Sprint(w, " ", n)}})[0]
					assert.NoError(t, p.Err)
					mu.Lock()
					if was, ok := given[p.UID]; ok {
						assert.NotEqual(t, was[9:10], text[9:10], "UID %d twice", p.UID)
						assert.Equal(t, was[10:], text[10:], "one token, one message")
					}
					given[p.UID] = text
					mu.Unlock()
					if n%5 == 4 {
						snap, err := r.inbox.Snapshot(t.Context())
						assert.NoError(t, err)
						_, err = r.inbox.Flag(t.Context(), store.UIDs(snap.At(snap.Len()-1).UID), store.FlagUpdate{Flags: []store.Flag{store.FlagSeen}})
						assert.NoError(t, err)
					}
				}
			})
		}
	}
	wg.Wait()
	a, b := one.snap(one.inbox), two.snap(two.inbox)
	require.Equal(t, writers*each, a.Len())
	assert.Equal(t, a.ModSeq(), b.ModSeq())
	d := store.Diff(a, b)
	assert.Empty(t, d.Rows)
	assert.Empty(t, d.Vanished)
	assert.Len(t, one.files(one.dir), writers*each)
	// What one expunges stays readable for the other.
	_, err := one.inbox.Expunge(t.Context(), store.UIDs(a.At(0).UID))
	require.NoError(t, err)
	assert.NotEmpty(t, two.read(two.inbox, b.At(0)))
	assert.Equal(t, writers*each-1, two.snap(two.inbox).Len())
	// Mailboxes and accounts too.
	_, err = one.a.Create(t.Context(), "Lists/Go", store.CreateOptions{})
	require.NoError(t, err)
	mb := two.box("Lists/Go")
	require.NoError(t, two.a.Rename(t.Context(), "Lists/Go", "Go"))
	assert.Equal(t, mb.ID(), one.box("Go").ID())
	require.NoError(t, one.st.DeleteAccount(t.Context(), "anna"))
	_, err = two.inbox.Snapshot(t.Context())
	require.ErrorIs(t, err, store.ErrNotFound)
	require.NoError(t, two.st.CreateAccount(t.Context(), "anna"))
	_, err = one.inbox.Snapshot(t.Context())
	require.ErrorIs(t, err, store.ErrNotFound, "another account of that name")
}

func TestWatchOthers(t *testing.T) {
	one := newRig(t, maildir.Options{Interval: 5 * time.Millisecond})
	two := &rig{T: t, root: one.root, dir: one.dir}
	two.use(one.opened(maildir.Options{Interval: -1}))
	ch := one.a.Watch(t.Context())
	woken := func(what string) {
		t.Helper()
		select {
		case _, ok := <-ch:
			require.True(t, ok)
		case <-time.After(10 * time.Second):
			require.Fail(t, "no wake-up", what)
		}
	}
	two.place(lfMail)
	woken("by another process")
	one.deliver(one.dir, "1.a.h", lfMail)
	for one.snap(one.inbox).Len() < 2 {
		woken("by another program")
	}
}

func TestLeaseOfAnotherProcess(t *testing.T) {
	one := newRig(t, maildir.Options{})
	two := one.opened(maildir.Options{})
	l, err := one.st.Lease(t.Context(), "anna", "pop3", time.Hour)
	require.NoError(t, err)
	_, err = two.Lease(t.Context(), "anna", "pop3", time.Hour)
	require.ErrorIs(t, err, store.ErrInUse)
	require.NoError(t, l.Release(t.Context()))
	m, err := two.Lease(t.Context(), "anna", "pop3", time.Hour)
	require.NoError(t, err)
	assert.Greater(t, m.Fence(), l.Fence())
	require.True(t, errors.Is(l.Extend(t.Context(), time.Hour), store.ErrConflict))
}
