package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// DefaultSaveEvery is for how long counts may be lost in a crash.
const DefaultSaveEvery = 5 * time.Minute

// File is a Memory that a file keeps over a restart. Path must be set, and the
// limits are Memory's. The file is written anew, whole or not at all: when a
// window is done, at most every SaveEvery when a message is counted, and by
// Save. One process may have it.
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
}

// Add implements Store.
func (f *File) Add(day time.Time, o *Observation) error {
	f.once.Do(f.load)
	err := f.Memory.Add(day, o)
	every := f.SaveEvery
	if every <= 0 {
		every = DefaultSaveEvery
	}
	f.mu.Lock()
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
	return errors.Join(f.Memory.Done(w), f.Save())
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
	f.saved = time.Now()
	windows, err := f.Memory.Windows(f.saved.Add(100 * 365 * 24 * time.Hour)) // all of them
	if err != nil {
		return err
	}
	data, err := json.Marshal(windows)
	if err != nil {
		return err
	}
	t, err := os.CreateTemp(filepath.Dir(f.Path), ".report")
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
	}
	return err
}

// load reads the file once.
func (f *File) load() {
	f.mu.Lock()
	f.saved = time.Now()
	f.mu.Unlock()
	data, err := os.ReadFile(f.Path)
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
	if w.Published.Domain == "" || !w.Day.Equal(dayOf(w.Day)) {
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
