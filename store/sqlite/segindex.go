package sqlite

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/posta-mail/posta/store"
)

// segIndex is what whole, undamaged records the segments hold: about 300 octets
// of memory a message.
type segIndex struct {
	bodies  map[uint64]foundBody   // by id
	places  map[uint64]*foundPlace // by reference; of several, the last written
	topID   uint64
	topRef  uint64
	damaged []damagedRange
	names   map[string]string // each only once
}

type foundBody struct {
	recordLoc
	size int64
}

type foundPlace struct {
	recordLoc
	size int64  // of the record
	id   uint64 // of the record
	placement
}

// damagedRange is a part of a segment that is no record.
type damagedRange struct {
	recordLoc
	size int64
}

// scanSegments reads all segments. Behind what is damaged it goes on with the
// next record.
func scanSegments(ctx context.Context, g *segments) (*segIndex, error) {
	x := &segIndex{bodies: make(map[uint64]foundBody), places: make(map[uint64]*foundPlace), names: make(map[string]string)}
	nums, err := g.list()
	if err != nil {
		return nil, err
	}
	for _, num := range nums {
		if err := x.segment(ctx, g, num); err != nil {
			return nil, err
		}
	}
	return x, nil
}

func (x *segIndex) segment(ctx context.Context, g *segments, num uint64) error {
	h, err := g.acquire(num)
	if err != nil {
		if isCorrupt(err) || errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	defer h.release()
	info, err := h.file.Stat()
	if err != nil {
		return err
	}
	off, size := int64(segHeaderSize), info.Size()
	buf := make([]byte, 64<<10)
	for off < size {
		end, err := scanRecords(h.file, off, size, func(at int64, rec recordHeader) error {
			if err := ctx.Err(); err != nil {
				return err
			}
			return x.record(h.file, recordLoc{num, at}, rec)
		})
		if err == nil {
			return nil
		}
		if !isCorrupt(err) {
			return err
		}
		next, err := nextRecord(h.file, end+1, size, buf)
		if err != nil {
			return err
		}
		x.damaged = append(x.damaged, damagedRange{recordLoc{num, end}, next - end})
		off = next
	}
	return nil
}

// nextRecord searches the next record's header from off on; it returns size if
// there is none.
func nextRecord(r io.ReaderAt, off, size int64, buf []byte) (int64, error) {
	for off < size {
		n := int(min(int64(len(buf)), size-off))
		if err := readFull(r, buf[:n], off); err != nil {
			return 0, err
		}
		for i := 0; ; i++ {
			k := bytes.Index(buf[i:n], []byte(recMagic))
			if k < 0 {
				break
			}
			i += k
			var head [recHeaderSize]byte
			if size-off-int64(i) < recHeaderSize {
				break
			}
			if err := readFull(r, head[:], off+int64(i)); err != nil {
				return 0, err
			}
			if _, err := decodeRecordHeader(head[:]); err == nil {
				return off + int64(i), nil
			}
		}
		if int64(n) == size-off {
			break
		}
		off += int64(n - len(recMagic) + 1)
	}
	return size, nil
}

func (x *segIndex) record(r io.ReaderAt, loc recordLoc, rec recordHeader) error {
	x.topID = max(x.topID, rec.id)
	switch rec.kind {
	case kindBody:
		x.bodies[rec.id] = foundBody{loc, int64(rec.length)}
	case kindPlacement:
		if rec.size() > maxPlacement {
			return nil
		}
		payload := make([]byte, rec.length)
		if err := readFull(r, payload, loc.off+recHeaderSize); err != nil {
			return err
		}
		p, ok := parsePlacement(payload, rec.version)
		if !ok || p.ref > 1<<62 {
			return nil
		}
		if old := x.places[p.ref]; old != nil && old.id > rec.id {
			return nil
		}
		p.account, p.mailbox = x.once(p.account), x.once(p.mailbox)
		x.places[p.ref] = &foundPlace{loc, rec.size(), rec.id, p}
		x.topRef = max(x.topRef, p.ref)
	}
	return nil
}

func (x *segIndex) once(s string) string {
	if t, ok := x.names[s]; ok {
		return t
	}
	x.names[s] = s
	return s
}

// place is where a reference's octets are; false if they are not all there.
func (x *segIndex) place(ref uint64, account int64) (place, bool) {
	p := x.places[ref]
	if p == nil {
		return place{}, false
	}
	l := place{seg: p.seg, off: p.off, size: p.size, prefix: p.prefix, bodyBytes: p.bodySize, account: account}
	b, ok := x.bodies[p.body]
	l.bodySeg, l.bodyOff = b.seg, b.off
	return l, ok && b.size == p.bodySize
}

// segmentFiles sees that each file is the segment that its name says.
func (a *audit) segmentFiles() error {
	nums, err := a.seg.list()
	if err != nil {
		return err
	}
	for _, num := range nums {
		if err := a.segmentFile(num); err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) segmentFile(num uint64) error {
	f, err := a.seg.fs.OpenRead(a.seg.path(num))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < segHeaderSize {
		return nil // is being made, or was when a crash came
	}
	var head [segHeaderSize]byte
	err = readFull(f, head[:], 0)
	if err == nil {
		err = ownHeader(head[:], num)
	}
	if err == nil {
		return nil
	}
	if !isCorrupt(err) {
		return err
	}
	if info.Size() == segHeaderSize && head == [segHeaderSize]byte{} {
		return nil // likewise: a crash may keep the length and lose the octets
	}
	return a.found(Problem{Err: damage("segment %d: %w", num, err)}, func() error {
		first, err := nextRecord(f, 0, info.Size(), make([]byte, 64<<10))
		if err != nil {
			return err
		}
		if first == info.Size() { // nothing of it is ours
			return a.lost.move(a.seg.path(num))
		}
		if got, err := decodeSegmentHeader(head[:]); err == nil {
			return a.rename(num, got)
		}
		return a.newHeader(num)
	})
}

// rename gives a segment the name that its header says, and the other one, if
// there is, the name of this, unless that is what it is.
func (a *audit) rename(num, to uint64) error {
	fsys, from, other := a.seg.fs, a.seg.path(num), a.seg.path(to)
	f, err := fsys.OpenRead(other)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if err := fsys.Rename(from, other); err != nil {
			return err
		}
		return fsys.SyncDir(a.seg.dir)
	case err != nil:
		return err
	}
	var head [segHeaderSize]byte
	n, _ := f.ReadAt(head[:], 0)
	if err := f.Close(); err != nil {
		return err
	}
	if got, err := decodeSegmentHeader(head[:n]); err == nil && got == to {
		return a.newHeader(num)
	}
	for _, names := range [][2]string{{other, other + ".exchanged"}, {from, other}, {other + ".exchanged", from}} {
		if err := fsys.Rename(names[0], names[1]); err != nil {
			return err
		}
	}
	return fsys.SyncDir(a.seg.dir)
}

// newHeader writes a segment's header anew; its records stay.
func (a *audit) newHeader(num uint64) error {
	f, err := a.seg.fs.Open(a.seg.path(num))
	if err != nil {
		return err
	}
	head := encodeSegmentHeader(num, a.now.Unix())
	_, err = f.WriteAt(head[:], 0)
	if err == nil {
		err = f.Datasync()
	}
	return errors.Join(err, f.Close())
}

// ownHeader reports whether a segment's header is sound and its own.
func ownHeader(head []byte, num uint64) error {
	got, err := decodeSegmentHeader(head)
	if err == nil && got != 0 && got != num {
		err = errOtherSegment(got)
	}
	return err
}

func errOtherSegment(num uint64) error { return damage("it is segment %d", num) }

func isCorrupt(err error) bool { return errors.Is(err, store.ErrCorrupt) }

// corrupt makes an error wrap store.ErrCorrupt.
func corrupt(err error) error {
	if isCorrupt(err) {
		return err
	}
	return damage("%w", err)
}
