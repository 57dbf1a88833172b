package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/posta-mail/posta/store"
)

// queries are the prepared reads. Each reads what it needs in one call and
// leaves no transaction behind. They run to their end whatever the caller's
// context: they are short, and interrupting SQLite costs a goroutine a query.
type queries struct {
	db    *sql.DB
	stmts []*sql.Stmt

	accountRow, accountBoxes, accountSubs *sql.Stmt
	accountNames, allBoxes                *sql.Stmt
	box, boxPages, onePage                *sql.Stmt
	refPage, tokenRow                     *sql.Stmt
	tombs, eventRows                      *sql.Stmt
	spoolRow, spoolList, spoolSome        *sql.Stmt
	notes, note, noteCount, noteAccounts  *sql.Stmt
	uidls, bodyRow                        *sql.Stmt
	accountHidden, hiddenBox, actorNames  *sql.Stmt

	oldTokens, oldTombs, oldEvents, oldDead *sql.Stmt
	spoolBodies, spoolItems                 *sql.Stmt
	accountPages, someRefs, segmentIDs      *sql.Stmt
}

const spoolColumns = `id, due, lease, attempts, hold, created, site, envelope, length(prefix), bodysize`

func prepareQueries(ctx context.Context, db *sql.DB) (*queries, error) {
	q := &queries{db: db}
	for _, p := range []struct {
		st  **sql.Stmt
		sql string
	}{
		{&q.accountRow, "SELECT id, modseq, low, max_octets, max_messages, max_boxes FROM account WHERE name=?"},
		{&q.accountBoxes, `SELECT id, name, special, uidvalidity, uidnext, modseq, created, low, messages, unseen,
			deleted, size, deleted_size, uidls, keywords FROM mailbox WHERE account=?`},
		{&q.accountSubs, "SELECT name FROM subscription WHERE account=?"},
		{&q.accountNames, "SELECT name FROM account WHERE name>? ORDER BY name LIMIT ?"},
		{&q.allBoxes, "SELECT m.id, m.account, a.name FROM mailbox m LEFT JOIN account a ON a.id=m.account ORDER BY m.id"},
		{&q.box, `SELECT name, uidvalidity, uidnext, modseq, keywords, messages, unseen, deleted, size,
			deleted_size FROM mailbox
			WHERE id=?`},
		{&q.hiddenBox, "SELECT '', 1, 1, modseq, '', messages, unseen, 0, 0, 0 FROM private WHERE box=?"},
		{&q.accountHidden, `SELECT p.box, p.mailbox, p.actor, p.modseq, p.messages, p.unseen
			FROM mailbox m JOIN private p ON p.mailbox=m.id WHERE m.account=?`},
		{&q.actorNames, `SELECT DISTINCT a.name FROM private p JOIN mailbox m ON m.id=p.mailbox JOIN account a ON a.id=m.account
			WHERE p.actor=?`},
		{&q.boxPages, "SELECT id, data FROM page WHERE id BETWEEN ? AND ? ORDER BY id"},
		{&q.onePage, "SELECT data FROM page WHERE id=?"},
		{&q.refPage, "SELECT data FROM ref WHERE id=?"},
		{&q.tokenRow, "SELECT mailbox, uidvalidity, uid, modseq FROM token WHERE token=? AND account=?"},
		{&q.tombs, "SELECT uids FROM tombstone WHERE mailbox=? AND modseq>? AND modseq<=?"},
		{&q.eventRows, `SELECT kind, modseq, mailbox, name, oldname FROM event WHERE account=? AND modseq>? AND modseq<=?
			ORDER BY modseq, seq`},
		{&q.notes, "SELECT key, value FROM annotation WHERE account=? AND mailbox=? AND key>=? ORDER BY key"},
		{&q.note, "SELECT value FROM annotation WHERE account=? AND mailbox=? AND key=?"},
		{&q.noteCount, "SELECT count(*) FROM annotation WHERE account=? AND mailbox=?"},
		{&q.noteAccounts, `SELECT DISTINCT a.name FROM annotation n JOIN account a ON a.id=n.account
			WHERE n.key=? AND a.name>? ORDER BY a.name LIMIT ?`},
		{&q.bodyRow, "SELECT record, seg, off FROM body WHERE hash=? AND account=?"},
		{&q.uidls, "SELECT uid, uidl FROM uidl WHERE mailbox=?"},
		{&q.spoolRow, "SELECT prefix, bodyseg, bodyoff, bodysize FROM spool WHERE id=?"},
		{&q.spoolSome, "SELECT " + spoolColumns + " FROM spool WHERE id IN (SELECT value FROM json_each(?))"},
		{&q.oldTokens, "SELECT token, account FROM token WHERE at<? LIMIT ?"},
		{&q.oldTombs, `SELECT a.name, t.mailbox, max(t.modseq) FROM tombstone t JOIN mailbox m ON m.id=t.mailbox
			JOIN account a ON a.id=m.account WHERE t.at<? GROUP BY t.mailbox`},
		{&q.oldEvents, `SELECT a.name, a.id, max(e.modseq) FROM event e JOIN account a ON a.id=e.account
			WHERE e.at<? GROUP BY e.account`},
		{&q.oldDead, "SELECT id, account, refs FROM dead WHERE at<=? ORDER BY id LIMIT ?"},
		{&q.accountPages, `SELECT p.id, p.data FROM mailbox m JOIN page p
			ON p.id BETWEEN m.id << 25 AND (m.id << 25) + 33554431 WHERE m.account=?`},
		{&q.someRefs, "SELECT id, data FROM ref WHERE id>=? ORDER BY id LIMIT 1000"},
		{&q.spoolBodies, "SELECT DISTINCT bodyseg, bodyoff, bodysize FROM spool ORDER BY 1, 2"},
		{&q.spoolItems, "SELECT id, bodyseg, bodyoff, bodysize FROM spool"},
		{&q.segmentIDs, "SELECT id FROM segment"},
		{&q.spoolList, "SELECT " + spoolColumns + " FROM spool WHERE id>? ORDER BY id LIMIT ?"},
	} {
		st, err := db.PrepareContext(ctx, p.sql)
		if err != nil {
			q.close()
			return nil, err
		}
		*p.st = st
		q.stmts = append(q.stmts, st)
	}
	return q, nil
}

