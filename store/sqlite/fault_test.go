package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/faultfs"
	"github.com/posta-mail/posta/store"
)

// rig is a store whose disk and clock obey the test.
type rig struct {
	t    *testing.T
	dir  string
	st   *Store
	opt  Options
	skew atomic.Int64 // of the clock, nanoseconds
	spot place        // of what a test damages
	big  uint64       // a segment of one body

	mu    sync.Mutex
	fail  func(op faultfs.Op, name string) error
	fault func(point string) error
}

func newRig(t *testing.T, opt Options) *rig {
	r := &rig{t: t, dir: t.TempDir(), opt: opt}
	r.opt.SweepEvery = -1
	r.opt.fs = faultfs.Faulty{FS: faultfs.OS{}, Fail: func(op faultfs.Op, name string) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.fail == nil {
			return nil
		}
		return r.fail(op, name)
	}}
	r.opt.fault = func(point string) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.fault == nil {
			return nil
		}
		return r.fault(point)
	}
	r.opt.clock = func() time.Time { return time.Now().Add(time.Duration(r.skew.Load())) }
	r.open()
	t.Cleanup(func() { r.st.Close() })
	require.NoError(t, r.st.CreateAccount(t.Context(), "anna"))
	return r
}

func (r *rig) open() {
	r.t.Helper()
	st, err := r.opt.Open(r.dir)
	require.NoError(r.t, err)
	r.st = st
}

func (r *rig) reopen() {
	r.t.Helper()
	r.disk(nil)
	r.database(nil)
	r.st.Close()
	r.open()
}

// disk sets which operations of the file system fail, database which steps of
// a transaction.
func (r *rig) disk(fail func(op faultfs.Op, name string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = fail
}

func (r *rig) database(fault func(point string) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fault = fault
}

func (r *rig) stage(body string) store.Staged {
	r.t.Helper()
	s, err := r.st.Stage(r.t.Context(), strings.NewReader(body))
	require.NoError(r.t, err)
	r.t.Cleanup(func() { s.Discard() })
	return s
}

func (r *rig) place(body string) store.Placed {
	r.t.Helper()
	s := r.stage(body)
	defer s.Discard()
	return r.st.Place(r.t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: s, Prefix: []byte("X: y\r\n")}})[0]
}

func (r *rig) inbox() store.Mailbox {
	r.t.Helper()
	a, err := r.st.Account(r.t.Context(), "anna", "anna")
	require.NoError(r.t, err)
	mb, err := a.Mailbox(r.t.Context(), store.Inbox)
	require.NoError(r.t, err)
	return mb
}

// bodies reads all messages of INBOX.
func (r *rig) bodies() []string {
	r.t.Helper()
	mb := r.inbox()
	snap, err := mb.Snapshot(r.t.Context())
	require.NoError(r.t, err)
	out := []string{}
	for _, row := range snap.All() {
		b, err := mb.Open(r.t.Context(), row)
		require.NoError(r.t, err)
		data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		require.NoError(r.t, err)
		require.True(r.t, strings.HasPrefix(string(data), "X: y\r\n"))
		out = append(out, string(data[6:]))
		b.Close()
	}
	return out
}

func letter(n int) string { return fmt.Sprintf("Subject: %d\r\n\r\nText %d\r\n", n, n) }

var errDisk = errors.New("input/output error")

