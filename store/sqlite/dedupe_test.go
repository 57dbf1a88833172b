package sqlite

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// file stages a body anew and files it for an account.
func (r *rig) file(account, body string) store.Placed {
	r.t.Helper()
	s := r.stage(body)
	defer s.Discard()
	p := r.st.Place(r.t.Context(), []store.Target{{Account: account, Mailbox: store.Inbox, Body: s, Prefix: []byte("X: y\r\n")}})[0]
	require.NoError(r.t, p.Err)
	return p
}

// Bodies of equal content are kept once as far as the option says, in memory or
// in a segment of their own, in one batch or several.
func TestDedupe(t *testing.T) {
	for _, size := range []int{2_000, 300_000} {
		for dedupe, want := range map[Dedupe]int{DedupeNone: 9, DedupeAccount: 3, DedupeStore: 1} {
			t.Run(fmt.Sprint(dedupe, size), func(t *testing.T) {
				r := newRig(t, Options{Dedupe: dedupe, SegmentSize: 64 << 10})
				require.NoError(t, r.st.CreateAccount(t.Context(), "bob"))
				body := "Subject: same\r\n\r\n" + strings.Repeat("x", size)
				r.file("anna", body)
				r.file("anna", body)
				r.file("bob", body)
				var waits []func() []store.Placed
				var staged []store.Staged
				stage := func() store.Staged {
					staged = append(staged, r.stage(body))
					return staged[len(staged)-1]
				}
				for _, account := range []string{"anna", "bob", "anna", "bob"} {
					waits = append(waits, r.st.PlaceLater(t.Context(), []store.Target{{Account: account, Mailbox: store.Inbox,
						Body: stage(), Prefix: []byte("X: y\r\n")}}))
				}
				for _, wait := range waits {
					require.NoError(t, wait()[0].Err)
				}
				for range 2 {
					_, err := r.st.Spool().Enqueue(t.Context(), []store.SpoolItem{{Body: stage()}})
					require.NoError(t, err)
				}
				if dedupe == DedupeAccount {
					want++ // the spool is no account
				}
				for _, s := range staged {
					require.NoError(t, s.Discard())
				}
				r.reopen()
				require.Equal(t, want, r.records(kindBody))
				require.Empty(t, r.check())
				require.Equal(t, []string{body, body, body, body}, r.bodies())
				r.file("anna", body)
				r.file("bob", strings.ToUpper(body))
				if dedupe == DedupeNone {
					want++
				}
				require.Equal(t, want+1, r.records(kindBody), "an earlier process's too")
				require.Empty(t, r.check())
			})
		}
	}
}

// A shared body stays while anybody has it, wherever compaction takes it; then
// it goes, and with it the memory of its hash.
func TestDedupeSweep(t *testing.T) {
	r := newRig(t, Options{Dedupe: DedupeStore, SegmentSize: 64 << 10, Grace: -1})
	body := "Subject: same\r\n\r\n" + strings.Repeat("x", 5000)
	filler := func(n int) string { return fmt.Sprint(n) + strings.Repeat("y", 20_000) }
	first := r.file("anna", body)
	for i := range 3 {
		r.file("anna", filler(i))
	}
	second := r.file("anna", body)
	_, err := r.inbox().Expunge(t.Context(), store.UIDs(first.UID, first.UID+1, first.UID+2, first.UID+3))
	require.NoError(t, err)
	r.file("anna", filler(4)) // begins a segment
	files := r.segmentFiles()
	r.sweep(time.Hour)
	require.Less(t, r.segmentFiles(), files, "compacted")
	require.Equal(t, []string{body, filler(4)}, r.bodies())
	require.Empty(t, r.check())
	n := r.records(kindBody)
	r.file("anna", body)
	require.Equal(t, n, r.records(kindBody), "found where it is now")
	r.reopen()
	r.file("anna", body)
	require.Equal(t, n, r.records(kindBody))
	require.Equal(t, []string{body, filler(4), body, body}, r.bodies())

	_, err = r.inbox().Expunge(t.Context(), store.AllUIDs())
	require.NoError(t, err)
	for i := range 5 {
		r.file("anna", filler(10+i))
	}
	r.sweep(time.Hour)
	require.Zero(t, r.count("SELECT count(*) FROM body WHERE seg NOT IN (SELECT id FROM segment)"))
	r.file("anna", body)
	require.Equal(t, body, r.bodies()[5])
	require.Empty(t, r.check())
	require.NotZero(t, second.UID)
}

