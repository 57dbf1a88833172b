package sqlite

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"

	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// readWhole is the size up to which a body is read, and its checksum checked,
// when it is opened.
const readWhole = 32 << 10

// body is a message being read.
type body struct {
	store.Joined
	h      *segHandle // nil: all in memory
	closed atomic.Bool
}

// Close lets the segment go. Memory bodies need nothing.
func (b *body) Close() error {
	if !b.closed.Swap(true) && b.h != nil {
		b.h.release()
	}
	return nil
}

// ReadAt implements io.ReaderAt.
func (b *body) ReadAt(p []byte, off int64) (int, error) {
	if b.closed.Load() {
		return 0, fs.ErrClosed
	}
	n, err := b.Joined.ReadAt(p, off)
	if err != io.EOF {
		err = segmentError(err)
	}
	return n, err
}

// bytesAt is a body in memory.
type bytesAt []byte

func (b bytesAt) ReadAt(p []byte, off int64) (int, error) {
	if off >= int64(len(b)) {
		return 0, io.EOF
	}
	n := copy(p, b[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// read looks a message up and hands its place to fn. Between the two,
// compaction may have moved the message and removed the segment.
func (s *Store) read(account int64, ref uint64, fn func(l place) error) error {
	for try := 0; ; try++ {
		l, err := s.lookup(account, ref)
		if err != nil {
			return err
		}
		if err = fn(l); !errors.Is(err, fs.ErrNotExist) || try == 3 {
			return segmentError(err)
		}
		s.refs.forget(ref >> refShift)
	}
}

// openPlace opens a message.
func (s *Store) openPlace(l place) (store.Body, error) {
	var prefix []byte
	if l.prefix > 0 {
		p, _, err := s.readPlacement(l, nil)
		if err != nil {
			return nil, err
		}
		prefix = p
	}
	return s.openBody(recordLoc{l.bodySeg, l.bodyOff}, l.bodyBytes, prefix)
}

// openBody opens a body with a prefix in front. Small bodies are read at once
// and their checksum is checked; of large ones only the record's header is.
func (s *Store) openBody(loc recordLoc, size int64, prefix []byte) (store.Body, error) {
	h, err := s.seg.acquire(loc.seg)
	if err != nil {
		return nil, err
	}
	if size <= readWhole {
		defer h.release()
		buf := make([]byte, size+recOverhead)
		if err := readFull(h.file, buf, loc.off); err != nil {
			return nil, err
		}
		data, _, err := openRecord(buf, kindBody)
		if err != nil {
			return nil, err
		}
		return &body{Joined: store.Joined{Prefix: prefix, Body: bytesAt(data), Length: size}}, nil
	}
	var head [recHeaderSize]byte
	err = readFull(h.file, head[:], loc.off)
	var rec recordHeader
	if err == nil {
		rec, err = decodeRecordHeader(head[:])
	}
	if err == nil && (rec.kind != kindBody || int64(rec.length) != size) {
		err = fmt.Errorf("%w: another record than expected", store.ErrCorrupt)
	}
	if err != nil {
		h.release()
		return nil, err
	}
	section := io.NewSectionReader(h.file, loc.off+recHeaderSize, size)
	return &body{Joined: store.Joined{Prefix: prefix, Body: section, Length: size}, h: h}, nil
}

// readPlacement reads a placement record: the prefix and the packed outline.
// They are in buf if it is large enough.
func (s *Store) readPlacement(l place, buf []byte) (prefix, outline []byte, err error) {
	h, err := s.seg.acquire(l.seg)
	if err != nil {
		return nil, nil, err
	}
	defer h.release()
	if int64(cap(buf)) < l.size {
		buf = make([]byte, l.size)
	}
	buf = buf[:l.size]
	if err := readFull(h.file, buf, l.off); err != nil {
		return nil, nil, err
	}
	payload, _, err := openRecord(buf, kindPlacement)
	if err != nil {
		return nil, nil, err
	}
	prefix, outline, ok := splitPlacement(payload)
	if !ok {
		return nil, nil, fmt.Errorf("%w: placement record", store.ErrCorrupt)
	}
	return prefix, outline, nil
}

// detail is the cold data of a row, and how many octets it has packed. It uses
// buf and keeps nothing of it.
func (s *Store) detail(account int64, row store.Row, buf []byte) (d store.Detail, octets int64, err error) {
	d = store.Detail{Row: row, EmailID: emailID(row.Ref)}
	err = s.read(account, row.Ref, func(l place) error {
		octets = l.size
		if d.Outline = s.outlines.get(row.Ref); d.Outline != nil {
			return nil
		}
		_, packed, err := s.readPlacement(l, buf)
		if err != nil {
			return err
		}
		d.Outline = new(message.Outline)
		if len(packed) == 0 || d.Outline.UnmarshalBinary(packed) != nil {
			octets = detailBytes + 1 // it was too large to be stored, and is to be kept
			d.Outline, err = s.outline(l)
			return err
		}
		s.outlines.keep(row.Ref, d.Outline, len(packed))
		return nil
	})
	if err != nil {
		d.Outline = nil
	}
	return d, octets, err
}

// outline computes what is not stored, or in an encoding that is not known any
// more.
func (s *Store) outline(l place) (*message.Outline, error) {
	whole, err := s.openPlace(l)
	if err != nil {
		return nil, err
	}
	defer whole.Close()
	prefix := whole.(*body).Prefix
	o, err := store.Parse(io.NewSectionReader(whole, l.prefix, l.bodyBytes), l.bodyBytes)
	if err != nil {
		return nil, err
	}
	return store.WithPrefix(o, prefix), nil
}

// emailID is the same for all copies of a message (RFC 8474 §5.1): they share
// the reference, which is never given again.
func emailID(ref uint64) string {
	if ref>>52 != 0 {
		return fmt.Sprintf("M%x", ref)
	}
	id := [14]byte{0: 'M'}
	for i := len(id) - 1; i > 0; i-- {
		id[i] = "0123456789abcdef"[ref&15]
		ref >>= 4
	}
	return string(id[:])
}

// segmentError turns an error of reading a segment into one of the store's
// kinds. A segment is only removed when nothing refers to it any more.
func segmentError(err error) error {
	switch {
	case err == nil, errors.Is(err, store.ErrCorrupt):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}
