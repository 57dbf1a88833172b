package imap

import (
	"math/bits"
	"slices"
	"strconv"

	"github.com/posta-mail/posta/imap/internal/wire"
	"github.com/posta-mail/posta/store"
)

// newcomer is a message that comes to a sorted result.
type newcomer struct {
	uid    store.UID
	before int // which of those that are there, by index
}

// place finds the places of messages, in order. What it compares them with is
// read as it is needed: a result holds no more than the numbers of its messages.
func (s *session) place(x *searchContext, snap *store.Snapshot, uids store.UIDSet) ([]newcomer, error) {
	p := placer{
		sorter: sorter{session: s, memory: loan{budget: s.srv.budget}, columns: newColumns(x.by)},
		snap:   snap, order: x.order, read: make(map[store.UID]int32),
	}
	defer p.memory.repay()
	n := uids.Len()
	if n*bits.Len(uint(len(x.order))) > len(x.order)/4 { // as good as all are compared
		var all []store.Row
		for _, row := range snap.Select(x.uids) {
			all = append(all, row)
		}
		if err := p.load(all...); err != nil {
			return nil, err
		}
	}
	var rows []store.Row
	for _, row := range snap.Select(uids) {
		rows = append(rows, row)
	}
	first := int32(len(p.rows))
	if err := p.load(rows...); err != nil {
		return nil, err
	}
	places := make([]newcomer, 0, n)
	low := 0
	for _, i := range p.ranked(first) {
		var err error
		if low, err = p.search(i, low); err != nil {
			return nil, err
		}
		places = append(places, newcomer{p.rows[i].UID, low})
	}
	return places, nil
}

// placer compares messages with those of a sorted result.
type placer struct {
	sorter
	snap  *store.Snapshot
	order []store.UID
	read  map[store.UID]int32 // those of order that are in rows already, by index
}

// load reads what is compared of messages.
func (p *placer) load(rows ...store.Row) error {
	const perRow = 48 // of read and of who calls
	p.full = p.full || !p.memory.take(perRow*len(rows))
	for i := range rows {
		if p.add(rows[i]) {
			p.read[rows[i].UID] = int32(len(p.rows) - 1)
		}
	}
	if !p.full {
		if err := p.fill(rows); err != nil {
			return err
		}
	}
	if p.full {
		return errFull
	}
	return nil
}

// search gives the index in order before which the row i belongs, which is not
// below low.
func (p *placer) search(i int32, low int) (int, error) {
	high := len(p.order)
	for low < high {
		at, j, err := p.pivot(low, high)
		switch {
		case err != nil:
			return 0, err
		case j < 0:
			return high, nil
		case p.compare(j, i) < 0:
			low = at + 1
		default:
			high = at
		}
	}
	return low, nil
}

// pivot gives a message of order[low:high], from the middle, and its row. One that
// cannot be read any more, as it has been expunged meanwhile, is no measure; if
// there is no other, the row is -1.
func (p *placer) pivot(low, high int) (at int, row int32, err error) {
	middle := int(uint(low+high) / 2)
	for at = middle; at < high; at++ {
		if row, err = p.row(p.order[at]); err != nil || row >= 0 {
			return at, row, err
		}
	}
	for at = middle - 1; at >= low; at-- {
		if row, err = p.row(p.order[at]); err != nil || row >= 0 {
			return at, row, err
		}
	}
	return 0, -1, nil
}

// row gives the row of a message that is in the result, -1 if it cannot be read.
func (p *placer) row(u store.UID) (int32, error) {
	i, ok := p.read[u]
	if !ok {
		at, there := p.snap.Find(u)
		if !there {
			return -1, nil
		}
		if err := p.load(p.snap.At(at)); err != nil {
			return -1, err
		}
		i = p.read[u]
	}
	if p.unread.Contains(u) {
		return -1, nil
	}
	return i, nil
}

// tellPlaced adds messages to a sorted result and sends where each is (RFC 5267
// §4.3.3): in the order of the result, so that a position counts those before it.
func (s *session) tellPlaced(x *searchContext, snap *store.Snapshot, places []newcomer) {
	w := positionWriter{session: s, x: x, snap: snap}
	for i, p := range places {
		w.add(p.before+i, p.uid)
	}
	w.end()
	x.insert(places)
}

// insert adds messages to the order.
func (x *searchContext) insert(places []newcomer) {
	from := len(x.order)
	to := from + len(places)
	order := slices.Grow(x.order, len(places))[:to]
	for i := len(places) - 1; i >= 0; i-- {
		p := places[i]
		n := from - p.before
		copy(order[to-n:to], order[p.before:from])
		from, to = p.before, to-n-1
		order[to] = p.uid
	}
	x.order = order
}

// tellTaken takes messages from a sorted result and sends where each was (RFC
// 5267 §4.3.4): in the order of the result, so that those before it are gone.
func (s *session) tellTaken(x *searchContext, snap *store.Snapshot, uids store.UIDSet) {
	w := positionWriter{session: s, x: x, snap: snap, taken: true}
	kept := x.order[:0]
	for _, u := range x.order {
		if uids.Contains(u) {
			w.add(len(kept), u)
		} else {
			kept = append(kept, u)
		}
	}
	w.end()
	x.order = kept
}

// positionWriter sends messages with their positions. Neighbours whose numbers
// ascend share one, so that a set means the same to who reads it as a list and to
// who reads it as a set.
type positionWriter struct {
	*session
	x     *searchContext
	snap  *store.Snapshot
	taken bool // the position of the next neighbour is the same

	set  wire.NumSetWriter
	some bool
	next int       // position of the next neighbour
	last store.UID // that was sent
}

// add sends a message and its position, counted from 0.
func (w *positionWriter) add(at int, u store.UID) {
	if !w.some || at != w.next || u < w.last {
		w.end()
		if w.some {
			w.out.put(" ")
		}
		w.out.b = append(strconv.AppendInt(w.out.b, int64(at+1), 10), ' ')
		w.set = wire.NumSetWriter{}
	}
	r := searchResult{uid: w.x.uid, told: w.snap}
	w.out.b = w.set.Add(w.out.b, r.number(u))
	w.out.spill()
	w.some, w.last, w.next = true, u, at+1
	if w.taken {
		w.next = at
	}
}

// end completes what is pending.
func (w *positionWriter) end() { w.out.b = w.set.End(w.out.b) }
