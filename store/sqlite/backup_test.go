package sqlite

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/faultfs"
	"github.com/posta-mail/posta/store"
)

// content is every message of a store: by account, mailbox and UID.
func content(t *testing.T, st *Store) map[string]string {
	t.Helper()
	all := make(map[string]string)
	for name, err := range st.Accounts(t.Context()) {
		require.NoError(t, err)
		a, err := st.Account(t.Context(), name, name)
		require.NoError(t, err)
		boxes, err := a.Mailboxes(t.Context())
		require.NoError(t, err)
		for _, info := range boxes {
			mb, err := a.Mailbox(t.Context(), info.Name)
			require.NoError(t, err)
			snap, err := mb.Snapshot(t.Context())
			require.NoError(t, err)
			for _, row := range snap.All() {
				b, err := mb.Open(t.Context(), row)
				require.NoError(t, err)
				data, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
				require.NoError(t, err)
				require.NoError(t, b.Close())
				all[fmt.Sprintf("%s/%s/%d", name, info.Name, row.UID)] = fmt.Sprint(snap.Flags(row.Flags)) + digest(string(data))
			}
		}
	}
	return all
}

func digest(text string) string { return fmt.Sprintf("%x", crc32.ChecksumIEEE([]byte(text))) }

func silent(t *testing.T, st *Store) {
	t.Helper()
	require.NoError(t, st.Check(t.Context(), func(p Problem) { t.Errorf("problem: %v", p) }))
}

func openBackup(t *testing.T, dir string) *Store {
	t.Helper()
	st, err := Options{ReadOnly: true}.Open(dir)
	require.NoError(t, err)
	t.Cleanup(func() { st.Close() })
	return st
}

// filled has two accounts, some mailboxes, copies, large bodies and a spool.
func filled(t *testing.T, opt Options) *rig {
	r := newRig(t, opt)
	require.NoError(t, r.st.CreateAccount(t.Context(), "bob"))
	a, err := r.st.Account(t.Context(), "anna", "anna")
	require.NoError(t, err)
	for _, name := range []string{"Work", "Work/Old", "Spam"} {
		_, err = a.Create(t.Context(), name, store.CreateOptions{})
		require.NoError(t, err)
	}
	for i := range 30 {
		require.NoError(t, r.place(letter(i)).Err)
	}
	require.NoError(t, r.place(strings.Repeat("big ", 100<<10)).Err)
	body := r.stage(letter(100))
	for _, p := range r.st.Place(t.Context(), []store.Target{
		{Account: "anna", Mailbox: "Work", Body: body, Flags: []store.Flag{store.FlagSeen, "todo"}},
		{Account: "bob", Mailbox: store.Inbox, Body: body, Prefix: []byte("To: bob\r\n")},
	}) {
		require.NoError(t, p.Err)
	}
	_, err = r.st.Spool().Enqueue(t.Context(), []store.SpoolItem{
		{Body: body, Site: "example.org", Prefix: []byte("Received: x\r\n")}, {Body: r.stage(letter(101)), Hold: true}})
	require.NoError(t, err)
	_, err = r.inbox().Copy(t.Context(), store.UIDs(1, 2, 3), r.box("Work/Old").ID())
	require.NoError(t, err)
	_, err = r.inbox().Move(t.Context(), store.UIDs(4, 5), r.box("Spam").ID())
	require.NoError(t, err)
	_, err = r.inbox().Flag(t.Context(), store.UIDs(1, 7, 8), store.FlagUpdate{Flags: []store.Flag{store.FlagFlagged}})
	require.NoError(t, err)
	return r
}

