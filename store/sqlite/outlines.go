package sqlite

import (
	"sync"
	"unsafe"

	"github.com/posta-mail/posta/message"
)

// outlines keeps decoded outlines by the reference of their message, which is
// never given again and whose outline never changes. What has not been asked for
// since the hand came by last goes first. Safe for concurrent use.
type outlines struct {
	max int64 // octets

	mu    sync.Mutex
	at    map[uint64]int // places in ring
	ring  []keptOutline
	hand  int
	total int64 // octets, about
}

type keptOutline struct {
	ref     uint64
	outline *message.Outline
	size    int64
	used    bool
}

func newOutlines(max int64) *outlines { return &outlines{max: max, at: make(map[uint64]int)} }

// get returns the outline of a message, nil if it is not kept.
func (c *outlines) get(ref uint64) *message.Outline {
	c.mu.Lock()
	defer c.mu.Unlock()
	i, ok := c.at[ref]
	if !ok {
		return nil
	}
	c.ring[i].used = true
	return c.ring[i].outline
}

// keep takes an outline in, which must not be changed any more. packed is its
// length as it is stored.
func (c *outlines) keep(ref uint64, o *message.Outline, packed int) {
	size := int64(packed) + int64(unsafe.Sizeof(*o)+unsafe.Sizeof(keptOutline{})) + 64
	for range o.Root.Walk() {
		size += int64(unsafe.Sizeof(message.Part{})) + 64
	}
	if size > c.max/16 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.at[ref]; ok {
		return
	}
	c.total += size
	e := keptOutline{ref: ref, outline: o, size: size}
	if c.total <= c.max {
		c.at[ref] = len(c.ring)
		c.ring = append(c.ring, e)
		return
	}
	i := c.evict()
	c.ring[i], c.at[ref] = e, i
	for c.total > c.max { // larger than the one whose place it took
		c.clear(c.evict())
	}
}

// evict makes a place empty.
func (c *outlines) evict() int {
	for {
		i := c.hand
		c.hand = (c.hand + 1) % len(c.ring)
		e := &c.ring[i]
		if e.used {
			e.used = false
			continue
		}
		c.clear(i)
		return i
	}
}

func (c *outlines) clear(i int) {
	e := &c.ring[i]
	if e.outline != nil {
		delete(c.at, e.ref)
		c.total -= e.size
	}
	*e = keptOutline{}
}
