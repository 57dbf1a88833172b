package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/posta-mail/posta/internal/faultfs"
	"github.com/posta-mail/posta/store"
)

// Repair mends the store in dir, which must not be open, and hands what it
// found to report: after it Check finds nothing. What is intact stays as it is.
//
//   - A message whose octets are gone or damaged is removed, as an expunge
//     does; what is left of it is put into the folder lost/.
//   - Counters and counts are made to fit the messages.
//   - A database that is missing, or that SQLite finds damaged, is renamed
//     (posta.db.damaged-N) and made anew of what can be read of it and of what
//     the segments hold. Messages that only segments know of are filed as they
//     were at first; among them may be some that had been expunged. Mailboxes
//     that are not known any more get a new UIDVALIDITY.
//   - Bodies that were in the spool, and no item knows of any more, go to lost/.
//
// Everything is done in one transaction: a repair that is interrupted can be
// begun again. Nothing in lost/ is ever overwritten.
//
// Errors: ctx's; store.ErrInUse if the store is open, store.ErrNotFound if
// dir holds none, ErrNewer, or that of the disk. Problems are mended only if
// it returns nil.
func (o Options) Repair(ctx context.Context, dir string, report func(Problem)) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	o = o.withDefaults()
	r := &repairer{o: o, ctx: ctx, dir: dir, file: filepath.Join(dir, dbName), seg: newSegments(o.fs, dir, o.SegmentSize), report: report}
	if err := r.run(); err != nil {
		return fmt.Errorf("sqlite: repairing %s: %w", dir, stageKind(err))
	}
	return nil
}

type repairer struct {
	o      Options
	ctx    context.Context
	dir    string
	file   string
	seg    *segments
	report func(Problem)

	anew    bool // the database is made anew
	partial bool // rows of it may be missing
}

func (r *repairer) run() error {
	_, noDB := os.Stat(r.file)
	_, noSegments := os.Stat(r.seg.dir)
	if noDB != nil && noSegments != nil {
		return fmt.Errorf("%w: no store in %s", store.ErrNotFound, r.dir)
	}
	if err := makeFolders(r.o.fs, r.dir, r.seg.dir, r.seg.staging); err != nil {
		return err
	}
	lock, err := lockFolder(filepath.Join(r.dir, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	defer r.seg.close()
	if err := removeAny(r.o.fs, filepath.Join(r.dir, sumsName), r.newDB(), r.newDB()+"-journal"); err != nil {
		return err
	}
	if err := r.examine(); err != nil {
		return err
	}
	if r.anew {
		err = r.rebuild()
	} else {
		err = r.mend()
	}
	return err
}

func (r *repairer) newDB() string { return r.file + ".new" }

// examine looks whether the database can be mended where it is.
func (r *repairer) examine() error {
	told := false
	tell := func(format string, args ...any) error {
		told = true
		r.report(Problem{Err: damage("database: "+format, args...), Mended: true})
		return r.ctx.Err()
	}
	if _, err := os.Stat(r.file); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		r.anew, r.partial = true, true
		return tell("it is missing")
	}
	missing, err := r.sound(func(text string) error { return tell("%s", text) })
	switch {
	case err == nil:
	case errors.Is(err, ErrNewer) || r.ctx.Err() != nil:
		return err
	case isCorrupt(openError(err)):
		missing = true
		if err := tell("%w", err); err != nil {
			return err
		}
	default:
		return err
	}
	r.anew, r.partial = told, missing
	return nil
}

// sound opens the database and lets SQLite check it.
func (r *repairer) sound(fn func(text string) error) (missing bool, err error) {
	if head := make([]byte, 16); !isDatabase(r.file, head) {
		return true, damage("it begins with %q", head)
	}
	db, err := openDB(r.file, false, 1, busyLong)
	if err != nil {
		return true, err
	}
	defer db.Close()
	if _, err := schemaOf(r.ctx, db); err != nil {
		return true, err
	}
	missing, err = soundness(r.ctx, db, fn)
	if err != nil || missing {
		return missing, err
	}
	return false, upgradeDB(r.ctx, r.file)
}

// isDatabase looks whether a file may be one of SQLite. An empty one may too:
// all of it is in the write-ahead log then.
func isDatabase(file string, head []byte) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	n, _ := f.ReadAt(head, 0)
	if n == 0 {
		info, err := os.Stat(file + "-wal")
		return err == nil && info.Size() > 0
	}
	return string(head) == "SQLite format 3\x00"
}