func TestBackupRestore(t *testing.T) {
	r := filled(t, Options{SegmentSize: 1, Grace: -1})
	dest := filepath.Join(t.TempDir(), "a", "backup")
	var done, total int64
	opt := BackupOptions{Progress: func(d, n int64) {
		require.GreaterOrEqual(t, d, done)
		done, total = d, n
	}}
	require.NoError(t, Backup(t.Context(), r.dir, dest, opt))
	require.Equal(t, total, done)
	require.Greater(t, total, int64(400<<10))
	want := content(t, r.st)
	b := openBackup(t, dest)
	require.Equal(t, want, content(t, b))
	silent(t, b)
	require.NoError(t, b.Close())

	// The next copies what is new only.
	require.NoError(t, r.place(letter(200)).Err)
	done = 0
	require.NoError(t, Backup(t.Context(), r.dir, dest, opt))
	db, err := os.Stat(filepath.Join(dest, dbName))
	require.NoError(t, err)
	require.Less(t, total-db.Size(), int64(2000))
	want = content(t, r.st)
	// A segment of the backup that was cut off is copied anew.
	seg := newSegments(faultfs.OS{}, dest, 0).path(1)
	require.NoError(t, os.Truncate(seg, 100))
	b = openBackup(t, dest)
	damaged := 0
	require.NoError(t, b.Check(t.Context(), func(Problem) { damaged++ }))
	require.NotZero(t, damaged)
	require.NoError(t, b.Close())
	require.NoError(t, Backup(t.Context(), r.dir, dest, BackupOptions{}))
	b = openBackup(t, dest)
	silent(t, b)
	require.NoError(t, b.Close())

	require.NoError(t, r.st.Close(), "from a store that is closed too")
	require.NoError(t, Backup(t.Context(), r.dir, dest, BackupOptions{}))
	r.open()

	for _, exact := range []bool{true, false} {
		dir := filepath.Join(t.TempDir(), "again")
		require.NoError(t, Restore(t.Context(), dest, dir, RestoreOptions{Exact: exact}))
		require.ErrorIs(t, Restore(t.Context(), dest, dir, RestoreOptions{}), store.ErrExists)
		st, err := Open(dir)
		require.NoError(t, err)
		defer st.Close()
		require.Equal(t, want, content(t, st))
		silent(t, st)
		info := func(s *Store) store.MailboxInfo {
			a, err := s.Account(t.Context(), "anna", "anna")
			require.NoError(t, err)
			mb, err := a.Mailbox(t.Context(), store.Inbox)
			require.NoError(t, err)
			i, err := mb.Info(t.Context())
			require.NoError(t, err)
			return i
		}
		was, is := info(r.st), info(st)
		require.Equal(t, was.UIDValidity, is.UIDValidity)
		if exact {
			require.Equal(t, was, is)
			continue
		}
		require.Greater(t, is.UIDNext, was.UIDNext+1000)
		require.Greater(t, is.ModSeq, was.ModSeq+1000)
		a, err := st.Account(t.Context(), "anna", "anna")
		require.NoError(t, err)
		mb, err := a.Mailbox(t.Context(), store.Inbox)
		require.NoError(t, err)
		_, err = mb.Changes(t.Context(), was.ModSeq+1)
		require.ErrorIs(t, err, store.ErrHistoryGone)
		_, err = a.Changes(t.Context(), was.ModSeq+1)
		require.ErrorIs(t, err, store.ErrHistoryGone)
		body, err := st.Stage(t.Context(), strings.NewReader(letter(1)))
		require.NoError(t, err)
		p := st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: body}})[0]
		require.NoError(t, p.Err)
		require.Equal(t, is.UIDNext, p.UID)
		require.Greater(t, p.ModSeq, is.ModSeq)
		require.NoError(t, body.Discard())
		silent(t, st)
	}
}

