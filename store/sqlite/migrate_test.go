package sqlite

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// fixture is what a store of testdata holds, for all versions.
type fixture struct {
	Accounts []fixtureAccount
	Spool    []store.SpoolEntry
}

type fixtureAccount struct {
	Name   string
	Boxes  []fixtureBox
	Subs   []string
	Events []store.MailboxEvent
	// Since version 2.
	Quota  store.Quota
	Notes  []store.Annotation `json:",omitempty"`
	Unseen map[string]int     `json:",omitempty"` // to bob, by mailbox
}

type fixtureBox struct {
	Info     store.MailboxInfo
	Rows     []fixtureRow
	Vanished string
	// Since version 2.
	Notes []store.Annotation   `json:",omitempty"`
	UIDLs map[store.UID]string `json:",omitempty"`
}

type fixtureRow struct {
	UID             store.UID
	Size            uint32
	ModSeq, Created store.ModSeq
	Date, Saved     int64
	Flags           []store.Flag
	SHA256, Email   string
}

// copyFixture copies the store of a version to where it may be changed.
func copyFixture(t *testing.T, version int) string {
	dir := filepath.Join(t.TempDir(), "store")
	require.NoError(t, os.CopyFS(dir, os.DirFS(fmt.Sprintf("testdata/v%d/store", version))))
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = os.Chmod(path, 0o700)
		}
		return err
	}))
	return dir
}

func wantFixture(t *testing.T, version int) (want fixture) {
	data, err := os.ReadFile(fmt.Sprintf("testdata/v%d/want.json", version))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &want))
	for i := range want.Accounts {
		for k := range want.Accounts[i].Boxes {
			b := &want.Accounts[i].Boxes[k]
			if version > 1 {
				continue
			}
			used := &want.Accounts[i].Quota.Used
			used.Octets += b.Info.Size
			used.Messages += int64(b.Info.Messages)
			used.Mailboxes++
			for j := range b.Rows {
				r := &b.Rows[j]
				r.Saved = r.Date
				for _, f := range r.Flags {
					if f == store.FlagDeleted {
						b.Info.DeletedSize += int64(r.Size)
					}
				}
			}
		}
	}
	return want
}

// readFixture tells what a store holds, by its public methods.
func readFixture(t *testing.T, s *Store, version int) (got fixture) {
	ctx := t.Context()
	for name, err := range s.Accounts(ctx) {
		require.NoError(t, err)
		got.Accounts = append(got.Accounts, readAccount(t, s, name, version))
	}
	var err error
	got.Spool, err = s.Spool().List(ctx, 0, 1000)
	require.NoError(t, err)
	for _, e := range got.Spool {
		b, err := s.Spool().Open(ctx, e.ID)
		require.NoError(t, err)
		require.Equal(t, e.Size, b.Size())
		_, err = io.Copy(io.Discard, io.NewSectionReader(b, 0, b.Size()))
		require.NoError(t, err)
		require.NoError(t, b.Close())
	}
	return got
}

func readAccount(t *testing.T, s *Store, name string, version int) fixtureAccount {
	ctx := t.Context()
	a, err := s.Account(ctx, name, name)
	require.NoError(t, err)
	got := fixtureAccount{Name: name}
	got.Quota, err = s.Quota(ctx, name)
	require.NoError(t, err)
	got.Subs, err = a.Subscriptions(ctx)
	require.NoError(t, err)
	c, err := a.Changes(ctx, 0)
	require.NoError(t, err)
	got.Events = c.Events
	got.Notes, err = a.(store.Annotations).Annotations(ctx, 0, "")
	require.NoError(t, err)
	if version >= 2 {
		bob, err := s.Account(ctx, name, "bob")
		require.NoError(t, err)
		boxes, err := bob.Mailboxes(ctx)
		require.NoError(t, err)
		got.Unseen = make(map[string]int)
		for _, info := range boxes {
			got.Unseen[info.Name] = info.Unseen
		}
	}
	boxes, err := a.Mailboxes(ctx)
	require.NoError(t, err)
	for _, info := range boxes {
		mb, err := a.Mailbox(ctx, info.Name)
		require.NoError(t, err)
		b := readBox(t, mb, info)
		b.Notes, err = a.(store.Annotations).Annotations(ctx, info.ID, "")
		require.NoError(t, err)
		b.UIDLs, err = mb.(store.UIDLs).UIDLs(ctx)
		require.NoError(t, err)
		got.Boxes = append(got.Boxes, b)
	}
	return got
}

