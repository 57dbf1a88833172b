package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// sql changes the database of a store that is closed.
func (r *rig) sql(query string, args ...any) {
	r.t.Helper()
	db, err := openDB(filepath.Join(r.dir, dbName), false, 1, busyLong)
	require.NoError(r.t, err)
	_, err = db.Exec(query, args...)
	require.NoError(r.t, err)
	require.NoError(r.t, db.Close())
}

// flip inverts bits of a file.
func flip(t *testing.T, file string, off int64, mask byte) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], off)
	require.NoError(t, err)
	b[0] ^= mask
	_, err = f.WriteAt(b[:], off)
	require.NoError(t, err)
}

// blob damages a value in the middle.
func (r *rig) blob(table, column, where string) {
	r.t.Helper()
	db, err := openDB(filepath.Join(r.dir, dbName), false, 1, busyLong)
	require.NoError(r.t, err)
	var data []byte
	require.NoError(r.t, db.QueryRow("SELECT "+column+" FROM "+table+" WHERE "+where).Scan(&data))
	data[len(data)/2] ^= 0x40
	_, err = db.Exec("UPDATE "+table+" SET "+column+"=? WHERE "+where, data)
	require.NoError(r.t, err)
	require.NoError(r.t, db.Close())
}

// repair mends a store that is closed, and opens it.
func (r *rig) repair() (problems []string) {
	r.t.Helper()
	require.NoError(r.t, r.opt.Repair(r.t.Context(), r.dir, func(p Problem) {
		require.ErrorIs(r.t, p, store.ErrCorrupt)
		require.True(r.t, p.Mended, "%v", p)
		problems = append(problems, p.Error())
	}))
	require.NoError(r.t, r.opt.Repair(r.t.Context(), r.dir, func(p Problem) { r.t.Errorf("again: %v", p) }))
	r.open()
	silent(r.t, r.st)
	return problems
}

// problems are what Check says of a store that may not open for writing.
func (r *rig) problems() (found []string, err error) {
	st, err := Options{ReadOnly: true}.Open(r.dir)
	if err != nil {
		return nil, err
	}
	defer st.Close()
	return found, st.Check(r.t.Context(), func(p Problem) {
		require.ErrorIs(r.t, p, store.ErrCorrupt)
		require.False(r.t, p.Mended)
		found = append(found, p.Error())
	})
}

// damageCase is one damage. What is not in lost, by prefix of its key, must be
// there afterwards as it was.
type damageCase struct {
	name   string
	damage func(r *rig)
	says   string   // by Check, or by opening
	lost   []string // what is gone for good
	shut   bool     // it does not open
	more   bool     // other messages may be there besides
	aside  int      // files in lost/
}

func (r *rig) refOf(uid store.UID) place {
	r.t.Helper()
	mb := r.inbox()
	snap, err := mb.Snapshot(r.t.Context())
	require.NoError(r.t, err)
	i, ok := snap.Find(uid)
	require.True(r.t, ok)
	l, err := r.st.locate(snap.At(i).Ref)
	require.NoError(r.t, err)
	return l
}