func TestBackupRefuses(t *testing.T) {
	r := filled(t, Options{})
	dest := t.TempDir()
	require.ErrorIs(t, Backup(t.Context(), t.TempDir(), dest, BackupOptions{}), store.ErrNotFound)
	require.ErrorIs(t, Backup(t.Context(), r.dir, filepath.Join(r.dir, "backup"), BackupOptions{}), store.ErrInvalid)
	require.ErrorIs(t, Backup(t.Context(), r.dir, r.dir, BackupOptions{}), store.ErrInvalid)
	require.NoError(t, Backup(t.Context(), r.dir, dest, BackupOptions{}))

	other := newRig(t, Options{})
	for i := range 100 {
		require.NoError(t, other.place(letter(500+i)).Err)
	}
	require.ErrorIs(t, Backup(t.Context(), other.dir, dest, BackupOptions{}), store.ErrConflict)
	silent(t, openBackup(t, dest))

	st, err := Open(dest)
	require.NoError(t, err)
	require.ErrorIs(t, Backup(t.Context(), r.dir, dest, BackupOptions{}), store.ErrInUse)
	require.NoError(t, st.Close())
	require.NoError(t, Backup(t.Context(), r.dir, dest, BackupOptions{}), "opened, but not changed")

	// A flipped bit of the database is seen by its checksum.
	file := filepath.Join(dest, dbName)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	data[len(data)-1] ^= 1
	require.NoError(t, os.WriteFile(file, data, 0o600))
	dir := t.TempDir()
	require.ErrorIs(t, Restore(t.Context(), dest, dir, RestoreOptions{}), store.ErrCorrupt)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
	require.NoError(t, os.WriteFile(file, []byte("no database"), 0o600))
	require.ErrorIs(t, Backup(t.Context(), r.dir, dest, BackupOptions{}), store.ErrConflict)
}

// A damaged message stops a backup, unless it is to be told.
func TestBackupDamaged(t *testing.T) {
	r := filled(t, Options{})
	l, err := r.st.locate(3)
	require.NoError(t, err)
	r.write(r.st.seg.path(l.bodySeg), l.bodyOff+recHeaderSize, "damage")
	dest := t.TempDir()
	require.ErrorIs(t, Backup(t.Context(), r.dir, dest, BackupOptions{}), store.ErrCorrupt)
	require.NoFileExists(t, filepath.Join(dest, dbName))
	var problems []Problem
	require.NoError(t, Backup(t.Context(), r.dir, dest, BackupOptions{Report: func(p Problem) { problems = append(problems, p) }}))
	require.Len(t, problems, 1)
	require.ErrorIs(t, problems[0], store.ErrCorrupt)
	dir := t.TempDir()
	require.ErrorIs(t, Restore(t.Context(), dest, dir, RestoreOptions{}), store.ErrCorrupt)
	require.NoError(t, Restore(t.Context(), dest, dir, RestoreOptions{Report: func(Problem) {}}))
}

func (r *rig) write(file string, off int64, data string) {
	r.t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	require.NoError(r.t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte(data), off)
	require.NoError(r.t, err)
}

// Twenty backups while eight writers and sweeps with compaction run: each
// opens, is sound, and has all that was acknowledged before it began.
func TestBackupBusy(t *testing.T) {
	r := newRig(t, Options{SegmentSize: 1, Grace: -1, WALSize: 64 << 10})
	var mu sync.Mutex
	acked := make(map[store.UID]string)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	mb := r.inbox()
	for w := range 8 {
		wg.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				text := fmt.Sprintf("Subject: %d of %d\r\n\r\n%s", n, w, strings.Repeat("text\r\n", n%2000))
				if n%100 == 50 {
					text = strings.Repeat(text, 30) // in a file of its own
				}
				body, err := r.st.Stage(context.Background(), strings.NewReader(text))
				if err != nil {
					t.Error(err)
					return
				}
				p := r.st.Place(context.Background(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: body}})[0]
				body.Discard()
				if p.Err != nil {
					t.Error(p.Err)
					return
				}
				if n%10 > 0 { // most is expunged again
					if _, err := mb.Expunge(context.Background(), store.UIDs(p.UID)); err != nil {
						t.Error(err)
						return
					}
					continue
				}
				mu.Lock()
				acked[p.UID] = text
				mu.Unlock()
			}
		})
	}
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			r.skew.Add(int64(time.Minute))
			if err := r.st.Sweep(context.Background()); err != nil {
				t.Error(err)
				return
			}
		}
	})
	dest := t.TempDir()
	for i := range 20 {
		mu.Lock()
		want := make(map[store.UID]string, len(acked))
		for uid, text := range acked {
			want[uid] = text
		}
		mu.Unlock()
		require.NoError(t, Backup(t.Context(), r.dir, dest, BackupOptions{}), "backup %d", i)
		b := openBackup(t, dest)
		silent(t, b)
		have := content(t, b)
		for uid, text := range want {
			require.Equal(t, "[]"+digest(text), have[fmt.Sprintf("anna/INBOX/%d", uid)])
		}
		require.NoError(t, b.Close())
	}
	close(stop)
	wg.Wait()
	nums, err := r.st.seg.list()
	require.NoError(t, err)
	kept, err := newSegments(faultfs.OS{}, dest, 0).list()
	require.NoError(t, err)
	require.Less(t, len(kept), len(nums)*2+10, "removed segments leave backups too")
}