func readBox(t *testing.T, mb store.Mailbox, info store.MailboxInfo) fixtureBox {
	ctx := t.Context()
	b := fixtureBox{Info: info}
	c, err := mb.Changes(ctx, 0)
	require.NoError(t, err)
	b.Vanished = fmt.Sprint(c.Vanished)
	snap, err := mb.Snapshot(ctx)
	require.NoError(t, err)
	for i, r := range snap.All() {
		require.Equal(t, c.Rows[i], r)
		body, err := mb.Open(ctx, r)
		require.NoError(t, err)
		h := sha256.New()
		_, err = io.Copy(h, io.NewSectionReader(body, 0, body.Size()))
		require.NoError(t, err)
		require.NoError(t, body.Close())
		row := fixtureRow{UID: r.UID, Size: r.Size, ModSeq: r.ModSeq, Created: r.Created, Date: r.Date, Saved: r.Saved,
			Flags: snap.Flags(r.Flags), SHA256: hex.EncodeToString(h.Sum(nil))}
		for d, err := range mb.Details(ctx, []store.Row{r}) {
			require.NoError(t, err)
			row.Email = d.EmailID
		}
		b.Rows = append(b.Rows, row)
	}
	return b
}

// sameFixture compares as JSON does, which knows no difference between nil and
// empty nor between clocks.
func sameFixture(t *testing.T, want, got fixture) {
	t.Helper()
	w, g := asJSON(t, want), asJSON(t, got)
	for i, line := range w { // a whole comparison would print thousands
		require.Less(t, i, len(g))
		require.Equal(t, line, g[i], "line %d after %v", i, w[max(i-10, 0):i])
	}
	require.Len(t, g, len(w))
}

func asJSON(t *testing.T, v any) []string {
	b, err := json.MarshalIndent(v, "", " ")
	require.NoError(t, err)
	return strings.Split(string(b), "\n")
}

var writeFixture = flag.Bool("fixture", false, "write testdata of this version, before its format is released")

