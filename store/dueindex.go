package store

import (
	"cmp"
	"container/heap"
	"math"
	"time"
)

// DueIndex orders the items of a spool that may be leased, by due time over
// all sites, so that taking the next one while leaving some sites out costs
// no look at what waits for those. It is a helper for engines, who lock it.
// The zero value is empty.
type DueIndex struct {
	sites map[string]*dueSite
	order siteHeap
}

// DueNode is an item's place in a DueIndex; engines embed it.
type DueNode struct {
	// Due orders items, ID those that are due at the same time; see DueNanos.
	Due int64
	ID  ItemID

	site *dueSite // nil: in no index
	pos  int
}

// DueNanos is a time as DueNode.Due: nanoseconds since 1970, what cannot be
// said so pushed to the nearest end.
func DueNanos(t time.Time) int64 {
	switch {
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// Indexed reports whether the node is in an index.
func (n *DueNode) Indexed() bool { return n.site != nil }

type dueSite struct {
	name  string
	nodes []*DueNode
	pos   int
}

func (a *DueNode) before(b *DueNode) bool {
	return cmp.Or(cmp.Compare(a.Due, b.Due), cmp.Compare(a.ID, b.ID)) < 0
}

// Add puts a node that is in no index in.
func (x *DueIndex) Add(n *DueNode, site string) {
	s := x.sites[site]
	if s == nil {
		if x.sites == nil {
			x.sites = make(map[string]*dueSite)
		}
		s = &dueSite{name: site}
		x.sites[site] = s
	}
	n.site = s
	heap.Push(s, n)
	if len(s.nodes) == 1 {
		heap.Push(&x.order, s)
	} else {
		heap.Fix(&x.order, s.pos)
	}
}

// Remove takes a node out; one that is in no index is left alone.
func (x *DueIndex) Remove(n *DueNode) {
	s := n.site
	if s == nil {
		return
	}
	heap.Remove(s, n.pos)
	n.site = nil
	if len(s.nodes) > 0 {
		heap.Fix(&x.order, s.pos)
		return
	}
	heap.Remove(&x.order, s.pos)
	delete(x.sites, s.name)
}

// First is the node that is due first, leaving out the items of some sites;
// nil if there is none.
func (x *DueIndex) First(except ...string) (first *DueNode) {
	x.without(except, func() {
		if len(x.order) > 0 {
			first = x.order[0].nodes[0]
		}
	})
	return first
}

// Take removes up to max nodes that are due at or before now, in order,
// leaving out the items of some sites, and hands each to take, which must not
// change the index.
func (x *DueIndex) Take(now int64, max int, except []string, take func(*DueNode)) {
	x.without(except, func() {
		for range max {
			n := x.First()
			if n == nil || n.Due > now {
				break
			}
			x.Remove(n)
			take(n)
		}
	})
}

// without calls f while the sites named are not in order.
func (x *DueIndex) without(except []string, f func()) {
	var aside []*dueSite
	for _, name := range except {
		if s := x.sites[name]; s != nil && s.pos >= 0 {
			heap.Remove(&x.order, s.pos)
			s.pos = -1
			aside = append(aside, s)
		}
	}
	f()
	for _, s := range aside {
		heap.Push(&x.order, s)
	}
}

// heap.Interface of a site's nodes.

func (s *dueSite) Len() int           { return len(s.nodes) }
func (s *dueSite) Less(i, j int) bool { return s.nodes[i].before(s.nodes[j]) }
func (s *dueSite) Swap(i, j int) {
	s.nodes[i], s.nodes[j] = s.nodes[j], s.nodes[i]
	s.nodes[i].pos, s.nodes[j].pos = i, j
}

func (s *dueSite) Push(x any) {
	n := x.(*DueNode)
	n.pos = len(s.nodes)
	s.nodes = append(s.nodes, n)
}

func (s *dueSite) Pop() any {
	last := len(s.nodes) - 1
	n := s.nodes[last]
	s.nodes[last] = nil
	s.nodes = s.nodes[:last]
	return n
}

// siteHeap orders sites by their first node.
type siteHeap []*dueSite

func (h siteHeap) Len() int           { return len(h) }
func (h siteHeap) Less(i, j int) bool { return h[i].nodes[0].before(h[j].nodes[0]) }
func (h siteHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].pos, h[j].pos = i, j
}

func (h *siteHeap) Push(x any) {
	s := x.(*dueSite)
	s.pos = len(*h)
	*h = append(*h, s)
}

func (h *siteHeap) Pop() any {
	last := len(*h) - 1
	s := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return s
}