// Compaction removes segments between the copy of the database and theirs.
func TestBackupCompacted(t *testing.T) {
	r := newRig(t, Options{SegmentSize: 1, Grace: -1})
	stay := r.sparse(400, 10)
	dest := t.TempDir()
	databases := 0
	require.NoError(t, Backup(t.Context(), r.dir, dest, BackupOptions{fault: func(step string) error {
		switch step {
		case "database":
			databases++
		case "segments":
			if databases < 3 {
				before := r.segmentFiles()
				stay = append(stay, r.sparse(200, 10)...)
				r.sweep(time.Hour)
				require.Less(t, r.segmentFiles(), before+200)
			}
		}
		return nil
	}}))
	require.Equal(t, 3, databases)
	b := openBackup(t, dest)
	silent(t, b)
	require.Equal(t, content(t, r.st), content(t, b))
	require.Equal(t, stay, r.bodies())
}

// Hashes of bodies that nobody needs any more are not in a backup that does not
// have the bodies.
func TestBackupHashes(t *testing.T) {
	r := newRig(t, Options{SegmentSize: 1, Grace: -1, Dedupe: DedupeStore})
	require.NoError(t, r.place(strings.Repeat("stays ", 7000)).Err)
	p := r.place(strings.Repeat("goes ", 5000))
	require.NoError(t, p.Err)
	require.NoError(t, r.place(strings.Repeat("next segment ", 5000)).Err)
	_, err := r.inbox().Expunge(t.Context(), store.UIDs(p.UID))
	require.NoError(t, err)
	r.sweep(time.Hour)
	require.Equal(t, 2, r.segmentFiles())
	dest := t.TempDir()
	require.NoError(t, Backup(t.Context(), r.dir, dest, BackupOptions{}))
	b := openBackup(t, dest)
	silent(t, b)
	require.Equal(t, content(t, r.st), content(t, b))
}

// Whatever step fails, dest is the earlier backup or the new one, and the next
// attempt succeeds.
func TestBackupInterrupted(t *testing.T) {
	r := filled(t, Options{SegmentSize: 1, Grace: -1})
	dest := t.TempDir()
	require.NoError(t, Backup(t.Context(), r.dir, dest, BackupOptions{}))
	old := content(t, r.st)
	round := func(opt func(n int) (context.Context, BackupOptions)) (failed int) {
		for n := 1; ; n++ {
			var gone store.UIDSet // segments go too
			if next := r.uidNext(); next > 40 {
				gone.AddRange(32, next-2)
			}
			_, err := r.inbox().Expunge(t.Context(), gone)
			require.NoError(t, err)
			for i := range 8 {
				require.NoError(t, r.place(strings.Repeat(letter(1000*n+i), 1000)).Err)
			}
			r.sweep(time.Hour)
			now := content(t, r.st)
			ctx, o := opt(n)
			err = Backup(ctx, r.dir, dest, o)
			b := openBackup(t, dest)
			silent(t, b)
			have := content(t, b)
			require.NoError(t, b.Close())
			if err == nil {
				require.Equal(t, now, have)
				old = now
				return failed
			}
			failed++
			require.True(t, errors.Is(err, errDisk) || errors.Is(err, context.Canceled), "%v", err)
			if maps.Equal(have, now) {
				old = now
			}
			require.Equal(t, old, have, "step %d", n)
			if n%3 == 0 { // else what was left is met again
				require.NoError(t, Backup(t.Context(), r.dir, dest, BackupOptions{}))
				old = now
			}
		}
	}
	steps := round(func(n int) (context.Context, BackupOptions) {
		return t.Context(), BackupOptions{fault: func(string) error {
			if n--; n == 0 {
				return errDisk
			}
			return nil
		}}
	})
	require.Greater(t, steps, 8)
	require.Greater(t, round(func(n int) (context.Context, BackupOptions) {
		ctx, cancel := context.WithCancel(t.Context())
		return ctx, BackupOptions{fault: func(string) error {
			if n--; n == 0 {
				cancel()
			}
			return nil
		}}
	}), 4)
	require.Greater(t, round(func(n int) (context.Context, BackupOptions) {
		return t.Context(), BackupOptions{fs: faultfs.Faulty{FS: faultfs.OS{}, Fail: func(op faultfs.Op, _ string) error {
			if op != faultfs.OpRead && op != faultfs.OpOpen {
				n--
			}
			if n == 0 {
				n = -1
				return errDisk
			}
			return nil
		}}}
	}), 10)
}

