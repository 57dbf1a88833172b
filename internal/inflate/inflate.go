// Package inflate decodes DEFLATE (RFC 1951) of a conversation: whatever the
// octets that have come so far stand for is given out before more are waited for.
//
// Package compress/flate gives out what it has decoded when its window is full, at
// a stored block and at the end. A peer that ends each message by a partial flush
// (a block without octets, not aligned to an octet) and waits for the answer would
// wait for ever.
package inflate

import (
	"errors"
	"io"
	"sync"
)

// ErrCorrupt: the input is not DEFLATE. It sticks.
var ErrCorrupt = errors.New("inflate: corrupt input")

const (
	window   = 1 << 15 // RFC 1951 §3.2.5: distances
	maxMatch = 258
	inSize   = 4 << 10
)

var inBuffers = sync.Pool{New: func() any { return new([inSize]byte) }}

// Reader decodes what it reads from another reader. It takes about 36 KiB, and
// another 4 KiB while input is waiting to be decoded. Not safe for concurrent use.
type Reader struct {
	src io.Reader
	err error // of src, or ErrCorrupt; io.EOF behind the last block

	buf  *[inSize]byte // from the pool; nil without input
	in   []byte        // of it, not decoded yet
	bits uint64        // taken from in, lowest first
	n    uint          // how many

	out    [window]byte
	rd, wr uint64 // octets given out and decoded, since the begin

	read int64 // octets of input
	step func(*Reader) bool
	last bool // the block at hand is the last
	// The block at hand, or that which has ended.
	inside bool   // it has not ended
	fixes  bool   // its codes are the fixed ones
	began  uint64 // wr at its begin
	left   int    // of a stored block

	lit, offset tree
	code        tree
	dyn         dynamic
}

// dynamic is the header of a block with codes of its own (RFC 1951 §3.2.7).
type dynamic struct {
	nlit, ndist, ncode int
	i                  int
	lengths            [286 + 32]uint8
}

// NewReader returns a Reader of what src gives.
func NewReader(src io.Reader) *Reader { return &Reader{src: src, step: (*Reader).block} }

// In and Out tell how many octets have been read and how many they stood for.
func (r *Reader) In() int64  { return r.read }
func (r *Reader) Out() int64 { return int64(r.wr) }

// Buffered reports whether Read has something to give without reading.
func (r *Reader) Buffered() bool { return r.rd != r.wr || len(r.in) > 0 || r.err != nil }

// Read implements io.Reader. It reads from the source, once, only if nothing can
// be given out without. Behind the last block it returns io.EOF, and
// io.ErrUnexpectedEOF if the source ends before.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		r.decode()
		if r.rd != r.wr {
			return r.give(p), nil
		}
		if r.err != nil {
			return 0, r.err
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
}

// give copies what has been decoded.
func (r *Reader) give(p []byte) (n int) {
	for n < len(p) && r.rd != r.wr {
		from := r.rd % window
		m := copy(p[n:], r.out[from:min(window, from+r.wr-r.rd)])
		n, r.rd = n+m, r.rd+uint64(m)
	}
	return n
}

