package maildir

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/posta-mail/posta/store"
)

// schemaVersion is the user_version of an index. A newer one is refused.
const schemaVersion = 1

// applicationID marks a database as an index of this package ("PsMd").
const applicationID = 0x50734d64

// schema is version 1. Times are seconds since 1970, those of folders and
// leases nanoseconds.
const schema = `
CREATE TABLE state (
	id       INTEGER PRIMARY KEY CHECK (id = 1),
	guid     TEXT NOT NULL,     -- names this index
	modseq   INTEGER NOT NULL,
	low      INTEGER NOT NULL,  -- history of events begins above it
	next_box INTEGER NOT NULL,
	next_ref INTEGER NOT NULL,
	fence    INTEGER NOT NULL,  -- last given
	events   INTEGER NOT NULL,  -- rows of event
	limits   TEXT NOT NULL
);
CREATE TABLE mailbox (
	id          INTEGER PRIMARY KEY,
	name        TEXT NOT NULL UNIQUE,
	dir         TEXT NOT NULL,     -- below the account's; INBOX: ''
	special     TEXT NOT NULL,
	uidvalidity INTEGER NOT NULL,
	uidnext     INTEGER NOT NULL,
	modseq      INTEGER NOT NULL,
	changed     INTEGER NOT NULL,  -- last change of messages; 0: none
	low         INTEGER NOT NULL,  -- history of expunges begins above it
	tombs       INTEGER NOT NULL,  -- ranges in tombstone
	messages    INTEGER NOT NULL,
	unseen      INTEGER NOT NULL,
	deleted     INTEGER NOT NULL,
	size        INTEGER NOT NULL,
	delsize     INTEGER NOT NULL,
	keywords    TEXT NOT NULL,
	seen_new    INTEGER NOT NULL,  -- time of new/ whose names are known
	seen_cur    INTEGER NOT NULL,
	own_new     INTEGER NOT NULL,  -- time of new/ after our last change
	own_cur     INTEGER NOT NULL,
	seen_keys   INTEGER NOT NULL   -- stamp of the keywords' file that is taken in
);
CREATE TABLE page (
	id     INTEGER PRIMARY KEY,  -- mailbox << 25 | uid >> 7
	modseq INTEGER NOT NULL,     -- highest of its rows
	rows   BLOB NOT NULL,
	files  BLOB NOT NULL
);
CREATE TABLE outline (
	id   INTEGER PRIMARY KEY,  -- mailbox << 32 | uid
	data BLOB NOT NULL
);
CREATE TABLE uidl (
	id   INTEGER PRIMARY KEY,  -- mailbox << 32 | uid
	uidl TEXT NOT NULL
);
CREATE TABLE tombstone (
	mailbox INTEGER NOT NULL,
	modseq  INTEGER NOT NULL,
	uids    BLOB NOT NULL,
	PRIMARY KEY (mailbox, modseq)
) WITHOUT ROWID;
CREATE TABLE grave (
	ref  INTEGER PRIMARY KEY,  -- names the file in graves/
	at   INTEGER NOT NULL,
	file BLOB NOT NULL
);
CREATE INDEX grave_at ON grave (at);
CREATE TABLE event (
	modseq  INTEGER NOT NULL,
	seq     INTEGER NOT NULL,
	kind    INTEGER NOT NULL,
	mailbox INTEGER NOT NULL,
	name    TEXT NOT NULL,
	oldname TEXT NOT NULL,
	PRIMARY KEY (modseq, seq)
) WITHOUT ROWID;
CREATE TABLE subscription (name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE token (
	token       TEXT PRIMARY KEY,
	at          INTEGER NOT NULL,
	mailbox     INTEGER NOT NULL,
	uidvalidity INTEGER NOT NULL,
	uid         INTEGER NOT NULL,
	modseq      INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX token_at ON token (at);
CREATE TABLE lease (
	name  TEXT PRIMARY KEY,
	fence INTEGER NOT NULL,
	until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE op (id INTEGER PRIMARY KEY, data BLOB NOT NULL);
`

// dsn names the index with its pragmas: given by Exec they would reach one
// connection of a pool only.
func dsn(file string, write bool) string {
	q := url.Values{}
	for _, p := range []string{"busy_timeout(10000)", "journal_mode(WAL)", "synchronous(FULL)", "temp_store(MEMORY)",
		"mmap_size(0)", "journal_size_limit(16777216)"} {
		q.Add("_pragma", p)
	}
	if write {
		q.Set("_txlock", "immediate")
	} else {
		q.Add("_pragma", "cache_size(-1024)") // KiB
	}
	u := url.URL{Scheme: "file", Path: file, RawQuery: q.Encode()}
	return u.String()
}

// openConn opens one connection.
func openConn(ctx context.Context, file string, write bool) (*sql.DB, *sql.Conn, error) {
	c, err := driver.NewConnector(dsn(file, write))
	if err != nil {
		return nil, nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(1)
	conn, err := db.Conn(ctx)
	if err != nil {
		db.Close()
		return nil, nil, err
	}
	return db, conn, nil
}

// migrate brings an index to this version of the schema.
func migrate(ctx context.Context, conn *sql.Conn, guid string, ref uint64) error {
	var version, app, tables int
	err := errors.Join(
		conn.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version),
		conn.QueryRowContext(ctx, "PRAGMA application_id").Scan(&app),
		conn.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables))
	switch {
	case err != nil:
		return err
	case version > schemaVersion:
		return fmt.Errorf("maildir: index has schema version %d, this program knows %d", version, schemaVersion)
	case tables > 0 && app != applicationID:
		return fmt.Errorf("%w: not an index of this store", store.ErrCorrupt)
	case version == schemaVersion:
		return nil
	}
	script := "BEGIN IMMEDIATE;" + schema +
		fmt.Sprintf("INSERT INTO state VALUES (1, '%s', 0, 0, 1, %d, 0, 0, '');", guid, ref) +
		"PRAGMA application_id = " + strconv.Itoa(applicationID) + ";" +
		"PRAGMA user_version = " + strconv.Itoa(schemaVersion) + "; COMMIT;"
	_, err = conn.ExecContext(ctx, script)
	return err
}

// kindOf turns an error of the index or the file system into one of the
// store's kinds, unless it is one.
func kindOf(err error) error {
	if err == nil {
		return nil
	}
	for _, kind := range [...]error{store.ErrCorrupt, store.ErrNotFound, store.ErrUnavailable, store.ErrNoSpace, store.ErrLimit, store.ErrExists,
		store.ErrInvalid, store.ErrInvalidName, store.ErrReadOnly, store.ErrExpunged, store.ErrHistoryGone, store.ErrConflict, store.ErrInUse,
		store.ErrOverQuota, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, kind) {
			return err
		}
	}
	if errors.Is(err, errDiskFull) || errors.Is(err, errQuota) {
		return fmt.Errorf("%w: %w", store.ErrNoSpace, err)
	}
	var e *driver.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case sqlite3.SQLITE_FULL:
			return fmt.Errorf("%w: %w", store.ErrNoSpace, err)
		case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
			return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}
