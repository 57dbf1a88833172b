package memory

import (
	"bytes"
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/posta-mail/posta/store"
)

// spool is the store.Spool. An item that is not held is in one of two places:
// ready, by its due time, or leased, by the time at which it may be leased
// again.
type spool struct {
	s     *Store
	waker store.Waker

	mu     sync.Mutex
	lastID store.ItemID
	fence  uint64
	items  map[store.ItemID]*item
	order  []store.ItemID // ascending; may name items that are gone
	ready  store.DueIndex
	leased itemHeap
}

var _ store.Spool = (*spool)(nil)

type item struct {
	store.DueNode // in ready
	entry         store.SpoolEntry
	fence         uint64 // of the present lease; 0: none
	prefix        []byte
	body          *body
	leased        bool      // is in that heap
	at            time.Time // key there
	index         int
}

// itemHeap implements heap.Interface.
type itemHeap []*item

func (h itemHeap) Len() int { return len(h) }
func (h itemHeap) Less(i, j int) bool {
	if c := h[i].at.Compare(h[j].at); c != 0 {
		return c < 0
	}
	return h[i].entry.ID < h[j].entry.ID
}
func (h itemHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *itemHeap) Push(x any) {
	it := x.(*item)
	it.index = len(*h)
	*h = append(*h, it)
}
func (h *itemHeap) Pop() any {
	n := len(*h) - 1
	it := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	return it
}

func newSpool(s *Store) *spool { return &spool{s: s, items: map[store.ItemID]*item{}} }

// arrange puts an item where its state belongs. sp.mu is held.
func (sp *spool) arrange(it *item) {
	sp.ready.Remove(&it.DueNode)
	if it.leased {
		heap.Remove(&sp.leased, it.index)
		it.leased = false
	}
	e := &it.entry
	switch {
	case e.Hold:
	case e.Leased.IsZero():
		it.ID, it.Due = e.ID, store.DueNanos(e.Due)
		sp.ready.Add(&it.DueNode, e.Site)
	default:
		it.leased, it.at = true, e.Leased
		if e.Due.After(e.Leased) {
			it.at = e.Due
		}
		heap.Push(&sp.leased, it)
	}
}

// remove forgets an item. sp.mu is held.
func (sp *spool) remove(it *item) {
	it.entry.Hold = true
	sp.arrange(it)
	delete(sp.items, it.entry.ID)
	sp.s.budget.release(it.charge())
	it.body.release()
	if len(sp.order) > 64 && len(sp.order) > 2*len(sp.items) {
		sp.order = slices.DeleteFunc(sp.order, func(id store.ItemID) bool { return sp.items[id] == nil })
	}
}

// charge is what the item costs beside its body.
func (it *item) charge() int64 {
	return int64(len(it.prefix) + len(it.entry.Envelope) + len(it.entry.Site))
}

// prepare makes items ready to be added: bodies owned, octets reserved.
func (sp *spool) prepare(ctx context.Context, in []store.SpoolItem) (items []*item, undo func(), err error) {
	o := owner{s: sp.s}
	var charged int64
	undo = func() {
		o.release()
		sp.s.budget.release(charged)
	}
	for n := range in {
		if err := in[n].Check(); err != nil {
			undo()
			return nil, nil, err
		}
		b, err := o.own(ctx, in[n].Body)
		if err != nil {
			undo()
			return nil, nil, err
		}
		it := &item{prefix: bytes.Clone(in[n].Prefix), body: b, entry: store.SpoolEntry{Due: in[n].Due, Site: in[n].Site,
			Envelope: bytes.Clone(in[n].Envelope), Hold: in[n].Hold, Size: int64(len(in[n].Prefix)) + b.size}}
		if err := sp.s.reserve(it.charge()); err != nil {
			undo()
			return nil, nil, err
		}
		charged += it.charge()
		items = append(items, it)
	}
	for _, it := range items {
		it.body.acquire() // o holds one
	}
	undo = func() {
		for _, it := range items {
			it.body.release()
		}
		sp.s.budget.release(charged)
	}
	o.release()
	return items, undo, nil
}

