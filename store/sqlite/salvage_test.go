package sqlite

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// gifted adds what abilities keep beside mail.
func gifted(r *rig) {
	t, ctx := r.t, r.t.Context()
	a, err := r.st.Account(ctx, "anna", "anna")
	require.NoError(t, err)
	_, err = a.(store.Annotations).Annotate(ctx, 0, store.Annotation{Key: "/own", Value: []byte("x")})
	require.NoError(t, err)
	_, err = a.(store.Annotations).Annotate(ctx, r.inbox().ID(), store.Annotation{Key: "/box", Value: []byte{}})
	require.NoError(t, err)
	require.NoError(t, r.st.SetQuota(ctx, "anna", store.Usage{Octets: 1 << 30}))
	require.NoError(t, a.Subscribe(ctx, "Work", true))
	p := r.st.Place(ctx, []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: r.stage(letter(77)), UIDL: "unique", Token: "tok"}})
	require.NoError(t, p[0].Err)
	shared, err := r.st.Account(ctx, "anna", "bob")
	require.NoError(t, err)
	mb, err := shared.Mailbox(ctx, store.Inbox)
	require.NoError(t, err)
	_, err = mb.Flag(ctx, store.UIDs(1, 7), store.FlagUpdate{Flags: []store.Flag{store.FlagSeen}})
	require.NoError(t, err)
}

// hasGifts sees that gifted's are there.
func hasGifts(t *testing.T, st *Store) {
	t.Helper()
	ctx := t.Context()
	a, err := st.Account(ctx, "anna", "anna")
	require.NoError(t, err)
	notes, err := a.(store.Annotations).Annotations(ctx, 0, "")
	require.NoError(t, err)
	require.Equal(t, []store.Annotation{{Key: "/own", Value: []byte("x")}}, notes)
	q, err := st.Quota(ctx, "anna")
	require.NoError(t, err)
	require.Equal(t, store.Usage{Octets: 1 << 30}, q.Limit)
	subs, err := a.Subscriptions(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"Work"}, subs)
	mb, err := a.Mailbox(ctx, store.Inbox)
	require.NoError(t, err)
	notes, err = a.(store.Annotations).Annotations(ctx, mb.ID(), "")
	require.NoError(t, err)
	require.Len(t, notes, 1)
	uidls, err := mb.(store.UIDLs).UIDLs(ctx)
	require.NoError(t, err)
	require.Equal(t, map[store.UID]string{32: "unique"}, uidls)
	shared, err := st.Account(ctx, "anna", "bob")
	require.NoError(t, err)
	mb, err = shared.Mailbox(ctx, store.Inbox)
	require.NoError(t, err)
	snap, err := mb.Snapshot(ctx)
	require.NoError(t, err)
	var seen store.UIDSet
	for _, row := range snap.All() {
		if row.Flags&store.BitSeen != 0 {
			seen.Add(row.UID)
		}
	}
	require.Equal(t, store.UIDs(1, 7), seen)
}

// A database that is read out of a damaged one says the same, word for word,
// and so does one that went through a backup.
func TestSalvageKeepsAll(t *testing.T) {
	for _, dedupe := range []Dedupe{DedupeNone, DedupeStore} {
		r := filled(t, Options{Dedupe: dedupe})
		gifted(r)
		for range 3 {
			require.NoError(t, r.place(letter(5)).Err)
		}
		silent(t, r.st)
		want := readFixture(t, r.st, schemaVersion)

		dest, moved := t.TempDir(), t.TempDir()
		require.NoError(t, Backup(t.Context(), r.dir, dest, BackupOptions{}))
		b := openBackup(t, dest)
		sameFixture(t, want, readFixture(t, b, schemaVersion))
		hasGifts(t, b)
		silent(t, b)
		require.NoError(t, Restore(t.Context(), dest, moved, RestoreOptions{Exact: true}))
		again := &rig{t: t, dir: moved, opt: Options{SweepEvery: -1}}
		again.open()
		defer again.st.Close()
		sameFixture(t, want, readFixture(t, again.st, schemaVersion))

		require.NoError(t, r.st.Close())
		r.zero("mailbox_account")
		require.NotEmpty(t, r.repair())
		sameFixture(t, want, readFixture(t, r.st, schemaVersion))
		hasGifts(t, r.st)
		_, err := os.Stat(r.dbPath() + ".damaged-1")
		require.NoError(t, err)
		require.NoDirExists(t, filepath.Join(r.dir, "lost"))
		p := r.st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: r.stage(letter(77)), Token: "tok"}})
		require.True(t, p[0].Duplicate)
	}
}

