package sqlite

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/posta-mail/posta/store"
)

// RestoreOptions say how a backup is brought back. The zero value is good.
type RestoreOptions struct {
	// Exact leaves every number as it was in the backup: for a store that is
	// moved to another place. Otherwise UIDNEXT, mod-sequences and ids go on
	// far above those of the backup, and the history before it is forgotten,
	// so that no number that a client has seen since means something else.
	Exact bool
	// Progress and Report are as in BackupOptions.
	Progress func(done, total int64)
	Report   func(Problem)
}

// Restore copies a backup to the folder dir, which must be empty or missing,
// and checks every message and the database's checksum. A restored spool sends
// again what has been sent since the backup. If it fails, dir is left empty.
//
// Errors: ctx's; store.ErrNotFound if there is no backup, store.ErrExists if
// dir is not empty, store.ErrNoSpace, store.ErrCorrupt if the backup is
// damaged. A folder that is no finished backup, such as a store, is restored
// too, without a checksum of its database.
func Restore(ctx context.Context, backup, dir string, opt RestoreOptions) error {
	if err := restore(ctx, backup, dir, opt); err != nil {
		return fmt.Errorf("sqlite: restoring %s: %w", backup, stageKind(err))
	}
	return nil
}

func restore(ctx context.Context, backup, dir string, opt RestoreOptions) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%w: %s is not empty", store.ErrExists, dir)
	}
	c, err := newCopier(ctx, backup, dir, BackupOptions{Progress: opt.Progress, Report: opt.Report})
	if err != nil {
		return err
	}
	sums, err := readSums(c.from)
	if err != nil {
		return err
	}
	c.take = c.vacuum
	if len(sums) > 0 {
		c.take = func() error { return c.copyDB(sums) }
	}
	if !opt.Exact {
		c.finish = c.leap
	}
	if err := c.run(); err != nil {
		if !errors.Is(err, store.ErrInUse) {
			for _, name := range []string{"segments", "staging", "lock", dbName + ".new"} {
				err = errors.Join(err, os.RemoveAll(filepath.Join(c.to, name)))
			}
		}
		return err
	}
	return nil
}

// copyDB copies the database of a backup, which is as it was written.
func (c *copier) copyDB(sums []string) error {
	src, err := c.opt.fs.OpenRead(c.dbFile(c.from))
	if err != nil {
		return err
	}
	defer src.Close()
	info, err := src.Stat()
	if err != nil {
		return err
	}
	dst, err := c.opt.fs.Create(c.newDB())
	if err != nil {
		return err
	}
	defer dst.Close()
	done := c.done
	if err := c.octets(dst, src, 0, info.Size()); err != nil {
		return err
	}
	c.done = done // counted by its size
	sum, err := c.sumDB(c.newDB())
	if err == nil && !slices.Contains(sums, sum) {
		err = damage("checksum of %s", c.dbFile(c.from))
	}
	return err
}

// How far numbers go on above a state that clients may have seen more of.
const (
	leapUIDs    = 1 << 20
	leapBoxes   = 1 << 20
	leapNumbers = 1 << 32
)

// leap moves all counters on. What changed before is not known any more.
func (c *copier) leap() error {
	db, err := openPlain(c.newDB())
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(c.ctx, nil)
	if err == nil {
		for _, q := range []string{
			fmt.Sprintf("UPDATE mailbox SET uidnext=min(uidnext+%d, %d), modseq=modseq+%d", leapUIDs, int64(math.MaxUint32), int64(leapNumbers)),
			"UPDATE mailbox SET low=modseq",
			fmt.Sprintf("UPDATE account SET modseq=modseq+%d", int64(leapNumbers)),
			"UPDATE account SET low=max(modseq, coalesce((SELECT max(m.modseq) FROM mailbox m WHERE m.account=account.id), 0))",
			"DELETE FROM tombstone", "DELETE FROM event",
			fmt.Sprintf(`UPDATE state SET next_ref=next_ref+%[1]d, next_body=next_body+%[1]d, next_box=next_box+%[2]d,
				next_item=next_item+%[1]d, modseq=modseq+%[3]d`, int64(leapNumbers), leapBoxes, 2*int64(leapNumbers)),
		} {
			if err == nil {
				_, err = tx.ExecContext(c.ctx, q)
			}
		}
		if err == nil {
			err = tx.Commit()
		} else {
			tx.Rollback()
		}
	}
	return readError(errors.Join(err, db.Close()))
}