// mend goes over a database that is sound.
func (r *repairer) mend() error {
	db, err := openDB(r.file, false, 1, busyLong)
	if err != nil {
		return err
	}
	err = r.audit(db, nil)
	if err == nil {
		var busy, log, done int
		err = readError(db.QueryRowContext(r.ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &done))
	}
	return errors.Join(err, db.Close())
}

// rebuild makes the database anew, and sets the old one aside when all is done.
func (r *repairer) rebuild() error {
	db, err := openPlain(r.newDB())
	if err != nil {
		return err
	}
	conn, err := db.Conn(r.ctx)
	if err == nil {
		err = errors.Join(migrate(r.ctx, conn, func(string) error { return nil }), conn.Close())
	}
	if err == nil {
		err = r.audit(db, func(tx *sql.Tx) error {
			if _, err := tx.ExecContext(r.ctx, "DELETE FROM state"); err != nil {
				return err
			}
			return salvage(r.ctx, r.file, tx)
		})
	}
	if err = errors.Join(err, db.Close()); err != nil {
		return err
	}
	return r.swap()
}

// swap puts the new database in the place of the old one, of which both names
// stay until the last step.
func (r *repairer) swap() error {
	if err := syncFile(r.o.fs, r.newDB()); err != nil {
		return err
	}
	if _, err := os.Stat(r.file); err == nil {
		aside := ""
		for n := 1; aside == ""; n++ {
			name := fmt.Sprintf("%s.damaged-%d", r.file, n)
			if _, err := os.Lstat(name); errors.Is(err, fs.ErrNotExist) {
				aside = name
			}
		}
		linked := os.Link(r.file, aside) == nil
		if err := r.o.fs.Rename(r.file+"-wal", aside+"-wal"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if !linked {
			if err := r.o.fs.Rename(r.file, aside); err != nil {
				return err
			}
		}
	}
	if err := removeAny(r.o.fs, r.file+"-wal", r.file+"-shm"); err != nil {
		return err
	}
	if err := r.o.fs.SyncDir(r.dir); err != nil {
		return err
	}
	if err := r.o.fs.Rename(r.newDB(), r.file); err != nil {
		return err
	}
	return r.o.fs.SyncDir(r.dir)
}

// audit goes over the database and all segments in one transaction.
func (r *repairer) audit(db *sql.DB, before func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(r.ctx, nil)
	if err != nil {
		return readError(err)
	}
	defer tx.Rollback()
	if before != nil {
		if err := before(tx); err != nil {
			return readError(err)
		}
	}
	a := newAudit(r.ctx, tx, r.seg, r.o.clock(), r.report)
	a.partial = r.partial
	a.lost = &lostFolder{r.o.fs, filepath.Join(r.dir, "lost")}
	a.exec = func(query string, args ...any) error {
		_, err := tx.ExecContext(r.ctx, query, args...)
		return readError(err)
	}
	for _, step := range []func() error{a.segmentFiles, a.octets, a.tables} {
		if err := step(); err != nil {
			return err
		}
	}
	if err := r.o.fault("repair"); err != nil {
		return err
	}
	return readError(tx.Commit())
}

// removeAny removes files, as far as they are there.
func removeAny(fsys faultfs.FS, names ...string) error {
	for _, name := range names {
		if err := fsys.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
