package maildir

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"

	"github.com/posta-mail/posta/store"
)

// maxMarks is how many places of a message crlfBody remembers. Beyond that it
// forgets every other one, so that memory is bounded whatever the size.
const maxMarks = 4096

// crlfBody reads a file in which lines end in LF as if they ended in CRLF. It
// remembers where some octets of the file come to be, and converts from the
// nearest of them on. Safe for concurrent use.
type crlfBody struct {
	file *os.File
	disk int64 // octets of the file
	size int64 // octets as read

	mu    sync.Mutex
	marks []crlfMark // ascending; the file's begin is not among them
	step  int64      // least distance between marks, of the file
}

// crlfMark says that the octet of the file at in is read at out; last is the
// one before.
type crlfMark struct {
	in, out int64
	last    byte
}

func (b *crlfBody) Size() int64  { return b.size }
func (b *crlfBody) Close() error { return b.file.Close() }

// ReadAt implements io.ReaderAt.
func (b *crlfBody) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("maildir: negative offset")
	}
	if off >= b.size {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	short := false
	if left := b.size - off; int64(len(p)) > left {
		p, short = p[:left], true
	}
	n, err := b.read(p, off, b.nearest(off))
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}

// read converts from a mark on and gives what is at off.
func (b *crlfBody) read(p []byte, off int64, m crlfMark) (int, error) {
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	n := 0
	put := func(c byte) {
		if m.out >= off && n < len(p) {
			p[n] = c
			n++
		}
		m.out++
	}
	for n < len(p) {
		b.mark(m)
		got, err := b.file.ReadAt((*buf)[:min(int64(len(*buf)), 16<<10)], m.in)
		for _, c := range (*buf)[:got] {
			if n == len(p) {
				break
			}
			if c == '\n' && m.last != '\r' {
				put('\r')
			}
			put(c)
			m.last = c
			m.in++
		}
		if n == len(p) {
			break
		}
		if err == io.EOF {
			return n, fmt.Errorf("%w: %w", store.ErrCorrupt, io.ErrUnexpectedEOF)
		}
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// nearest is the last mark at or before off.
func (b *crlfBody) nearest(off int64) crlfMark {
	b.mu.Lock()
	defer b.mu.Unlock()
	i := sort.Search(len(b.marks), func(i int) bool { return b.marks[i].out > off })
	if i == 0 {
		return crlfMark{}
	}
	return b.marks[i-1]
}

// mark remembers a place that is far enough from the last one.
func (b *crlfBody) mark(m crlfMark) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := int64(0)
	if n := len(b.marks); n > 0 {
		last = b.marks[n-1].in
	}
	if m.in < last+max(b.step, 16<<10) {
		return
	}
	if b.marks = append(b.marks, m); len(b.marks) < maxMarks {
		return
	}
	b.step = 2 * max(b.step, 16<<10)
	for i := range maxMarks / 2 {
		b.marks[i] = b.marks[2*i+1]
	}
	b.marks = b.marks[:maxMarks/2]
}
