package imap

import (
	"io"
	"sync"
	"time"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/internal/netserve"
)

const (
	outSize  = 64 << 10 // of a fresh buffer
	outFlush = 48 << 10 // write when this much is pending
	outKeep  = 256 << 10
)

var outBuffers = sync.Pool{New: func() any { b := make([]byte, 0, outSize); return &b }}

// output collects responses and writes them in large pieces. Responses are
// appended to b after begin; the first error sticks. It takes a buffer only
// while something is pending.
type output struct {
	conn    *netserve.Conn
	timeout time.Duration
	zip     *compression // nil: not compressed
	b       []byte
	pooled  *[]byte
	err     error
}

// begin makes b ready to be appended to.
func (o *output) begin() {
	if o.pooled == nil {
		o.pooled = outBuffers.Get().(*[]byte)
		o.b = (*o.pooled)[:0]
	}
}

// put appends text as it is.
func (o *output) put(s string) {
	o.begin()
	o.b = append(o.b, s...)
}

// spill writes what is pending once it is much.
func (o *output) spill() {
	if len(o.b) >= outFlush {
		o.write()
	}
}

// write sends what is pending and keeps the buffer.
func (o *output) write() {
	if o.err == nil && len(o.b) > 0 {
		_ = o.conn.WriteTimeout(o.timeout)
		if o.zip != nil {
			_, o.err = o.zip.Write(o.b)
		} else {
			_, o.err = o.conn.Write(o.b)
		}
	}
	o.b = o.b[:0]
}

// flush sends what is pending and gives the buffer back.
func (o *output) flush() error {
	if o.pooled == nil {
		return o.err
	}
	o.write()
	if cap(o.b) <= outKeep {
		*o.pooled = o.b
		outBuffers.Put(o.pooled)
	}
	o.b, o.pooled = nil, nil
	return o.err
}

// stream appends n octets of r from off on, as the octets of a literal that has
// been announced. When they cannot be had the session cannot go on: the error
// sticks.
func (o *output) stream(r io.ReaderAt, off, n int64, binary bool) {
	for n > 0 && o.err == nil {
		o.spill()
		room := cap(o.b) - len(o.b)
		if room < 4096 {
			o.write()
			room = cap(o.b)
		}
		at := len(o.b)
		part := o.b[at : at+int(min(int64(room), n))]
		m, err := r.ReadAt(part, off)
		if m < len(part) {
			if err == nil || err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			o.err = err
			return
		}
		if !binary {
			wire.MaskNUL(part)
		}
		o.b = o.b[:at+m]
		off, n = off+int64(m), n-int64(m)
	}
}
