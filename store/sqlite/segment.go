package sqlite

import (
	"container/list"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/posta-mail/posta/internal/faultfs"
	"github.com/posta-mail/posta/store"
)

// maxOpenSegments bounds the files held open for reading without a reader.
const maxOpenSegments = 256

// segments are the body files of a store. One of them, the active one, is
// appended to by the committer alone; the others never change.
type segments struct {
	fs      faultfs.FS
	dir     string
	staging string
	maxSize int64

	active activeSegment // of the committer

	mu     sync.Mutex
	next   uint64 // number of the next segment
	stage  uint64 // number of the next staging file
	open   map[uint64]*segHandle
	recent list.List      // of *segHandle, most recently used first
	pins   map[uint64]int // segments that staged bodies refer to
}

type activeSegment struct {
	num  uint64
	file faultfs.File
	size int64
}

// segHandle is a segment open for reading.
type segHandle struct {
	of   *segments
	num  uint64
	file faultfs.File
	refs int
	elem *list.Element
}

func newSegments(fsys faultfs.FS, dir string, maxSize int64) *segments {
	return &segments{
		fs: fsys, dir: filepath.Join(dir, "segments"), staging: filepath.Join(dir, "staging"), maxSize: maxSize,
		open: make(map[uint64]*segHandle), pins: make(map[uint64]int), next: 1,
	}
}

func (g *segments) path(num uint64) string {
	return filepath.Join(g.dir, fmt.Sprintf("%010d.seg", num))
}

// list returns the numbers of the segment files there are.
func (g *segments) list() ([]uint64, error) {
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		return nil, err
	}
	var nums []uint64
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".seg")
		if num, err := strconv.ParseUint(name, 10, 63); ok && err == nil && filepath.Base(g.path(num)) == e.Name() {
			nums = append(nums, num)
		}
	}
	return nums, nil
}

// reserve takes the next segment number.
func (g *segments) reserve() uint64 {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.next++
	return g.next - 1
}

// resume opens the active segment after a restart. Records behind committed
// were never acknowledged; whole ones stay as dead space, the torn tail is
// cut. Less than committed means that acknowledged mail is gone.
func (g *segments) resume(num uint64, committed int64) (cut int64, err error) {
	f, err := g.fs.Open(g.path(num))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, fmt.Errorf("%w: segment %d: %w", store.ErrCorrupt, num, err)
	}
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			f.Close()
		}
	}()
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() < committed || committed < segHeaderSize {
		return 0, fmt.Errorf("%w: segment %d has %d octets of %d", store.ErrCorrupt, num, info.Size(), committed)
	}
	if err := isSegment(f, num); err != nil {
		return 0, fmt.Errorf("segment %d: %w", num, err) // cut nothing
	}
	end, why := scanRecords(f, committed, info.Size(), nil)
	if why != nil && !errors.Is(why, store.ErrCorrupt) {
		return 0, why
	}
	if cut = info.Size() - end; cut > 0 {
		if err := f.Truncate(end); err != nil {
			return 0, err
		}
		if err := f.Datasync(); err != nil {
			return 0, err
		}
	}
	g.active = activeSegment{num, f, end}
	return cut, nil
}

// isSegment looks whether a file is the segment of this number that was active.
// Damage of the header alone does no harm.
func isSegment(f io.ReaderAt, num uint64) error {
	var head [segHeaderSize + recHeaderSize]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && err != io.EOF {
		return err
	}
	got, why := decodeSegmentHeader(head[:min(n, segHeaderSize)])
	if why == nil && got != num {
		return errOtherSegment(got)
	}
	if why != nil && n == len(head) {
		_, why = decodeRecordHeader(head[segHeaderSize:])
	}
	return why
}