// add gives prepared items their ids. sp.mu is held.
func (sp *spool) add(items []*item) []store.ItemID {
	now := time.Now()
	ids := make([]store.ItemID, 0, len(items))
	for _, it := range items {
		sp.lastID++
		it.entry.ID, it.entry.Created = sp.lastID, now
		if it.entry.Due.IsZero() {
			it.entry.Due = now
		}
		sp.items[it.entry.ID] = it
		sp.order = append(sp.order, it.entry.ID)
		sp.arrange(it)
		ids = append(ids, it.entry.ID)
	}
	return ids
}

func (sp *spool) Enqueue(ctx context.Context, in []store.SpoolItem) ([]store.ItemID, error) {
	if err := sp.s.gate.Enter(ctx); err != nil {
		return nil, err
	}
	defer sp.s.gate.Leave()
	items, _, err := sp.prepare(ctx, in)
	if err != nil || len(items) == 0 {
		return nil, err
	}
	sp.mu.Lock()
	ids := sp.add(items)
	sp.mu.Unlock()
	sp.waker.Wake()
	return ids, nil
}

func (sp *spool) Lease(ctx context.Context, now time.Time, most int, ttl time.Duration, except ...string) ([]store.LeasedItem, error) {
	if ttl <= 0 {
		return nil, fmt.Errorf("%w: lease of %v", store.ErrInvalid, ttl)
	}
	if err := sp.s.gate.Enter(ctx); err != nil {
		return nil, err
	}
	defer sp.s.gate.Leave()
	sp.mu.Lock()
	defer sp.mu.Unlock()
	for len(sp.leased) > 0 && !sp.leased[0].at.After(now) {
		sp.leased[0].entry.Leased = time.Time{} // expired; its fence still counts until the next lease
		sp.arrange(sp.leased[0])
	}
	var taken []*item
	sp.ready.Take(store.DueNanos(now), most, except, func(n *store.DueNode) { taken = append(taken, sp.items[n.ID]) })
	var out []store.LeasedItem
	for _, it := range taken {
		sp.fence++
		it.fence = sp.fence
		it.entry.Leased = now.Add(ttl)
		it.entry.Attempts++
		sp.arrange(it)
		out = append(out, store.LeasedItem{SpoolEntry: it.copy(), Fence: it.fence})
	}
	return out, nil
}

// copy is the entry for a caller to keep.
func (it *item) copy() store.SpoolEntry {
	e := it.entry
	e.Envelope = bytes.Clone(e.Envelope)
	return e
}

// holder gives an item to whoever proves the lease. sp.mu is held.
func (sp *spool) holder(id store.ItemID, fence uint64) (*item, error) {
	it := sp.items[id]
	if it == nil || it.fence == 0 || it.fence != fence {
		return nil, fmt.Errorf("%w: lease of item %d lost", store.ErrConflict, id)
	}
	return it, nil
}

func (sp *spool) Extend(ctx context.Context, id store.ItemID, fence uint64, now time.Time, ttl time.Duration) error {
	if err := sp.s.gate.Enter(ctx); err != nil {
		return err
	}
	defer sp.s.gate.Leave()
	sp.mu.Lock()
	defer sp.mu.Unlock()
	it, err := sp.holder(id, fence)
	if err != nil {
		return err
	}
	it.entry.Leased = now.Add(ttl)
	sp.arrange(it)
	return nil
}

