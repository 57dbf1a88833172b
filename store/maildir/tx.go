package maildir

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"time"

	"github.com/posta-mail/posta/store"
)

// tokenLife is how long a token is remembered; the contract says a day at
// least.
const tokenLife = 25 * time.Hour

// tx is one commit to an account. First the index is committed, with what has
// to be done to files; then that is done. Whoever locks the account next does
// what a crash left undone, so that all of it happens or nothing.
type tx struct {
	ctx    context.Context // without the caller's end
	a      *account
	st     *state // as the commit leaves it
	modSeq store.ModSeq
	boxes  map[store.MailboxID]*boxTx
	seq    int // of events
	ops    ops
	temps  []string // files to be removed unless it commits
	dirty  bool     // something changes

	foreign bool // takes in what other programs did
}

// boxTx is what a commit does to a mailbox.
type boxTx struct {
	*box
	home     string // where the folder is until the commit is performed
	keys     *keywordFile
	pages    map[uint32]*page
	changed  map[uint32]bool // pages
	gone     store.UIDSet
	outlines map[store.UID][]byte
	uidls    map[store.UID]string
}

// update runs f in a commit: all that f does happens, or nothing if it fails.
func (a *account) update(ctx context.Context, f func(*tx) error) error {
	if err := a.lockAll(ctx); err != nil {
		return err
	}
	defer a.unlockAll()
	return kindOf(a.commit(ctx, f))
}

// commit is update for who has locked the account.
func (a *account) commit(ctx context.Context, f func(*tx) error) (err error) {
	st, err := a.current(ctx)
	if err != nil {
		return err
	}
	t := &tx{ctx: context.WithoutCancel(ctx), a: a, st: st.clone(), modSeq: st.modSeq + 1, boxes: map[store.MailboxID]*boxTx{}}
	defer func() {
		for _, name := range t.temps {
			os.Remove(name)
		}
	}()
	if _, err := a.w.ExecContext(t.ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	if err = f(t); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = t.admit(st)
	}
	if err == nil && t.dirty {
		err = t.flush()
	}
	if err != nil || !t.dirty {
		_, rollback := a.w.ExecContext(t.ctx, "ROLLBACK")
		return errors.Join(err, rollback)
	}
	if _, err := a.w.ExecContext(t.ctx, "COMMIT"); err != nil {
		a.w.ExecContext(t.ctx, "ROLLBACK") // it may have been rolled back
		return err
	}
	t.temps = nil
	err = a.perform(t.ctx, t.st, t.ops)
	a.publish(t.ctx, t.st)
	return err
}

// publish makes a state that was committed here the current one.
func (a *account) publish(ctx context.Context, st *state) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.r.QueryRowContext(ctx, "PRAGMA data_version").Scan(&a.version); err != nil {
		a.st = nil // read it again
		return
	}
	a.st = st
	for id := range a.snaps {
		if st.boxes[id] == nil {
			delete(a.snaps, id)
			delete(a.dirs, id)
		}
	}
	a.waker.Wake()
}

// box is a mailbox for changing its messages.
func (t *tx) box(id store.MailboxID) (*boxTx, error) {
	if b := t.boxes[id]; b != nil {
		return b, nil
	}
	b, err := t.st.box(id)
	if err != nil {
		return nil, err
	}
	c := *b
	bt := &boxTx{box: &c, home: b.dir, pages: map[uint32]*page{}, changed: map[uint32]bool{}}
	t.boxes[id], t.st.boxes[id] = bt, bt.box
	return bt, nil
}

// letters makes sure that keywords have letters, as far as there are any.
func (t *tx) letters(b *boxTx, flags []store.Flag) error {
	if b.keys == nil {
		k, err := readKeywords(t.a.path(b.home))
		if err != nil {
			return err
		}
		b.keys = &k
	}
	var want []store.Flag
	for _, f := range flags {
		if f[0] != '\\' && b.keys.letter(f) == 0 {
			want = append(want, f)
		}
	}
	if len(want) == 0 || !b.keys.lacks(want) {
		return nil
	}
	k, err := addKeywords(t.a.path(b.home), want)
	if err != nil {
		return err
	}
	b.keys = &k
	return nil
}

