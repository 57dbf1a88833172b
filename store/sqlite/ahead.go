package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"sync"

	"github.com/posta-mail/posta/store"
)

const (
	// aheadBytes is how much of a segment is read at a time.
	aheadBytes = 128 << 10
	// aheadGap is how much between two bodies is read for nothing, rather than
	// reading once more.
	aheadGap = 8 << 10
	// aheadRows is how many messages are looked up at a time.
	aheadRows = 64
)

var aheadBuffers = sync.Pool{New: func() any { b := make([]byte, aheadBytes); return &b }}

// aheadReader reads bodies that lie behind each other in a segment.
type aheadReader struct {
	m      *mailboxHandle
	places [aheadRows]place
	buf    []byte
	off    int64 // of buf in the segment
	body   aheadBody
}

// aheadBody is a small body in the buffer.
type aheadBody struct {
	store.Joined
	data bytesAt
}

// Close implements io.Closer.
func (*aheadBody) Close() error { return nil }

var _ store.BodyReader = (*mailboxHandle)(nil)

// Bodies implements store.BodyReader. Small bodies that are near each other,
// as those of a mailbox mostly are, are read in large pieces.
func (m *mailboxHandle) Bodies(ctx context.Context, rows []store.Row) iter.Seq2[store.Body, error] {
	return func(yield func(store.Body, error) bool) {
		buf := aheadBuffers.Get().(*[]byte)
		defer aheadBuffers.Put(buf)
		r := &aheadReader{m: m}
		r.body.Joined.Body = &r.body.data
		for len(rows) > 0 {
			n := r.read(ctx, rows[:min(aheadRows, len(rows))], *buf)
			for i := range max(n, 1) {
				var b store.Body
				err := fs.ErrNotExist
				if n > 0 {
					b, err = r.at(r.places[i])
				}
				// Compaction may have moved it; and Open says why it cannot be read.
				if errors.Is(err, fs.ErrNotExist) {
					if !m.one(ctx, rows[i], yield) {
						return
					}
				} else if !yield(b, segmentError(err)) {
					return
				}
			}
			rows = rows[max(n, 1):]
			if err := ctx.Err(); err != nil && len(rows) > 0 {
				yield(nil, err)
				return
			}
		}
	}
}

// one yields a body that is read by itself.
func (m *mailboxHandle) one(ctx context.Context, row store.Row, yield func(store.Body, error) bool) bool {
	b, err := m.Open(ctx, row)
	if err != nil {
		return yield(nil, err)
	}
	defer b.Close()
	return yield(b, nil)
}

// read reads the bodies of the first rows and returns of how many; 0 if the
// first is to be opened by itself, be it for an error.
func (r *aheadReader) read(ctx context.Context, rows []store.Row, buf []byte) int {
	e, err := r.m.enter(ctx)
	if err != nil {
		return 0
	}
	defer r.m.a.leave(e)
	s, account := r.m.a.s, e.accountID()
	n, end := 0, int64(0)
	for n < len(rows) {
		l, err := s.lookup(account, rows[n].Ref)
		if err != nil || l.bodyBytes > readWhole {
			break
		}
		if n == 0 {
			r.off, end = l.bodyOff, l.bodyOff
		}
		if l.bodySeg != r.places[0].bodySeg && n > 0 || l.bodyOff < end || l.bodyOff-end > aheadGap || l.bodyEnd()-r.off > int64(len(buf)) {
			break
		}
		r.places[n], end = l, l.bodyEnd()
		n++
	}
	if n < 2 {
		return 0
	}
	// The last one's prefix, if it has one, is usually behind its body.
	if l := r.places[n-1]; l.prefix > 0 && l.seg == l.bodySeg && l.off == end && l.size <= int64(len(buf))-(end-r.off) {
		end = l.off + l.size
	}
	h, err := s.seg.acquire(r.places[0].bodySeg)
	if err != nil {
		return 0
	}
	defer h.release()
	r.buf = buf[:end-r.off]
	if readFull(h.file, r.buf, r.off) != nil {
		return 0
	}
	return n
}

// bodyEnd is where the record of the body ends.
func (l place) bodyEnd() int64 { return l.bodyOff + l.bodyBytes + recOverhead }

// at is the body at a place that has been read.
func (r *aheadReader) at(l place) (store.Body, error) {
	b := &r.body
	data, _, err := openRecord(r.buf[l.bodyOff-r.off:l.bodyEnd()-r.off], kindBody)
	if err != nil {
		return nil, err
	}
	b.data, b.Length, b.Prefix = data, l.bodyBytes, nil
	if l.prefix > 0 {
		if b.Prefix, err = r.prefix(l); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (r *aheadReader) prefix(l place) ([]byte, error) {
	if at := l.off - r.off; l.seg == l.bodySeg && at >= 0 && at <= int64(len(r.buf)) && l.size <= int64(len(r.buf))-at {
		payload, _, err := openRecord(r.buf[at:at+l.size], kindPlacement)
		if err != nil {
			return nil, err
		}
		if prefix, _, ok := splitPlacement(payload); ok {
			return prefix, nil
		}
	}
	prefix, _, err := r.m.a.s.readPlacement(l, nil)
	return prefix, err
}
