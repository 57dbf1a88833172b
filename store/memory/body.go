package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"reflect"
	"sync"
	"sync/atomic"

	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/store"
)

// chunkSize is how bodies are cut, so that growing one copies nothing.
const chunkSize = 64 << 10

var chunks = sync.Pool{New: func() any { b := make([]byte, chunkSize); return &b }}

// body is the octets of a staged message, shared by all that refer to it.
type body struct {
	budget  *budget
	chunks  [][]byte // all of chunkSize but the last
	size    int64
	outline *message.Outline
	refs    atomic.Int64
}

// acquire adds a reference; false if the last one is gone.
func (b *body) acquire() bool {
	for {
		n := b.refs.Load()
		if n <= 0 {
			return false
		}
		if b.refs.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (b *body) release() {
	if b.refs.Add(-1) == 0 {
		b.budget.release(b.size)
	}
}

// ReadAt implements io.ReaderAt.
func (b *body) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("memory: negative offset")
	}
	n := 0
	for n < len(p) && off < b.size {
		m := copy(p[n:], b.chunks[off/chunkSize][off%chunkSize:])
		n, off = n+m, off+int64(m)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// staged is the handle that Stage gives out.
type staged struct {
	*body
	once sync.Once
}

func (s *staged) Size() int64               { return s.size }
func (s *staged) Outline() *message.Outline { return s.outline }

func (s *staged) Discard() error {
	s.once.Do(s.release)
	return nil
}

// Stage implements store.Store.
func (s *Store) Stage(ctx context.Context, r io.Reader) (store.Staged, error) {
	if err := s.gate.Enter(ctx); err != nil {
		return nil, err
	}
	defer s.gate.Leave()
	return s.stage(ctx, r)
}

func (s *Store) stage(ctx context.Context, r io.Reader) (*staged, error) {
	b := &body{budget: &s.budget}
	b.refs.Store(1)
	if err := s.fill(ctx, b, r); err != nil {
		b.release()
		return nil, err
	}
	var err error
	if b.outline, err = store.Parse(b, b.size); err != nil {
		b.release()
		return nil, err
	}
	return &staged{body: b}, nil
}

func (s *Store) fill(ctx context.Context, b *body, r io.Reader) error {
	buf := chunks.Get().(*[]byte)
	defer chunks.Put(buf)
	for {
		n, err := store.ReadChunk(ctx, r, *buf)
		if err != nil {
			return err
		}
		if b.size+int64(n) > store.MaxMessageSize {
			return fmt.Errorf("%w: message above %d octets", store.ErrLimit, int64(store.MaxMessageSize))
		}
		if n > 0 {
			if err := s.reserve(int64(n)); err != nil {
				return err
			}
			b.chunks = append(b.chunks, bytes.Clone((*buf)[:n]))
			b.size += int64(n)
		}
		if n < len(*buf) {
			return nil
		}
	}
}

// own gives each of bodies as a body of this store with a reference for the
// caller: itself if it was staged here, else a copy. The same foreign body is
// copied once. release lets all of them go.
type owner struct {
	s      *Store
	copies map[store.Staged]*body
	held   []*body
}

func (o *owner) own(ctx context.Context, from store.Staged) (*body, error) {
	if h, ok := from.(*staged); ok && h.budget == &o.s.budget {
		if !h.acquire() {
			return nil, fmt.Errorf("%w: body was discarded", store.ErrInvalid)
		}
		o.held = append(o.held, h.body)
		return h.body, nil
	}
	known := reflect.ValueOf(from).Comparable()
	if known {
		if b := o.copies[from]; b != nil {
			return b, nil
		}
	}
	h, err := o.s.stage(ctx, io.NewSectionReader(from, 0, from.Size()))
	if err != nil {
		return nil, err
	}
	o.held = append(o.held, h.body)
	if h.size != from.Size() {
		return nil, fmt.Errorf("memory: copying body: %w", io.ErrUnexpectedEOF)
	}
	if known {
		if o.copies == nil {
			o.copies = map[store.Staged]*body{}
		}
		o.copies[from] = h.body
	}
	return h.body, nil
}

func (o *owner) release() {
	for _, b := range o.held {
		b.release()
	}
}

// content is a message as placed: prefix and body. Copies share it.
type content struct {
	prefix  []byte
	body    *body
	emailID string
	refs    int // guarded by the account's lock
}

func (c *content) size() int64 { return int64(len(c.prefix)) + c.body.size }

func (c *content) free() {
	c.body.budget.release(int64(len(c.prefix)))
	c.body.release()
}

// reader is a store.Body. It keeps the body, so that it reads on whatever
// happens to the message.
type reader struct {
	store.Joined
	body *body
	once sync.Once
}

func openBody(prefix []byte, b *body) store.Body {
	b.acquire() // the caller's lock keeps a reference
	return &reader{Joined: store.Joined{Prefix: prefix, Body: b, Length: b.size}, body: b}
}

func (r *reader) Close() error {
	r.once.Do(r.body.release)
	return nil
}
