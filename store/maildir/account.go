package maildir

import (
	"container/list"
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/posta-mail/posta/store"
)

// The folder within an account's that is ours alone, and what is in it.
const (
	ownFolder = "posta"
	indexName = "index.db"
	graveyard = "graves"
)

// account is an account that is open in this process. Whoever uses it has
// pinned it.
type account struct {
	s     *Store
	name  string
	dir   string
	id    os.FileInfo // of dir, to notice that another took its place
	waker *watched

	pins int           // under Store.mu
	elem *list.Element // nil: forgotten
	open sync.Once
	err  error // of opening

	// write is held by the one goroutine that changes the account, together
	// with the lock that other processes honour.
	write    chan struct{}
	lockFile *os.File
	wdb      *sql.DB
	w        *sql.Conn

	mu      sync.Mutex // guards what follows
	rdb     *sql.DB
	r       *sql.Conn
	version int64 // data_version that st is of
	st      *state
	snaps   map[store.MailboxID]*store.Snapshot
	dirs    map[store.MailboxID]*dirState
	rootAt  int64     // time of dir whose folders are known
	cleaned time.Time // when tmp folders were last looked at
}

// pin opens an account, or finds it open. Unpin it.
func (s *Store) pin(ctx context.Context, name string) (*account, error) {
	dir, err := s.folder(name)
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, store.ErrNotFound // deleted just now
	}
	if err != nil {
		return nil, kindOf(err)
	}
	s.mu.Lock()
	a := s.accounts[name]
	if a != nil && !os.SameFile(a.id, info) {
		s.drop(a)
		a = nil
	}
	if a == nil {
		a = &account{s: s, name: name, dir: dir, id: info, waker: s.watchedLocked(name), write: make(chan struct{}, 1),
			snaps: map[store.MailboxID]*store.Snapshot{}, dirs: map[store.MailboxID]*dirState{}}
		a.elem = s.recent.PushFront(a)
		s.accounts[name] = a
	} else {
		s.recent.MoveToFront(a.elem)
	}
	a.pins++
	s.mu.Unlock()
	a.open.Do(func() { a.err = a.start(context.WithoutCancel(ctx)) })
	if a.err != nil {
		s.forget(a)
		s.unpin(a)
		return nil, a.check(a.err)
	}
	return a, nil
}

// drop takes an account out of the cache; it closes when its last user leaves.
// s.mu is held.
func (s *Store) drop(a *account) {
	if a.elem == nil {
		return
	}
	s.recent.Remove(a.elem)
	a.elem = nil
	delete(s.accounts, a.name)
	if a.pins == 0 {
		a.close()
	}
}

func (s *Store) forget(a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.drop(a)
}

func (s *Store) unpin(a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.pins--; a.pins == 0 && a.elem == nil {
		a.close()
	}
	for el := s.recent.Back(); el != nil && s.recent.Len() > max(s.opt.Accounts, 0); {
		v := el.Value.(*account)
		if el = el.Prev(); v.pins == 0 {
			s.drop(v)
		}
	}
}

