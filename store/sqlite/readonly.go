package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	driver "modernc.org/sqlite"

	"github.com/posta-mail/posta/store"
)

var errReadOnly = fmt.Errorf("%w: the store is opened for reading only", store.ErrReadOnly)

// openReadOnly is open for Options.ReadOnly.
func (s *Store) openReadOnly(ctx context.Context) error {
	refusal := errReadOnly
	s.poison.Store(&refusal)
	file, err := s.readableDB(ctx)
	if err != nil {
		return openError(err)
	}
	if s.reader, err = openReadOnly(file, !isWAL(file)); err != nil {
		return err
	}
	if s.q, err = prepareQueries(ctx, s.reader); err != nil {
		return openError(err)
	}
	if err := s.state.load(ctx, s.reader); err != nil {
		return openError(err)
	}
	return openError(s.spool.load(ctx, s))
}

// readableDB is the database's file, or that of a copy that has this version.
func (s *Store) readableDB(ctx context.Context) (string, error) {
	if _, err := os.Stat(s.dbFile()); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", store.ErrNotFound, err)
		}
		return "", err
	}
	db, err := openReadOnly(s.dbFile(), !isWAL(s.dbFile()))
	if err != nil {
		return "", err
	}
	defer db.Close()
	version, err := schemaOf(ctx, db)
	if err != nil || version == schemaVersion {
		return s.dbFile(), err
	}
	if s.temp, err = os.MkdirTemp("", "posta-*"); err != nil {
		return "", err
	}
	file := filepath.Join(s.temp, dbName)
	if _, err := db.ExecContext(ctx, "VACUUM INTO ?", file); err != nil {
		return "", err
	}
	return file, upgradeDB(ctx, file)
}

// upgradeDB brings a database that nobody has open to this version.
func upgradeDB(ctx context.Context, file string) error {
	db, err := openDB(file, false, 1, busyLong)
	if err != nil {
		return err
	}
	conn, err := db.Conn(ctx)
	if err == nil {
		err = errors.Join(migrate(ctx, conn, func(string) error { return nil }), conn.Close())
	}
	return errors.Join(err, db.Close())
}

// openReadOnly opens a database without any intent to write. One that is
// immutable is opened without a look at locks or a write-ahead log.
func openReadOnly(file string, immutable bool) (*sql.DB, error) {
	q := url.Values{"mode": {"ro"}}
	if immutable {
		q.Set("immutable", "1")
	}
	q.Add("_pragma", fmt.Sprintf("busy_timeout(%d)", busyLong.Milliseconds()))
	q.Add("_pragma", "temp_store(MEMORY)")
	q.Add("_pragma", "mmap_size(0)")
	u := url.URL{Scheme: "file", Path: file, RawQuery: q.Encode()}
	c, err := driver.NewConnector(u.String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	return db, nil
}

// openPlain opens, or makes, a database that nobody else has open, for writing
// without a write-ahead log.
func openPlain(file string) (*sql.DB, error) {
	u := url.URL{Scheme: "file", Path: file, RawQuery: url.Values{"mode": {"rwc"}, "_txlock": {"immediate"},
		"_pragma": {"temp_store(MEMORY)", "mmap_size(0)", "journal_mode(DELETE)"}}.Encode()}
	c, err := driver.NewConnector(u.String())
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(1)
	return db, nil
}

// isWAL reports whether a database's file says that a write-ahead log may
// belong to it. One that Backup wrote does not.
func isWAL(file string) bool {
	f, err := os.Open(file)
	if err != nil {
		return false
	}
	defer f.Close()
	var head [20]byte
	n, _ := f.ReadAt(head[:], 0)
	return n == len(head) && (head[18] == 2 || head[19] == 2)
}

// schemaOf returns the version of a database of ours that this program can
// read.
func schemaOf(ctx context.Context, db queryer) (version int, err error) {
	var app int
	err = errors.Join(
		db.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version),
		db.QueryRowContext(ctx, "PRAGMA application_id").Scan(&app))
	switch {
	case err != nil:
		return 0, readError(err)
	case app != applicationID || version == 0:
		return 0, damage("not a database of this store")
	case version > schemaVersion:
		return 0, errNewer(version)
	}
	return version, nil
}

func checkVersion(ctx context.Context, db queryer) error {
	_, err := schemaOf(ctx, db)
	return err
}

func errNewer(version int) error {
	return fmt.Errorf("%w: version %d, this program knows %d", ErrNewer, version, schemaVersion)
}
