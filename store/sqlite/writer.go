package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/posta-mail/posta/store"
)

// Statements of the committer.
type stmtID int

const (
	stBegin stmtID = iota
	stCommit
	stRollback
	stState
	stAccountAdd
	stAccountSet
	stAccountDel
	stBoxAdd
	stBoxSet
	stBoxName
	stBoxDel
	stPagePut
	stPageDel
	stPagesDel
	stRefPut
	stRefDel
	stTombPut
	stTombsDel
	stDeadPut
	stEventPut
	stEventsDel
	stSubPut
	stSubDel
	stSubsDel
	stNotePut
	stNoteDel
	stNotesDel
	stAllNotesDel
	stPrivatePut
	stPrivateDel
	stHashPut
	stHashMove
	stHashDrop
	stUIDLPut
	stUIDLDel
	stTokenPut
	stSegmentPut
	stSegmentDel
	stTokenDel
	stDeadDel
	stSpoolPut
	stSpoolSet
	stSpoolBody
	stSpoolDel
	stSpoolMove
	stCount
)

// A statement that ends in VALUES takes rows of so many columns.
var statements = [stCount]struct {
	sql  string
	cols int
}{
	stBegin:    {sql: "BEGIN IMMEDIATE"},
	stCommit:   {sql: "COMMIT"},
	stRollback: {sql: "ROLLBACK"},
	stState: {sql: `UPDATE state SET next_ref=?, next_body=?, next_box=?, next_item=?, uidvalidity=?, modseq=?,
		segment=?, committed=? WHERE id=1`},
	stAccountAdd: {sql: `INSERT INTO account (name, modseq, low, max_octets, max_messages, max_boxes)
		VALUES (?,?,?,?,?,?)`},
	stAccountSet: {sql: "UPDATE account SET modseq=?, low=?, max_octets=?, max_messages=?, max_boxes=? WHERE id=?"},
	stAccountDel: {sql: "DELETE FROM account WHERE id=?"},
	stBoxAdd: {sql: `INSERT INTO mailbox (id, account, name, special, uidvalidity, uidnext, modseq, created, low,
		messages, unseen, deleted, size, deleted_size, uidls, keywords) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`},
	stBoxSet: {sql: `UPDATE mailbox SET uidnext=?, modseq=?, messages=?, unseen=?, deleted=?, size=?, deleted_size=?
		WHERE id=?`},
	stBoxName:     {sql: "UPDATE mailbox SET name=?, keywords=?, low=?, uidls=? WHERE id=?"},
	stBoxDel:      {sql: "DELETE FROM mailbox WHERE id=?"},
	stPagePut:     {sql: "INSERT OR REPLACE INTO page (id, modseq, data) VALUES", cols: 3},
	stPageDel:     {sql: "DELETE FROM page WHERE id=?"},
	stPagesDel:    {sql: "DELETE FROM page WHERE id BETWEEN ? AND ?"},
	stRefPut:      {sql: "INSERT OR REPLACE INTO ref (id, data) VALUES", cols: 2},
	stRefDel:      {sql: "DELETE FROM ref WHERE id=?"},
	stTombPut:     {sql: "INSERT OR REPLACE INTO tombstone (mailbox, modseq, at, uids) VALUES", cols: 4},
	stTombsDel:    {sql: "DELETE FROM tombstone WHERE mailbox=? AND modseq<=?"},
	stDeadPut:     {sql: "INSERT INTO dead (account, at, refs) VALUES", cols: 3},
	stEventPut:    {sql: "INSERT OR REPLACE INTO event (account, modseq, seq, at, kind, mailbox, name, oldname) VALUES", cols: 8},
	stEventsDel:   {sql: "DELETE FROM event WHERE account=? AND modseq<=?"},
	stSubPut:      {sql: "INSERT OR REPLACE INTO subscription (account, name) VALUES (?,?)"},
	stSubDel:      {sql: "DELETE FROM subscription WHERE account=? AND name=?"},
	stSubsDel:     {sql: "DELETE FROM subscription WHERE account=?"},
	stNotePut:     {sql: "INSERT OR REPLACE INTO annotation (account, mailbox, key, value) VALUES (?,?,?,?)"},
	stNoteDel:     {sql: "DELETE FROM annotation WHERE account=? AND mailbox=? AND key=?"},
	stNotesDel:    {sql: "DELETE FROM annotation WHERE account=? AND mailbox=?"},
	stAllNotesDel: {sql: "DELETE FROM annotation WHERE account=?"},
	stPrivatePut:  {sql: "INSERT OR REPLACE INTO private (box, mailbox, actor, modseq, messages, unseen) VALUES (?,?,?,?,?,?)"},
	stPrivateDel:  {sql: "DELETE FROM private WHERE box=?"},
	stHashPut:     {sql: "INSERT OR REPLACE INTO body (hash, account, record, seg, off) VALUES (?,?,?,?,?)"},
	stHashMove:    {sql: "UPDATE body SET seg=?, off=? WHERE seg=? AND off=?"},
	stHashDrop:    {sql: "DELETE FROM body WHERE seg=?"},
	stUIDLPut:     {sql: "INSERT OR REPLACE INTO uidl (mailbox, uid, uidl) VALUES", cols: 3},
	stUIDLDel:     {sql: "DELETE FROM uidl WHERE mailbox=? AND uid BETWEEN ? AND ?"},
	stTokenPut:    {sql: "INSERT OR REPLACE INTO token (token, account, at, mailbox, uidvalidity, uid, modseq) VALUES", cols: 7},
	stSegmentPut:  {sql: "INSERT OR REPLACE INTO segment (id, at) VALUES (?,?)"},
	stSegmentDel:  {sql: "DELETE FROM segment WHERE id=?"},
	stTokenDel:    {sql: "DELETE FROM token WHERE token=? AND account=?"},
	stDeadDel:     {sql: "DELETE FROM dead WHERE id=?"},
	stSpoolPut: {sql: `INSERT OR REPLACE INTO spool (id, due, lease, attempts, hold, created, site, envelope, prefix,
		bodyseg, bodyoff, bodysize) VALUES`, cols: 12},
	stSpoolSet:  {sql: "UPDATE spool SET due=?, lease=?, attempts=?, hold=? WHERE id=?"},
	stSpoolBody: {sql: "UPDATE spool SET site=?, envelope=? WHERE id=?"},
	stSpoolMove: {sql: "UPDATE spool SET bodyseg=?, bodyoff=? WHERE id=?"},
	stSpoolDel:  {sql: "DELETE FROM spool WHERE id=?"},
}

