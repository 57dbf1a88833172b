package password

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// refresh reads the file when it is time to look and it has changed. While
// one goroutine looks, the others go on with what there is.
func (u *Users) refresh() error {
	if u.path == "" {
		return nil
	}
	now := time.Now()
	u.mu.RLock()
	known, err := u.doc != nil || u.err != nil, u.err
	every := orDefault(u.CheckEvery, time.Second)
	fresh := known && (every < 0 && u.doc != nil || now.Sub(u.checked) < every)
	u.mu.RUnlock()
	if fresh {
		return err
	}
	if known {
		if !u.reading.TryLock() {
			return err
		}
	} else {
		u.reading.Lock()
	}
	defer u.reading.Unlock()
	return u.reload(now)
}

// reload needs u.reading.
func (u *Users) reload(now time.Time) error {
	u.mu.RLock()
	old, doc, former := u.stamp, u.doc, u.err
	u.mu.RUnlock()

	st, data, err := readIfChanged(u.path, old, doc != nil, now)
	if err == nil && data == nil {
		u.install(doc, nil, st, now)
		return nil
	}
	if err == nil {
		doc, err = parse(u.path, data)
	}
	if err != nil {
		if former == nil || former.Error() != err.Error() {
			u.logger().Warn("users cannot be read, nobody can log in", "file", u.path, "err", err)
		}
		u.install(nil, err, stamp{}, now)
		return err
	}
	if perm := st.info.Mode().Perm(); perm&0o007 != 0 {
		u.logger().Warn("password hashes can be read by others", "file", u.path, "mode", perm.String())
	}
	u.install(doc, nil, st, now)
	return nil
}

func (u *Users) install(doc *document, err error, st stamp, now time.Time) {
	u.mu.Lock()
	u.doc, u.err, u.stamp, u.checked = doc, err, st, now
	u.mu.Unlock()
}

// racy is the time within which a second change may leave a file with the
// same time stamp.
const racy = 2 * time.Second

// readIfChanged returns no data when the file is the one of the stamp, by
// identity, size and time, and by its content when that could deceive.
func readIfChanged(path string, old stamp, usable bool, now time.Time) (stamp, []byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}, nil, err
	}
	same := usable && old.info != nil && os.SameFile(old.info, info) &&
		old.info.Size() == info.Size() && old.info.ModTime().Equal(info.ModTime())
	if same && old.read.Sub(info.ModTime()) >= racy {
		return old, nil, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return stamp{}, nil, err
	}
	defer f.Close()
	if info, err = f.Stat(); err != nil {
		return stamp{}, nil, err
	}
	if !info.Mode().IsRegular() {
		return stamp{}, nil, fmt.Errorf("password: %s is not a regular file", path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return stamp{}, nil, err
	}
	if len(data) > maxFile {
		return stamp{}, nil, ErrTooBig
	}
	st := stamp{info: info, read: now, sum: sha256.Sum256(data)}
	if usable && old.info != nil && st.sum == old.sum {
		return st, nil, nil
	}
	if data == nil {
		data = []byte{}
	}
	return st, data, nil
}

// edit changes the list: in memory, or the file as it is now.
func (u *Users) edit(change func(*document) error) error {
	u.writing.Lock()
	defer u.writing.Unlock()
	if u.path == "" {
		u.mu.Lock()
		defer u.mu.Unlock()
		return change(u.doc)
	}
	path, err := target(u.path)
	if err != nil {
		return err
	}
	unlock, err := lockFolder(filepath.Dir(path), positive(u.patience, lockWait))
	if err != nil {
		return err
	}
	defer unlock()
	sweep(path)
	// An editor knows nothing of the lock. What it has saved while the new file
	// was being written is not to be lost.
	for range editTries {
		var done bool
		if done, err = u.editOnce(path, change); done || err != nil {
			return err
		}
	}
	return ErrConflict
}