// A store of any version is mended too, and is of this one then.
func TestRepairOlder(t *testing.T) {
	for version := 1; version <= schemaVersion; version++ {
		r := &rig{t: t, dir: copyFixture(t, version), opt: Options{SweepEvery: -1}}
		require.NoError(t, r.opt.Repair(t.Context(), r.dir, func(p Problem) { t.Errorf("version %d: %v", version, p) }))
		require.Equal(t, schemaVersion, userVersion(t, r.dir))
		r.open()
		sameFixture(t, wantFixture(t, version), readFixture(t, r.st, version))
		require.NoError(t, r.st.Close())

		dir := copyFixture(t, version)
		r = &rig{t: t, dir: dir, opt: Options{SweepEvery: -1}}
		b := openBackup(t, dir)
		want := content(t, b)
		require.NoError(t, b.Close())
		require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if strings.HasSuffix(path, dbName) {
				return os.Remove(path)
			}
			return err
		}))
		r.repair()
		defer r.st.Close()
		require.GreaterOrEqual(t, len(content(t, r.st)), len(want)/2)
	}
}

// Segments of the same layout in each other's place: nobody reads another's
// message, and a repair gives them their names back.
func TestExchanged(t *testing.T) {
	r := newRig(t, Options{SegmentSize: 1})
	for i := range 12 {
		require.NoError(t, r.place(strings.Repeat(letter(100+i), 1000)).Err)
	}
	want := content(t, r.st)
	require.Greater(t, r.segmentFiles(), 3)
	require.NoError(t, r.st.Close())
	one, two := r.st.seg.path(1), r.st.seg.path(2)
	require.NoError(t, os.Rename(one, one+"x"))
	require.NoError(t, os.Rename(two, one))
	require.NoError(t, os.Rename(one+"x", two))
	r.open()
	mb := r.inbox()
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	bad := 0
	for _, row := range snap.All() {
		b, err := mb.Open(t.Context(), row)
		if err != nil {
			require.ErrorIs(t, err, store.ErrCorrupt)
			bad++
			continue
		}
		require.NoError(t, b.Close())
	}
	require.Greater(t, bad, 4)
	require.Less(t, bad, 12)
	require.NotEmpty(t, r.check())
	require.NoError(t, r.st.Close())
	require.Len(t, r.repair(), 1)
	require.Equal(t, want, content(t, r.st))
}

// References that are sound and lead to another's message are seen.
func TestAnothersPlacement(t *testing.T) {
	r := filled(t, Options{})
	want := content(t, r.st)
	require.NoError(t, r.st.Close())
	db, err := openDB(r.dbPath(), false, 1, busyLong)
	require.NoError(t, err)
	var data []byte
	require.NoError(t, db.QueryRow("SELECT data FROM ref WHERE id=0").Scan(&data))
	p, err := decodeRefPage(0, data)
	require.NoError(t, err)
	p[11], p[12] = p[12], p[11]
	_, err = db.Exec("UPDATE ref SET data=? WHERE id=0", p.encode(0))
	require.NoError(t, err)
	require.NoError(t, db.Close())
	problems, err := r.problems()
	require.NoError(t, err)
	require.Len(t, problems, 2)
	require.Contains(t, problems[0], "another message's placement")
	r.repair()
	require.Equal(t, want, content(t, r.st))
}