func (q *queries) close() {
	for _, st := range q.stmts {
		st.Close()
	}
}

// each runs a query to its end.
func each(st *sql.Stmt, fn func(rows *sql.Rows) error, args ...any) error {
	rows, err := st.QueryContext(context.Background(), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// account reads an account; nil if there is none.
func (q *queries) account(ctx context.Context, name string) (*account, error) {
	a := &account{boxes: make(map[store.MailboxID]*mbox), hidden: make(map[store.MailboxID]*mbox),
		names: make(map[string]store.MailboxID), subs: make(map[string]bool)}
	err := q.accountRow.QueryRowContext(ctx, name).Scan(&a.id, &a.modSeq, &a.low,
		&a.limit.Octets, &a.limit.Messages, &a.limit.Mailboxes)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	err = each(q.accountBoxes, func(rows *sql.Rows) error {
		m := new(mbox)
		var keywords string
		if err := rows.Scan(&m.ID, &m.Name, &m.SpecialUse, &m.UIDValidity, &m.UIDNext, &m.ModSeq, &m.created, &m.low,
			&m.Messages, &m.Unseen, &m.Deleted, &m.Size, &m.DeletedSize, &m.uidls, &keywords); err != nil {
			return err
		}
		m.keywords = splitFlags(keywords)
		a.boxes[m.ID], a.names[m.Name] = m, m.ID
		a.modSeq = max(a.modSeq, m.ModSeq)
		a.used.Octets += m.Size
		a.used.Messages += int64(m.Messages)
		a.used.Mailboxes++
		return nil
	}, a.id)
	if err != nil {
		return nil, err
	}
	if err := q.hidden(a); err != nil {
		return nil, err
	}
	return a, each(q.accountSubs, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		a.subs[name] = true
		return err
	}, a.id)
}

// names lists accounts after one, in order.
func (q *queries) names(after string, max int) (names []string, err error) {
	return scanNames(q.accountNames, after, max)
}

// annotated lists accounts with an annotation, after one, in order.
func (q *queries) annotated(key, after string, max int) (names []string, err error) {
	return scanNames(q.noteAccounts, key, after, max)
}

func scanNames(st *sql.Stmt, args ...any) (names []string, err error) {
	err = each(st, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		names = append(names, name)
		return err
	}, args...)
	return names, err
}

