package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/posta-mail/posta/internal/faultfs"
	"github.com/posta-mail/posta/store"
)

// Store keeps mail in a folder. It implements store.Store, store.Spooler,
// store.Leaser, store.Quotas, store.Pipeliner and store.AnnotationFinder, its
// accounts store.Annotations, and its mailboxes store.UIDLs. Safe for concurrent use.
type Store struct {
	opt  Options
	dir  string
	lock *os.File
	temp string // folder to be removed at closing, if not empty
	seg  *segments

	writer *sql.DB // one connection, of the committer
	reader *sql.DB // queries only
	ckpt   *sql.DB // one connection, of the checkpointer
	w      *writerConn
	q      *queries

	queue       queue
	state       state   // of the committer
	scratch     scratch // of the committer
	tokens      tokenFilter
	accounts    accountCache
	snaps       snapshotCache
	outlines    *outlines
	refs        refCache
	spool       spoolState
	staged      atomic.Int64    // octets of staged bodies in memory
	leaving     map[uint64]bool // segments no body is shared in any more; of the committer
	firstRecord uint64          // records from it on were written by this process
	freed       atomic.Bool     // a segment may have become free
	nextBody    atomic.Uint64   // id of the next body record

	leases store.Leases // one process owns the folder: they need not outlive it
	poison atomic.Pointer[error]

	life    sync.RWMutex // held for reading by calls under way
	closed  atomic.Bool
	closing chan struct{}
	idle    sync.WaitGroup // background goroutines
	sweep1  sync.Mutex     // one sweep at a time
	walGate sync.Mutex     // between commits and the truncation of the WAL
	walFull chan struct{}
}

var (
	_ store.Store            = (*Store)(nil)
	_ store.Spooler          = (*Store)(nil)
	_ store.Leaser           = (*Store)(nil)
	_ store.Quotas           = (*Store)(nil)
	_ store.Pipeliner        = (*Store)(nil)
	_ store.AnnotationFinder = (*Store)(nil)
	_ store.Annotations      = (*accountHandle)(nil)
	_ store.UIDLs            = (*mailboxHandle)(nil)
	_ store.FlagPipeliner    = (*mailboxHandle)(nil)
)

// Open opens the store in a folder with default options. The folder is made if
// there is none.
func Open(dir string) (*Store, error) { return Options{}.Open(dir) }

// Open opens the store in a folder, which is made if there is none, and cuts
// what a crash left unfinished. One process may have it open: store.ErrInUse
// otherwise. store.ErrCorrupt if acknowledged data is missing; Repair helps.
func (o Options) Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	o = o.withDefaults()
	s := &Store{opt: o, dir: dir, seg: newSegments(o.fs, dir, o.SegmentSize), closing: make(chan struct{}), walFull: make(chan struct{}, 1)}
	s.queue.ready = make(chan struct{}, 1)
	s.accounts.init()
	s.snaps.init(o.SnapshotMemory)
	s.outlines = newOutlines(o.OutlineMemory)
	s.refs.init()
	open := s.open
	if o.ReadOnly {
		open = s.openReadOnly
	}
	if err := open(context.Background()); err != nil {
		s.release()
		return nil, fmt.Errorf("sqlite: opening %s: %w", dir, err)
	}
	if o.ReadOnly {
		return s, nil
	}
	s.idle.Add(3)
	go s.commitLoop()
	go s.checkpointLoop()
	go s.sweepLoop()
	return s, nil
}

func (s *Store) now() time.Time { return s.opt.clock() }

// notEmptied refuses an empty database beside segments: it is not new.
func notEmptied(ctx context.Context, db queryer, nums []uint64) error {
	if len(nums) == 0 {
		return nil
	}
	var tables int
	err := db.QueryRowContext(ctx, "SELECT count(*) FROM sqlite_schema").Scan(&tables)
	if err == nil && tables == 0 {
		err = damage("there are segments, but the database is empty")
	}
	return err
}

// dbName is the name of the database in the folder.
const dbName = "posta.db"

func (s *Store) dbFile() string { return filepath.Join(s.dir, dbName) }