func (sp *spool) Settle(ctx context.Context, id store.ItemID, fence uint64, next *store.Reschedule, enqueue []store.SpoolItem) ([]store.ItemID, error) {
	if err := sp.s.gate.Enter(ctx); err != nil {
		return nil, err
	}
	defer sp.s.gate.Leave()
	var grown int64
	if next != nil {
		if err := next.Check(); err != nil {
			return nil, err
		}
		if grown = int64(len(next.Envelope) + len(next.Site)); sp.s.reserve(grown) != nil {
			return nil, store.ErrNoSpace
		}
	}
	items, undo, err := sp.prepare(ctx, enqueue)
	if err != nil {
		sp.s.budget.release(grown)
		return nil, err
	}
	sp.mu.Lock()
	defer sp.mu.Unlock()
	it, err := sp.holder(id, fence)
	if err != nil {
		sp.s.budget.release(grown)
		undo()
		return nil, err
	}
	if next == nil {
		sp.remove(it)
	} else {
		sp.s.budget.release(int64(len(it.entry.Envelope) + len(it.entry.Site)))
		e := &it.entry
		e.Due, e.Site, e.Envelope, e.Hold, e.Leased = next.Due, next.Site, bytes.Clone(next.Envelope), next.Hold, time.Time{}
		if e.Due.IsZero() {
			e.Due = time.Now()
		}
		it.fence = 0
		sp.arrange(it)
	}
	ids := sp.add(items)
	sp.waker.Wake()
	return ids, nil
}

func (sp *spool) NextDue(ctx context.Context, except ...string) (due time.Time, ok bool, err error) {
	if err := sp.s.gate.Enter(ctx); err != nil {
		return due, false, err
	}
	defer sp.s.gate.Leave()
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if n := sp.ready.First(except...); n != nil {
		due, ok = sp.items[n.ID].entry.Due, true
	}
	if len(sp.leased) > 0 && (!ok || sp.leased[0].at.Before(due)) {
		due, ok = sp.leased[0].at, true
	}
	return due, ok, nil
}

func (sp *spool) Watch(ctx context.Context) <-chan struct{} { return sp.waker.Watch(ctx) }

func (sp *spool) Open(ctx context.Context, id store.ItemID) (store.Body, error) {
	if err := sp.s.gate.Enter(ctx); err != nil {
		return nil, err
	}
	defer sp.s.gate.Leave()
	sp.mu.Lock()
	defer sp.mu.Unlock()
	it := sp.items[id]
	if it == nil {
		return nil, store.ErrNotFound
	}
	return openBody(it.prefix, it.body), nil
}

func (sp *spool) List(ctx context.Context, after store.ItemID, most int) ([]store.SpoolEntry, error) {
	if err := sp.s.gate.Enter(ctx); err != nil {
		return nil, err
	}
	defer sp.s.gate.Leave()
	sp.mu.Lock()
	defer sp.mu.Unlock()
	i, _ := slices.BinarySearchFunc(sp.order, after+1, func(a, b store.ItemID) int { return cmp.Compare(a, b) })
	var out []store.SpoolEntry
	for ; i < len(sp.order) && len(out) < most; i++ {
		if it := sp.items[sp.order[i]]; it != nil {
			out = append(out, it.copy())
		}
	}
	return out, nil
}

func (sp *spool) Steer(ctx context.Context, id store.ItemID, steer store.Steer) error {
	if err := sp.s.gate.Enter(ctx); err != nil {
		return err
	}
	defer sp.s.gate.Leave()
	sp.mu.Lock()
	defer sp.mu.Unlock()
	it := sp.items[id]
	if it == nil {
		return store.ErrNotFound
	}
	if steer.Due != nil {
		it.entry.Due = *steer.Due
	}
	if steer.Hold != nil {
		it.entry.Hold = *steer.Hold
	}
	sp.arrange(it)
	sp.waker.Wake()
	return nil
}

func (sp *spool) Remove(ctx context.Context, id store.ItemID) error {
	if err := sp.s.gate.Enter(ctx); err != nil {
		return err
	}
	defer sp.s.gate.Leave()
	sp.mu.Lock()
	defer sp.mu.Unlock()
	it := sp.items[id]
	if it == nil {
		return store.ErrNotFound
	}
	if it.entry.Leased.After(time.Now()) {
		return store.ErrInUse
	}
	sp.remove(it)
	return nil
}