// snapshot reads a mailbox as of the last commit.
func (q *queries) snapshot(id store.MailboxID, hidden bool) (*store.Snapshot, error) {
	row := q.box
	if hidden {
		row = q.hiddenBox
	}
	snap, _, err := q.read(row, id)
	return snap, err
}

// read reads a mailbox and what its row says of it.
func (q *queries) read(row *sql.Stmt, id store.MailboxID) (*store.Snapshot, *store.MailboxInfo, error) {
	ctx := context.Background()
	// One read transaction, so that the row and the pages belong together.
	tx, err := q.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, nil, err
	}
	defer tx.Rollback()
	i := &store.MailboxInfo{ID: id}
	var keywords string
	err = tx.StmtContext(ctx, row).QueryRowContext(ctx, int64(id)).Scan(&i.Name, &i.UIDValidity, &i.UIDNext, &i.ModSeq,
		&keywords, &i.Messages, &i.Unseen, &i.Deleted, &i.Size, &i.DeletedSize)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil, errNoMailbox
	}
	if err != nil {
		return nil, nil, err
	}
	var b store.SnapshotBuilder
	var rows []store.Row
	err = each(tx.StmtContext(ctx, q.boxPages), func(r *sql.Rows) (err error) {
		var key int64
		var data sql.RawBytes
		if err := r.Scan(&key, &data); err != nil {
			return err
		}
		rows, err = decodePage(rows[:0], uint32(key&pageMask), data)
		b.Add(rows...)
		return err
	}, pageKey(id, 0), pageKey(id, pageMask))
	if err != nil {
		return nil, nil, err
	}
	return b.Snapshot(id, i.UIDValidity, i.UIDNext, i.ModSeq, splitFlags(keywords)), i, nil
}

// page reads one page of rows.
func (q *queries) page(id store.MailboxID, no uint32) ([]store.Row, error) {
	var data []byte
	err := q.onePage.QueryRowContext(context.Background(), pageKey(id, no)).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return decodePage(nil, no, data)
}

// refs reads one page of places; an empty one if there is none.
func (q *queries) refs(no uint64) (*refPage, error) {
	var data []byte
	err := q.refPage.QueryRowContext(context.Background(), int64(no)).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return new(refPage), nil
	}
	if err != nil {
		return nil, err
	}
	return decodeRefPage(no, data)
}

func (q *queries) token(account int64, token string) (p store.Placed, ok bool, err error) {
	err = q.tokenRow.QueryRowContext(context.Background(), []byte(token), account).Scan(&p.Mailbox, &p.UIDValidity, &p.UID, &p.ModSeq)
	if errors.Is(err, sql.ErrNoRows) {
		return p, false, nil
	}
	return p, err == nil, err
}

// vanished adds what was expunged from a mailbox between two commits.
func (q *queries) vanished(set *store.UIDSet, id store.MailboxID, since, through store.ModSeq) error {
	return each(q.tombs, func(rows *sql.Rows) error {
		var data sql.RawBytes
		if err := rows.Scan(&data); err != nil {
			return err
		}
		return decodeUIDs(set, data)
	}, int64(id), int64(since), int64(through))
}

func (q *queries) events(account int64, since, through store.ModSeq) (events []store.MailboxEvent, err error) {
	err = each(q.eventRows, func(rows *sql.Rows) error {
		var e store.MailboxEvent
		err := rows.Scan(&e.Kind, &e.ModSeq, &e.Mailbox, &e.Name, &e.OldName)
		events = append(events, e)
		return err
	}, account, int64(since), int64(through))
	return events, err
}
