package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/posta-mail/posta/internal/faultfs"
	"github.com/posta-mail/posta/store"
)

// BackupOptions say how a backup is made. The zero value is good.
type BackupOptions struct {
	// Progress, if not nil, is called now and then with the octets copied so
	// far and those to be copied in all, which may grow. Calls do not overlap.
	Progress func(done, total int64)
	// Report, if not nil, is handed messages of the store whose octets are
	// damaged; they are copied as they are. Nil: the first of them ends the
	// backup with its error.
	Report func(Problem)

	fs    faultfs.FS              // tests
	fault func(step string) error // tests: before each step
}

// backupTries is how often the database is taken again because compaction has
// removed a segment meanwhile.
const backupTries = 20

// Backup copies the store in dir to the folder dest, which is made if there is
// none. The store may be in use, by this or another process, and is not
// disturbed: the copy is of one moment after the call began, and whatever had
// been acknowledged by then is in it. Every copied message is checked.
//
// Into the backup of an earlier time only what is new is copied. Until the
// last step dest holds the earlier backup, whatever happens; what an
// interrupted backup has copied is used by the next. dest is a folder that
// Options.Open opens, best with ReadOnly: what is changed in it otherwise ends
// its use as a backup.
//
// Errors: ctx's; store.ErrNotFound if dir holds no store, store.ErrInUse if
// dest is open or being written, ErrNewer, store.ErrConflict if dest holds something
// else than an earlier backup of this store, store.ErrNoSpace,
// store.ErrCorrupt if the database, or a message, is damaged.
func Backup(ctx context.Context, dir, dest string, opt BackupOptions) error {
	c, err := newCopier(ctx, dir, dest, opt)
	if err != nil {
		return fmt.Errorf("sqlite: backup of %s: %w", dir, err)
	}
	c.take, c.sums = c.vacuum, true
	if err := c.run(); err != nil {
		return fmt.Errorf("sqlite: backup of %s: %w", c.from, stageKind(err))
	}
	return nil
}

// copier copies a store to another folder: segments, then the database.
type copier struct {
	ctx      context.Context
	opt      BackupOptions
	from, to string
	src, dst *segments
	take     func() error // makes the copy of the database at newDB
	finish   func() error // changes it, if not nil
	sums     bool         // the result is a backup

	trusted     map[uint64]int64 // octets of dst's segments that are known to be good
	copied      map[uint64]int64 // segments' lengths before this copy
	done, total int64
}

func newCopier(ctx context.Context, from, to string, opt BackupOptions) (*copier, error) {
	if opt.fs == nil {
		opt.fs = faultfs.OS{}
	}
	if opt.fault == nil {
		opt.fault = func(string) error { return nil }
	}
	if opt.Progress == nil {
		opt.Progress = func(done, total int64) {}
	}
	c := &copier{ctx: ctx, opt: opt, copied: make(map[uint64]int64)}
	var err error
	if c.from, err = filepath.Abs(from); err != nil {
		return nil, err
	}
	if c.to, err = filepath.Abs(to); err != nil {
		return nil, err
	}
	if rel, err := filepath.Rel(c.from, c.to); err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return nil, fmt.Errorf("%w: a copy inside of the store", store.ErrInvalid)
	}
	if _, err := os.Stat(c.dbFile(c.from)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("%w: no store in %s", store.ErrNotFound, c.from)
		}
		return nil, err
	}
	c.src, c.dst = newSegments(opt.fs, c.from, 0), newSegments(opt.fs, c.to, 0)
	return c, nil
}

func (c *copier) dbFile(dir string) string { return filepath.Join(dir, dbName) }
func (c *copier) newDB() string            { return filepath.Join(c.to, dbName+".new") }

// step is called before each step.
func (c *copier) step(name string) error {
	if err := c.ctx.Err(); err != nil {
		return err
	}
	return c.opt.fault(name)
}

