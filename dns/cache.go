package dns

import (
	"container/list"
	"sync"
	"time"

	mdns "github.com/miekg/dns"
)

const (
	entryOverhead = 256       // octets counted for an entry beside its records
	maxEntryCost  = 16 << 10  // a costlier answer is not cached
	costPerEntry  = 1 << 10   // budget per entry of the configured size
	anyType       = uint16(0) // stands for all types of a name that does not exist
)

// cache holds positive and negative answers until they expire, least recently
// used first out, bounded in entries and in octets. The zero value is empty.
type cache struct {
	mu   sync.Mutex
	m    map[key]*list.Element
	lru  list.List // of *slot, most recent first
	cost int
}

type slot struct {
	k    key
	e    *entry
	cost int
}

// get finds what is known about k. NXDOMAIN holds for every type of the name
// (RFC 2308 §5).
func (c *cache) get(k key, now time.Time) (*entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.find(k, now); e != nil {
		return e, true
	}
	e := c.find(key{k.name, anyType}, now)
	return e, e != nil
}

func (c *cache) find(k key, now time.Time) *entry {
	el, ok := c.m[k]
	if !ok {
		return nil
	}
	s := el.Value.(*slot)
	if !now.Before(s.e.expires) {
		c.remove(el)
		return nil
	}
	c.lru.MoveToFront(el)
	return s.e
}

// put remembers e for k within a cache of size entries.
func (c *cache) put(k key, e *entry, size int) {
	if size <= 0 || !e.cacheable {
		return
	}
	if e.kind == NXDomain && e.name == k.name { // at the end of an alias the name itself exists
		k.qtype = anyType
	}
	cost := entryOverhead + len(k.name) + len(e.name)
	for _, rr := range e.rrs {
		cost += 64 + mdns.Len(rr)
	}
	if cost > maxEntryCost {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if el, ok := c.m[k]; ok {
		c.remove(el)
	}
	if c.m == nil {
		c.m = make(map[key]*list.Element)
	}
	c.m[k] = c.lru.PushFront(&slot{k, e, cost})
	c.cost += cost
	for c.lru.Len() > 1 && (c.lru.Len() > size || c.cost > size*costPerEntry) {
		c.remove(c.lru.Back())
	}
}

func (c *cache) remove(el *list.Element) {
	s := c.lru.Remove(el).(*slot)
	delete(c.m, s.k)
	c.cost -= s.cost
}

func (c *cache) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.m, c.cost = nil, 0
	c.lru.Init()
}
