package sqlite

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"github.com/posta-mail/posta/internal/faultfs"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// stageBuffers are read buffers of 16 to 256 KiB. Every Stage begins with the
// smallest, which is not counted against the budget; bodies below the largest
// may stay in memory.
var stageBuffers = [...]bufferPool{{size: 16 << 10}, {size: 32 << 10}, {size: 64 << 10}, {size: 128 << 10}, {size: 256 << 10}}

type bufferPool struct {
	size int
	pool sync.Pool
}

func (p *bufferPool) get() *[]byte {
	if b, ok := p.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, p.size)
	return &b
}

func (p *bufferPool) put(b *[]byte) { p.pool.Put(b) }

// recordLoc is where a record begins.
type recordLoc struct {
	seg uint64
	off int64
}

// bodyLoc is where the record of a body begins, and its id.
type bodyLoc struct {
	recordLoc
	id uint64
}

// staged is a body in memory, or in a segment file of its own. It is released
// when its owner discarded it and no request uses it any more.
type staged struct {
	s       *Store
	size    int64
	outline *message.Outline
	mem     []byte
	charge  int64 // against the memory budget

	mu       sync.Mutex
	refs     int
	dropped  bool // by the owner
	file     faultfs.File
	name     string   // of file, while it is not final
	id       uint64   // of the record in file
	crc      uint32   // of the body in file
	finalErr error    // why it cannot become final
	hash     bodyHash // where bodies of equal content are shared
	digest   hash.Hash
	twin     knownBody // of equal content, verified
	spare    uint64    // segment of file, if another record is referred to instead
	loc      bodyLoc   // seg is 0 until a record is on disk
	kept     bool      // loc is referred to by a commit
	pinned   bool      // loc.seg is
	freed    bool      // everything is released
}

// Stage implements store.Store. Small bodies stay in memory while the budget
// of Options.StageMemory lasts; others go to a file that becomes a segment.
func (s *Store) Stage(ctx context.Context, r io.Reader) (store.Staged, error) {
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.leave()
	if s.opt.ReadOnly {
		return nil, errReadOnly
	}
	st := s.newStaged()
	if err := st.read(ctx, r); err != nil {
		st.Discard()
		return nil, err
	}
	if st.file == nil {
		st.outline = message.ParseBytes(st.mem, nil) // as store.Parse does, without a copy
		return st, nil
	}
	var err error
	if st.outline, err = store.Parse(st, st.size); err != nil {
		st.Discard()
		return nil, stageError(err) // of reading it back
	}
	return st, nil
}

func (s *Store) newStaged() *staged {
	t := &staged{s: s, refs: 1}
	if s.opt.Dedupe != DedupeNone {
		t.digest = sha256.New()
	}
	return t
}

// read takes the whole body, into memory if it may, and its hash if it is asked
// for.
func (t *staged) read(ctx context.Context, r io.Reader) error {
	if err := t.take(ctx, r); err != nil || t.digest == nil {
		return err
	}
	if t.file == nil {
		t.digest.Write(t.mem)
	}
	t.digest.Sum(t.hash[:0])
	t.digest = nil
	return nil
}

func (t *staged) take(ctx context.Context, r io.Reader) error {
	buf := stageBuffers[0].get()
	class := 0
	defer func() { stageBuffers[class].put(buf) }()
	n, err := store.ReadChunk(ctx, r, *buf)
	for err == nil && n == len(*buf) && class+1 < len(stageBuffers) && t.reserve(int64(2*n)) {
		grown := stageBuffers[class+1].get()
		copy(*grown, *buf)
		stageBuffers[class].put(buf)
		buf, class = grown, class+1
		var more int
		more, err = store.ReadChunk(ctx, r, (*buf)[n:])
		n += more
	}
	switch {
	case err != nil:
		return err
	case n < len(*buf) && (class > 0 || t.reserve(int64(n))):
		t.mem, t.size = bytes.Clone((*buf)[:n]), int64(n)
		t.s.giveMemory(t.charge - t.size)
		t.charge = t.size
		return nil
	}
	more := n == len(*buf) // else r has ended, and is not asked again
	if err := t.spill((*buf)[:n]); err != nil {
		return err
	}
	// The rest may take its time: it passes through the smallest buffer.
	t.s.giveMemory(t.charge)
	t.charge = 0
	stageBuffers[class].put(buf)
	buf, class = stageBuffers[0].get(), 0
	for more {
		n, err := store.ReadChunk(ctx, r, *buf)
		if err == nil && n > 0 {
			err = t.write((*buf)[:n])
		}
		if err != nil {
			return err
		}
		more = n == len(*buf)
	}
	return nil
}

