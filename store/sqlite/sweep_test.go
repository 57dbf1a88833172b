package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func (r *rig) sweep(after time.Duration) {
	r.t.Helper()
	r.skew.Add(int64(after))
	require.NoError(r.t, r.st.Sweep(r.t.Context()))
}

func (r *rig) segmentFiles() int {
	r.t.Helper()
	nums, err := r.st.seg.list()
	require.NoError(r.t, err)
	return len(nums)
}

// An expunged message can be read for the grace time; then it is gone, and
// with the last of them the segment. Copies live on.
func TestSweepExpunged(t *testing.T) {
	r := newRig(t, Options{SegmentSize: 1, Grace: time.Hour})
	body := strings.Repeat("x", 70<<10) // one segment each
	for range 3 {
		require.NoError(t, r.place(body).Err)
	}
	a, err := r.st.Account(t.Context(), "anna", "anna")
	require.NoError(t, err)
	_, err = a.Create(t.Context(), "Copies", store.CreateOptions{})
	require.NoError(t, err)
	mb, copies := r.inbox(), r.box("Copies")
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	require.Equal(t, 3, r.segmentFiles())
	_, err = mb.Copy(t.Context(), store.UIDs(1), copies.ID())
	require.NoError(t, err)
	_, err = mb.Expunge(t.Context(), store.UIDs(1, 2))
	require.NoError(t, err)
	r.sweep(30 * time.Minute)
	open, err := mb.Open(t.Context(), snap.At(1))
	require.NoError(t, err, "within the grace time")
	require.Equal(t, 3, r.segmentFiles())

	r.sweep(time.Hour)
	_, err = mb.Open(t.Context(), snap.At(1))
	require.ErrorIs(t, err, store.ErrExpunged)
	for _, err := range mb.Details(t.Context(), []store.Row{snap.At(1)}) {
		require.ErrorIs(t, err, store.ErrExpunged)
	}
	require.Equal(t, 2, r.segmentFiles())
	one := make([]byte, 10)
	_, err = open.ReadAt(one, 1000)
	require.NoError(t, err, "who has it open reads on")
	require.NoError(t, open.Close())
	cs, err := copies.Snapshot(t.Context())
	require.NoError(t, err)
	b, err := copies.Open(t.Context(), cs.At(0))
	require.NoError(t, err, "the copy has the body")
	require.NoError(t, b.Close())

	require.NoError(t, a.Delete(t.Context(), "Copies"))
	r.reopen()
	r.sweep(2 * time.Hour)
	require.Equal(t, 1, r.segmentFiles())
	require.Len(t, r.bodies(), 1)
	require.NoError(t, r.st.DeleteAccount(t.Context(), "anna"))
	require.NoError(t, r.st.CreateAccount(t.Context(), "anna"))
	require.NoError(t, r.place(letter(1)).Err)
	r.sweep(2 * time.Hour)
	require.Equal(t, []string{letter(1)}, r.bodies())
	require.LessOrEqual(t, r.segmentFiles(), 2)
	var n int
	require.NoError(t, r.st.reader.QueryRow("SELECT count(*) FROM dead").Scan(&n))
	require.Zero(t, n)
}

func (r *rig) box(name string) store.Mailbox {
	r.t.Helper()
	a, err := r.st.Account(r.t.Context(), "anna", "anna")
	require.NoError(r.t, err)
	mb, err := a.Mailbox(r.t.Context(), name)
	require.NoError(r.t, err)
	return mb
}

// A body that is staged, or in the spool, keeps its segment.
func TestSweepKeepsShared(t *testing.T) {
	r := newRig(t, Options{SegmentSize: 1, Grace: -1})
	big := strings.Repeat("y", 300<<10)
	s := r.stage(big)
	target := store.Target{Account: "anna", Mailbox: store.Inbox, Body: s}
	require.NoError(t, r.st.Place(t.Context(), []store.Target{target})[0].Err)
	ids, err := r.st.Spool().Enqueue(t.Context(), []store.SpoolItem{{Body: s}})
	require.NoError(t, err)
	require.NoError(t, r.place(strings.Repeat("z", 70<<10)).Err)
	_, err = r.inbox().Expunge(t.Context(), store.AllUIDs())
	require.NoError(t, err)
	r.sweep(time.Hour)
	b, err := r.st.Spool().Open(t.Context(), ids[0])
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.NoError(t, r.st.Spool().Remove(t.Context(), ids[0]))
	r.sweep(time.Hour)
	require.NoError(t, r.st.Place(t.Context(), []store.Target{target})[0].Err, "still staged")
	require.NoError(t, s.Discard())
	r.sweep(time.Hour)
	mb := r.inbox()
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	b, err = mb.Open(t.Context(), snap.At(0))
	require.NoError(t, err)
	require.EqualValues(t, len(big), b.Size())
	require.NoError(t, b.Close())
}