// start opens the index. One that is damaged is put aside and made anew.
func (a *account) start(ctx context.Context) error {
	for _, d := range []string{ownFolder, filepath.Join(ownFolder, graveyard)} {
		if err := os.Mkdir(filepath.Join(a.dir, d), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	lock, err := takeLock(ctx, a.path(ownFolder, "lock"))
	if err != nil {
		return err
	}
	a.lockFile = lock
	defer unlock(lock)
	err = a.openIndex(ctx)
	if err != nil && errors.Is(kindOf(err), store.ErrCorrupt) {
		a.s.opt.Logger.Error("maildir: index is damaged, it is made anew", "account", a.name, "error", err)
		a.closeIndex()
		aside := a.path(ownFolder, indexName+".damaged")
		if err := os.Rename(a.path(ownFolder, indexName), aside); err != nil {
			return err
		}
		for _, suffix := range []string{"-wal", "-shm"} {
			os.Remove(a.path(ownFolder, indexName+suffix))
		}
		err = a.openIndex(ctx)
	}
	if err != nil {
		return err
	}
	if st, err := a.current(ctx); err != nil {
		return err
	} else if st.names[store.Inbox] == 0 {
		if err := errors.Join(syncDir(a.path(ownFolder)), syncDir(a.dir), a.found(ctx)); err != nil {
			return err
		}
	}
	a.write <- struct{}{}
	defer func() { <-a.write }()
	if err := a.redo(ctx); err != nil {
		return err
	}
	return errors.Join(a.sweepOwn(), a.tidy(ctx, time.Now()))
}

func (a *account) openIndex(ctx context.Context) (err error) {
	file := a.path(ownFolder, indexName)
	if a.wdb, a.w, err = openConn(ctx, file, true); err != nil {
		return err
	}
	id := make([]byte, 24)
	rand.Read(id) // never fails
	err = migrate(ctx, a.w, hex.EncodeToString(id[:16]), binary.BigEndian.Uint64(id[16:])>>8)
	if err != nil {
		return err
	}
	if a.rdb, a.r, err = openConn(ctx, file, false); err != nil {
		return err
	}
	_, err = loadState(ctx, a.r)
	return err
}

func (a *account) closeIndex() error {
	var errs []error
	for _, c := range []*sql.Conn{a.r, a.w} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	for _, db := range []*sql.DB{a.rdb, a.wdb} {
		if db != nil {
			errs = append(errs, db.Close())
		}
	}
	a.r, a.w, a.rdb, a.wdb = nil, nil, nil, nil
	return errors.Join(errs...)
}

// close lets go of files. Nobody uses the account any more.
func (a *account) close() error {
	err := a.closeIndex()
	if a.lockFile != nil {
		err = errors.Join(err, a.lockFile.Close())
	}
	return err
}

// path names something below the account's folder.
func (a *account) path(elem ...string) string {
	return filepath.Join(append([]string{a.dir}, elem...)...)
}

// gone reports ErrNotFound if the account's folder is no longer there.
func (a *account) gone() (os.FileInfo, error) {
	info, err := os.Stat(a.dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, a.id) {
		return nil, store.ErrNotFound
	}
	return info, err
}

// check turns an error into one of the store's kinds; it is ErrNotFound if the
// account has been deleted meanwhile.
func (a *account) check(err error) error {
	if err = kindOf(err); err == nil || !errors.Is(err, store.ErrUnavailable) {
		return err
	}
	if _, gone := a.gone(); errors.Is(gone, store.ErrNotFound) {
		return gone
	}
	return err
}

// current is the state as of now in the index, whoever committed it.
func (a *account) current(ctx context.Context) (*state, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	st, err := a.load(ctx)
	return st, kindOf(err)
}

// load is current with a.mu held.
func (a *account) load(ctx context.Context) (*state, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	// The index's transactions are short, and one that is cut short would
	// end the connection.
	ctx = context.WithoutCancel(ctx)
	var version int64
	if err := a.r.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version); err != nil {
		return nil, err
	}
	if a.st != nil && a.version == version {
		return a.st, nil
	}
	st, err := loadState(ctx, a.r)
	if err != nil {
		return nil, err
	}
	if a.st != nil && st.modSeq > a.st.modSeq {
		defer a.waker.Wake()
	}
	a.st, a.version = st, version
	for id := range a.snaps {
		if st.boxes[id] == nil {
			delete(a.snaps, id)
			delete(a.dirs, id)
		}
	}
	return st, nil
}

// lockAll makes the caller the only one, in all processes, to change the
// account. Unlock it.
func (a *account) lockAll(ctx context.Context) error {
	select {
	case a.write <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	err := ctx.Err()
	if err == nil {
		err = waitLock(ctx, a.lockFile)
	}
	if err == nil {
		if _, err = a.gone(); err == nil {
			err = a.redo(context.WithoutCancel(ctx))
		}
		if err != nil {
			unlock(a.lockFile)
		}
	}
	if err != nil {
		<-a.write
		return kindOf(err)
	}
	return nil
}

func (a *account) unlockAll() {
	if err := unlock(a.lockFile); err != nil {
		a.s.opt.Logger.Error("maildir: unlocking", "account", a.name, "error", err)
	}
	<-a.write
}

// snapshot is the mailbox as of now in the index.
func (a *account) snapshot(ctx context.Context, id store.MailboxID) (*store.Snapshot, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	st, err := a.load(ctx)
	if err != nil {
		return nil, err
	}
	b, err := st.box(id)
	if err != nil {
		return nil, err
	}
	return a.snapshotOf(ctx, b)
}

// snapshotOf brings the cached snapshot up to a mailbox's state by what changed
// since. a.mu is held.
func (a *account) snapshotOf(ctx context.Context, b *box) (*store.Snapshot, error) {
	old := a.snaps[b.ID]
	if old != nil && old.ModSeq() == b.ModSeq && old.UIDNext() == b.UIDNext {
		return old, nil
	}
	if old == nil || old.ModSeq() < b.low {
		old = store.NewSnapshot(b.ID, b.UIDValidity, 1, 0, nil, nil)
	}
	c, err := readChanges(context.WithoutCancel(ctx), a.r, b.ID, old.ModSeq(), old.ModSeq() == 0)
	if err != nil {
		return nil, err
	}
	s := old.With(c)
	a.snaps[b.ID] = s
	return s, nil
}

// readChanges reads what happened to a mailbox's messages after since; all of
// them, and nothing of those that are gone, if whole is set.
func readChanges(ctx context.Context, conn *sql.Conn, id store.MailboxID, since store.ModSeq, whole bool) (c store.Changes, err error) {
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return c, err
	}
	defer tx.Rollback()
	b, err := scanBox(tx.QueryRowContext(ctx, `SELECT `+boxColumns+` FROM mailbox WHERE id = ?`, int64(id)))
	if errors.Is(err, sql.ErrNoRows) {
		return c, store.ErrNotFound
	} else if err != nil {
		return c, err
	}
	c = store.Changes{Since: since, Through: max(b.ModSeq, since), UIDNext: b.UIDNext, Keywords: b.keywords}
	if since < b.low && !whole {
		return c, store.ErrHistoryGone
	}
	if since >= b.ModSeq {
		return c, nil
	}
	if c.Rows, err = changedRows(ctx, tx, b, since); err != nil {
		return c, err
	}
	if !whole {
		c.Vanished, err = readTombs(ctx, tx, id, since)
	}
	return c, err
}

// changedRows reads the rows changed after since.
func changedRows(ctx context.Context, tx *sql.Tx, b *box, since store.ModSeq) ([]store.Row, error) {
	var buf []store.Row
	var out []store.Row
	if since == 0 {
		out = make([]store.Row, 0, b.Messages)
	}
	err := each(ctx, tx, func(rows *sql.Rows) error {
		var key int64
		var data sql.RawBytes
		if err := rows.Scan(&key, &data); err != nil {
			return err
		}
		var err error
		if buf, err = decodeRows(buf[:0], uint32(key)&(1<<pageBits-1), data); err != nil {
			return fmt.Errorf("mailbox %d: %w", b.ID, err)
		}
		for _, r := range buf {
			if r.ModSeq > since {
				out = append(out, r)
			}
		}
		return nil
	}, `SELECT id, rows FROM page WHERE id >= ? AND id < ? AND modseq > ? ORDER BY id`, pageKey(b.ID, 0), pageKey(b.ID+1, 0), int64(since))
	return out, err
}

// readTombs reads the UIDs expunged after since.
func readTombs(ctx context.Context, q querier, id store.MailboxID, since store.ModSeq) (store.UIDSet, error) {
	var ranges []store.UIDRange
	err := each(ctx, q, func(rows *sql.Rows) error {
		var data sql.RawBytes
		if err := rows.Scan(&data); err != nil {
			return err
		}
		var err error
		ranges, err = decodeUIDs(ranges, data)
		return err
	}, `SELECT uids FROM tombstone WHERE mailbox = ? AND modseq > ? ORDER BY modseq`, int64(id), int64(since))
	return store.UIDRanges(ranges...), err
}