var damageCases = []damageCase{
	{name: "counts", says: "counts are", damage: func(r *rig) { r.sql("UPDATE mailbox SET messages=99, unseen=-1, size=5") }},
	{name: "deleted size", says: "counts are", damage: func(r *rig) { r.sql("UPDATE mailbox SET deleted_size=7 WHERE id=1") }},
	{name: "uidnext", says: "UIDNEXT is 3", damage: func(r *rig) { r.sql("UPDATE mailbox SET uidnext=3 WHERE id=1") }},
	{name: "mod-sequence", says: "mod-sequence is 1", damage: func(r *rig) { r.sql("UPDATE mailbox SET modseq=1 WHERE id=1") }},
	{name: "numbers", says: "out of range", damage: func(r *rig) { r.sql("UPDATE mailbox SET uidnext=0, low=-1 WHERE id=1") }},
	{name: "uidvalidity", says: "out of range", damage: func(r *rig) { r.sql("UPDATE mailbox SET uidvalidity=0 WHERE id=1") }},
	{name: "keywords", says: "no names for", lost: []string{"anna/Work/1"}, more: true, damage: func(r *rig) { r.sql("UPDATE mailbox SET keywords='' WHERE name='Work'") }},
	{name: "counters", says: "counter of references is 1", damage: func(r *rig) { r.sql("UPDATE state SET next_ref=1, next_box=1, next_item=1") }},
	{name: "no counters", shut: true, says: "", damage: func(r *rig) { r.sql("DELETE FROM state") }},
	{name: "kind", says: "values of another kind", more: true, damage: func(r *rig) { r.sql("UPDATE mailbox SET deleted='many' WHERE id=2") }},
	{name: "tombstone", says: "tombstone", damage: func(r *rig) { r.sql("UPDATE tombstone SET uids=x'80'") }},
	{name: "expunged and there", says: "was expunged", damage: func(r *rig) { r.sql("UPDATE tombstone SET uids=?", encodeUIDs(store.UIDs(4, 5, 6))) }},
	{name: "dead", says: "references", damage: func(r *rig) { r.sql("UPDATE dead SET refs=x'ff'") }},
	{name: "page", says: "UIDs 1 to 127: store: data damaged: checksum of page of rows", more: true,
		lost:   []string{"anna/INBOX/1", "anna/INBOX/7", "anna/INBOX/8"}, // flags set later
		damage: func(r *rig) { r.blob("page", "data", "id=1<<25") }},
	{name: "page is gone", says: "is of no message", more: true, lost: []string{"anna/INBOX/1", "anna/INBOX/2", "anna/INBOX/3", "anna/INBOX/7", "anna/INBOX/8"},
		damage: func(r *rig) { r.sql("DELETE FROM page WHERE id=1<<25") }},
	{name: "page of copies", says: "UIDs 1 to 127", damage: func(r *rig) { r.blob("page", "data", "id>>25=(SELECT id FROM mailbox WHERE name='Work/Old')") },
		lost: []string{"anna/Work/Old/"}},
	{name: "page of moved", says: "UIDs 1 to 127", damage: func(r *rig) { r.blob("page", "data", "id>>25=(SELECT id FROM mailbox WHERE name='Spam')") },
		lost: []string{"anna/Spam/"}, more: true},
	{name: "places", says: "references from 0", damage: func(r *rig) { r.blob("ref", "data", "id=0") }},
	{name: "no places", says: "octets are gone", damage: func(r *rig) { r.sql("DELETE FROM ref") }},
	{name: "mailbox is gone", says: "messages of mailbox 1, which is not there", damage: func(r *rig) { r.sql("DELETE FROM mailbox WHERE id=1") }},
	{name: "account is gone", says: "of no account", damage: func(r *rig) { r.sql("DELETE FROM account WHERE name='anna'") }},
	{name: "another account", says: "its messages are of 1", damage: func(r *rig) { r.sql("UPDATE mailbox SET account=2 WHERE id=1") }},
	{name: "no INBOX", says: "no INBOX", damage: func(r *rig) { r.sql("INSERT INTO account (name, modseq, low) VALUES ('carl', 1, 0)") }},
	{name: "account's name", says: "account has the name", damage: func(r *rig) { r.sql("UPDATE account SET name='' WHERE id=2") }},
	{name: "mailbox's name", says: "not one that a mailbox can have", lost: []string{"anna/Spam/"}, more: true,
		damage: func(r *rig) { r.sql("UPDATE mailbox SET name='Work' WHERE name='Spam'") }},
	{name: "rows of nothing", says: "of what is not there", damage: func(r *rig) {
		r.sql("INSERT INTO uidl VALUES (77, 1, 'x')")
		r.sql("INSERT INTO tombstone VALUES (77, 1, 1, x'0101')")
		r.sql("INSERT INTO event VALUES (77, 1, 1, 1, 1, 1, '', '')")
		r.sql("INSERT INTO subscription VALUES (77, 'x')")
		r.sql("INSERT INTO annotation VALUES (1, 77, 'x', x'00')")
		r.sql("INSERT INTO private VALUES (99, 77, 'bob', 1, 0, 0)")
	}},
	{name: "private flags", says: "private flags of bob", damage: func(r *rig) { r.sql("INSERT INTO private VALUES (99, 1, 'bob', 1, 5, 0)") }},
	{name: "unique-id", says: "has a unique-id", damage: func(r *rig) { r.sql("INSERT INTO uidl VALUES (1, 777, 'x')") }},
	{name: "hash", says: "hash of a body", damage: func(r *rig) { r.sql("INSERT INTO body VALUES (x'00', 0, 1, 1, 33)") }},
	{name: "small body", says: "UID 9: body", lost: []string{"anna/INBOX/9"}, aside: 1, damage: func(r *rig) {
		flip(r.t, r.st.seg.path(1), r.spot.bodyOff+recHeaderSize+3, 1)
	}},
	{name: "body's header", says: "UID 9: body", lost: []string{"anna/INBOX/9"}, aside: 1, damage: func(r *rig) {
		flip(r.t, r.st.seg.path(1), r.spot.bodyOff+8, 1)
	}},
	{name: "placement", says: "UID 9: placement", lost: []string{"anna/INBOX/9"}, aside: 1, damage: func(r *rig) {
		flip(r.t, r.st.seg.path(1), r.spot.off+recHeaderSize, 1)
	}},
	{name: "large body", says: "UID 31: body", lost: []string{"anna/INBOX/31"}, aside: 1, damage: func(r *rig) {
		flip(r.t, r.st.seg.path(r.big), 300<<10, 1)
	}},
	{name: "large body truncated", says: "UID 31: body", lost: []string{"anna/INBOX/31"}, aside: 1, damage: func(r *rig) {
		require.NoError(r.t, os.Truncate(r.st.seg.path(r.big), 300<<10))
	}},
	{name: "segment is gone", says: "UID 31: store: data damaged: body", lost: []string{"anna/INBOX/31"}, aside: 1, damage: func(r *rig) {
		require.NoError(r.t, os.Remove(r.st.seg.path(r.big)))
	}},
	{name: "foreign segment", says: "UID 31: body", lost: []string{"anna/INBOX/31"}, aside: 2, damage: func(r *rig) {
		require.NoError(r.t, os.WriteFile(r.st.seg.path(r.big), []byte(strings.Repeat("something else\n", 50_000)), 0o600))
	}},
	{name: "segment's header", says: "segment 1: store: data damaged", damage: func(r *rig) { flip(r.t, r.st.seg.path(1), 13, 1) }},
	{name: "segments exchanged", shut: true, says: "it is segment 1", damage: func(r *rig) {
		a, b := r.st.seg.path(1), r.st.seg.path(r.big)
		require.NoError(r.t, os.Rename(a, a+"x"))
		require.NoError(r.t, os.Rename(b, a))
		require.NoError(r.t, os.Rename(a+"x", b))
	}},
	{name: "active segment truncated", shut: true, says: "octets of", damage: func(r *rig) {
		require.NoError(r.t, os.Truncate(r.st.seg.path(1), r.spot.off+5))
	}, lost: append(inbox(9, 31), "anna/Work/1", "bob/INBOX/1"), aside: -1},
	{name: "database is gone", shut: true, says: "not found", damage: func(r *rig) { require.NoError(r.t, os.Remove(r.dbPath())) },
		lost: []string{"anna/INBOX/1", "anna/INBOX/7", "anna/INBOX/8", "anna/Work/Old/", "anna/Spam/"}, more: true, aside: 1},
	{name: "database is empty", shut: true, says: "", damage: func(r *rig) { require.NoError(r.t, os.Truncate(r.dbPath(), 0)) },
		lost: []string{"anna/INBOX/1", "anna/INBOX/7", "anna/INBOX/8", "anna/Work/Old/", "anna/Spam/"}, more: true, aside: 1},
	{name: "database is none", shut: true, says: "not a database", damage: func(r *rig) {
		require.NoError(r.t, os.WriteFile(r.dbPath(), []byte(strings.Repeat("no database at all\n", 1000)), 0o600))
	}, lost: []string{"anna/INBOX/1", "anna/INBOX/7", "anna/INBOX/8", "anna/Work/Old/", "anna/Spam/"}, more: true, aside: 1},
	{name: "another database", shut: true, says: "not a database of this store", damage: func(r *rig) {
		require.NoError(r.t, os.Remove(r.dbPath()))
		r.sql("CREATE TABLE state (id INTEGER); INSERT INTO state VALUES (5);")
	}, lost: []string{"anna/INBOX/1", "anna/INBOX/7", "anna/INBOX/8", "anna/Work/Old/", "anna/Spam/"}, more: true, aside: 1},
	{name: "database truncated", shut: true, says: "", damage: func(r *rig) {
		info, err := os.Stat(r.dbPath())
		require.NoError(r.t, err)
		require.NoError(r.t, os.Truncate(r.dbPath(), info.Size()*2/3))
	}, lost: []string{"anna/INBOX/1", "anna/INBOX/7", "anna/INBOX/8", "anna/Work/Old/", "anna/Spam/"}, more: true, aside: -1},
	{name: "page of the database", says: "database", damage: func(r *rig) { r.zero("mailbox") },
		lost: []string{"anna/Work/1"}, more: true, aside: -1}, // its keyword
	{name: "index of the database", says: "", damage: func(r *rig) { r.zero("mailbox_account") }},
}

