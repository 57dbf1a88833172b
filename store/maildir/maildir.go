package maildir

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/posta-mail/posta/internal/gate"
	"github.com/posta-mail/posta/store"
)

// hidden is the folder below the root that holds what belongs to no account.
const hidden = ".posta"

// Store is a store.Store in Maildir++ folders. Make it with Open.
type Store struct {
	root  string
	opt   Options
	gate  gate.Gate
	done  chan struct{} // closed by Close
	tasks sync.WaitGroup
	namer *namer

	mu       sync.Mutex
	accounts map[string]*account
	recent   list.List // of accounts, the last used first
	wakers   map[string]*watched
}

var (
	_ store.Store  = (*Store)(nil)
	_ store.Leaser = (*Store)(nil)
)

// Open opens the store in a folder with default options, and makes the folder
// if there is none.
func Open(root string) (*Store, error) { return Options{}.Open(root) }

// Open opens the store in a folder with these options, and makes the folder if
// there is none. Errors are the file system's.
func (o Options) Open(root string) (*Store, error) {
	for _, dir := range []string{root, filepath.Join(root, hidden), filepath.Join(root, hidden, "stage")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	s := &Store{gate: gate.Gate{Refusal: store.ErrUnavailable}, root: root, opt: o.withDefaults(), done: make(chan struct{}), namer: newNamer(),
		accounts: map[string]*account{}, wakers: map[string]*watched{}}
	s.sweep()
	s.tasks.Go(s.janitor)
	return s, nil
}

// sweep removes what was being deleted when a process ended.
func (s *Store) sweep() {
	dir := filepath.Join(s.root, hidden)
	entries, err := os.ReadDir(dir)
	if err != nil {
		s.opt.Logger.Warn("maildir: folder cannot be read", "folder", dir, "error", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "deleted-") {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				s.opt.Logger.Warn("maildir: deleted account cannot be removed", "folder", e.Name(), "error", err)
			}
		}
	}
}

// Stage implements store.Store. Bodies above 64 KiB are in a file below the
// root until they are discarded.
func (s *Store) Stage(ctx context.Context, r io.Reader) (store.Staged, error) {
	if err := s.gate.Enter(ctx); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	st, err := store.StageTemp(ctx, filepath.Join(s.root, hidden, "stage"), r)
	if err != nil && (errors.Is(err, errDiskFull) || errors.Is(err, errQuota)) {
		err = fmt.Errorf("%w: %w", store.ErrNoSpace, err)
	}
	if err != nil {
		return nil, err
	}
	return st, nil
}

// Account implements store.Store. An existing Maildir is taken over when it is
// opened first.
func (s *Store) Account(ctx context.Context, name, actor string) (store.Account, error) {
	if err := s.gate.Enter(ctx); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	if name != actor {
		if _, err := s.folder(name); err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("%w: accounts of this store are not shared", store.ErrReadOnly)
	}
	a, err := s.pin(ctx, name)
	if err != nil {
		return nil, err
	}
	defer s.unpin(a)
	st, err := a.current(ctx)
	if err != nil {
		return nil, err
	}
	return openAccount{s, name, st.guid}, nil
}

// folder is the folder of an account that exists.
func (s *Store) folder(name string) (string, error) {
	folder, err := AccountFolder(name)
	if err != nil {
		return "", store.ErrNotFound
	}
	dir := filepath.Join(s.root, folder)
	if info, err := os.Stat(filepath.Join(dir, "cur")); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
		return "", store.ErrNotFound
	} else if err != nil {
		return "", kindOf(err)
	}
	return dir, nil
}

