package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/maildir"
	"github.com/posta-mail/posta/store/sqlite"
	"github.com/posta-mail/posta/store/transfer"
)

// engine is how the folders of one kind of store are handled.
type engine struct {
	open func(c *config, dir string) (store.Store, error)
	// read opens what is there; it makes nothing where there is nothing.
	read func(c *config, dir string) (store.Store, error)
	// check reads everything once.
	check  func(context.Context, *config, func(sqlite.Problem)) error
	repair func(context.Context, *config) error
	// backup and restore tell problems by c.problem and return their number.
	backup, restore func(context.Context, *config) (problems int, err error)
}

func engines() map[string]engine {
	return map[string]engine{
		"sqlite": {
			open:   func(_ *config, dir string) (store.Store, error) { return orNil(sqlite.Open(dir)) },
			read:   func(_ *config, dir string) (store.Store, error) { return orNil(readSQLite(dir)) },
			check:  checkSQLite,
			repair: repair,
			backup: func(ctx context.Context, c *config) (n int, err error) {
				err = sqlite.Backup(ctx, c.store, c.to, sqlite.BackupOptions{Progress: c.copied, Report: c.counted(&n)})
				return n, err
			},
			restore: func(ctx context.Context, c *config) (n int, err error) {
				err = sqlite.Restore(ctx, c.from, c.store, sqlite.RestoreOptions{Exact: c.exact, Progress: c.copied, Report: c.counted(&n)})
				return n, err
			},
		},
		"maildir": {
			open:   openMaildir,
			read:   readMaildir,
			check:  checkMail,
			repair: repairMaildir,
			backup: func(ctx context.Context, c *config) (int, error) { return c.copyStore(ctx, c.store, c.to) },
			restore: func(ctx context.Context, c *config) (int, error) {
				if c.exact {
					return 0, usage("-exact: a Maildir's numbers are given anew")
				}
				return c.copyStore(ctx, c.from, c.store)
			},
		},
	}
}

// orNil keeps a nil pointer from becoming an interface that is not nil.
func orNil(st *sqlite.Store, err error) (store.Store, error) {
	if err != nil {
		return nil, err
	}
	return st, nil
}

// readSQLite opens a store for reading, which needs no lock.
func readSQLite(dir string) (*sqlite.Store, error) { return sqlite.Options{ReadOnly: true}.Open(dir) }

func checkSQLite(ctx context.Context, c *config, report func(sqlite.Problem)) error {
	st, err := readSQLite(c.store)
	if errors.Is(err, store.ErrCorrupt) {
		report(sqlite.Problem{Err: err})
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(st.Check(ctx, report), st.Close())
}

// openMaildir opens a Maildir, which mends its indexes by itself and says so.
func openMaildir(c *config, dir string) (store.Store, error) {
	st, err := maildir.Options{Interval: -1, Logger: slog.New(slog.NewTextHandler(c.out.stderr, nil))}.Open(dir)
	if err != nil {
		return nil, err
	}
	return st, nil
}

func readMaildir(c *config, dir string) (store.Store, error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w: %s", store.ErrNotFound, dir)
	} else if err != nil {
		return nil, err
	}
	return openMaildir(c, dir)
}

// checkMail reads every message of every account.
func checkMail(ctx context.Context, c *config, report func(sqlite.Problem)) error {
	st, err := readMaildir(c, c.store)
	if err != nil {
		return err
	}
	defer st.Close()
	for name, err := range st.Accounts(ctx) {
		if err != nil {
			return err
		}
		err := checkAccount(ctx, st, name, report)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			report(sqlite.Problem{Account: name, Err: err})
		}
	}
	return nil
}

func checkAccount(ctx context.Context, st store.Store, name string, report func(sqlite.Problem)) error {
	a, err := st.Account(ctx, name, name)
	if err != nil {
		return err
	}
	boxes, err := a.Mailboxes(ctx)
	if err != nil {
		return err
	}
	for _, b := range boxes {
		mb, err := a.Mailbox(ctx, b.Name)
		var snap *store.Snapshot
		if err == nil {
			snap, err = mb.Snapshot(ctx)
		}
		if err != nil {
			report(sqlite.Problem{Account: name, Mailbox: b.Name, Err: err})
			continue
		}
		for _, row := range snap.Range(0, snap.Len()) {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := readMessage(ctx, mb, row); err != nil && !errors.Is(err, store.ErrExpunged) {
				report(sqlite.Problem{Account: name, Mailbox: b.Name, UID: row.UID, Err: err})
			}
		}
	}
	return nil
}

func readMessage(ctx context.Context, mb store.Mailbox, row store.Row) error {
	body, err := mb.Open(ctx, row)
	if err != nil {
		return err
	}
	defer body.Close()
	if body.Size() != int64(row.Size) {
		return fmt.Errorf("%w: %d octets, %d were recorded", store.ErrCorrupt, body.Size(), row.Size)
	}
	_, err = io.Copy(io.Discard, io.NewSectionReader(body, 0, body.Size()))
	return err
}

// repairMaildir opens every account, which mends its index, and tells what
// cannot be mended: files that another program has damaged.
func repairMaildir(ctx context.Context, c *config) error {
	n := 0
	if err := checkMail(ctx, c, c.counted(&n)); err != nil {
		return err
	}
	return c.finished(nil, n, "repaired "+c.store)
}

// copyStore copies every account into an empty folder, for engines that have no
// backup of their own. All numbers are given anew there.
func (c *config) copyStore(ctx context.Context, from, to string) (problems int, err error) {
	if entries, err := os.ReadDir(to); err == nil && len(entries) > 0 {
		return 0, fmt.Errorf("%w: %s is not empty", store.ErrConflict, to)
	}
	src, err := readMaildir(c, from)
	if err != nil {
		return 0, err
	}
	defer src.Close()
	dst, err := openMaildir(c, to)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, dst.Close()) }()
	for name, err := range src.Accounts(ctx) {
		if err != nil {
			return problems, err
		}
		_, err = transfer.Copy(ctx, transfer.Account{Store: src, Name: name}, transfer.Account{Store: dst, Name: name, Create: true}, transfer.Options{
			Progress: func(p transfer.Progress) {
				c.out.progress(event{"account": name, "folder": p.Folder, "messages": p.Messages, "octets": p.Octets}, "%d messages, %s %s", p.Messages, name, p.Folder)
			},
			Skipped: func(s transfer.Skip) {
				problems++
				c.problem(sqlite.Problem{Account: name, Mailbox: s.Folder, Err: fmt.Errorf("%s: %w", s.Message, s.Err)})
			},
		})
		if err != nil {
			return problems, fmt.Errorf("%s: %w", name, err)
		}
	}
	return problems, nil
}
