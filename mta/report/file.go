package report

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/posta-mail/posta/internal/faultfs"
)

// DefaultSaveEvery is for how long counts may be lost in a crash.
const DefaultSaveEvery = 5 * time.Minute

// File is a Memory that a file keeps over a restart. Path must be set, and the
// limits are Memory's. The file is written anew, whole or not at all: at most
// every SaveEvery when a message is counted, when a window is done unless
// writing takes long, and by Save, which a Sender calls at the end of a round.
// One process may have it.
type File struct {
	Memory
	// Path is the file's; it is made when there is something to be kept.
	Path string
	// SaveEvery is for how long counts may be lost in a crash. 0:
	// DefaultSaveEvery.
	SaveEvery time.Duration
	// Logger is told when the file cannot be read, which sets it aside under
	// another name, or written; nil: nobody.
	Logger *slog.Logger

	once  sync.Once
	mu    sync.Mutex // one Save at a time
	saved time.Time
	took  time.Duration // for the last save
}

// Add implements Store.
func (f *File) Add(day time.Time, o *Observation) error {
	f.once.Do(f.load)
	err := f.Memory.Add(day, o)
	every := f.SaveEvery
	if every <= 0 {
		every = DefaultSaveEvery
	}
	if !f.mu.TryLock() {
		return err // it is being saved: mail does not wait for that
	}
	defer f.mu.Unlock()
	if time.Since(f.saved) >= every {
		if err := f.save(); err != nil {
			f.log("counts for reports not saved", err)
		}
	}
	return err
}

// Windows implements Store.
func (f *File) Windows(before time.Time) ([]Window, error) {
	f.once.Do(f.load)
	return f.Memory.Windows(before)
}

// Done implements Store.
func (f *File) Done(w *Window) error {
	f.once.Do(f.load)
	if err := f.Memory.Done(w); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	// Of many windows that are done at once most would be written once for each.
	if time.Since(f.saved) < 20*f.took {
		return nil
	}
	return f.save()
}

// Save writes the file. The error is that of the file system; the file is then
// as it was.
func (f *File) Save() error {
	f.once.Do(f.load)
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.save()
}

func (f *File) save() error {
	begin := time.Now()
	defer func() { f.saved, f.took = time.Now(), time.Since(begin) }()
	windows, err := f.Memory.Windows(begin.Add(100 * 365 * 24 * time.Hour)) // all of them
	if err != nil {
		return err
	}
	data, err := json.Marshal(windows)
	if err != nil {
		return err
	}
	// Always the same name: what a crash leaves is written over.
	t, err := os.OpenFile(f.Path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = t.Write(data)
	if err == nil {
		err = t.Sync()
	}
	err = errors.Join(err, t.Close())
	if err == nil {
		err = os.Rename(t.Name(), f.Path)
	}
	if err != nil {
		_ = os.Remove(t.Name())
		return err
	}
	return faultfs.OS{}.SyncDir(filepath.Dir(f.Path))
}

// read reads the file, unless it is larger than save can have made it.
func (f *File) read() ([]byte, error) {
	file, err := os.Open(f.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	most := 8*cmp.Or(f.MaxBytes, DefaultMaxBytes) + 1<<20
	data, err := io.ReadAll(io.LimitReader(file, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("over %d octets", most)
	}
	return data, err
}

// load reads the file once.
func (f *File) load() {
	f.mu.Lock()
	f.saved = time.Now()
	f.mu.Unlock()
	data, err := f.read()
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	var windows []Window
	if err == nil {
		err = json.Unmarshal(data, &windows)
	}
	for i := range windows {
		if err != nil {
			break
		}
		err = f.adopt(&windows[i])
	}
	if err != nil {
		f.log("counts for reports not read", err)
		_ = os.Rename(f.Path, f.Path+".broken")
	}
}

// adopt takes over a window, within the limits.
func (f *File) adopt(w *Window) error {
	if w.Published.Domain == "" || !w.Day.Equal(dayOf(w.Day)) || w.Lost < 0 {
		return fmt.Errorf("window of %.100q", w.Published.Domain)
	}
	for i := range w.Rows {
		o := Observation{Published: w.Published, URIs: w.URIs, Row: w.Rows[i]}
		if err := f.Memory.Add(w.Day.UTC(), &o); err != nil && !errors.Is(err, ErrFull) {
			return err
		}
	}
	f.Memory.lost(w)
	return nil
}

func (f *File) log(text string, err error) {
	if f.Logger != nil {
		f.Logger.Error(text, "file", f.Path, "err", err)
	}
}

var _ Store = (*File)(nil)
