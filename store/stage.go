package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"sync"
	"syscall"

	"github.com/posta-mail/posta/message"
)

// MaxMessageSize is the largest message, prefix included, in octets:
// Row.Size has 32 bits.
const MaxMessageSize = math.MaxUint32

// stageMemory is up to which size StageTemp keeps a body in memory, and the
// size of its copy buffer.
const stageMemory = 64 << 10

var stageBuffers = sync.Pool{New: func() any { b := make([]byte, stageMemory); return &b }}

// StageTemp stages a body outside any engine: in memory up to 64 KiB, else in
// a file in dir (empty: os.TempDir) that has no name any more, so that it goes
// with the process. It serves back ends that copy bodies when they place them.
//
// Errors: r's, wrapped; ctx's; ErrLimit above MaxMessageSize; ErrNoSpace,
// ErrUnavailable or the file system's otherwise. It reads r in the calling
// goroutine: ctx is looked at between reads.
func StageTemp(ctx context.Context, dir string, r io.Reader) (Staged, error) {
	buf := stageBuffers.Get().(*[]byte)
	defer stageBuffers.Put(buf)
	n, err := ReadChunk(ctx, r, *buf)
	if err != nil {
		return nil, err
	}
	t := &tempStaged{size: int64(n)}
	if n < len(*buf) {
		t.mem = bytes.NewReader(bytes.Clone((*buf)[:n]))
	} else if err := t.spill(ctx, dir, r, *buf); err != nil {
		t.Discard()
		return nil, err
	}
	if t.outline, err = Parse(t, t.size); err != nil {
		t.Discard()
		return nil, err
	}
	return t, nil
}

// ReadChunk fills buf from r for staging. It returns less than len(buf) only
// at r's end. Errors of r come back wrapped, ctx's as it is; io.EOF never.
func ReadChunk(ctx context.Context, r io.Reader, buf []byte) (int, error) {
	n := 0
	for idle := 0; n < len(buf); {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		m, err := r.Read(buf[n:])
		if m < 0 || m > len(buf)-n {
			return n, fmt.Errorf("store: staging: %w", errors.New("reader returned an invalid count"))
		}
		n += m
		switch {
		case err == io.EOF:
			return n, nil
		case err != nil:
			return n, fmt.Errorf("store: staging: %w", err)
		case m > 0:
			idle = 0
		default:
			if idle++; idle == 100 {
				return n, fmt.Errorf("store: staging: %w", io.ErrNoProgress)
			}
		}
	}
	return n, nil
}

type tempStaged struct {
	mem     *bytes.Reader // or
	file    *os.File
	name    string // of the file, where it could not be unlinked while open
	size    int64
	outline *message.Outline
	discard sync.Once
}

// diskError gives an error of the system its kind.
func diskError(err error) error {
	kind := ErrUnavailable
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		kind = ErrNoSpace
	}
	return fmt.Errorf("%w: staging: %w", kind, err)
}

// spill moves on to a file. The first size octets are in buf, which it reuses.
func (t *tempStaged) spill(ctx context.Context, dir string, r io.Reader, buf []byte) error {
	f, err := os.CreateTemp(dir, "posta-stage-*")
	if err != nil {
		return diskError(err)
	}
	t.file = f
	if os.Remove(f.Name()) != nil {
		t.name = f.Name()
	}
	for n := len(buf); n > 0; {
		if _, err := f.Write(buf[:n]); err != nil {
			return diskError(err)
		}
		if n, err = ReadChunk(ctx, r, buf); err != nil {
			return err
		}
		if t.size += int64(n); t.size > MaxMessageSize {
			return fmt.Errorf("%w: message above %d octets", ErrLimit, int64(MaxMessageSize))
		}
	}
	return nil
}

func (t *tempStaged) ReadAt(p []byte, off int64) (int, error) {
	if t.mem != nil {
		return t.mem.ReadAt(p, off)
	}
	return t.file.ReadAt(p, off)
}

func (t *tempStaged) Size() int64               { return t.size }
func (t *tempStaged) Outline() *message.Outline { return t.outline }

func (t *tempStaged) Discard() (err error) {
	t.discard.Do(func() {
		if t.file == nil {
			return
		}
		err = t.file.Close()
		if t.name != "" {
			err = errors.Join(err, os.Remove(t.name))
		}
	})
	return err
}

// Joined reads a prefix and a body as one message, as every placement and
// spool item is read. Safe for concurrent use as far as Body is.
type Joined struct {
	Prefix []byte
	Body   io.ReaderAt
	Length int64 // of Body
}

// Size is the length of both in octets.
func (j Joined) Size() int64 { return int64(len(j.Prefix)) + j.Length }

// ReadAt implements io.ReaderAt.
func (j Joined) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, errors.New("store: negative offset")
	}
	if off >= j.Size() {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	short := false
	if left := j.Size() - off; int64(len(p)) > left {
		p, short = p[:left], true
	}
	if off < int64(len(j.Prefix)) {
		n = copy(p, j.Prefix[off:])
	}
	if n < len(p) {
		var m int
		m, err = j.Body.ReadAt(p[n:], off+int64(n)-int64(len(j.Prefix)))
		if n += m; n == len(p) {
			err = nil
		} else if err == nil || err == io.EOF {
			err = fmt.Errorf("%w: %w", ErrCorrupt, io.ErrUnexpectedEOF)
		}
	}
	if err == nil && short {
		err = io.EOF
	}
	return n, err
}