func (r *rig) uidNext() store.UID {
	i, err := r.inbox().Info(r.t.Context())
	require.NoError(r.t, err)
	return i.UIDNext
}

// Everything that would change a store opened for reading is refused.
func TestReadOnly(t *testing.T) {
	r := filled(t, Options{})
	dest := t.TempDir()
	require.NoError(t, Backup(t.Context(), r.dir, dest, BackupOptions{}))
	before := listing(t, dest)
	b := openBackup(t, dest)
	again := openBackup(t, dest)
	ctx := t.Context()
	for _, small := range []bool{true, false} {
		text := letter(1)
		if !small {
			text = strings.Repeat(text, 50_000)
		}
		_, err := b.Stage(ctx, strings.NewReader(text))
		require.ErrorIs(t, err, store.ErrReadOnly)
		p := b.Place(ctx, []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: r.stage(text)}})
		require.ErrorIs(t, p[0].Err, store.ErrReadOnly)
	}
	require.ErrorIs(t, b.CreateAccount(ctx, "carl"), store.ErrReadOnly)
	require.ErrorIs(t, b.DeleteAccount(ctx, "bob"), store.ErrReadOnly)
	a, err := b.Account(ctx, "anna", "anna")
	require.NoError(t, err)
	_, err = a.Create(ctx, "New", store.CreateOptions{})
	require.ErrorIs(t, err, store.ErrReadOnly)
	require.ErrorIs(t, a.Rename(ctx, "Work", "New"), store.ErrReadOnly)
	require.ErrorIs(t, a.Delete(ctx, "Work"), store.ErrReadOnly)
	require.ErrorIs(t, a.Subscribe(ctx, "Work", true), store.ErrReadOnly)
	mb, err := a.Mailbox(ctx, store.Inbox)
	require.NoError(t, err)
	_, err = mb.Flag(ctx, store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{store.FlagSeen}})
	require.ErrorIs(t, err, store.ErrReadOnly)
	_, err = mb.Expunge(ctx, store.AllUIDs())
	require.ErrorIs(t, err, store.ErrReadOnly)
	_, err = mb.Copy(ctx, store.AllUIDs(), mb.ID())
	require.ErrorIs(t, err, store.ErrReadOnly)
	_, err = b.Spool().Lease(ctx, time.Now(), 1, time.Minute)
	require.ErrorIs(t, err, store.ErrReadOnly)
	require.ErrorIs(t, b.Spool().Remove(ctx, 1), store.ErrReadOnly)
	require.Error(t, b.Sweep(ctx))
	items, err := b.Spool().List(ctx, 0, 10)
	require.NoError(t, err)
	require.Len(t, items, 2)
	body, err := b.Spool().Open(ctx, items[0].ID)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	require.Equal(t, content(t, r.st), content(t, again))
	require.NoError(t, b.Close())
	require.NoError(t, again.Close())
	require.Equal(t, before, listing(t, dest), "nothing was written")

	_, err = Options{ReadOnly: true}.Open(t.TempDir())
	require.ErrorIs(t, err, store.ErrNotFound)
	served := openBackup(t, r.dir) // beside who serves it
	require.Equal(t, content(t, r.st), content(t, served))
}

func listing(t *testing.T, dir string) (out []string) {
	require.NoError(t, filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			out = append(out, fmt.Sprint(path, info.Size(), info.ModTime()))
		}
		return err
	}))
	return out
}