// page reads a page for changing it.
func (t *tx) page(b *boxTx, no uint32) (*page, error) {
	if p := b.pages[no]; p != nil {
		return p, nil
	}
	p, err := readPage(t.ctx, t.a.w, b.ID, no)
	if err == nil {
		b.pages[no] = p
	}
	return p, err
}

// readPage reads a page; one that is not there is empty.
func readPage(ctx context.Context, c *sql.Conn, id store.MailboxID, no uint32) (*page, error) {
	var rows, files []byte
	err := c.QueryRowContext(ctx, `SELECT rows, files FROM page WHERE id = ?`, pageKey(id, no)).Scan(&rows, &files)
	if errors.Is(err, sql.ErrNoRows) {
		return new(page), nil
	}
	if err != nil {
		return nil, err
	}
	return decodePage(no, rows, files)
}

// message finds a message for changing it.
func (t *tx) message(b *boxTx, uid store.UID) (*page, int, bool, error) {
	p, err := t.page(b, pageNo(uid))
	if err != nil {
		return nil, 0, false, err
	}
	i, ok := slices.BinarySearchFunc(p.rows, uid, func(r store.Row, u store.UID) int { return int(int64(r.UID) - int64(u)) })
	return p, i, ok, nil
}

// add files a message under the next UID, or that of row if it has one, which
// must not be below.
func (t *tx) add(b *boxTx, row store.Row, f file) (store.UID, error) {
	uid := max(b.UIDNext, row.UID)
	if uid == math.MaxUint32 { // UIDNEXT has to stay above it
		return 0, fmt.Errorf("%w: UIDs of the mailbox", store.ErrLimit)
	}
	p, err := t.page(b, pageNo(uid))
	if err != nil {
		return 0, err
	}
	b.UIDNext = uid + 1
	row.UID, row.ModSeq, row.Created, row.Ref = uid, t.modSeq, t.modSeq, t.st.nextRef
	t.st.nextRef++
	p.rows, p.files = append(p.rows, row), append(p.files, f)
	b.count(row, 1)
	t.touch(b, uid)
	return uid, nil
}

// touch notes that messages of a mailbox change.
func (t *tx) touch(b *boxTx, uid store.UID) {
	b.changed[pageNo(uid)] = true
	b.ModSeq, b.box.changed = t.modSeq, t.modSeq
	t.dirty = true
}

// setFlags changes a message's flags in the index.
func (t *tx) setFlags(b *boxTx, p *page, i int, bits store.FlagBits) {
	b.count(p.rows[i], -1)
	p.rows[i].Flags, p.rows[i].ModSeq = bits, t.modSeq
	b.count(p.rows[i], 1)
	t.touch(b, p.rows[i].UID)
}

// remove takes a message out of the index. Its file, unless it is gone, stays
// readable for the grace time.
func (t *tx) remove(b *boxTx, uid store.UID, fileGone bool) error {
	p, i, ok, err := t.message(b, uid)
	if err != nil || !ok {
		return err
	}
	row, f := p.rows[i], p.files[i]
	switch {
	case fileGone:
	case t.a.s.opt.Grace < 0:
		t.ops.bury(b.dir, &f, row.Ref)
	default:
		_, err := t.a.w.ExecContext(t.ctx, `INSERT INTO grave VALUES (?, ?, ?)`, int64(row.Ref), time.Now().Unix(), f.append(nil))
		if err != nil {
			return err
		}
		t.ops.bury(b.dir, &f, row.Ref)
	}
	b.count(row, -1)
	p.rows, p.files = slices.Delete(p.rows, i, i+1), slices.Delete(p.files, i, i+1)
	b.gone.Add(uid)
	t.touch(b, uid)
	return nil
}

// event notes what happens to a mailbox.
func (t *tx) event(kind store.EventKind, id store.MailboxID, name, old string) error {
	t.seq++
	t.st.events++
	t.dirty = true
	_, err := t.a.w.ExecContext(t.ctx, `INSERT INTO event VALUES (?, ?, ?, ?, ?, ?)`, int64(t.modSeq), t.seq, kind, int64(id), name, old)
	return err
}

