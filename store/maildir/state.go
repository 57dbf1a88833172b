package maildir

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"strings"

	"github.com/posta-mail/posta/store"
)

// state is what the index says of an account, but for its messages. A
// published one is never modified.
type state struct {
	guid    string
	modSeq  store.ModSeq
	low     store.ModSeq // events up to it may be missing
	nextBox store.MailboxID
	nextRef uint64
	events  int
	limit   store.Usage
	boxes   map[store.MailboxID]*box
	names   map[string]store.MailboxID
	subs    map[string]bool
}

// box is a mailbox as of a commit. A published one is never modified.
type box struct {
	store.MailboxInfo
	dir      string       // below the account's
	changed  store.ModSeq // last change of messages
	low      store.ModSeq // expunges up to it may be missing
	tombs    int
	keywords []store.Flag
	seen     [2]int64 // of new/ and cur/: the time up to which names are known
	own      [2]int64 // and after our last change
	seenKeys int64    // keysStamp of the keywords that are taken in
}

const boxColumns = `id, name, dir, special, uidvalidity, uidnext, modseq, changed, low, tombs, messages, unseen, deleted, size, delsize,
	keywords, seen_new, seen_cur, own_new, own_cur, seen_keys`

func scanBox(row interface{ Scan(...any) error }) (*box, error) {
	b := new(box)
	var keywords string
	err := row.Scan(&b.ID, &b.Name, &b.dir, &b.SpecialUse, &b.UIDValidity, &b.UIDNext, &b.ModSeq, &b.changed, &b.low, &b.tombs,
		&b.Messages, &b.Unseen, &b.Deleted, &b.Size, &b.DeletedSize, &keywords, &b.seen[0], &b.seen[1], &b.own[0], &b.own[1], &b.seenKeys)
	for k := range strings.FieldsSeq(keywords) { // no keyword has a space
		b.keywords = append(b.keywords, store.Flag(k))
	}
	return b, err
}

// save writes a mailbox's row.
func (b *box) save(ctx context.Context, c *sql.Conn) error {
	var keywords strings.Builder
	for _, k := range b.keywords {
		keywords.WriteString(string(k))
		keywords.WriteByte(' ')
	}
	_, err := c.ExecContext(ctx, `INSERT OR REPLACE INTO mailbox (`+boxColumns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		int64(b.ID), b.Name, b.dir, b.SpecialUse, b.UIDValidity, b.UIDNext, int64(b.ModSeq), int64(b.changed), int64(b.low), b.tombs,
		b.Messages, b.Unseen, b.Deleted, b.Size, b.DeletedSize, keywords.String(), b.seen[0], b.seen[1], b.own[0], b.own[1], b.seenKeys)
	return err
}

// count adds a row to the counts, or takes it out.
func (b *box) count(r store.Row, n int) {
	size := int64(n) * int64(r.Size)
	b.Messages += n
	b.Size += size
	if r.Flags&store.BitSeen == 0 {
		b.Unseen += n
	}
	if r.Flags&store.BitDeleted != 0 {
		b.Deleted += n
		b.DeletedSize += size
	}
}

// info is the public description of a mailbox.
func (s *state) info(b *box) store.MailboxInfo {
	i := b.MailboxInfo
	i.Subscribed = s.subs[i.Name]
	return i
}

// find gives a mailbox by any spelling of its name.
func (s *state) find(name string) (*box, error) {
	name, err := store.CanonicalName(name)
	if err != nil {
		return nil, err
	}
	return s.box(s.names[name])
}

func (s *state) box(id store.MailboxID) (*box, error) {
	if b := s.boxes[id]; b != nil {
		return b, nil
	}
	return nil, store.ErrNotFound
}

// clone is a copy whose maps may be changed.
func (s *state) clone() *state {
	n := *s
	n.boxes, n.names, n.subs = maps.Clone(s.boxes), maps.Clone(s.names), maps.Clone(s.subs)
	return &n
}

// sorted are the mailboxes in name order.
func (s *state) sorted() []*box {
	return slices.SortedFunc(maps.Values(s.boxes), func(a, b *box) int { return strings.Compare(a.Name, b.Name) })
}

// loadState reads the index.
func loadState(ctx context.Context, c *sql.Conn) (*state, error) {
	tx, err := c.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer tx.Rollback()
	s := &state{boxes: map[store.MailboxID]*box{}, names: map[string]store.MailboxID{}, subs: map[string]bool{}}
	var limits string
	err = tx.QueryRowContext(ctx, `SELECT guid, modseq, low, next_box, next_ref, events, limits FROM state`).Scan(
		&s.guid, &s.modSeq, &s.low, &s.nextBox, &s.nextRef, &s.events, &limits)
	if err == nil {
		s.limit, err = parseLimit(limits)
	}
	if err != nil {
		return nil, err
	}
	err = each(ctx, tx, func(rows *sql.Rows) error {
		b, err := scanBox(rows)
		if err == nil {
			s.boxes[b.ID], s.names[b.Name] = b, b.ID
		}
		return err
	}, `SELECT `+boxColumns+` FROM mailbox`)
	if err != nil {
		return nil, err
	}
	return s, each(ctx, tx, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		s.subs[name] = true
		return err
	}, `SELECT name FROM subscription`)
}

// save writes the state's own row.
func (s *state) save(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, `UPDATE state SET modseq = ?, low = ?, next_box = ?, next_ref = ?, events = ?, limits = ?`,
		int64(s.modSeq), int64(s.low), int64(s.nextBox), int64(s.nextRef), s.events, formatLimit(s.limit))
	return err
}

// querier is a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// each calls f for each row of a query.
func each(ctx context.Context, q querier, f func(*sql.Rows) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := f(rows); err != nil {
			return err
		}
	}
	return errors.Join(rows.Err(), rows.Close())
}
