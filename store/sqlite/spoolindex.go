package sqlite

import (
	"cmp"
	"container/heap"
	"context"
	"database/sql"
	"math"
	"sync"
	"time"

	"github.com/posta-mail/posta/store"
)

// spoolState is the schedule of the spool, in memory: about 150 octets an
// item. Only the committer modifies it; what a failed batch did is undone.
type spoolState struct {
	wake store.Waker

	mu     sync.Mutex
	items  map[store.ItemID]*spoolItem
	ready  spoolHeap // not leased, or expired when last looked at; by due
	leased spoolHeap // by the time they are available
}

// spoolItem is an item's schedule. Times are nanoseconds since 1970.
type spoolItem struct {
	id       store.ItemID
	due      int64
	lease    int64 // end; 0: none
	attempts uint32
	hold     bool
	seg      uint64 // of the body

	heap *spoolHeap // nil: held
	pos  int
}

// available is when the item may be leased.
func (i *spoolItem) available() int64 { return max(i.due, i.lease) }

type spoolHeap struct {
	byDue bool
	items []*spoolItem
}

func (h *spoolHeap) Len() int { return len(h.items) }
func (h *spoolHeap) Less(a, b int) bool {
	x, y := h.items[a], h.items[b]
	if h.byDue {
		return cmp.Or(cmp.Compare(x.due, y.due), cmp.Compare(x.id, y.id)) < 0
	}
	return cmp.Or(cmp.Compare(x.available(), y.available()), cmp.Compare(x.id, y.id)) < 0
}
func (h *spoolHeap) Swap(a, b int) {
	h.items[a], h.items[b] = h.items[b], h.items[a]
	h.items[a].pos, h.items[b].pos = a, b
}
func (h *spoolHeap) Push(x any) {
	i := x.(*spoolItem)
	i.pos, i.heap = len(h.items), h
	h.items = append(h.items, i)
}
func (h *spoolHeap) Pop() any {
	n := len(h.items) - 1
	i := h.items[n]
	h.items[n] = nil
	h.items = h.items[:n]
	i.heap = nil
	return i
}

// attach puts an item where it belongs, detach takes it out.
func (p *spoolState) attach(i *spoolItem) {
	switch {
	case i.hold:
	case i.lease == 0:
		heap.Push(&p.ready, i)
	default:
		heap.Push(&p.leased, i)
	}
}

func (p *spoolState) detach(i *spoolItem) {
	if i.heap != nil {
		heap.Remove(i.heap, i.pos)
	}
}

// take finds the next item that may be leased at now, oldest due first.
func (p *spoolState) take(now int64) *spoolItem {
	for len(p.leased.items) > 0 && p.leased.items[0].available() <= now {
		heap.Push(&p.ready, heap.Pop(&p.leased))
	}
	for len(p.ready.items) > 0 {
		i := p.ready.items[0]
		if i.due > now {
			return nil
		}
		heap.Pop(&p.ready)
		if i.lease <= now {
			return i
		}
		heap.Push(&p.leased, i) // had expired for a caller whose clock was ahead
	}
	return nil
}

// next is the earliest time at which an item may be leased.
func (p *spoolState) next() (int64, bool) {
	at, ok := int64(math.MaxInt64), false
	for _, h := range []*spoolHeap{&p.ready, &p.leased} {
		if len(h.items) > 0 {
			at, ok = min(at, h.items[0].available()), true
		}
	}
	return at, ok
}

// load reads the schedule from the database.
func (p *spoolState) load(ctx context.Context, s *Store) error {
	p.items = make(map[store.ItemID]*spoolItem)
	p.ready.byDue = true
	rows, err := s.reader.QueryContext(ctx, "SELECT id, due, lease, attempts, hold, bodyseg FROM spool ORDER BY due")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		i := new(spoolItem)
		if err := rows.Scan(&i.id, &i.due, &i.lease, &i.attempts, &i.hold, &i.seg); err != nil {
			return err
		}
		p.items[i.id] = i
		p.attach(i)
	}
	return rows.Err()
}

// nanos is a time as the spool keeps it.
func nanos(t time.Time) int64 {
	switch {
	case t.Year() < 1678:
		return math.MinInt64
	case t.Year() > 2261:
		return math.MaxInt64
	}
	return t.UnixNano()
}

// dueNanos is a due time; the zero time means at once.
func (s *Store) dueNanos(t time.Time) int64 {
	if t.IsZero() {
		t = s.now()
	}
	return nanos(t)
}

func fromNanos(n int64) time.Time { return time.Unix(0, n).UTC() }

// scanEntry reads spoolColumns.
func scanEntry(rows *sql.Rows) (e store.SpoolEntry, err error) {
	var due, lease, created, prefix, body int64
	err = rows.Scan(&e.ID, &due, &lease, &e.Attempts, &e.Hold, &created, &e.Site, &e.Envelope, &prefix, &body)
	e.Due, e.Created, e.Size = fromNanos(due), fromNanos(created), prefix+body
	if lease != 0 {
		e.Leased = fromNanos(lease)
	}
	return e, err
}