// A settled spool item frees its segment without any expunge.
func TestSweepSpool(t *testing.T) {
	r := newRig(t, Options{SegmentSize: 1})
	big := r.stage(strings.Repeat("y", 300<<10))
	ids, err := r.st.Spool().Enqueue(t.Context(), []store.SpoolItem{{Body: big}})
	require.NoError(t, err)
	require.NoError(t, big.Discard())
	require.NoError(t, r.place(letter(1)).Err)
	r.sweep(time.Hour)
	n := r.segmentFiles()
	require.NoError(t, r.st.Spool().Remove(t.Context(), ids[0]))
	r.sweep(time.Hour)
	require.Equal(t, n-1, r.segmentFiles())
}

func TestSweepHistory(t *testing.T) {
	r := newRig(t, Options{History: 24 * time.Hour})
	for i := range 4 {
		require.NoError(t, r.place(letter(i)).Err)
	}
	mb := r.inbox()
	a, err := r.st.Account(t.Context(), "anna", "anna")
	require.NoError(t, err)
	_, err = a.Create(t.Context(), "Old", store.CreateOptions{})
	require.NoError(t, err)
	first, err := mb.Expunge(t.Context(), store.UIDs(1))
	require.NoError(t, err)
	r.skew.Add(int64(20 * time.Hour))
	second, err := mb.Expunge(t.Context(), store.UIDs(2))
	require.NoError(t, err)
	r.sweep(10 * time.Hour)
	for range 2 {
		mb = r.inbox()
		_, err = mb.Changes(t.Context(), first.ModSeq-1)
		require.ErrorIs(t, err, store.ErrHistoryGone)
		c, err := mb.Changes(t.Context(), first.ModSeq)
		require.NoError(t, err, "the mark itself is known")
		require.True(t, c.Vanished.Equal(store.UIDs(2)))
		require.Equal(t, second.ModSeq, c.Through)
		a, err = r.st.Account(t.Context(), "anna", "anna")
		require.NoError(t, err)
		_, err = a.Changes(t.Context(), 0)
		require.ErrorIs(t, err, store.ErrHistoryGone)
		ac, err := a.Changes(t.Context(), first.ModSeq)
		require.NoError(t, err)
		require.Len(t, ac.Events, 1)
		r.reopen()
	}
}

func TestSweepTokens(t *testing.T) {
	r := newRig(t, Options{Tokens: time.Minute}) // means a day
	target := store.Target{Account: "anna", Mailbox: store.Inbox, Body: r.stage(letter(1)), Token: "t"}
	place := func() store.Placed {
		p := r.st.Place(t.Context(), []store.Target{target})[0]
		require.NoError(t, p.Err)
		return p
	}
	first := place()
	require.False(t, first.Duplicate)
	r.sweep(23 * time.Hour)
	require.True(t, place().Duplicate)
	for i := range 2500 {
		target.Token = fmt.Sprint("other", i)
		target.Account = "anna"
		if i == 0 {
			place()
		}
	}
	target.Token = "t"
	r.sweep(2 * time.Hour)
	again := place()
	require.False(t, again.Duplicate, "forgotten after a day")
	require.Greater(t, again.UID, first.UID)
	target.Token = "other0"
	require.True(t, place().Duplicate)
}

// What was staged and never placed is gone after Discard, at the latest after
// opening again; the budget is given back.
func TestStageLeavesNothing(t *testing.T) {
	r := newRig(t, Options{StageMemory: 1 << 20})
	var all []store.Staged
	for i := range 20 {
		all = append(all, r.stage(strings.Repeat("x", i*30_000)))
	}
	require.LessOrEqual(t, r.st.staged.Load(), int64(1<<20))
	require.Greater(t, r.st.staged.Load(), int64(1<<18))
	tmp := func() int {
		files, err := filepath.Glob(filepath.Join(r.dir, "staging", "*"))
		require.NoError(t, err)
		return len(files)
	}
	require.Greater(t, tmp(), 5)
	for _, s := range all {
		require.NoError(t, s.Discard())
		require.NoError(t, s.Discard(), "twice")
	}
	require.Zero(t, tmp())
	require.Zero(t, r.st.staged.Load())
	// Refused by the commit, a large body is already a segment.
	big := r.stage(strings.Repeat("x", 300<<10))
	p := r.st.Place(t.Context(), []store.Target{{Account: "nobody", Mailbox: store.Inbox, Body: big}})
	require.ErrorIs(t, p[0].Err, store.ErrNotFound)
	require.Equal(t, 1, r.segmentFiles())
	require.NoError(t, big.Discard())
	require.Zero(t, r.segmentFiles())
	_, err := r.st.Stage(t.Context(), &failing{n: 400 << 10})
	require.ErrorIs(t, err, errDisk)
	require.Zero(t, tmp())
	require.Zero(t, r.st.staged.Load())

	require.NoError(t, os.WriteFile(filepath.Join(r.dir, "staging", "7.tmp"), []byte("x"), 0o600))
	r.reopen()
	require.Zero(t, tmp())
}

