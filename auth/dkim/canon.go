package dkim

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"math/bits"
)

// Canonicalization is one of the two ways to bring a header or a body into the
// form that is hashed (RFC 6376 §3.4).
type Canonicalization string

const (
	// Simple tolerates almost no change in transit.
	Simple Canonicalization = "simple"
	// Relaxed tolerates changes of white space and of the case of field names.
	Relaxed Canonicalization = "relaxed"
)

func (c Canonicalization) valid() bool { return c == Simple || c == Relaxed }

// AppendHeader appends the canonical form of one raw field, with or without its
// final CRLF, to dst; no CRLF is appended (RFC 6376 §3.4.1, §3.4.2).
func (c Canonicalization) AppendHeader(dst, field []byte) []byte {
	field = bytes.TrimSuffix(field, crlf)
	if c != Relaxed {
		return append(dst, field...)
	}
	colon := bytes.IndexByte(field, ':')
	if colon < 0 {
		colon = len(field)
	}
	for _, b := range bytes.TrimRight(field[:colon], " \t") {
		if 'A' <= b && b <= 'Z' {
			b += 'a' - 'A'
		}
		dst = append(dst, b)
	}
	if colon == len(field) {
		return dst
	}
	dst = append(dst, ':')
	return appendRelaxed(dst, field[colon+1:])
}

// appendRelaxed unfolds a field body, makes one space of each run of white
// space and drops it at both ends.
func appendRelaxed(dst, v []byte) []byte {
	start := len(dst)
	for i := 0; i < len(v); {
		if isFWS(v[i]) {
			i++
			continue
		}
		j := i + 1
		for j < len(v) && !isFWS(v[j]) {
			j++
		}
		if len(dst) > start {
			dst = append(dst, ' ')
		}
		dst = append(dst, v[i:j]...)
		i = j
	}
	return dst
}

// BodyHasher computes hashes over the canonical body of one message while it
// is written. Several hashes of the same body share the canonicalisation, and
// equal ones are computed once. The zero value is ready for use; it is not safe
// for concurrent use. Memory does not depend on the body, work is linear in it.
type BodyHasher struct {
	canons [2]*bodyCanon
}

// BodyHash is one SHA-256 over a canonical body; see BodyHasher.Add.
type BodyHash struct {
	h     hash.Hash
	limit int64
	canon *bodyCanon
	sum   [sha256.Size]byte
}

// reset makes the hasher ready for another body; what was made for this one is
// kept for that.
func (b *BodyHasher) reset() {
	for _, c := range b.canons {
		if c != nil {
			c.free = append(c.free, c.sinks...)
			c.held, c.n, c.total, c.sinks = 0, 0, 0, c.sinks[:0]
			c.space, c.cr, c.closed = false, false, false
		}
	}
}

// Add asks for a hash over the first limit octets of the canonical body, or
// over all of it where limit is negative (l= of RFC 6376 §3.5). It must be
// called before the first Write.
func (b *BodyHasher) Add(c Canonicalization, limit int64) *BodyHash {
	i := 0
	if c == Relaxed {
		i = 1
	}
	if limit < 0 {
		limit = -1
	}
	canon := b.canons[i]
	if canon == nil {
		canon = &bodyCanon{relaxed: i == 1}
		b.canons[i] = canon
	}
	for _, h := range canon.sinks {
		if h.limit == limit {
			return h
		}
	}
	h := canon.spare()
	h.limit = limit
	canon.sinks = append(canon.sinks, h)
	return h
}

// Write takes the next piece of the body. It always takes all of it.
func (b *BodyHasher) Write(p []byte) (int, error) {
	if len(p) > 0 {
		for _, c := range b.canons {
			if c != nil && len(c.sinks) > 0 {
				c.write(p)
			}
		}
	}
	return len(p), nil
}

// Close marks the end of the body; afterwards Sum may be asked.
func (b *BodyHasher) Close() error {
	for _, c := range b.canons {
		if c != nil {
			c.finish()
		}
	}
	return nil
}

// Sum returns the hash. Call it after BodyHasher.Close.
func (h *BodyHash) Sum() []byte { return h.sum[:] }

// Total is the size of the whole canonical body in octets, whatever the limit.
func (h *BodyHash) Total() int64 { return h.canon.total }

func (h *BodyHash) write(p []byte, before int64) {
	if h.limit >= 0 {
		p = p[:min(int64(len(p)), max(0, h.limit-before))]
	}
	h.h.Write(p)
}

var crlf = []byte("\r\n")

// blankLines is written in pieces for runs of empty lines.
var blankLines = bytes.Repeat(crlf, 1024)

// bodyCanon is the state between two pieces of a body. Line ends are held back
// until something follows them, because empty lines at the end do not count
// (RFC 6376 §3.4.3, §3.4.4).
type bodyCanon struct {
	relaxed bool
	sinks   []*BodyHash
	free    []*BodyHash // of another body
	total   int64
	held    int64 // line ends held back
	space   bool  // relaxed: white space held back, after the line ends
	cr      bool  // the last piece ended in CR
	closed  bool
	n       int // octets of small waiting for the hashes
	small   [2048]byte
}

// spare returns a hash that is not in use.
func (c *bodyCanon) spare() *BodyHash {
	n := len(c.free)
	if n == 0 {
		return &BodyHash{h: sha256.New(), canon: c}
	}
	h := c.free[n-1]
	c.free = c.free[:n-1]
	h.h.Reset()
	return h
}

// out writes p to the hashes; short pieces are gathered first, because a call
// for each word would cost more than the hashing.
func (c *bodyCanon) out(p []byte) {
	if c.n+len(p) > len(c.small) {
		c.flush()
		if len(p) > len(c.small)/2 {
			c.hash(p)
			return
		}
	}
	c.n += copy(c.small[c.n:], p)
}