// roll starts a new active segment. Its header and its name are durable when
// it returns.
func (g *segments) roll(now time.Time) error {
	num := g.reserve()
	f, err := g.fs.Create(g.path(num))
	if err != nil {
		return err
	}
	head := encodeSegmentHeader(num, now.Unix())
	_, err = f.WriteAt(head[:], 0)
	if err == nil {
		err = synced(f.Datasync())
	}
	if err == nil {
		err = synced(g.fs.SyncDir(g.dir))
	}
	if err != nil {
		f.Close()
		g.fs.Remove(g.path(num))
		return err
	}
	if g.active.file != nil {
		g.active.file.Close() // was synced with its last batch
	}
	g.active = activeSegment{num, f, segHeaderSize}
	return nil
}

// append writes behind the active segment's end. After an error the octets
// beyond size are garbage until cutBack.
func (g *segments) append(b []byte) error {
	n, err := g.active.file.WriteAt(b, g.active.size)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err == nil {
		g.active.size += int64(n)
	}
	return err
}

// cutBack takes a batch that failed off the active segment's end.
func (g *segments) cutBack(size int64) error {
	g.active.size = size
	return g.active.file.Truncate(size)
}

// pin keeps a segment from being removed; unpin undoes it.
func (g *segments) pin(num uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.pins[num]++
}

func (g *segments) unpin(num uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pins[num]--; g.pins[num] <= 0 {
		delete(g.pins, num)
	}
}

func (g *segments) pinned(num uint64) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.pins[num] > 0
}

// acquire opens a segment for reading; release it. A segment that is gone is
// fs.ErrNotExist.
func (g *segments) acquire(num uint64) (*segHandle, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if h := g.open[num]; h != nil {
		h.refs++
		g.recent.MoveToFront(h.elem)
		return h, nil
	}
	f, err := g.fs.OpenRead(g.path(num))
	if err != nil {
		return nil, err
	}
	// A file in another's place. What is damaged of the header alone does not
	// keep from reading.
	var head [segHeaderSize]byte
	if n, _ := f.ReadAt(head[:], 0); n == len(head) {
		if got, err := decodeSegmentHeader(head[:]); err == nil && got != 0 && got != num {
			f.Close()
			return nil, fmt.Errorf("segment %d: %w", num, errOtherSegment(got))
		}
	}
	h := &segHandle{of: g, num: num, file: f, refs: 1}
	h.elem = g.recent.PushFront(h)
	g.open[num] = h
	g.shrink(maxOpenSegments)
	return h, nil
}

// shrink closes files no one reads while more than limit are open.
func (g *segments) shrink(limit int) {
	for e := g.recent.Back(); e != nil && len(g.open) > limit; {
		h := e.Value.(*segHandle)
		e = e.Prev()
		if h.refs == 0 {
			g.drop(h)
		}
	}
}

func (g *segments) drop(h *segHandle) {
	if h.elem != nil {
		g.recent.Remove(h.elem)
		delete(g.open, h.num)
		h.elem = nil
	}
	if h.refs == 0 {
		h.file.Close()
	}
}

func (h *segHandle) release() {
	h.of.mu.Lock()
	defer h.of.mu.Unlock()
	if h.refs--; h.refs > 0 {
		return
	}
	if h.elem == nil {
		h.file.Close()
		return
	}
	h.of.shrink(maxOpenSegments)
}

// remove deletes a segment's file. Who reads it keeps reading.
func (g *segments) remove(num uint64) error {
	g.mu.Lock()
	if h := g.open[num]; h != nil {
		g.drop(h)
	}
	g.mu.Unlock()
	err := g.fs.Remove(g.path(num))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// close closes all files; those being read close with their last reader.
func (g *segments) close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, h := range g.open {
		g.drop(h)
	}
	if g.active.file == nil {
		return nil
	}
	err := g.active.file.Close()
	g.active.file = nil
	return err
}

// errSync marks the failure of a sync, after which the state of the disk is
// unknown whatever the reason was.
var errSync = errors.New("sync failed")

func synced(err error) error {
	if err != nil {
		err = fmt.Errorf("%w: %w", errSync, err)
	}
	return err
}

// noSpace reports whether an error means that the disk or the quota is full.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, errDiskFull)
}