// CreateAccount implements store.Store. ErrInvalidName: see AccountFolder.
func (s *Store) CreateAccount(ctx context.Context, name string) error {
	folder, err := AccountFolder(name)
	if err != nil {
		return err
	}
	if err := s.gate.Enter(ctx); err != nil {
		return err
	}
	defer s.gate.Leave()
	tmp, err := os.MkdirTemp(filepath.Join(s.root, hidden), "deleted-") // swept if this ends early
	if err != nil {
		return kindOf(err)
	}
	defer os.RemoveAll(tmp)
	for _, d := range []string{"cur", "new", "tmp"} {
		if err := os.Mkdir(filepath.Join(tmp, d), 0o700); err != nil {
			return kindOf(err)
		}
	}
	if err := syncDir(tmp); err != nil {
		return kindOf(err)
	}
	dir := filepath.Join(s.root, folder)
	if _, err := os.Lstat(dir); err == nil {
		return store.ErrExists
	}
	if err := os.Rename(tmp, dir); err != nil { // fails on a folder that is not empty
		if _, there := os.Lstat(dir); there == nil {
			return store.ErrExists
		}
		return kindOf(err)
	}
	if err := syncDir(s.root); err != nil {
		return kindOf(err)
	}
	a, err := s.pin(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil // made, and deleted just now
	}
	if err != nil {
		return err
	}
	s.unpin(a)
	return nil
}

// DeleteAccount implements store.Store.
func (s *Store) DeleteAccount(ctx context.Context, name string) error {
	if err := s.gate.Enter(ctx); err != nil {
		return err
	}
	defer s.gate.Leave()
	a, err := s.pin(ctx, name)
	if err != nil {
		return err
	}
	defer s.unpin(a)
	if err := a.lockAll(ctx); err != nil {
		return err
	}
	defer a.unlockAll()
	tmp := filepath.Join(s.root, hidden, "deleted-"+s.namer.unique())
	if err := os.Rename(a.dir, tmp); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return store.ErrNotFound
		}
		return kindOf(err)
	}
	s.forget(a)
	a.waker.Wake()
	if err := syncDir(s.root); err != nil {
		return kindOf(err)
	}
	if err := os.RemoveAll(tmp); err != nil {
		s.opt.Logger.Warn("maildir: deleted account cannot be removed", "account", name, "error", err)
	}
	return nil
}

// Accounts implements store.Store: the folders of the root that hold a cur.
func (s *Store) Accounts(ctx context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := s.gate.Enter(ctx); err != nil {
			yield("", err)
			return
		}
		names, err := s.list()
		s.gate.Leave()
		if err != nil {
			yield("", err)
			return
		}
		for _, name := range names {
			if err := ctx.Err(); err != nil {
				yield("", err)
				return
			}
			if !yield(name, nil) {
				return
			}
		}
	}
}

func (s *Store) list() ([]string, error) {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return nil, kindOf(err)
	}
	var names []string
	for _, e := range entries {
		if name, ok := accountName(e.Name()); ok && e.Name() != hidden {
			if _, err := s.folder(name); err == nil {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names, nil
}

// Close implements store.Store. A second call returns ErrUnavailable.
func (s *Store) Close() error {
	if !s.gate.Close() {
		return store.ErrUnavailable
	}
	close(s.done)
	s.tasks.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, a := range s.accounts {
		errs = append(errs, a.close())
	}
	for _, w := range s.wakers {
		w.Close()
	}
	return errors.Join(errs...)
}

// nextValidity gives a UIDVALIDITY that no mailbox of this store had; not below
// least. It is kept for all processes in a file.
func (s *Store) nextValidity(ctx context.Context, least uint32) (uint32, error) {
	lock, err := takeLock(ctx, filepath.Join(s.root, hidden, "lock"))
	if err != nil {
		return 0, err
	}
	defer lock.Close()
	name := filepath.Join(s.root, hidden, "uidvalidity")
	data, err := readSmall(name, 100)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	last, _ := strconv.ParseUint(strings.TrimSpace(string(data)), 10, 32) // unreadable: the clock goes on
	next := max(uint32(last)+1, uint32(time.Now().Unix()), least, 1)
	return next, replaceFile(name, fmt.Appendf(nil, "%d\n", next))
}

// takeLock opens and locks a file, which closing unlocks.
func takeLock(ctx context.Context, name string) (*os.File, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := waitLock(ctx, f); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// lockWait bounds how long another process may keep a lock.
const lockWait = 30 * time.Second

// waitLock takes a lock that another process may hold for a while.
func waitLock(ctx context.Context, f *os.File) error {
	end := time.Now().Add(lockWait)
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		if ok, err := tryLock(f); ok || err != nil {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%w: locked by another process", store.ErrUnavailable)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// replaceFile writes a small file so that it is there in full or as before.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return syncDir(filepath.Dir(name))
}
