package maildir

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// tidyEvery is how often what is over is removed from an open account.
	tidyEvery = time.Minute
	// tmpLife is how long a file in tmp/ may be on its way, whoever writes it.
	tmpLife = 36 * time.Hour
	// tmpEvery is how often tmp/ folders are looked at.
	tmpEvery = time.Hour
)

// janitor tidies up the accounts that are open until the store closes.
func (s *Store) janitor() {
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-tick.C:
		}
		s.mu.Lock()
		var names []string
		for name := range s.accounts {
			names = append(names, name)
		}
		s.mu.Unlock()
		for _, name := range names {
			if err := s.tidyAccount(name); err != nil && !s.gate.Closed() {
				s.opt.Logger.Warn("maildir: tidying up", "account", name, "error", err)
			}
		}
	}
}

func (s *Store) tidyAccount(name string) error {
	ctx := context.Background()
	if err := s.gate.Enter(ctx); err != nil {
		return err
	}
	defer s.gate.Leave()
	s.mu.Lock()
	a := s.accounts[name]
	if a != nil {
		a.pins++
	}
	s.mu.Unlock()
	if a == nil {
		return nil
	}
	defer s.unpin(a)
	if due, err := a.overdue(ctx); err != nil || !due {
		return err
	}
	if err := a.lockAll(ctx); err != nil {
		return err
	}
	defer a.unlockAll()
	return a.tidy(ctx, time.Now())
}

// overdue reports whether there is anything to tidy.
func (a *account) overdue(ctx context.Context) (due bool, err error) {
	now := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.r == nil {
		return false, nil
	}
	err = a.r.QueryRowContext(ctx, `SELECT EXISTS (SELECT 1 FROM grave WHERE at <= ?) OR EXISTS (SELECT 1 FROM token WHERE at < ?)`,
		now.Add(-max(a.s.opt.Grace, 0)).Unix(), now.Add(-tokenLife).Unix()).Scan(&due)
	return due || now.Sub(a.cleaned) >= tmpEvery, err
}

// tidy removes what is over. The account is locked.
func (a *account) tidy(ctx context.Context, now time.Time) error {
	err := a.emptyGraves(ctx, now.Add(-max(a.s.opt.Grace, 0)))
	_, e := a.w.ExecContext(ctx, `DELETE FROM token WHERE at < ?`, now.Add(-tokenLife).Unix())
	err = errors.Join(err, e)
	a.mu.Lock()
	clean := now.Sub(a.cleaned) >= tmpEvery
	if clean {
		a.cleaned = now
	}
	a.mu.Unlock()
	if !clean {
		return err
	}
	st, e := a.current(ctx)
	if e != nil {
		return errors.Join(err, e)
	}
	for _, b := range st.boxes {
		err = errors.Join(err, cleanTmp(a.path(b.dir, "tmp"), now.Add(-tmpLife)))
	}
	return err
}

// emptyGraves removes messages expunged up to a time: the files first, since a
// row without a file does no harm.
func (a *account) emptyGraves(ctx context.Context, until time.Time) error {
	var refs []uint64
	err := each(ctx, a.w, func(rows *sql.Rows) error {
		var ref uint64
		err := rows.Scan(&ref)
		refs = append(refs, ref)
		return err
	}, `SELECT ref FROM grave WHERE at <= ?`, until.Unix())
	if err != nil || len(refs) == 0 {
		return err
	}
	for _, ref := range refs {
		if err := os.Remove(a.path(gravePath(ref))); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	_, err = a.w.ExecContext(ctx, `DELETE FROM grave WHERE at <= ?`, until.Unix())
	return err
}

// cleanTmp removes files that nobody can still be writing.
func cleanTmp(dir string, until time.Time) error {
	var old []string
	err := readNames(dir, func(name string, e fs.DirEntry) bool {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() && info.ModTime().Before(until) {
			old = append(old, filepath.Join(dir, name))
		}
		return true
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, name := range old {
		err = errors.Join(err, os.Remove(name))
	}
	return err
}

// sweepOwn removes what a crash left of folders that were being made or
// removed. The account is locked, and nothing is pending.
func (a *account) sweepOwn() error {
	entries, err := os.ReadDir(a.path(ownFolder))
	for _, e := range entries {
		if e.IsDir() && (strings.HasPrefix(e.Name(), "box-") || strings.HasPrefix(e.Name(), "gone-")) {
			err = errors.Join(err, os.RemoveAll(a.path(ownFolder, e.Name())))
		}
	}
	return err
}
