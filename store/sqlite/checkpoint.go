package sqlite

import (
	"context"
	"fmt"
	"os"

	sqlite3 "modernc.org/sqlite/lib"
)

// watchWAL wakes the checkpointer when the write-ahead log has grown large.
func (s *Store) watchWAL() {
	if info, err := os.Stat(s.dbFile() + "-wal"); err != nil || info.Size() < s.opt.WALSize {
		return
	}
	select {
	case s.walFull <- struct{}{}:
	default:
	}
}

// checkpointLoop copies the write-ahead log into the database beside the
// committer, which SQLite itself would do inside a commit.
func (s *Store) checkpointLoop() {
	defer s.idle.Done()
	for {
		select {
		case <-s.closing:
			return
		case <-s.walFull:
		}
		if s.broken() != nil {
			continue
		}
		switch err := s.checkpoint(false); sqlCode(err) {
		case 0:
			if err != nil {
				s.fail(err)
			}
		case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL:
			s.opt.Logger.Warn("write-ahead log stays for now", "error", err)
		default:
			s.fail(err)
		}
	}
}

// checkpoint copies what it can without disturbing anyone, then, between two
// commits, the little that was added meanwhile, and truncates the log. It
// leaves that to the next time if a reader is in the way, unless final.
func (s *Store) checkpoint(final bool) error {
	ctx := context.Background()
	var busy, log, done int
	if err := s.ckpt.QueryRowContext(ctx, "PRAGMA wal_checkpoint(PASSIVE)").Scan(&busy, &log, &done); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	if log-done > 1000 && !final {
		return nil // a reader holds the rest; truncating would wait for it
	}
	s.walGate.Lock()
	defer s.walGate.Unlock()
	if err := s.ckpt.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &log, &done); err != nil {
		return fmt.Errorf("checkpoint: %w", err)
	}
	return nil
}

// lastCheckpoint empties the log before the store is closed. On a full disk,
// where the database cannot grow, the log stays: all that is in it is durable.
func (s *Store) lastCheckpoint() error {
	err := s.checkpoint(true)
	if sqlCode(err) == sqlite3.SQLITE_FULL && s.spendReserve() {
		err = s.checkpoint(true)
	}
	if sqlCode(err) == sqlite3.SQLITE_FULL {
		s.opt.Logger.Warn("write-ahead log stays until the store is opened again", "error", err)
		return nil
	}
	return err
}