// Damage does not spread: a record that is not sound is not shared any more.
func TestDedupeDamage(t *testing.T) {
	r := newRig(t, Options{Dedupe: DedupeStore})
	body := "Subject: same\r\n\r\n" + strings.Repeat("x", 5000)
	r.file("anna", body)
	l, err := r.st.locate(1)
	require.NoError(t, err)
	r.reopen()
	f, err := os.OpenFile(r.st.seg.path(l.bodySeg), os.O_RDWR, 0)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte("damage"), l.bodyOff+recHeaderSize+100)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	for range 2 {
		p := r.file("anna", body)
		snap, err := r.inbox().Snapshot(t.Context())
		require.NoError(t, err)
		i, _ := snap.Find(p.UID)
		b, err := r.inbox().Open(t.Context(), snap.At(i))
		require.NoError(t, err)
		require.NoError(t, b.Close())
	}
	require.Len(t, r.check(), 1, "the first alone")
}

// What was not committed is not found.
func TestDedupeCrash(t *testing.T) {
	r := newRig(t, Options{Dedupe: DedupeStore})
	r.file("anna", letter(1))
	stop := errors.New("stop")
	r.database(func(point string) error {
		if point == "commit" {
			return stop
		}
		return nil
	})
	for _, body := range []string{letter(2), letter(1), strings.Repeat("z", 300_000)} {
		p := r.st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: r.stage(body)}})[0]
		require.Error(t, p.Err)
	}
	r.database(nil)
	r.reopen()
	require.Equal(t, []string{letter(1)}, r.bodies())
	for range 2 {
		r.file("anna", letter(2))
		r.file("anna", strings.Repeat("z", 300_000))
	}
	require.Len(t, r.bodies(), 5)
	require.Empty(t, r.check())
}

// Deliveries of few contents, expunges and sweeps at the same time.
func TestDedupeConcurrent(t *testing.T) {
	r := newRig(t, Options{Dedupe: DedupeStore, SegmentSize: 64 << 10, Grace: -1})
	bodies := make([]string, 6)
	for i := range bodies {
		bodies[i] = fmt.Sprintf("Subject: %d\r\n\r\n", i) + strings.Repeat(string(rune('a'+i)), 1000<<(2*i)) // up to 1 MB
	}
	ctx, stop := context.WithTimeout(t.Context(), 1500*time.Millisecond)
	defer stop()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := w; ctx.Err() == nil; i++ {
				s, err := r.st.Stage(t.Context(), strings.NewReader(bodies[i%len(bodies)]))
				if err != nil {
					t.Error(err)
					return
				}
				p := r.st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s, Prefix: []byte("X: y\r\n")}})[0]
				s.Discard()
				if p.Err != nil {
					t.Error(p.Err)
					return
				}
				if i%3 > 0 {
					_, _ = r.inbox().Expunge(t.Context(), store.UIDs(p.UID))
				}
				if i%50 == 0 {
					_, _ = r.inbox().Expunge(t.Context(), store.AllUIDs())
				}
			}
		})
	}
	wg.Go(func() {
		for ctx.Err() == nil {
			if err := r.st.Sweep(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
	wg.Wait()
	require.Empty(t, r.check())
	for _, body := range r.bodies() {
		require.Contains(t, bodies, body)
	}
	r.reopen()
	require.Empty(t, r.check())
}

// A body is not shared with one whose segment a sweep has found unused.
func TestDedupeLeaving(t *testing.T) {
	r := newRig(t, Options{Dedupe: DedupeStore, SegmentSize: 64 << 10, Grace: -1})
	body := strings.Repeat("x", 70<<10)
	p := r.file("anna", body)
	r.file("anna", strings.Repeat("y", 70<<10)) // begins a segment
	_, err := r.inbox().Expunge(t.Context(), store.UIDs(p.UID))
	require.NoError(t, err)
	placed := 0
	r.st.opt.fault = func(point string) error { // the committer is idle
		if point == "used" && placed == 0 {
			placed++
			r.file("anna", body)
		}
		return nil
	}
	r.sweep(time.Hour)
	require.Equal(t, 1, placed)
	require.Equal(t, 2, r.segmentFiles(), "the first went")
	require.Len(t, r.bodies(), 2)
	require.Empty(t, r.check())
}