// makeFixture writes a store with something of everything.
func makeFixture(t *testing.T, dir string) {
	ctx := t.Context()
	require.NoError(t, os.RemoveAll(dir))
	now := time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)
	opt := Options{SegmentSize: 64 << 10, SweepEvery: -1, Grace: -1, Dedupe: DedupeAccount, clock: func() time.Time {
		now = now.Add(time.Second)
		return now
	}}
	r := &rig{t: t, opt: opt, dir: dir}
	r.open()
	for _, name := range []string{"anna", "zoe"} {
		require.NoError(t, r.st.CreateAccount(ctx, name))
	}
	a := r.account()
	box, err := a.Create(ctx, "Work/2026", store.CreateOptions{SpecialUse: `\Archive`})
	require.NoError(t, err)
	require.NoError(t, a.Subscribe(ctx, "Work", true))
	for i := range 150 {
		body := letter(i%100) + strings.Repeat("text\r\n", i)
		if i == 7 {
			body += strings.Repeat("large\r\n", 40_000)
		}
		target := store.Target{Account: "anna", Mailbox: store.Inbox, Body: r.stage(body), Prefix: []byte("X: y\r\n"),
			Date: time.Date(2020, 1, 1, i, 0, 0, 0, time.UTC), Token: fmt.Sprint("token", i)}
		if i%10 == 0 {
			target.UIDL, target.Flags = fmt.Sprint("old-", i), []store.Flag{store.FlagSeen, "$Label"}
		}
		require.NoError(t, r.st.Place(ctx, []store.Target{target})[0].Err)
	}
	mb := r.inbox()
	for _, u := range []store.FlagUpdate{{Flags: []store.Flag{store.FlagDeleted}}, {Flags: []store.Flag{"Other"}}} {
		_, err = mb.Flag(ctx, store.UIDs(3, 4, 5, 140), u)
		require.NoError(t, err)
	}
	_, err = mb.Expunge(ctx, store.UIDs(3, 4, 60, 61, 62), store.FlagDeleted)
	require.NoError(t, err)
	_, err = mb.Copy(ctx, store.UIDs(10, 11, 12), box.ID)
	require.NoError(t, err)
	_, err = mb.Move(ctx, store.UIDs(20, 21), box.ID)
	require.NoError(t, err)
	_, err = r.as("bob").Flag(ctx, store.UIDs(1, 2, 9, 130), store.FlagUpdate{Flags: []store.Flag{store.FlagSeen}})
	require.NoError(t, err)
	notes := a.(store.Annotations)
	_, err = notes.Annotate(ctx, box.ID, store.Annotation{Key: "/shared/comment", Value: []byte("ours")}, store.Annotation{Key: "/empty", Value: []byte{}})
	require.NoError(t, err)
	_, err = notes.Annotate(ctx, 0, store.Annotation{Key: "/private/vendor/x", Value: []byte{0, 1}})
	require.NoError(t, err)
	require.NoError(t, r.st.SetQuota(ctx, "anna", store.Usage{Octets: 1 << 30, Messages: -1}))
	_, err = r.st.Spool().Enqueue(ctx, []store.SpoolItem{
		{Body: r.stage(letter(1)), Site: "example.org", Envelope: []byte("one"), Due: now.Add(time.Hour)},
		{Body: r.stage(letter(2)), Site: "example.net", Envelope: []byte("two"), Prefix: []byte("X: y\r\n"), Hold: true},
	})
	require.NoError(t, err)
	_, err = r.st.Spool().Lease(ctx, now.Add(2*time.Hour), 1, time.Hour)
	require.NoError(t, err)
	want, err := json.MarshalIndent(readFixture(t, r.st, schemaVersion), "", " ")
	require.NoError(t, err)
	require.NoError(t, r.st.Close())
	require.NoError(t, os.Remove(filepath.Join(dir, "staging")))
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(dir), "want.json"), want, 0o644))
}

// Every version there has been, this one included, can be opened: all is there, new mail can be
// added, and a second opening finds the same.
func TestUpgrade(t *testing.T) {
	if *writeFixture {
		makeFixture(t, fmt.Sprintf("testdata/v%d/store", schemaVersion))
	}
	for version := 1; version <= schemaVersion; version++ {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			dir, want := copyFixture(t, version), wantFixture(t, version)
			require.Equal(t, version, userVersion(t, dir))
			opt := Options{SegmentSize: 64 << 10, SweepEvery: -1}
			r := &rig{t: t, opt: opt, dir: dir}
			r.open()
			t.Cleanup(func() { r.st.Close() })
			sameFixture(t, want, readFixture(t, r.st, version))
			require.Empty(t, r.check())
			r.reopen()
			require.Equal(t, schemaVersion, userVersion(t, dir))
			sameFixture(t, want, readFixture(t, r.st, version))

			require.NoError(t, r.st.SetQuota(t.Context(), "anna", store.Usage{}))
			require.NoError(t, r.place(letter(1)).Err)
			mb := r.inbox()
			snap, err := mb.Snapshot(t.Context())
			require.NoError(t, err)
			require.Equal(t, len(want.Accounts[0].Boxes[0].Rows)+1, snap.Len())
			last := snap.At(snap.Len() - 1)
			require.InDelta(t, time.Now().Unix(), last.Saved, 10)
			_, err = mb.Flag(t.Context(), store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{store.FlagFlagged}})
			require.NoError(t, err, "all pages are written in the new format")
			require.NoError(t, r.st.Sweep(t.Context()))
			require.Empty(t, r.check())
			r.reopen()
			mb = r.inbox()
			snap, err = mb.Snapshot(t.Context())
			require.NoError(t, err)
			for i, w := range want.Accounts[0].Boxes[0].Rows {
				require.Equal(t, w.Saved, snap.At(i).Saved)
			}
			require.Equal(t, last.Saved, snap.At(snap.Len()-1).Saved)
			require.Empty(t, r.check())
		})
	}
}