// A failed sync stops all writing until the store is opened again; nothing is
// tried twice, and nothing acknowledged is lost.
func TestPoison(t *testing.T) {
	only := func(want faultfs.Op, part string) func(r *rig) {
		return func(r *rig) {
			r.disk(func(op faultfs.Op, name string) error {
				if op == want && strings.Contains(name, part) {
					return errDisk
				}
				return nil
			})
		}
	}
	step := func(want string) func(r *rig) {
		return func(r *rig) {
			r.database(func(point string) error {
				if point == want {
					return errDisk
				}
				return nil
			})
		}
	}
	for name, inject := range map[string]func(r *rig){
		"segment sync":  only(faultfs.OpDatasync, ".seg"),
		"segment write": only(faultfs.OpWrite, ".seg"),
		"begin":         step("begin"),
		"flush":         step("flush"),
		"commit":        step("commit"),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			require.NoError(t, r.place(letter(1)).Err)
			inject(r)
			require.ErrorIs(t, r.place(letter(2)).Err, store.ErrUnavailable)
			r.disk(nil)
			r.database(nil)
			require.ErrorIs(t, r.place(letter(3)).Err, store.ErrUnavailable, "although the disk works again")
			_, err := r.inbox().Flag(t.Context(), store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{store.FlagSeen}})
			require.ErrorIs(t, err, store.ErrUnavailable)
			_, err = r.st.Spool().Enqueue(t.Context(), []store.SpoolItem{{Body: r.stage(letter(3))}})
			require.ErrorIs(t, err, store.ErrUnavailable)
			require.Equal(t, []string{letter(1)}, r.bodies(), "reading goes on")
			r.reopen()
			require.Equal(t, []string{letter(1)}, r.bodies())
			p := r.place(letter(4))
			require.NoError(t, p.Err)
			require.EqualValues(t, 2, p.UID)
			require.Equal(t, []string{letter(1), letter(4)}, r.bodies())
		})
	}
}

func TestPoisonNewSegment(t *testing.T) {
	r := newRig(t, Options{SegmentSize: 1})
	require.NoError(t, r.place(letter(1)).Err)
	require.NoError(t, r.place(strings.Repeat("x", 70<<10)).Err, "fills the segment")
	r.disk(func(op faultfs.Op, name string) error {
		if op == faultfs.OpSyncDir {
			return errDisk
		}
		return nil
	})
	require.ErrorIs(t, r.place(letter(2)).Err, store.ErrUnavailable)
	r.reopen()
	require.Len(t, r.bodies(), 2)
	require.NoError(t, r.place(letter(3)).Err)
}

func TestPoisonLargeBody(t *testing.T) {
	for _, op := range []faultfs.Op{faultfs.OpDatasync, faultfs.OpSyncDir} {
		r := newRig(t, Options{StageMemory: -1})
		big := strings.Repeat("line\r\n", 100_000)
		require.NoError(t, r.place(big).Err)
		r.disk(func(o faultfs.Op, name string) error {
			if o == op {
				return errDisk
			}
			return nil
		})
		require.ErrorIs(t, r.place(big).Err, store.ErrUnavailable)
		r.disk(nil)
		require.ErrorIs(t, r.place(letter(1)).Err, store.ErrUnavailable)
		r.reopen()
		require.Equal(t, []string{big}, r.bodies())
	}
}

// A full disk refuses and rolls back; what makes room still passes, and when
// there is room again everything does.
func TestNoSpace(t *testing.T) {
	full := func(op faultfs.Op, name string) error {
		if op == faultfs.OpWrite {
			return &os.PathError{Op: "write", Path: name, Err: syscall.ENOSPC}
		}
		return nil
	}
	r := newRig(t, Options{})
	for i := range 3 {
		require.NoError(t, r.place(letter(i)).Err)
	}
	before, err := os.Stat(r.st.seg.path(r.st.seg.active.num))
	require.NoError(t, err)
	r.disk(full)
	require.ErrorIs(t, r.place(letter(9)).Err, store.ErrNoSpace)
	_, err = r.st.Spool().Enqueue(t.Context(), []store.SpoolItem{{Body: r.stage(letter(9))}})
	require.ErrorIs(t, err, store.ErrNoSpace)
	_, ok, err := r.st.Spool().NextDue(t.Context())
	require.NoError(t, err)
	require.False(t, ok, "taken back")
	e, err := r.inbox().Expunge(t.Context(), store.UIDs(1))
	require.NoError(t, err)
	require.Equal(t, 1, e.UIDs.Len())
	after, err := os.Stat(r.st.seg.path(r.st.seg.active.num))
	require.NoError(t, err)
	require.Equal(t, before.Size(), after.Size(), "cut back")
	_, err = r.st.Stage(t.Context(), strings.NewReader(strings.Repeat("x", 300<<10)))
	require.ErrorIs(t, err, store.ErrNoSpace)
	r.disk(nil)
	p := r.place(letter(4))
	require.NoError(t, p.Err)
	require.EqualValues(t, 4, p.UID)
	r.reopen()
	require.Equal(t, []string{letter(1), letter(2), letter(4)}, r.bodies())
}