type failing struct{ n int }

func (f *failing) Read(p []byte) (int, error) {
	if f.n <= 0 {
		return 0, errDisk
	}
	n := min(len(p), f.n)
	f.n -= n
	return n, nil
}

// A segment that a crash left before its commit goes after a day.
func TestSweepOrphanSegment(t *testing.T) {
	r := newRig(t, Options{})
	require.NoError(t, r.place(letter(1)).Err)
	orphan := r.st.seg.path(77)
	require.NoError(t, os.WriteFile(orphan, []byte("x"), 0o600))
	r.reopen()
	r.sweep(time.Hour)
	require.FileExists(t, orphan)
	require.NoError(t, r.place(strings.Repeat("x", 300<<10)).Err, "its number is not taken again")
	require.FileExists(t, r.st.seg.path(78))
	r.sweep(24 * time.Hour)
	require.NoFileExists(t, orphan)
	require.Len(t, r.bodies(), 2)
}

// UIDVALIDITY grows whatever the clock does.
func TestClockSetBack(t *testing.T) {
	r := newRig(t, Options{})
	last := uint32(0)
	for range 4 {
		a, err := r.st.Account(t.Context(), "anna", "anna")
		require.NoError(t, err)
		info, err := a.Create(t.Context(), "Lists", store.CreateOptions{})
		require.NoError(t, err)
		require.Greater(t, info.UIDValidity, last)
		last = info.UIDValidity
		require.NoError(t, a.Delete(t.Context(), "Lists"))
		r.skew.Add(-int64(1000 * time.Hour))
		r.reopen()
	}
}

// The write-ahead log stays small while commits and readers go on.
func TestWALBounded(t *testing.T) {
	r := newRig(t, Options{WALSize: 256 << 10})
	for i := range 200 {
		require.NoError(t, r.place(letter(i)).Err)
	}
	mb := r.inbox()
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	var rows []store.Row
	for _, row := range snap.All() {
		rows = append(rows, row)
	}
	largest, n := int64(0), 0
	for _, err := range mb.Details(t.Context(), rows) { // an iterator that stays open
		require.NoError(t, err)
		for i := range 10 {
			op := store.FlagsAdd
			if i%2 == 1 {
				op = store.FlagsRemove
			}
			_, err := mb.Flag(t.Context(), store.AllUIDs(), store.FlagUpdate{Op: op, Flags: []store.Flag{store.FlagSeen}})
			require.NoError(t, err)
		}
		info, err := os.Stat(r.st.dbFile() + "-wal")
		require.NoError(t, err)
		largest = max(largest, info.Size())
		n++
	}
	require.Equal(t, 200, n)
	require.Less(t, largest, int64(4<<20))
	require.NoError(t, r.st.Close())
	info, err := os.Stat(r.st.dbFile() + "-wal")
	require.True(t, err != nil || info.Size() == 0, "empty after Close")
}

// A caller who gives up withdraws what was not begun and leaves the rest.
func TestGiveUp(t *testing.T) {
	r := newRig(t, Options{})
	hold, entered := make(chan struct{}), make(chan struct{})
	go r.st.do(context.Background(), func(*tx) error { close(entered); <-hold; return nil })
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	s := r.stage(letter(1))
	done := make(chan store.Placed)
	go func() {
		done <- r.st.Place(ctx, []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s, Prefix: []byte("X: y\r\n")}})[0]
	}()
	for r.st.queue.waiting() < 1 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	require.ErrorIs(t, (<-done).Err, context.Canceled)
	require.NoError(t, s.Discard())
	close(hold)
	require.NoError(t, r.place(letter(2)).Err)
	require.Equal(t, []string{letter(2)}, r.bodies())
	require.Zero(t, r.st.staged.Load())

	// Begun, it goes on without him.
	hold, entered = make(chan struct{}), make(chan struct{})
	ctx, cancel = context.WithCancel(t.Context())
	r.database(func(point string) error {
		if point == "commit" {
			close(entered)
			<-hold
		}
		return nil
	})
	s = r.stage(letter(3))
	go func() {
		done <- r.st.Place(ctx, []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s, Prefix: []byte("X: y\r\n")}})[0]
	}()
	<-entered
	cancel()
	require.ErrorIs(t, (<-done).Err, context.Canceled)
	require.NoError(t, s.Discard())
	close(hold)
	r.database(nil)
	require.NoError(t, r.place(letter(4)).Err)
	require.Equal(t, []string{letter(2), letter(3), letter(4)}, r.bodies())
}