func (r *rig) dbPath() string { return filepath.Join(r.dir, dbName) }

// zero overwrites the root page of a table.
func (r *rig) zero(table string) {
	r.t.Helper()
	db, err := openDB(r.dbPath(), false, 1, busyLong)
	require.NoError(r.t, err)
	var page int64
	require.NoError(r.t, db.QueryRow("SELECT rootpage FROM sqlite_schema WHERE name=?", table).Scan(&page))
	require.NoError(r.t, db.Close())
	r.write(r.dbPath(), (page-1)*4096+8, strings.Repeat("\x00", 4088))
}

// For each damage: it is named, what was intact is still there, it is mended,
// and nothing is left to be named.
func TestDamage(t *testing.T) {
	for _, c := range damageCases {
		t.Run(c.name, func(t *testing.T) {
			r := filled(t, Options{})
			before := content(t, r.st)
			info, err := r.inbox().Info(t.Context())
			require.NoError(t, err)
			modSeq := info.ModSeq
			r.spot = r.refOf(9)
			r.big = r.refOf(31).bodySeg
			require.NoError(t, r.st.Close())
			c.damage(r)
			problems, err := r.problems()
			if err != nil {
				problems = append(problems, err.Error())
			}
			require.Contains(t, strings.Join(problems, "\n"), c.says)
			require.NotEmpty(t, problems)
			st, err := Options{SweepEvery: -1}.Open(copyFolder(t, r.dir))
			if err == nil {
				require.NoError(t, st.Close())
			} else {
				require.ErrorIs(t, err, store.ErrCorrupt)
			}
			require.Equal(t, c.shut, err != nil, "%v", err)
			mended := r.repair()
			require.NotEmpty(t, mended)
			t.Logf("said\n%s\nmended\n%s", strings.Join(problems, "\n"), strings.Join(mended, "\n"))
			after := content(t, r.st)
			if has(c.lost, "anna/INBOX/9") {
				c, err := r.inbox().Changes(t.Context(), modSeq)
				require.NoError(t, err)
				require.True(t, c.Vanished.Contains(9), "clients are told")
			}
			same := 0
			for key, text := range before {
				if has(c.lost, key) {
					continue
				}
				if c.name == "account's name" {
					key = strings.Replace(key, "bob", "recovered-2", 1)
				}
				require.Equal(t, text, after[key], "%s", key)
				same++
			}
			require.NotZero(t, same)
			if !c.more {
				require.Len(t, after, same)
			}
			aside, _ := os.ReadDir(filepath.Join(r.dir, "lost"))
			if c.aside >= 0 {
				require.Len(t, aside, c.aside)
			}
			require.NoError(t, r.place(letter(1)).Err)
			silent(t, r.st)
		})
	}
}