// reserve raises the charge against the memory budget, if that allows it.
func (t *staged) reserve(n int64) bool {
	if !t.s.takeMemory(n - t.charge) {
		return false
	}
	t.charge = n
	return true
}

// spill begins a file of its own for the body.
func (t *staged) spill(head []byte) (err error) {
	t.name, t.id = t.s.seg.stageName(), t.s.nextBody.Add(1)-1
	if t.file, err = t.s.seg.fs.Create(t.name); err != nil {
		t.name = ""
		return stageError(err)
	}
	return t.write(head)
}

// write appends to the file.
func (t *staged) write(chunk []byte) error {
	if t.size+int64(len(chunk)) > store.MaxMessageSize {
		return fmt.Errorf("%w: message above %d octets", store.ErrLimit, int64(store.MaxMessageSize))
	}
	if _, err := t.file.WriteAt(chunk, segHeaderSize+recHeaderSize+t.size); err != nil {
		return stageError(err)
	}
	t.crc = crc32.Update(t.crc, castagnoli, chunk)
	if t.digest != nil {
		t.digest.Write(chunk)
	}
	t.size += int64(len(chunk))
	return nil
}

// finish makes a body in a file a segment, durably. It does nothing for one
// in memory and when it has been done.
func (t *staged) finish() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file == nil || t.loc.seg != 0 || t.finalErr != nil {
		return t.finalErr
	}
	t.finalErr = t.rename()
	return t.finalErr
}

func (t *staged) rename() error {
	h := recordHeader{kind: kindBody, id: t.id, length: uint64(t.size), crc: t.crc}
	head, rec, tail := encodeSegmentHeader(0, t.s.now().Unix()), h.encode(), h.trailer()
	front := append(head[:], rec[:]...)
	if _, err := t.file.WriteAt(front, 0); err != nil {
		return stageError(err)
	}
	if _, err := t.file.WriteAt(tail[:], int64(len(front))+t.size); err != nil {
		return stageError(err)
	}
	// A failed sync must not be tried again: finalErr keeps it.
	if err := t.file.Datasync(); err != nil {
		return t.s.fail(synced(err))
	}
	num := t.s.seg.reserve()
	t.s.seg.pin(num) // before a sweep can see the file
	if err := t.s.seg.fs.Rename(t.name, t.s.seg.path(num)); err != nil {
		t.s.seg.unpin(num)
		return stageError(err)
	}
	t.name, t.pinned = "", true
	t.loc = bodyLoc{recordLoc{num, segHeaderSize}, t.id}
	if err := t.s.seg.fs.SyncDir(t.s.seg.dir); err != nil {
		return t.s.fail(synced(err))
	}
	return nil
}

// located returns where the body's record is, if it is on disk.
func (t *staged) located() (bodyLoc, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.loc, t.loc.seg != 0
}

// keep notes that a commit refers to the record at loc.
func (t *staged) keep(loc bodyLoc) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.kept && t.loc.seg != 0 && t.loc.recordLoc != loc.recordLoc {
		t.s.seg.unpin(t.loc.seg) // renaming pinned it
		t.spare, t.loc, t.pinned = t.loc.seg, loc, false
	}
	t.kept = true
	if t.loc.seg == 0 {
		t.loc = loc
	}
	if !t.pinned && !t.freed {
		t.s.seg.pin(t.loc.seg)
		t.pinned = true
	}
}

