package transfer

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// checkpoint is what a copy remembers: the JSON of its exported fields.
type checkpoint struct {
	Version  int
	From, To exact                  // identities
	Folders  map[exact]*folderState // by Folder.Key

	name  string // of the file; empty: none
	dirty bool
	saved time.Time
	every time.Duration
}

// folderState is how far a folder has been copied.
type folderState struct {
	Name     string // in the sink
	Position exact  // Message.Position of the last message that is known
	Sink     exact  `json:",omitempty"` // Filed.Position of the last one filed
	Messages int64  // filed, duplicates included
	Octets   int64
	Skipped  int64 `json:",omitempty"`
}

// exact is any octets, as JSON's strings are not: names of files may be anything.
type exact string

// MarshalText implements encoding.TextMarshaler.
func (e exact) MarshalText() ([]byte, error) { return []byte(url.PathEscape(string(e))), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (e *exact) UnmarshalText(b []byte) error {
	s, err := url.PathUnescape(string(b))
	*e = exact(s)
	return err
}

const (
	checkpointVersion = 1
	maxCheckpoint     = 256 << 20 // octets
	saveEvery         = time.Second
)

// loadCheckpoint reads a checkpoint, or begins one.
func loadCheckpoint(name, from, to string) (*checkpoint, error) {
	c := &checkpoint{name: name, every: saveEvery}
	if name != "" {
		f, err := os.Open(name)
		switch {
		case err == nil:
			err = json.NewDecoder(io.LimitReader(f, maxCheckpoint)).Decode(c)
			f.Close()
			if err != nil {
				return nil, fmt.Errorf("%w: %s: %w", ErrCheckpoint, name, err)
			}
			if c.Version != checkpointVersion {
				return nil, fmt.Errorf("%w: %s has version %d", ErrCheckpoint, name, c.Version)
			}
			if c.From != exact(from) || c.To != exact(to) {
				return nil, fmt.Errorf("%w: %s is of a copy from %q to %q", ErrCheckpoint, name, c.From, c.To)
			}
		case !errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("%w: %w", ErrCheckpoint, err)
		}
	}
	c.Version, c.From, c.To = checkpointVersion, exact(from), exact(to)
	for key, st := range c.Folders {
		if st == nil {
			delete(c.Folders, key)
		}
	}
	if c.Folders == nil {
		c.Folders = make(map[exact]*folderState)
	}
	return c, nil
}

// folder gives the state of a folder, beginning it if there is none.
func (c *checkpoint) folder(key, name string) *folderState {
	st := c.Folders[exact(key)]
	if st == nil {
		st = &folderState{Name: name}
		c.Folders[exact(key)] = st
		c.dirty = true
	}
	return st
}

// save writes the file if there is something new: at once, or if the last time
// is long enough ago. A reader, and a crash, see the old or the new file.
func (c *checkpoint) save(now bool) error {
	if c.name == "" || !c.dirty || !now && time.Since(c.saved) < c.every {
		return nil
	}
	b, err := json.MarshalIndent(c, "", "\t")
	if err == nil {
		err = writeFile(c.name, b)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	c.dirty, c.saved = false, time.Now()
	return nil
}

// writeFile replaces a file in one step, durably.
func writeFile(name string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), filepath.Base(name)+".*")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return syncDir(filepath.Dir(name))
}

// syncDir makes the names in a folder durable, where the system can.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, fs.ErrInvalid) && !errors.Is(err, errors.ErrUnsupported) && !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return nil
}