// In one batch, what writes bodies fails and what does not passes.
func TestNoSpaceMixedBatch(t *testing.T) {
	r := newRig(t, Options{})
	for i := range 2 {
		require.NoError(t, r.place(letter(i)).Err)
	}
	mb := r.inbox()
	_, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	hold, entered := make(chan struct{}), make(chan struct{})
	go r.st.do(context.Background(), func(*tx) error { close(entered); <-hold; return nil })
	<-entered
	r.disk(func(op faultfs.Op, name string) error {
		if op == faultfs.OpWrite {
			return syscall.ENOSPC
		}
		return nil
	})
	var wg sync.WaitGroup
	var placed store.Placed
	var expunged store.Expunged
	var expungeErr error
	wg.Go(func() { placed = r.place(letter(3)) })
	wg.Go(func() { expunged, expungeErr = mb.Expunge(context.Background(), store.UIDs(1)) })
	for r.st.queue.waiting() < 2 {
		time.Sleep(time.Millisecond)
	}
	close(hold)
	wg.Wait()
	require.ErrorIs(t, placed.Err, store.ErrNoSpace)
	require.NoError(t, expungeErr)
	require.Equal(t, 1, expunged.UIDs.Len())
	r.disk(nil)
	require.Equal(t, []string{letter(1)}, r.bodies())
}

func (q *queue) waiting() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.reqs)
}

func TestNoSpaceDatabase(t *testing.T) {
	for _, point := range []string{"begin", "flush", "commit"} {
		r := newRig(t, Options{})
		require.NoError(t, r.place(letter(1)).Err)
		r.database(func(p string) error {
			if p == point {
				return syscall.ENOSPC
			}
			return nil
		})
		require.ErrorIs(t, r.place(letter(2)).Err, store.ErrNoSpace)
		r.database(nil)
		p := r.place(letter(3))
		require.NoError(t, p.Err)
		require.EqualValues(t, 2, p.UID)
		r.reopen()
		require.Equal(t, []string{letter(1), letter(3)}, r.bodies())
	}
}

// Nothing is committed that is not synced before: bodies, and the folder after
// a segment was made.
func TestSyncBeforeCommit(t *testing.T) {
	r := newRig(t, Options{SegmentSize: 1, StageMemory: 100 << 10})
	var mu sync.Mutex
	dirty := make(map[string]bool)
	r.disk(func(op faultfs.Op, name string) error {
		if !strings.HasSuffix(name, ".seg") && op != faultfs.OpRename && op != faultfs.OpSyncDir {
			return nil
		}
		mu.Lock()
		defer mu.Unlock()
		switch op {
		case faultfs.OpWrite, faultfs.OpTruncate:
			dirty[name] = true
		case faultfs.OpCreate, faultfs.OpRename:
			dirty["folder"] = true
		case faultfs.OpDatasync:
			delete(dirty, name)
		case faultfs.OpSyncDir:
			delete(dirty, "folder")
		}
		return nil
	})
	commits := 0
	r.database(func(point string) error {
		mu.Lock()
		defer mu.Unlock()
		if point == "commit" {
			commits++
			if len(dirty) > 0 {
				return fmt.Errorf("not synced: %v", dirty)
			}
		}
		return nil
	})
	for i := range 20 {
		require.NoError(t, r.place(strings.Repeat(letter(i), 1+i%3*10_000)).Err)
	}
	require.GreaterOrEqual(t, commits, 20)
}