// fill reads input. An error with no input does not stick but for the end: the
// source may have been woken up by a deadline.
func (r *Reader) fill() error {
	if r.buf == nil {
		r.buf = inBuffers.Get().(*[inSize]byte)
	}
	n, err := r.src.Read(r.buf[:])
	r.in, r.read = r.buf[:n], r.read+int64(n)
	if n > 0 {
		return nil
	}
	inBuffers.Put(r.buf)
	r.buf = nil
	if err == io.EOF {
		r.err = io.ErrUnexpectedEOF
		return r.err
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return err
}

// decode goes on until the input is used up or the window is full of what has not
// been given out.
func (r *Reader) decode() {
	for r.err == nil && r.wr-r.rd <= window-maxMatch {
		if !r.step(r) {
			break
		}
	}
	if len(r.in) == 0 && r.buf != nil {
		inBuffers.Put(r.buf)
		r.buf, r.in = nil, nil
	}
}

// need takes input until there are n bits; n is at most 48.
func (r *Reader) need(n uint) bool {
	for r.n < n {
		if len(r.in) == 0 {
			return false
		}
		r.bits |= uint64(r.in[0]) << r.n
		r.in, r.n = r.in[1:], r.n+8
	}
	return true
}

// take uses n bits that are there.
func (r *Reader) take(n uint) int {
	v := r.bits & (1<<n - 1)
	r.bits, r.n = r.bits>>n, r.n-n
	return int(v)
}

// corrupt ends the stream.
func (r *Reader) corrupt() bool {
	r.err = ErrCorrupt
	return false
}

// block reads the header of a block (RFC 1951 §3.2.3).
func (r *Reader) block() bool {
	if r.last {
		r.err = io.EOF
		return false
	}
	if !r.need(3) {
		return false
	}
	r.last = r.take(1) == 1
	kind := r.take(2)
	r.inside, r.fixes, r.began = true, kind == 1, r.wr
	switch kind {
	case 0:
		r.take(r.n % 8) // RFC 1951 §3.2.4: the rest of the octet is ignored
		r.step = (*Reader).storedHead
	case 1:
		r.fixed()
		r.step = (*Reader).symbol
	case 2:
		r.step = (*Reader).dynamicHead
	default:
		return r.corrupt()
	}
	return true
}

// end ends a block.
func (r *Reader) end() { r.step, r.inside = (*Reader).block, false }

// Finish is for the end of a conversation, when what its sender wrote last has
// been read: it throws away what else has come, and reads the rest of the flush
// that ended that, and nothing behind it.
func (r *Reader) Finish() error {
	var one [1]byte
	for {
		for r.decode(); r.rd != r.wr; r.decode() {
			r.rd = r.wr
		}
		// A flush is a block without octets. A partial one, which has fixed codes,
		// keeps its last bits back.
		if r.err == io.EOF || r.wr == r.began && (!r.inside || r.fixes) {
			return nil
		}
		if r.err != nil {
			return r.err
		}
		n, err := r.src.Read(one[:])
		if n == 0 && err != nil {
			return err
		}
		r.in, r.read = one[:n], r.read+int64(n)
	}
}

// storedHead reads the length of a block that is not compressed.
func (r *Reader) storedHead() bool {
	if !r.need(32) {
		return false
	}
	n := r.take(16)
	if r.take(16) != n^0xffff {
		return r.corrupt()
	}
	r.left, r.step = n, (*Reader).stored
	return true
}

// stored copies octets as they are.
func (r *Reader) stored() bool {
	for r.left > 0 && r.n >= 8 {
		r.put(byte(r.take(8)))
		r.left--
	}
	for r.left > 0 && len(r.in) > 0 && r.wr-r.rd <= window-maxMatch {
		at := r.wr % window
		n := copy(r.out[at:min(window, at+maxMatch)], r.in[:min(len(r.in), r.left)])
		r.in, r.left, r.wr = r.in[n:], r.left-n, r.wr+uint64(n)
	}
	if r.left == 0 {
		r.end()
		return true
	}
	return len(r.in) > 0
}

func (r *Reader) put(b byte) {
	r.out[r.wr%window] = b
	r.wr++
}

// extra are the bases and extra bits of the codes for lengths from 257 on, and for
// distances (RFC 1951 §3.2.5).
type extra struct {
	base uint16
	bits uint8
}

var lengthCodes = [...]extra{
	{3, 0}, {4, 0}, {5, 0}, {6, 0}, {7, 0}, {8, 0}, {9, 0}, {10, 0}, {11, 1}, {13, 1}, {15, 1}, {17, 1}, {19, 2}, {23, 2}, {27, 2}, {31, 2},
	{35, 3}, {43, 3}, {51, 3}, {59, 3}, {67, 4}, {83, 4}, {99, 4}, {115, 4}, {131, 5}, {163, 5}, {195, 5}, {227, 5}, {258, 0},
}

var distanceCodes = [...]extra{
	{1, 0}, {2, 0}, {3, 0}, {4, 0}, {5, 1}, {7, 1}, {9, 2}, {13, 2}, {17, 3}, {25, 3}, {33, 4}, {49, 4}, {65, 5}, {97, 5}, {129, 6}, {193, 6},
	{257, 7}, {385, 7}, {513, 8}, {769, 8}, {1025, 9}, {1537, 9}, {2049, 10}, {3073, 10}, {4097, 11}, {6145, 11}, {8193, 12}, {12289, 12}, {16385, 13}, {24577, 13},
}

// endOfBlock is the symbol that ends a block.
const endOfBlock = 256

// symbol decodes a literal, a match, or the end of a block. It uses bits only when
// all that it needs are there.
func (r *Reader) symbol() bool {
	full := r.need(48)
	sym, used, ok := r.lit.find(r.bits, r.n)
	switch {
	case !ok:
		return r.missing(full, r.n)
	case sym < endOfBlock:
		r.take(used)
		r.put(byte(sym))
		return true
	case sym == endOfBlock:
		r.take(used)
		r.end()
		return true
	case sym-endOfBlock-1 >= len(lengthCodes):
		return r.corrupt()
	}
	l := lengthCodes[sym-endOfBlock-1]
	at := used + uint(l.bits)
	if at > r.n {
		return false
	}
	length := int(l.base) + int(r.bits>>used&(1<<l.bits-1))
	sym, used, ok = r.offset.find(r.bits>>at, r.n-at)
	if !ok {
		return r.missing(full, r.n-at)
	}
	if sym >= len(distanceCodes) {
		return r.corrupt()
	}
	d := distanceCodes[sym]
	at += used
	if at+uint(d.bits) > r.n {
		return false
	}
	dist := uint64(d.base) + r.bits>>at&(1<<d.bits-1)
	r.take(at + uint(d.bits))
	if dist > min(r.wr, window) {
		return r.corrupt()
	}
	r.match(length, dist)
	return true
}

// missing: no code was found in n bits. If they were enough there is none.
func (r *Reader) missing(full bool, n uint) bool {
	if full || n >= maxBits {
		return r.corrupt()
	}
	return false
}

// match copies octets that have been there before. They may overlap.
func (r *Reader) match(length int, dist uint64) {
	to, from := r.wr%window, (r.wr-dist)%window
	r.wr += uint64(length)
	if to+maxMatch < window && from+maxMatch < window && dist >= uint64(length) {
		copy(r.out[to:to+uint64(length)], r.out[from:])
		return
	}
	for range length {
		r.out[to] = r.out[from]
		to, from = (to+1)%window, (from+1)%window
	}
}
