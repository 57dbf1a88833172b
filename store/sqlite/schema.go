package sqlite

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"

	driver "modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/posta-mail/posta/store"
)

// applicationID marks the database as ours ("Post").
const applicationID = 0x506f7374

// schema1 is version 1. Times are seconds since 1970, in the spool nanoseconds.
const schema1 = `
CREATE TABLE state (
	id          INTEGER PRIMARY KEY CHECK (id = 1),
	next_ref    INTEGER NOT NULL,  -- references to bodies
	next_body   INTEGER NOT NULL,  -- ids of records
	next_box    INTEGER NOT NULL,  -- mailbox ids, of all accounts
	next_item   INTEGER NOT NULL,  -- spool items
	uidvalidity INTEGER NOT NULL,  -- last given
	modseq      INTEGER NOT NULL,  -- new accounts start above it
	segment     INTEGER NOT NULL,  -- the active one
	committed   INTEGER NOT NULL   -- its octets that must be there
);
CREATE TABLE account (
	id     INTEGER PRIMARY KEY AUTOINCREMENT,
	name   TEXT NOT NULL UNIQUE,
	modseq INTEGER NOT NULL,  -- of the last change that is not to messages
	low    INTEGER NOT NULL   -- history of events begins above it
);
CREATE TABLE mailbox (
	id          INTEGER PRIMARY KEY,
	account     INTEGER NOT NULL,
	name        TEXT NOT NULL,
	special     TEXT NOT NULL,
	uidvalidity INTEGER NOT NULL,
	uidnext     INTEGER NOT NULL,
	modseq      INTEGER NOT NULL,
	created     INTEGER NOT NULL,
	low         INTEGER NOT NULL,  -- history of expunges begins above it
	messages    INTEGER NOT NULL,
	unseen      INTEGER NOT NULL,
	deleted     INTEGER NOT NULL,
	size        INTEGER NOT NULL,
	keywords    TEXT NOT NULL
);
CREATE INDEX mailbox_account ON mailbox (account);
CREATE TABLE page (
	id     INTEGER PRIMARY KEY,  -- mailbox << 25 | uid >> 7
	modseq INTEGER NOT NULL,     -- highest of its rows
	data   BLOB NOT NULL
);
CREATE TABLE ref (
	id   INTEGER PRIMARY KEY,  -- reference >> 7
	data BLOB NOT NULL
);
CREATE TABLE tombstone (
	mailbox INTEGER NOT NULL,
	modseq  INTEGER NOT NULL,
	at      INTEGER NOT NULL,
	uids    BLOB NOT NULL,
	PRIMARY KEY (mailbox, modseq)
) WITHOUT ROWID;
CREATE TABLE dead (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	account INTEGER NOT NULL,
	at      INTEGER NOT NULL,
	refs    BLOB NOT NULL
);
CREATE TABLE event (
	account INTEGER NOT NULL,
	modseq  INTEGER NOT NULL,
	seq     INTEGER NOT NULL,
	at      INTEGER NOT NULL,
	kind    INTEGER NOT NULL,
	mailbox INTEGER NOT NULL,
	name    TEXT NOT NULL,
	oldname TEXT NOT NULL,
	PRIMARY KEY (account, modseq, seq)
) WITHOUT ROWID;
CREATE TABLE subscription (
	account INTEGER NOT NULL,
	name    TEXT NOT NULL,
	PRIMARY KEY (account, name)
) WITHOUT ROWID;
CREATE TABLE token (
	token       BLOB NOT NULL,
	account     INTEGER NOT NULL,
	at          INTEGER NOT NULL,
	mailbox     INTEGER NOT NULL,
	uidvalidity INTEGER NOT NULL,
	uid         INTEGER NOT NULL,
	modseq      INTEGER NOT NULL,
	PRIMARY KEY (token, account)
) WITHOUT ROWID;
CREATE TABLE segment (
	id INTEGER PRIMARY KEY,
	at INTEGER NOT NULL
);
CREATE TABLE spool (
	id       INTEGER PRIMARY KEY,
	due      INTEGER NOT NULL,
	lease    INTEGER NOT NULL,  -- end; 0: not leased
	attempts INTEGER NOT NULL,  -- leases given, and the fence of the last
	hold     INTEGER NOT NULL,
	created  INTEGER NOT NULL,
	site     TEXT NOT NULL,
	envelope BLOB NOT NULL,
	prefix   BLOB NOT NULL,
	bodyseg  INTEGER NOT NULL,
	bodyoff  INTEGER NOT NULL,
	bodysize INTEGER NOT NULL
);
INSERT INTO state VALUES (1, 1, 1, 1, 1, 0, 0, 0, 0);
`