func (c *copier) run() error {
	if err := makeFolders(c.opt.fs, c.to, c.dst.dir, c.dst.staging); err != nil {
		return err
	}
	lock, err := lockFolder(filepath.Join(c.to, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	if err := c.earlier(); err != nil {
		return err
	}
	for try := 1; ; try++ {
		err := c.copyOnce()
		if errors.Is(err, errSegmentGone) && try < backupTries {
			continue
		}
		if err != nil {
			return err
		}
		break
	}
	return c.replace()
}

// errSegmentGone: compaction has removed a segment that the copy of the
// database still refers to. Where its messages are now, a new copy says.
var errSegmentGone = errors.New("segment removed meanwhile")

// earlier readies the backup that is there: no log beside its database, and
// nothing left of a copy that was interrupted. It notes how much of each
// segment the backup needs, which is not copied again.
func (c *copier) earlier() error {
	if err := c.step("earlier"); err != nil {
		return err
	}
	for _, name := range []string{c.newDB(), c.newDB() + "-journal"} {
		if err := c.remove(name); err != nil {
			return err
		}
	}
	if err := c.dst.sweepStaging(); err != nil {
		return err
	}
	c.trusted = make(map[uint64]int64)
	if _, err := os.Stat(c.dbFile(c.to)); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if err := c.foldLog(); err != nil {
		return fmt.Errorf("earlier backup: %w", err)
	}
	need, err := c.needs(c.dbFile(c.to), nil)
	if err != nil {
		return fmt.Errorf("%w: not a backup that can be continued; use another folder: %w", store.ErrConflict, err)
	}
	c.trusted = need
	return nil
}

// foldLog moves what the write-ahead log of the earlier backup holds into its
// database: someone has opened it. The log must not meet the next database.
func (c *copier) foldLog() error {
	file := c.dbFile(c.to)
	if _, err := os.Stat(file + "-wal"); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	db, err := openDB(file, false, 1, busyLong)
	if err != nil {
		return err
	}
	var busy, log, done int
	err = db.QueryRowContext(c.ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &done)
	if err = errors.Join(err, db.Close()); err != nil {
		return readError(err)
	}
	return errors.Join(c.remove(file+"-wal"), c.remove(file+"-shm"))
}

func (c *copier) remove(name string) error {
	if err := c.opt.fs.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// copyOnce takes the database, and then the segments it refers to.
func (c *copier) copyOnce() error {
	if err := c.step("database"); err != nil {
		return err
	}
	if err := c.remove(c.newDB()); err != nil {
		return err
	}
	if err := c.take(); err != nil {
		return err
	}
	need, err := c.needs(c.newDB(), c.opt.Report)
	if err != nil {
		return err
	}
	if err := c.segments(need); err != nil {
		return err
	}
	if err := c.step("verify"); err != nil {
		return err
	}
	if err := c.verify(); err != nil {
		return err
	}
	return c.tidy(need)
}

// vacuum copies the database as of now, in a read transaction that delays
// nobody.
func (c *copier) vacuum() error {
	db, err := openReadOnly(c.dbFile(c.from), !isWAL(c.dbFile(c.from)))
	if err != nil {
		return err
	}
	defer db.Close()
	if err := checkVersion(c.ctx, db); err != nil {
		return err
	}
	if _, err := db.ExecContext(c.ctx, "VACUUM INTO ?", c.newDB()); err != nil {
		if c.ctx.Err() != nil {
			return c.ctx.Err()
		}
		return readError(err)
	}
	return nil
}

// replace makes the copy the backup. Each step leaves the one or the other.
func (c *copier) replace() error {
	if c.finish != nil {
		if err := c.finish(); err != nil {
			return err
		}
	}
	if err := c.step("sync"); err != nil {
		return err
	}
	if err := syncFile(c.opt.fs, c.newDB()); err != nil {
		return err
	}
	var sum string
	if c.sums {
		var err error
		if sum, err = c.sumDB(c.newDB()); err != nil {
			return err
		}
		old, err := readSums(c.to)
		if err != nil {
			return err
		}
		if err := c.writeSums(append(old, sum)); err != nil {
			return err
		}
	}
	if err := c.step("rename"); err != nil {
		return err
	}
	if err := c.opt.fs.Rename(c.newDB(), c.dbFile(c.to)); err != nil {
		return err
	}
	if err := c.opt.fs.SyncDir(c.to); err != nil {
		return err
	}
	if c.sums {
		if err := c.step("sums"); err != nil {
			return err
		}
		if err := c.writeSums([]string{sum}); err != nil {
			return err
		}
	}
	return c.prune()
}

// prune removes segments that only the earlier backup had.
func (c *copier) prune() error {
	if err := c.step("prune"); err != nil {
		return err
	}
	nums, err := c.dst.list()
	if err != nil {
		return err
	}
	for _, n := range nums {
		if _, ok := c.trusted[n]; !ok {
			if err := c.remove(c.dst.path(n)); err != nil {
				return err
			}
		}
	}
	return nil
}

// stageKind makes a full disk an error of that kind.
func stageKind(err error) error {
	if noSpace(err) && !errors.Is(err, store.ErrNoSpace) {
		return fmt.Errorf("%w: %w", store.ErrNoSpace, err)
	}
	return err
}