func (s *Store) open(ctx context.Context) (err error) {
	if err := makeFolders(s.opt.fs, s.dir, s.seg.dir, s.seg.staging); err != nil {
		return err
	}
	if s.lock, err = lockFolder(filepath.Join(s.dir, "lock")); err != nil {
		return err
	}
	// From now on it is no backup.
	if err := s.opt.fs.Remove(filepath.Join(s.dir, sumsName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	nums, err := s.seg.list()
	if err != nil {
		return err
	}
	if _, err := os.Stat(s.dbFile()); errors.Is(err, os.ErrNotExist) && len(nums) > 0 {
		return fmt.Errorf("%w: there are segments, but no database", store.ErrCorrupt)
	}
	if s.writer, err = s.openDB(false, 1, busyLong); err != nil {
		return err
	}
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return openError(err)
	}
	if err := notEmptied(ctx, conn, nums); err != nil {
		conn.Close()
		return openError(err)
	}
	if err := migrate(ctx, conn, s.opt.fault); err != nil {
		conn.Close()
		return openError(err)
	}
	// The entries of lock, database and folders must be durable before
	// anything in them is acknowledged.
	if err := s.opt.fs.SyncDir(s.dir); err != nil {
		conn.Close()
		return err
	}
	if s.w, err = prepareWriter(ctx, conn); err != nil {
		return openError(err)
	}
	if s.reader, err = s.openDB(true, 8, busyLong); err != nil {
		return err
	}
	if s.ckpt, err = s.openDB(false, 1, busyShort); err != nil {
		return err
	}
	if s.q, err = prepareQueries(ctx, s.reader); err != nil {
		return openError(err)
	}
	return openError(s.recover(ctx, nums))
}

// How long connections wait for a lock. The checkpointer keeps the committer
// waiting meanwhile.
const (
	busyLong  = 10 * time.Second
	busyShort = 50 * time.Millisecond
)

// makeFolders makes folders, and those above them, durably.
func makeFolders(fsys faultfs.FS, dirs ...string) error {
	for _, d := range dirs {
		if err := makeFolder(fsys, d); err != nil {
			return err
		}
	}
	// Also what an earlier process made and did not live to sync.
	if err := fsys.SyncDir(filepath.Dir(dirs[0])); err != nil && !errors.Is(err, os.ErrPermission) {
		return err
	}
	return nil
}

func makeFolder(fsys faultfs.FS, dir string) error {
	switch info, err := os.Stat(dir); {
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s is not a folder", dir)
	case err == nil:
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeFolder(fsys, parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return fsys.SyncDir(parent)
}

// idGap keeps ids of records that a crash left uncommitted from being given
// again: there are never so many.
const idGap = 1 << 20

// recover reads the state and brings the segments to it.
func (s *Store) recover(ctx context.Context, nums []uint64) error {
	if err := s.state.load(ctx, s.reader); err != nil {
		return err
	}
	for _, n := range nums {
		s.seg.next = max(s.seg.next, n+1)
	}
	s.seg.next = max(s.seg.next, s.state.segment+1)
	s.nextBody.Store(s.state.nextBody + idGap)
	s.firstRecord = s.nextBody.Load()
	s.freed.Store(true)
	if s.state.segment != 0 {
		cut, err := s.seg.resume(s.state.segment, s.state.committed)
		if err != nil {
			return err
		}
		if cut > 0 {
			s.opt.Logger.Warn("cut unfinished write", "segment", s.state.segment, "octets", cut)
		}
	}
	if err := s.seg.sweepStaging(); err != nil {
		return err
	}
	if err := s.tokens.load(ctx, s.reader, s.now(), s.opt.Tokens); err != nil {
		return err
	}
	if err := s.spool.load(ctx, s); err != nil {
		return err
	}
	s.keepReserve()
	return nil
}

// openError makes errors of SQLite at opening one of the store's kinds.
func openError(err error) error {
	switch sqlCode(err) {
	case 0:
		return err
	case sqlite3.SQLITE_ERROR: // a table or a column that ought to be there is not
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return readError(err)
}

// Lease implements store.Leaser. One process owns the folder, so that leases
// are kept in memory and end with it.
func (s *Store) Lease(ctx context.Context, account, name string, ttl time.Duration) (store.Lease, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	return s.leases.Lease(ctx, account, name, ttl)
}

// enter counts a call as under way; leave ends it.
func (s *Store) enter() error {
	if s.closed.Load() {
		return errClosed // without waiting for Close to finish
	}
	s.life.RLock()
	if s.closed.Load() {
		s.life.RUnlock()
		return errClosed
	}
	return nil
}

func (s *Store) leave() { s.life.RUnlock() }

var errClosed = fmt.Errorf("%w: the store is closed", store.ErrUnavailable)

// broken returns why writes are refused, if they are.
func (s *Store) broken() error {
	if p := s.poison.Load(); p != nil {
		return *p
	}
	return nil
}

// fail refuses writes until the store is opened again: after a failed sync the
// state of the disk is unknown.
func (s *Store) fail(err error) error {
	err = fmt.Errorf("%w: writing stopped after: %w", store.ErrUnavailable, err)
	if s.poison.CompareAndSwap(nil, &err) {
		s.opt.Logger.Error("store refuses writes until it is opened again", "error", err)
	}
	return s.broken()
}

// Close ends the store: calls under way finish, what they wrote is durable and
// the write-ahead log empty, unless the disk is full: then the log stays, and
// whoever opens the store next reads it. Bodies that are open stay readable.
func (s *Store) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	s.life.Lock()   // all calls have left
	s.life.Unlock() //lint:ignore SA2001 waiting was all
	close(s.closing)
	s.queue.close()
	s.idle.Wait()
	s.accounts.close()
	s.spool.wake.Close()
	var err error
	if s.broken() == nil {
		err = s.lastCheckpoint()
	}
	return errors.Join(err, s.release())
}

// release gives back what open took.
func (s *Store) release() error {
	var errs []error
	if s.q != nil {
		s.q.close()
	}
	if s.reader != nil {
		errs = append(errs, s.reader.Close())
	}
	if s.ckpt != nil {
		errs = append(errs, s.ckpt.Close())
	}
	if s.w != nil {
		s.w.close()
	}
	if s.writer != nil {
		errs = append(errs, s.writer.Close())
	}
	errs = append(errs, s.seg.close())
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	if s.temp != "" {
		errs = append(errs, os.RemoveAll(s.temp))
	}
	return errors.Join(errs...)
}
