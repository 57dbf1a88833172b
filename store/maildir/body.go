package maildir

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"sync"

	"github.com/posta-mail/posta/store"
)

// emailID is the EMAILID of the message that came under this base name, as
// octets; copies inherit it, and other programs keep the name when they move a
// file.
func emailID(base string) string {
	sum := sha256.Sum256([]byte(base))
	return string(sum[:15])
}

// emailText is an EMAILID as it is told (RFC 8474 §7).
func emailText(id string) string { return "M" + base64.RawURLEncoding.EncodeToString([]byte(id)) }

// measure finds out a file's sizes and date, reading it if its name does not
// tell them.
func (a *account) measure(dir string, m *arrival) error {
	name := a.path(dir, m.path())
	info, err := os.Lstat(name)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: no regular file", store.ErrInvalid)
	}
	m.disk, m.date = info.Size(), info.ModTime().Unix()
	if m.saved = m.seconds; m.saved == 0 {
		m.saved = m.date
	}
	if m.disk == m.fields.size && m.virtual >= m.disk && m.virtual <= 2*m.disk {
		m.size = m.virtual
	} else {
		f, err := openRegular(name)
		if err != nil {
			return err
		}
		defer f.Close()
		bare, err := countBareLF(f)
		if err != nil {
			return err
		}
		m.size = m.disk + bare
	}
	if m.size > math.MaxUint32 {
		return fmt.Errorf("%w: message of %d octets", store.ErrLimit, m.size)
	}
	m.plain = m.size == m.disk
	return nil
}

// bareCounter counts what CRLF adds while a message is written through it.
type bareCounter struct {
	bare int64
	size int64
	last byte
}

func (c *bareCounter) Write(p []byte) (int, error) {
	for _, b := range p {
		if b == '\n' && c.last != '\r' {
			c.bare++
		}
		c.last = b
	}
	c.size += int64(len(p))
	return len(p), nil
}

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

func countBareLF(r io.Reader) (int64, error) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	var c bareCounter
	_, err := io.CopyBuffer(&c, onlyReader{r}, *buf)
	return c.bare, err
}

// onlyReader hides what io.CopyBuffer would use instead of the buffer.
type onlyReader struct{ io.Reader }

// errLink is a symbolic link in a message's place.
var errLink = fmt.Errorf("%w: no regular file", store.ErrCorrupt)

// openMessage opens a message's file, wherever another program moved it.
func (a *account) openMessage(dir string, f *file, size int64) (store.Body, error) {
	fd, err := openRegular(a.path(dir, f.path()))
	if errors.Is(err, fs.ErrNotExist) {
		var path string
		if path, err = a.locate(dir, f); err == nil {
			if path == "" {
				return nil, store.ErrExpunged
			}
			fd, err = openRegular(a.path(path))
		}
	}
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, store.ErrExpunged
		}
		return nil, kindOf(err)
	}
	return openFile(fd, f, size)
}

// openFile is a message whose file is open.
func openFile(fd *os.File, f *file, size int64) (store.Body, error) {
	info, err := fd.Stat()
	if err == nil && (!info.Mode().IsRegular() || info.Size() != f.disk) {
		err = fmt.Errorf("%w: file of %d octets, %d were recorded", store.ErrCorrupt, info.Size(), f.disk)
	}
	if err != nil {
		fd.Close()
		return nil, kindOf(err)
	}
	if f.plain {
		return &plainBody{fd, size}, nil
	}
	return &crlfBody{file: fd, disk: f.disk, size: size}, nil
}

// plainBody is a message that is read as it is.
type plainBody struct {
	*os.File
	size int64
}

func (b *plainBody) Size() int64 { return b.size }

func (b *plainBody) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.File.ReadAt(p, off)
	if err == io.EOF && off+int64(n) < b.size {
		err = fmt.Errorf("%w: %w", store.ErrCorrupt, io.ErrUnexpectedEOF)
	}
	return n, err
}
