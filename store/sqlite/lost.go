package sqlite

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/posta-mail/posta/internal/faultfs"
)

// lostFolder is where a repair sets aside what it takes out of the store. Files
// there are never read or changed.
type lostFolder struct {
	fs  faultfs.FS
	dir string
}

// save writes parts to a new file and returns its name; "" if there was nothing
// to write.
func (f *lostFolder) save(name string, parts ...io.Reader) (string, error) {
	if err := makeFolder(f.fs, f.dir); err != nil {
		return "", err
	}
	file, path, err := f.create(name)
	if err != nil {
		return "", err
	}
	n, err := io.Copy(io.NewOffsetWriter(file, 0), io.MultiReader(parts...))
	if err == nil {
		err = file.Datasync()
	}
	err = errors.Join(err, file.Close())
	if err == nil && n == 0 {
		return "", f.fs.Remove(path)
	}
	if err == nil {
		err = f.fs.SyncDir(f.dir)
	}
	return filepath.Join(filepath.Base(f.dir), filepath.Base(path)), err
}

func (f *lostFolder) create(name string) (faultfs.File, string, error) {
	ext := filepath.Ext(name)
	for n := 1; ; n++ {
		path := filepath.Join(f.dir, name)
		if n > 1 {
			path = filepath.Join(f.dir, fmt.Sprintf("%s-%d%s", name[:len(name)-len(ext)], n, ext))
		}
		file, err := f.fs.Create(path)
		if !errors.Is(err, fs.ErrExist) {
			return file, path, err
		}
	}
}

// move takes a file out of the store.
func (f *lostFolder) move(path string) error {
	if err := makeFolder(f.fs, f.dir); err != nil {
		return err
	}
	to := filepath.Join(f.dir, filepath.Base(path))
	for n := 2; ; n++ {
		if _, err := os.Lstat(to); errors.Is(err, fs.ErrNotExist) {
			break
		}
		to = filepath.Join(f.dir, fmt.Sprintf("%s-%d", filepath.Base(path), n))
	}
	if err := f.fs.Rename(path, to); err != nil {
		return err
	}
	return errors.Join(f.fs.SyncDir(f.dir), f.fs.SyncDir(filepath.Dir(path)))
}

// setAside keeps what can be read of a message that goes, and erases where it
// was. It returns the name of the file, "" if there is nothing.
func (a *audit) setAside(ref uint64, l *place) (string, error) {
	if l.seg == 0 {
		return "", nil
	}
	parts := []io.Reader{a.prefixOf(l), a.readable(recordLoc{l.bodySeg, l.bodyOff + recHeaderSize}, l.bodyBytes)}
	name, err := a.lost.save(fmt.Sprintf("message-%d.eml", ref), parts...)
	if err != nil {
		return "", err
	}
	delete(a.bad, ref)
	return name, a.setPlace(ref, place{})
}

// prefixOf reads a message's own header lines, or nothing.
func (a *audit) prefixOf(l *place) io.Reader {
	var prefix []byte
	_ = a.withSegment(l.seg, func(h *segHandle) error {
		if l.size > maxPlacement {
			return nil
		}
		buf := make([]byte, l.size)
		if err := readFull(h.file, buf, l.off); err != nil {
			return err
		}
		if payload, _, err := openRecord(buf, kindPlacement); err == nil {
			prefix, _, _ = splitPlacement(payload)
		}
		return nil
	})
	return &bytesReader{prefix}
}

type bytesReader struct{ b []byte }

func (r *bytesReader) Read(p []byte) (int, error) {
	if len(r.b) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.b)
	r.b = r.b[n:]
	return n, nil
}

// readable reads octets of a segment as far as they can be.
func (a *audit) readable(loc recordLoc, size int64) io.Reader {
	return &segReader{a: a, loc: loc, left: size}
}

type segReader struct {
	a    *audit
	loc  recordLoc
	left int64
}

func (r *segReader) Read(p []byte) (n int, err error) {
	p = p[:min(int64(len(p)), r.left)]
	if len(p) == 0 {
		return 0, io.EOF
	}
	_ = r.a.withSegment(r.loc.seg, func(h *segHandle) error {
		n, err = h.file.ReadAt(p, r.loc.off)
		return nil
	})
	if n == 0 {
		return 0, io.EOF // and what is behind cannot be read
	}
	r.loc.off += int64(n)
	r.left -= int64(n)
	return n, nil
}
