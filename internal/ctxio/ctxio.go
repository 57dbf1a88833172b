// Package ctxio reads streams until a context ends.
package ctxio

import (
	"bytes"
	"context"
	"io"
	"sync"
)

const size = 32 << 10

var buffers = sync.Pool{New: func() any { return new([size]byte) }}

// Feed writes all that r has to w, which must take everything. Between two
// reads it looks at ctx. What is in memory is written at once, without a copy.
// The error is r's or ctx's; nil at r's end.
func Feed(ctx context.Context, w io.Writer, r io.Reader) error {
	switch r := r.(type) {
	case *bytes.Reader:
		return whole(ctx, w, r)
	case *bytes.Buffer:
		return whole(ctx, w, r)
	}
	buf := buffers.Get().(*[size]byte)
	defer buffers.Put(buf)
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := r.Read(buf[:])
		if n > 0 {
			_, _ = w.Write(buf[:n])
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func whole(ctx context.Context, w io.Writer, r io.WriterTo) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	_, err := r.WriteTo(w)
	return err
}