// target is where links lead, so that the file is replaced and not the link to it,
// also where there is no file yet.
func target(path string) (string, error) {
	for range maxLinks {
		dir, base := filepath.Split(path) // not cleaned: ".." of a link is elsewhere
		dir, err := filepath.EvalSymlinks(cmp.Or(dir, "."))
		if err != nil {
			return "", err
		}
		path = filepath.Join(dir, base)
		to, err := os.Readlink(path)
		if err != nil { // no link
			return path, nil
		}
		if !filepath.IsAbs(to) {
			to = dir + string(filepath.Separator) + to
		}
		path = to
	}
	return "", &fs.PathError{Op: "readlink", Path: path, Err: errors.New("too many links")}
}

const maxLinks = 40

// ErrLocked: other programs have kept the file locked for longer than ten seconds.
var ErrLocked = errors.New("password: file is locked by another program")

// lockWait is how long the lock is waited for.
const lockWait = 10 * time.Second

// ErrConflict: the file was changed by others again and again while it was to
// be replaced.
var ErrConflict = errors.New("password: file is being changed by another program")

const editTries = 8

// editOnce is not done when the file has been changed by somebody without the
// lock.
func (u *Users) editOnce(path string, change func(*document) error) (done bool, err error) {
	doc := newDocument()
	before, data, err := readIfChanged(path, stamp{}, false, time.Now())
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return false, err
	default:
		parsed, err := parse(u.path, data)
		if err != nil {
			return false, err // not to lose what we do not understand
		}
		if parsed.secret == nil {
			parsed.secret = doc.secret
		}
		doc = parsed
	}
	if err := change(doc); err != nil {
		return false, err
	}
	out := doc.encode()
	if len(out) > maxFile {
		return false, ErrTooBig
	}
	if bytes.Equal(out, data) {
		return true, nil
	}
	if done, err = replace(path, out, before.info); !done || err != nil {
		return false, err
	}
	u.reading.Lock()
	defer u.reading.Unlock()
	now := time.Now()
	info, err := os.Stat(path)
	if err != nil {
		return false, err
	}
	u.install(doc, nil, stamp{info: info, read: now, sum: sha256.Sum256(out)}, now)
	return true, nil
}

// temporary begins the names of a file's temporary ones.
func temporary(path string) string { return "." + filepath.Base(path) + ".tmp-" }

// sweep removes what a crash has left. It needs the folder's lock: nobody else
// is writing then.
func sweep(path string) {
	if !lockable {
		return
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		return
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), temporary(path)) && e.Type().IsRegular() {
			os.Remove(filepath.Join(filepath.Dir(path), e.Name()))
		}
	}
}

// replace puts data in the place of a file, all or nothing, durably. It is not
// done when the file is no more the old one.
func replace(path string, data []byte, old os.FileInfo) (done bool, err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, temporary(path)+"*") // mode 0600
	if err != nil {
		return false, err
	}
	defer func() {
		if !done {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	if _, err = f.Write(data); err != nil {
		return false, err
	}
	if old != nil {
		if err = f.Chmod(old.Mode().Perm() &^ (0o007 | keepOwner(f, old))); err != nil {
			return false, err
		}
	}
	if err = f.Sync(); err != nil {
		return false, err
	}
	if err = f.Close(); err != nil {
		return false, err
	}
	if now, err := os.Stat(path); !unchanged(old, now, err) {
		return false, nil
	}
	if err = os.Rename(f.Name(), path); err != nil {
		return false, err
	}
	return true, syncFolder(dir)
}

// unchanged tells by identity, size and time whether there is still what was
// there: old, or nothing.
func unchanged(old, now os.FileInfo, err error) bool {
	if old == nil {
		return errors.Is(err, fs.ErrNotExist)
	}
	return err == nil && os.SameFile(old, now) && old.Size() == now.Size() && old.ModTime().Equal(now.ModTime())
}