func has(prefixes []string, key string) bool {
	for _, p := range prefixes {
		if key == p || strings.HasSuffix(p, "/") && strings.HasPrefix(key, p) {
			return true
		}
	}
	return false
}

func TestRepairRefuses(t *testing.T) {
	r := filled(t, Options{})
	ctx := t.Context()
	require.ErrorIs(t, r.opt.Repair(ctx, r.dir, func(Problem) {}), store.ErrInUse)
	require.ErrorIs(t, r.opt.Repair(ctx, t.TempDir(), func(Problem) {}), store.ErrNotFound)
	require.NoError(t, r.st.Close())
	require.NoError(t, r.opt.Repair(ctx, r.dir, func(p Problem) { t.Errorf("sound: %v", p) }))
	over, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorIs(t, r.opt.Repair(over, r.dir, func(Problem) {}), context.Canceled)
	r.sql("PRAGMA user_version=99")
	require.ErrorIs(t, r.opt.Repair(ctx, r.dir, func(p Problem) { t.Errorf("newer: %v", p) }), ErrNewer)
}

// A repair that fails before its end has changed nothing, or can go on.
func TestRepairInterrupted(t *testing.T) {
	for _, lose := range []func(r *rig){
		func(r *rig) { r.sql("UPDATE mailbox SET messages=99") },
		func(r *rig) { r.blob("page", "data", "id=1<<25") },
		func(r *rig) { r.zero("mailbox") },
		func(r *rig) { require.NoError(r.t, os.Remove(r.dbPath())) },
	} {
		r := filled(t, Options{})
		n := len(content(t, r.st))
		require.NoError(t, r.st.Close())
		lose(r)
		r.database(func(point string) error {
			if point == "repair" {
				return errDisk
			}
			return nil
		})
		require.ErrorIs(t, r.opt.Repair(t.Context(), r.dir, func(Problem) {}), errDisk)
		r.database(nil)
		r.repair()
		require.GreaterOrEqual(t, len(content(t, r.st)), n-5)
	}
}