func (c *bodyCanon) flush() {
	if c.n > 0 {
		c.hash(c.small[:c.n])
		c.n = 0
	}
}

func (c *bodyCanon) hash(p []byte) {
	for _, s := range c.sinks {
		s.write(p, c.total)
	}
	c.total += int64(len(p))
}

// content writes p, which starts with an octet that stands for itself, behind
// whatever was held back.
func (c *bodyCanon) content(p []byte) {
	if len(p) == 0 {
		return
	}
	for c.held > 0 {
		n := min(c.held, int64(len(blankLines)/2))
		c.out(blankLines[:2*n])
		c.held -= n
	}
	if c.space {
		c.space = false
		c.out(blankSpace)
	}
	c.out(p)
}

var blankSpace = []byte(" ")

func (c *bodyCanon) write(p []byte) {
	if c.cr {
		c.cr = false
		if p[0] == '\n' {
			c.space = false
			c.held++
			p = p[1:]
		} else {
			c.content(crlf[:1])
		}
	}
	if c.relaxed {
		c.writeRelaxed(p)
	} else {
		c.writeSimple(p)
	}
}

func (c *bodyCanon) writeSimple(p []byte) {
	end, lines, cr := len(p), int64(0), false
	if end > 0 && p[end-1] == '\r' {
		end, cr = end-1, true
	}
	for end >= 2 && p[end-1] == '\n' && p[end-2] == '\r' {
		end -= 2
		lines++
	}
	c.content(p[:end])
	c.held += lines
	c.cr = cr
}

// special marks the octets at which relaxed canonicalisation may change text.
var special = [256]bool{' ': true, '\t': true, '\r': true}

// writeRelaxed passes on spans as long as possible: a span starts with an octet
// of content and may hold single spaces and line ends that are followed by
// content, which stay as they are.
func (c *bodyCanon) writeRelaxed(p []byte) {
	start := 0
	if len(p) > 0 && special[p[0]] {
		start = c.gap(p, 0)
	}
	for i := start; i < len(p); {
		if i = skipPlain(p, i); i == len(p) {
			break
		}
		switch b := p[i]; {
		case b == ' ' && i+1 < len(p) && !special[p[i+1]]:
			i += 2
		case b == '\r' && i+1 < len(p) && p[i+1] != '\n': // a bare CR is content
			i++
		case b == '\r' && i+2 < len(p) && !special[p[i+2]]:
			i += 3
		default:
			c.content(p[start:i])
			start = c.gap(p, i)
			i = start
			if i < len(p) {
				i++ // the octet of content at which the gap ended
			}
		}
	}
	c.content(p[start:])
}

// skipPlain returns the place of the first octet of p[i:] that is special, or
// len(p). Spaces between two octets of content are not. It looks at eight
// octets at a time: the high bit of each octet of low and controls says that the
// octet is below a bound, and says so of others only above one that is. What is
// found need not be special: nothing else below 16 is in text, but if it is the
// caller sees.
func skipPlain(p []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	q := p[i:]
	for len(q) >= 9 {
		w := binary.LittleEndian.Uint64(q)
		if low := (w - 33*ones) &^ w & highs; low != 0 { // white space, or a control
			last := uint64(q[8])
			next := low>>8 | (last-33)&^last&0x80<<56
			controls := (w - 16*ones) &^ w & highs
			if found := low&next | controls; found != 0 {
				return len(p) - len(q) + bits.TrailingZeros64(found)/8
			}
		}
		q = q[8:]
	}
	i = len(p) - len(q)
	for i < len(p) && !special[p[i]] {
		i++
	}
	return i
}

// gap consumes white space and line ends from p[i:] and returns the place of
// the next octet of content, or len(p).
func (c *bodyCanon) gap(p []byte, i int) int {
	for i < len(p) {
		switch {
		case p[i] == ' ' || p[i] == '\t':
			c.space = true
			i++
		case p[i] != '\r':
			return i
		case i+1 == len(p):
			c.cr = true
			return len(p)
		case p[i+1] != '\n':
			return i
		default:
			c.space = false // RFC 6376 §3.4.4: none at the end of a line
			c.held++
			i += 2
		}
	}
	return i
}

func (c *bodyCanon) finish() {
	if c.closed {
		return
	}
	c.closed = true
	if c.cr {
		c.cr = false
		c.content(crlf[:1])
	}
	// RFC 6376 §3.4.3: a simple body ends in exactly one CRLF even if empty;
	// §3.4.4: a relaxed one only if there is something before it.
	if !c.relaxed || c.n > 0 || c.total > 0 {
		c.out(crlf)
	}
	c.flush()
	for _, s := range c.sinks {
		s.h.Sum(s.sum[:0])
	}
}

// Algorithm is a signing algorithm, the a= of a signature.
type Algorithm string

const (
	// RSASHA256 is RSA PKCS #1 v1.5 over SHA-256 (RFC 6376 §3.3.2).
	RSASHA256 Algorithm = "rsa-sha256"
	// Ed25519SHA256 is Ed25519 over a SHA-256 hash (RFC 8463 §3).
	Ed25519SHA256 Algorithm = "ed25519-sha256"
)

// keyType is the k= of the keys that fit.
func (a Algorithm) keyType() (string, error) {
	switch a {
	case RSASHA256:
		return "rsa", nil
	case Ed25519SHA256:
		return "ed25519", nil
	}
	// RFC 8301 §3.1: rsa-sha1 must not be used for verifying.
	return "", fmt.Errorf("%w", ErrAlgorithm)
}
