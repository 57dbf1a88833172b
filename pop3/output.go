package pop3

import (
	"io"
	"sync"
	"time"

	"github.com/posta-mail/posta/internal/netserve"
)

// Sizes of what is written.
const (
	outputSize = 4096     // replies are written out at the latest when so much waits
	bulkSize   = 32 << 10 // the same while a message is sent
)

// output collects replies until the client has nothing more to say: one write
// for a group of pipelined commands (RFC 2449 §6.6). It implements io.Writer.
type output struct {
	w    io.Writer
	buf  []byte
	base []byte // the small buffer while a large one is in use
	max  int    // octets that may wait
	err  error  // of w; nothing is written after one
}

// conn bounds every write by time.
type conn struct {
	nc       *netserve.Conn
	patience time.Duration
}

func (c conn) Write(p []byte) (int, error) {
	if err := c.nc.WriteTimeout(c.patience); err != nil {
		return 0, err
	}
	return c.nc.Write(p)
}

func (o *output) flush() error {
	if o.err == nil && len(o.buf) > 0 {
		_, o.err = o.w.Write(o.buf)
	}
	o.buf = o.buf[:0]
	return o.err
}

// spill writes out when enough waits; it is called after each line.
func (o *output) spill() {
	if len(o.buf) >= o.max {
		_ = o.flush()
	}
}

// line adds one line.
func (o *output) line(parts ...string) {
	for _, s := range parts {
		o.buf = append(o.buf, s...)
	}
	o.buf = append(o.buf, "\r\n"...)
	o.spill()
}

// Write implements io.Writer.
func (o *output) Write(p []byte) (int, error) {
	for b := p; len(b) > 0; {
		n := min(len(b), max(o.max-len(o.buf), 1))
		o.buf = append(o.buf, b[:n]...)
		b = b[n:]
		if len(o.buf) >= o.max {
			if err := o.flush(); err != nil {
				return len(p) - len(b), err
			}
		}
	}
	return len(p), o.err
}

// bulk is what sending a message takes.
type bulk struct {
	in, out []byte
}

var bulks = sync.Pool{New: func() any { return &bulk{make([]byte, bulkSize), make([]byte, bulkSize)} }}

// enlarge swaps the buffer for a large one.
func (o *output) enlarge(large []byte) {
	o.base, o.buf, o.max = o.buf, append(large[:0], o.buf...), bulkSize
}

// reduce swaps it back. What fits the small buffer may wait further.
func (o *output) reduce() {
	if len(o.buf) >= outputSize {
		_ = o.flush()
	}
	o.buf, o.base, o.max = append(o.base[:0], o.buf...), nil, outputSize
}