// userVersion reads the version of a database without opening the store.
func userVersion(t *testing.T, dir string) (v int) {
	db, err := openDB(filepath.Join(dir, "posta.db"), true, 1, busyShort)
	require.NoError(t, err)
	defer db.Close()
	require.NoError(t, db.QueryRow("PRAGMA user_version").Scan(&v))
	return v
}

// A crash at any moment of an upgrade leaves the old version or the new.
func TestUpgradeCrash(t *testing.T) {
	dir, want := copyFixture(t, 1), wantFixture(t, 1)
	old, err := os.ReadFile(filepath.Join(dir, "posta.db"))
	require.NoError(t, err)
	stop := errors.New("stop")
	_, err = Options{SweepEvery: -1, fault: func(point string) error { return stop }}.Open(dir)
	require.ErrorIs(t, err, stop)
	require.Equal(t, 1, userVersion(t, dir))

	db, err := openDB(filepath.Join(dir, "posta.db"), false, 1, busyShort)
	require.NoError(t, err)
	conn, err := db.Conn(t.Context())
	require.NoError(t, err)
	require.NoError(t, migrate(t.Context(), conn, func(string) error { return nil }))
	wal, err := os.ReadFile(filepath.Join(dir, "posta.db-wal"))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, db.Close())
	// What is in the log was written in this order.
	const frame, head = 4096 + 24, 32
	require.Zero(t, (len(wal)-head)%frame)
	versions := make(map[int]int)
	for end := head; end <= len(wal); end += frame / 2 {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "posta.db"), old, 0o600))
		require.NoError(t, os.WriteFile(filepath.Join(dir, "posta.db-wal"), wal[:end], 0o600))
		require.NoError(t, errors.Join(os.RemoveAll(filepath.Join(dir, "posta.db-shm"))))
		v := userVersion(t, dir)
		versions[v]++
		if v == schemaVersion {
			require.Equal(t, len(wal), end)
		}
		s, err := Options{SweepEvery: -1}.Open(dir)
		require.NoError(t, err)
		sameFixture(t, want, readFixture(t, s, 1))
		require.NoError(t, s.Close())
	}
	require.Len(t, versions, 2)
}

func TestNewerFormat(t *testing.T) {
	dir := copyFixture(t, 1)
	exec := func(query string) {
		db, err := sql.Open("sqlite", filepath.Join(dir, "posta.db"))
		require.NoError(t, err)
		_, err = db.ExecContext(context.Background(), query)
		require.NoError(t, err)
		require.NoError(t, db.Close())
	}
	exec(fmt.Sprintf("PRAGMA user_version = %d", schemaVersion+1))
	before, err := os.ReadFile(filepath.Join(dir, "posta.db"))
	require.NoError(t, err)
	_, err = Open(dir)
	require.ErrorIs(t, err, ErrNewer)
	after, err := os.ReadFile(filepath.Join(dir, "posta.db"))
	require.NoError(t, err)
	require.Equal(t, before, after)
	exec("PRAGMA application_id = 7")
	_, err = Open(dir)
	require.ErrorIs(t, err, store.ErrCorrupt, "another program's database")
}
