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

// spoolState is the schedule of the spool, in memory: about 200 octets an
// item. Only the committer modifies it; what a failed batch did is undone.
type spoolState struct {
	wake store.Waker

	mu     sync.Mutex
	items  map[store.ItemID]*spoolItem
	ready  store.DueIndex // not leased, or expired when last looked at
	leased spoolHeap      // by the time they are available
}

// spoolItem is an item's schedule. Times are nanoseconds since 1970.
type spoolItem struct {
	store.DueNode
	site     string
	lease    int64 // end; 0: none
	attempts uint32
	hold     bool
	seg      uint64 // of the body

	leased bool // is in that heap
	pos    int
}

// available is when the item may be leased.
func (i *spoolItem) available() int64 { return max(i.Due, i.lease) }

// spoolHeap is a heap.Interface by the time items are available.
type spoolHeap []*spoolItem

func (h spoolHeap) Len() int { return len(h) }
func (h spoolHeap) Less(a, b int) bool {
	return cmp.Or(cmp.Compare(h[a].available(), h[b].available()), cmp.Compare(h[a].ID, h[b].ID)) < 0
}
func (h spoolHeap) Swap(a, b int) {
	h[a], h[b] = h[b], h[a]
	h[a].pos, h[b].pos = a, b
}
func (h *spoolHeap) Push(x any) {
	i := x.(*spoolItem)
	i.pos, i.leased = len(*h), true
	*h = append(*h, i)
}
func (h *spoolHeap) Pop() any {
	n := len(*h) - 1
	i := (*h)[n]
	(*h)[n] = nil
	*h = (*h)[:n]
	i.leased = false
	return i
}

// attach puts an item where it belongs, detach takes it out.
func (p *spoolState) attach(i *spoolItem) {
	switch {
	case i.hold:
	case i.lease == 0:
		p.ready.Add(&i.DueNode, i.site)
	default:
		heap.Push(&p.leased, i)
	}
}

func (p *spoolState) detach(i *spoolItem) {
	p.ready.Remove(&i.DueNode)
	if i.leased {
		heap.Remove(&p.leased, i.pos)
	}
}

// moved notes the segment an item's body was copied to.
func (p *spoolState) moved(id store.ItemID, seg uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := p.items[id]; i != nil {
		i.seg = seg
	}
}

// take removes up to limit items that may be leased at now, oldest due first,
// leaving some sites out.
func (p *spoolState) take(now int64, limit int, except []string) (taken []*spoolItem) {
	for len(p.leased) > 0 && p.leased[0].available() <= now {
		i := heap.Pop(&p.leased).(*spoolItem)
		p.ready.Add(&i.DueNode, i.site)
	}
	p.ready.Take(now, limit, except, func(n *store.DueNode) {
		i := p.items[n.ID]
		if i.lease > now {
			heap.Push(&p.leased, i) // had expired for a caller whose clock was ahead
			return
		}
		taken = append(taken, i)
	})
	return taken
}

// next is the earliest time at which an item may be leased.
func (p *spoolState) next(except []string) (int64, bool) {
	at, ok := int64(math.MaxInt64), false
	if n := p.ready.First(except...); n != nil {
		at, ok = p.items[n.ID].available(), true
	}
	if len(p.leased) > 0 {
		at, ok = min(at, p.leased[0].available()), true
	}
	return at, ok
}

// load reads the schedule from the database.
func (p *spoolState) load(ctx context.Context, s *Store) error {
	p.items = make(map[store.ItemID]*spoolItem)
	rows, err := s.reader.QueryContext(ctx, "SELECT id, due, lease, attempts, hold, bodyseg, site FROM spool ORDER BY due")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		i := new(spoolItem)
		if err := rows.Scan(&i.ID, &i.Due, &i.lease, &i.attempts, &i.hold, &i.seg, &i.site); err != nil {
			return err
		}
		p.items[i.ID] = i
		p.attach(i)
	}
	return rows.Err()
}

// dueNanos is a due time; the zero time means at once.
func (s *Store) dueNanos(t time.Time) int64 {
	if t.IsZero() {
		t = s.now()
	}
	return store.DueNanos(t)
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