func (t *staged) Size() int64               { return t.size }
func (t *staged) Outline() *message.Outline { return t.outline }

func (t *staged) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("sqlite: negative offset")
	}
	if off >= t.size {
		if len(p) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	if t.file == nil {
		n := copy(p, t.mem[off:])
		if n < len(p) {
			return n, io.EOF
		}
		return n, nil
	}
	var end error
	if left := t.size - off; int64(len(p)) > left {
		p, end = p[:left], io.EOF
	}
	if err := readFull(t.file, p, segHeaderSize+recHeaderSize+off); err != nil {
		return 0, err
	}
	return len(p), end
}

// hold keeps the body for a request; false if it has been discarded.
func (t *staged) hold() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.dropped {
		return false
	}
	t.refs++
	return true
}

func (t *staged) release() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.refs--; t.refs > 0 || t.freed {
		return nil
	}
	t.freed = true
	t.s.giveMemory(t.charge)
	if t.pinned {
		t.s.seg.unpin(t.loc.seg)
	}
	if t.file == nil {
		return nil
	}
	err := t.file.Close()
	switch {
	case t.name != "":
		err = errors.Join(err, t.s.seg.fs.Remove(t.name))
	case t.spare != 0:
		err = errors.Join(err, t.s.seg.remove(t.spare))
	case t.loc.seg != 0 && !t.kept && t.s.broken() == nil: // else a commit whose outcome is unknown may refer to it
		err = errors.Join(err, t.s.seg.remove(t.loc.seg))
	}
	if err != nil {
		err = stageError(err)
	}
	return err
}

// Discard implements store.Staged.
func (t *staged) Discard() error {
	t.mu.Lock()
	if t.dropped {
		t.mu.Unlock()
		return nil
	}
	t.dropped = true
	t.mu.Unlock()
	return t.release()
}

// takeMemory charges the budget for staged bodies, if it allows.
func (s *Store) takeMemory(n int64) bool {
	if s.staged.Add(n) > s.opt.StageMemory {
		s.staged.Add(-n)
		return false
	}
	return true
}

func (s *Store) giveMemory(n int64) { s.staged.Add(-n) }

// adopt returns body as one of this store, held for a request, copying it if
// it comes from elsewhere. Release the result.
func (s *Store) adopt(ctx context.Context, body store.Staged) (*staged, error) {
	if s.opt.ReadOnly {
		return nil, errReadOnly
	}
	t, own := body.(*staged)
	if own && t.s == s {
		if !t.hold() {
			return nil, fmt.Errorf("%w: body was discarded", store.ErrInvalid)
		}
	} else {
		t = s.newStaged()
		t.dropped, t.outline = true, body.Outline()
		if err := t.read(ctx, io.NewSectionReader(body, 0, body.Size())); err != nil {
			t.release()
			return nil, err
		}
		if t.size != body.Size() {
			t.release()
			return nil, fmt.Errorf("%w: body ended early", store.ErrInvalid)
		}
	}
	if err := t.finish(); err != nil {
		t.release()
		return nil, err
	}
	return t, nil
}

func (g *segments) stageName() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stage++
	return filepath.Join(g.staging, strconv.FormatUint(g.stage, 10)+".tmp")
}

// sweepStaging removes what an earlier process had staged and not placed.
func (g *segments) sweepStaging() error {
	entries, err := os.ReadDir(g.staging)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".tmp" {
			if err := g.fs.Remove(filepath.Join(g.staging, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func stageError(err error) error {
	if noSpace(err) {
		return fmt.Errorf("%w: %w", store.ErrNoSpace, err)
	}
	return fmt.Errorf("%w: staging: %w", store.ErrUnavailable, err)
}