// Everything that was filed comes back from the segments alone.
func TestRebuild(t *testing.T) {
	r := filled(t, Options{SegmentSize: 1})
	var bodies []string
	for key, text := range content(t, r.st) {
		if !strings.HasPrefix(key, "anna/Work/Old/") { // copies
			bodies = append(bodies, text[strings.LastIndexByte(text, ']')+1:])
		}
	}
	info, err := r.inbox().Info(t.Context())
	require.NoError(t, err)
	require.NoError(t, r.st.Close())
	require.NoError(t, os.Remove(r.dbPath()))
	_, err = r.opt.Open(r.dir)
	require.ErrorIs(t, err, store.ErrCorrupt)

	// With a damaged record too, all the others.
	damaged := &rig{t: t, opt: r.opt, dir: copyFolder(t, r.dir)}
	flip(t, filepath.Join(damaged.dir, "segments", filepath.Base(r.st.seg.path(1))), 1500, 1)
	damaged.repair()
	require.Len(t, content(t, damaged.st), len(bodies)-1)
	require.NoError(t, damaged.st.Close())
	aside, err := os.ReadDir(filepath.Join(damaged.dir, "lost"))
	require.NoError(t, err)
	require.Len(t, aside, 3) // its placement, its body, and that of the spool alone
	r.skew.Add(2e9)
	r.repair()
	var again []string
	for _, text := range content(t, r.st) {
		again = append(again, text[strings.LastIndexByte(text, ']')+1:])
	}
	require.ElementsMatch(t, bodies, again)
	now, err := r.inbox().Info(t.Context())
	require.NoError(t, err)
	require.Greater(t, now.UIDValidity, info.UIDValidity)
	require.Greater(t, now.ModSeq, info.ModSeq)
	require.GreaterOrEqual(t, now.UIDNext, info.UIDNext)
	require.NoError(t, r.place(letter(1)).Err)
	silent(t, r.st)
}

// inbox are keys of messages.
func inbox(from, to int) (keys []string) {
	for uid := from; uid <= to; uid++ {
		keys = append(keys, fmt.Sprint("anna/INBOX/", uid))
	}
	return keys
}

func copyFolder(t *testing.T, from string) string {
	to := t.TempDir()
	require.NoError(t, os.CopyFS(to, os.DirFS(from)))
	return to
}