// bulkRows are the numbers of rows for which a bulk statement is prepared.
var bulkRows = [...]int{16, 4, 1}

// writerConn is the one connection that writes.
type writerConn struct {
	conn  *sql.Conn
	stmts [stCount][len(bulkRows)]*sql.Stmt
}

func prepareWriter(ctx context.Context, conn *sql.Conn) (*writerConn, error) {
	w := &writerConn{conn: conn}
	for id, st := range statements {
		var err error
		if st.cols == 0 {
			if w.stmts[id][0], err = conn.PrepareContext(ctx, st.sql); err != nil {
				w.close()
				return nil, err
			}
			continue
		}
		row := "(?" + strings.Repeat(",?", st.cols-1) + ")"
		for i, n := range bulkRows {
			text := st.sql + " " + row + strings.Repeat(","+row, n-1)
			if w.stmts[id][i], err = conn.PrepareContext(ctx, text); err != nil {
				w.close()
				return nil, err
			}
		}
	}
	return w, nil
}

func (w *writerConn) exec(ctx context.Context, id stmtID, args ...any) error {
	_, err := w.stmts[id][0].ExecContext(ctx, args...)
	return err
}

// insert adds rows, given as one list of values.
func (w *writerConn) insert(ctx context.Context, id stmtID, values []any) error {
	cols := statements[id].cols
	for i, n := range bulkRows {
		for len(values) >= n*cols {
			if _, err := w.stmts[id][i].ExecContext(ctx, values[:n*cols]...); err != nil {
				return err
			}
			values = values[n*cols:]
		}
	}
	return nil
}

// rollback ends a transaction that failed; SQLite may have done so already.
func (w *writerConn) rollback() error {
	err := w.exec(context.Background(), stRollback)
	if err != nil && strings.Contains(err.Error(), "no transaction is active") {
		return nil
	}
	return err
}

func (w *writerConn) close() {
	for _, set := range w.stmts {
		for _, st := range set {
			if st != nil {
				st.Close()
			}
		}
	}
	w.conn.Close()
}

// state are the counters of the store, one row of the database.
type state struct {
	nextRef     uint64
	nextBody    uint64 // as of the last commit
	nextBox     uint64
	nextItem    uint64
	uidValidity uint32
	modSeq      uint64
	segment     uint64
	committed   int64
}

func (s *state) load(ctx context.Context, db queryer) error {
	err := db.QueryRowContext(ctx, `SELECT next_ref, next_body, next_box, next_item, uidvalidity, modseq, segment,
		committed FROM state WHERE id=1`).Scan(&s.nextRef, &s.nextBody, &s.nextBox, &s.nextItem, &s.uidValidity,
		&s.modSeq, &s.segment, &s.committed)
	if errors.Is(err, sql.ErrNoRows) {
		return errNoState
	}
	return err
}

var errNoState = fmt.Errorf("%w: the store's counters are missing", store.ErrCorrupt)

func (s *state) save(ctx context.Context, w *writerConn) error {
	return w.exec(ctx, stState, int64(s.nextRef), int64(s.nextBody), int64(s.nextBox), int64(s.nextItem),
		int64(s.uidValidity), int64(s.modSeq), int64(s.segment), s.committed)
}