// schema2 is what version 2 adds.
const schema2 = `
ALTER TABLE account ADD COLUMN max_octets INTEGER NOT NULL DEFAULT 0;    -- quota; 0: none, negative: nothing
ALTER TABLE account ADD COLUMN max_messages INTEGER NOT NULL DEFAULT 0;
ALTER TABLE account ADD COLUMN max_boxes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE mailbox ADD COLUMN deleted_size INTEGER NOT NULL DEFAULT 0;  -- octets of those in deleted
ALTER TABLE mailbox ADD COLUMN uidls INTEGER NOT NULL DEFAULT 0;         -- 1: it has, or had, rows in uidl
CREATE TABLE annotation (
	account INTEGER NOT NULL,
	mailbox INTEGER NOT NULL,  -- 0: of the account itself
	key     TEXT NOT NULL,
	value   BLOB NOT NULL,
	UNIQUE (account, mailbox, key)
);
CREATE INDEX annotation_key ON annotation (key, account);
CREATE TABLE private (
	box      INTEGER PRIMARY KEY,  -- id of its pages, from the ids of mailboxes
	mailbox  INTEGER NOT NULL,     -- whose \Seen flags these are
	actor    TEXT NOT NULL,
	modseq   INTEGER NOT NULL,
	messages INTEGER NOT NULL,     -- rows: messages whose flag was ever changed
	unseen   INTEGER NOT NULL,
	UNIQUE (mailbox, actor)
);
CREATE INDEX private_actor ON private (actor);
CREATE TABLE uidl (
	mailbox INTEGER NOT NULL,
	uid     INTEGER NOT NULL,
	uidl    TEXT NOT NULL,
	PRIMARY KEY (mailbox, uid)
) WITHOUT ROWID;
CREATE TABLE body (
	hash    BLOB NOT NULL,     -- SHA-256 of the body
	account INTEGER NOT NULL,  -- 0: of the whole store
	record  INTEGER NOT NULL,  -- id of the record that has it
	seg     INTEGER NOT NULL,
	off     INTEGER NOT NULL,
	PRIMARY KEY (hash, account)
) WITHOUT ROWID;
CREATE INDEX body_record ON body (seg, off);
`

// dsn names the database with its pragmas: given by Exec they would reach one
// connection of a pool only.
func dsn(file string, readOnly bool, busy time.Duration) string {
	q := url.Values{}
	for _, p := range []string{
		fmt.Sprintf("busy_timeout(%d)", busy.Milliseconds()), "journal_mode(WAL)", "synchronous(FULL)", "temp_store(MEMORY)",
		"mmap_size(0)", "wal_autocheckpoint(0)", "journal_size_limit(67108864)",
	} {
		q.Add("_pragma", p)
	}
	if readOnly {
		q.Set("_query_only", "1")
	} else {
		q.Set("_txlock", "immediate")
		q.Add("_pragma", "cache_size(-16384)") // KiB
	}
	u := url.URL{Scheme: "file", Path: file, RawQuery: q.Encode()}
	return u.String()
}

func openDB(file string, readOnly bool, conns int, busy time.Duration) (*sql.DB, error) {
	return openDSN(dsn(file, readOnly, busy), conns)
}

// openDB opens the store's own database.
func (s *Store) openDB(readOnly bool, conns int, busy time.Duration) (*sql.DB, error) {
	return openDSN(s.opt.dsn(dsn(s.dbFile(), readOnly, busy)), conns)
}

func openDSN(dsn string, conns int) (*sql.DB, error) {
	c, err := driver.NewConnector(dsn)
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(c)
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// sqlCode is the primary result code of SQLite in an error, 0 if none.
func sqlCode(err error) int {
	var e *driver.Error
	if errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// readError turns an error of a read into one of the store's kinds.
func readError(err error) error {
	if err == nil || errors.Is(err, store.ErrCorrupt) || errors.Is(err, store.ErrNotFound) {
		return err
	}
	switch sqlCode(err) {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}