// flush writes what was collected.
func (t *tx) flush() error {
	t.st.modSeq = t.modSeq
	for _, id := range slices.Sorted(maps.Keys(t.boxes)) {
		b := t.boxes[id]
		if t.st.boxes[id] == nil { // deleted
			continue
		}
		if err := errors.Join(t.flushPages(b), t.flushTombs(b), t.flushCold(b), b.save(t.ctx, t.a.w)); err != nil {
			return err
		}
	}
	if err := t.trimEvents(); err != nil {
		return err
	}
	if data := t.ops.encode(); len(data) > 0 {
		if _, err := t.a.w.ExecContext(t.ctx, `INSERT INTO op (data) VALUES (?)`, data); err != nil {
			return err
		}
	}
	return t.st.save(t.ctx, t.a.w)
}

func (t *tx) flushPages(b *boxTx) error {
	for _, no := range slices.Sorted(maps.Keys(b.changed)) {
		p := b.pages[no]
		key := pageKey(b.ID, no)
		if len(p.rows) == 0 {
			if _, err := t.a.w.ExecContext(t.ctx, `DELETE FROM page WHERE id = ?`, key); err != nil {
				return err
			}
			continue
		}
		_, err := t.a.w.ExecContext(t.ctx, `INSERT OR REPLACE INTO page VALUES (?, ?, ?, ?)`, key, int64(t.modSeq),
			appendRows(nil, no, p.rows), appendFiles(nil, p.files))
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) flushTombs(b *boxTx) error {
	if b.gone.Empty() {
		return nil
	}
	_, err := t.a.w.ExecContext(t.ctx, `INSERT INTO tombstone VALUES (?, ?, ?)`, int64(b.ID), int64(t.modSeq), encodeUIDs(b.gone))
	if err != nil {
		return err
	}
	limit := max(t.a.s.opt.History, 0)
	if b.tombs += len(b.gone); b.tombs <= limit+limit/10 {
		return nil
	}
	var through store.ModSeq
	left := b.tombs
	err = each(t.ctx, t.a.w, func(rows *sql.Rows) error {
		var at int64
		var data []byte
		if err := rows.Scan(&at, &data); err != nil || left <= limit {
			return err
		}
		r, err := decodeUIDs(nil, data)
		through, left = store.ModSeq(at), left-len(r)
		return err
	}, `SELECT modseq, uids FROM tombstone WHERE mailbox = ? ORDER BY modseq`, int64(b.ID))
	if err != nil {
		return err
	}
	b.low, b.tombs = through, left
	_, err = t.a.w.ExecContext(t.ctx, `DELETE FROM tombstone WHERE mailbox = ? AND modseq <= ?`, int64(b.ID), int64(through))
	return err
}

// flushCold writes outlines and UIDLs, and removes those of messages gone.
func (t *tx) flushCold(b *boxTx) error {
	for uid, data := range b.outlines {
		if _, err := t.a.w.ExecContext(t.ctx, `INSERT OR REPLACE INTO outline VALUES (?, ?)`, messageKey(b.ID, uid), data); err != nil {
			return err
		}
	}
	for uid, s := range b.uidls {
		if _, err := t.a.w.ExecContext(t.ctx, `INSERT OR REPLACE INTO uidl VALUES (?, ?)`, messageKey(b.ID, uid), s); err != nil {
			return err
		}
	}
	for _, r := range b.gone {
		for _, table := range [...]string{"outline", "uidl"} {
			_, err := t.a.w.ExecContext(t.ctx, `DELETE FROM `+table+` WHERE id BETWEEN ? AND ?`, messageKey(b.ID, r.From), messageKey(b.ID, r.To))
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// trimEvents keeps the history of mailboxes within its limit.
func (t *tx) trimEvents() error {
	limit := max(t.a.s.opt.History, 0)
	if t.st.events <= limit+limit/10 {
		return nil
	}
	var through sql.NullInt64
	err := t.a.w.QueryRowContext(t.ctx, `SELECT modseq FROM event ORDER BY modseq DESC, seq DESC LIMIT 1 OFFSET ?`, limit).Scan(&through)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	r, err := t.a.w.ExecContext(t.ctx, `DELETE FROM event WHERE modseq <= ?`, through.Int64)
	if err != nil {
		return err
	}
	n, err := r.RowsAffected()
	t.st.events -= int(n)
	t.st.low = max(t.st.low, store.ModSeq(through.Int64))
	return err
}
