package sqlite

import (
	"strings"
	"sync"
	"time"

	"github.com/posta-mail/posta/internal/faultfs"
)

// Hurried is o with a clock that runs fast, so that grace times end.
func Hurried(o Options) Options {
	start := time.Now()
	o.clock = func() time.Time { return start.Add(300 * time.Since(start)) }
	return o
}

// Broken is o with one thing wrong that only a crash can show.
func Broken(o Options, how string) Options {
	switch how {
	case "synchronous=OFF":
		o.dsn = func(dsn string) string {
			return strings.ReplaceAll(dsn, "synchronous%28FULL%29", "synchronous%28OFF%29")
		}
	case "segment sync removed":
		o.fs = unsynced{FS: faultfs.OS{}}
	case "folder sync removed":
		o.fs = undirected{faultfs.OS{}, ""}
	case "sync of the segments' folder removed":
		o.fs = undirected{faultfs.OS{}, "segments"}
	case "body after metadata":
		o.fs = &lateFS{FS: faultfs.OS{}, open: make(map[string]*lateFile)}
	}
	return o
}

// unsynced syncs no file.
type unsynced struct{ faultfs.FS }

type unsyncedFile struct{ faultfs.File }

func (unsyncedFile) Datasync() error { return nil }

func (u unsynced) Create(name string) (faultfs.File, error) {
	f, err := u.FS.Create(name)
	return unsyncedFile{f}, err
}

func (u unsynced) Open(name string) (faultfs.File, error) {
	f, err := u.FS.Open(name)
	return unsyncedFile{f}, err
}

// undirected does not sync folders with this end of their name.
type undirected struct {
	faultfs.FS
	end string
}

func (u undirected) SyncDir(dir string) error {
	if strings.HasSuffix(dir, u.end) {
		return nil
	}
	return u.FS.SyncDir(dir)
}

// lateFS writes to segments a little after it said so.
type lateFS struct {
	faultfs.FS
	mu   sync.Mutex
	open map[string]*lateFile // by name
}

type lateFile struct {
	faultfs.File
	mu   sync.Mutex
	todo []func() error
}

func (l *lateFS) Create(name string) (faultfs.File, error) { return l.late(name, l.FS.Create) }
func (l *lateFS) Open(name string) (faultfs.File, error)   { return l.late(name, l.FS.Open) }

func (l *lateFS) late(name string, open func(string) (faultfs.File, error)) (faultfs.File, error) {
	f, err := open(name)
	if err != nil || !strings.HasSuffix(name, ".seg") {
		return f, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[name] = &lateFile{File: f}
	return l.open[name], nil
}

// OpenRead gives a file in which the process itself sees what was written.
func (l *lateFS) OpenRead(name string) (faultfs.File, error) {
	f, err := l.FS.OpenRead(name)
	return lateReader{f, l, name}, err
}

type lateReader struct {
	faultfs.File
	l    *lateFS
	name string
}

func (r lateReader) ReadAt(p []byte, off int64) (int, error) {
	r.l.mu.Lock()
	f := r.l.open[r.name]
	r.l.mu.Unlock()
	if f != nil {
		f.catchUp()
	}
	return r.File.ReadAt(p, off)
}

func (f *lateFile) catchUp() (err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, do := range f.todo {
		if e := do(); err == nil {
			err = e
		}
	}
	f.todo = nil
	return err
}

func (f *lateFile) WriteAt(p []byte, off int64) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	data := append([]byte(nil), p...)
	f.todo = append(f.todo, func() error { _, err := f.File.WriteAt(data, off); return err })
	return len(p), nil
}

func (f *lateFile) Datasync() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.todo = append(f.todo, f.File.Datasync)
	time.AfterFunc(30*time.Millisecond, func() { f.catchUp() })
	return nil
}

func (f *lateFile) ReadAt(p []byte, off int64) (int, error) {
	f.catchUp()
	return f.File.ReadAt(p, off)
}
func (f *lateFile) Truncate(size int64) error { f.catchUp(); return f.File.Truncate(size) }
func (f *lateFile) Close() error              { f.catchUp(); return f.File.Close() }