func TestTornTail(t *testing.T) {
	whole := appendRecord(nil, kindBody, 99, []byte("never acknowledged"))
	for name, tail := range map[string]struct {
		octets []byte
		stay   int
	}{
		"nothing":         {},
		"zeros":           {octets: make([]byte, 5000)},
		"half a header":   {octets: whole[:20]},
		"half a record":   {octets: whole[:len(whole)-9]},
		"no end":          {octets: whole[:len(whole)-1]},
		"whole":           {octets: whole, stay: len(whole)},
		"whole, then not": {octets: append(whole[:len(whole):len(whole)], whole[:40]...), stay: len(whole)},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, Options{})
			require.NoError(t, r.place(letter(1)).Err)
			file := r.st.seg.path(r.st.seg.active.num)
			require.NoError(t, r.st.Close())
			f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(t, err)
			before, err := f.Stat()
			require.NoError(t, err)
			_, err = f.Write(tail.octets)
			require.NoError(t, err)
			require.NoError(t, f.Close())
			r.open()
			after, err := os.Stat(file)
			require.NoError(t, err)
			require.EqualValues(t, before.Size()+int64(tail.stay), after.Size())
			require.NoError(t, r.place(letter(2)).Err)
			require.Equal(t, []string{letter(1), letter(2)}, r.bodies())
			r.reopen()
			require.Equal(t, []string{letter(1), letter(2)}, r.bodies())
		})
	}
}

// Acknowledged octets that are missing are not papered over.
func TestSegmentTooShort(t *testing.T) {
	r := newRig(t, Options{})
	require.NoError(t, r.place(letter(1)).Err)
	file := r.st.seg.path(r.st.seg.active.num)
	require.NoError(t, r.st.Close())
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(file, info.Size()-1))
	_, err = r.opt.Open(r.dir)
	require.ErrorIs(t, err, store.ErrCorrupt)
	require.NoError(t, os.Remove(file))
	_, err = r.opt.Open(r.dir)
	require.ErrorIs(t, err, store.ErrCorrupt)
}

func TestDamagedBody(t *testing.T) {
	r := newRig(t, Options{})
	for i := range 3 {
		require.NoError(t, r.place(letter(i)).Err)
	}
	mb := r.inbox()
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	var rows []store.Row
	for _, row := range snap.All() {
		rows = append(rows, row)
	}
	l, err := r.st.locate(rows[1].Ref)
	require.NoError(t, err)
	f, err := os.OpenFile(r.st.seg.path(l.seg), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	for _, off := range []int64{l.bodyOff + recHeaderSize + 3, l.off + recHeaderSize + 9} {
		_, err = f.WriteAt([]byte{0xff}, off)
		require.NoError(t, err)
	}
	_, err = mb.Open(t.Context(), rows[1])
	require.ErrorIs(t, err, store.ErrCorrupt)
	n := 0
	for d, err := range mb.Details(t.Context(), rows) {
		require.Equal(t, rows[n], d.Row)
		if n == 1 {
			require.ErrorIs(t, err, store.ErrCorrupt)
		} else {
			require.NoError(t, err, "the others are read")
		}
		n++
	}
	require.Equal(t, 3, n)
}

func TestOpenRefused(t *testing.T) {
	r := newRig(t, Options{})
	_, err := Open(r.dir)
	require.ErrorIs(t, err, store.ErrInUse)
	require.NoError(t, r.place(letter(1)).Err, "the first is not disturbed")
	require.NoError(t, r.st.Close())
	db, err := sql.Open("sqlite", filepath.Join(r.dir, "posta.db"))
	require.NoError(t, err)
	defer db.Close()
	_, err = db.Exec(fmt.Sprintf("PRAGMA user_version = %d", schemaVersion+1))
	require.NoError(t, err)
	_, err = Open(r.dir)
	require.ErrorIs(t, err, ErrNewer)
	_, err = db.Exec(fmt.Sprintf("PRAGMA user_version = %d; PRAGMA application_id = 7", schemaVersion))
	require.NoError(t, err)
	_, err = Open(r.dir)
	require.ErrorIs(t, err, store.ErrCorrupt)
	_, err = db.Exec(fmt.Sprintf("PRAGMA application_id = %d", applicationID))
	require.NoError(t, err)
	require.NoError(t, db.Close())
	r.open()
	require.NoError(t, r.st.Close())
	for _, end := range []string{"", "-wal", "-shm"} {
		os.Remove(filepath.Join(r.dir, "posta.db"+end))
	}
	_, err = Open(r.dir)
	require.ErrorIs(t, err, store.ErrCorrupt, "segments without a database")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = Open(file)
	require.Error(t, err)
}
