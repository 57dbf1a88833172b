package storetest

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// modelItem is a spool item the naive way.
type modelItem struct {
	entry store.SpoolEntry
	fence uint64 // of the lease that was given last; 0 when settled
	body  string
}

// spoolModel runs random operations on a spool and on a list. Its clock moves
// by itself, ahead of the real one.
type spoolModel struct {
	*kit
	rnd    *rand.Rand
	sp     store.Spool
	items  []*modelItem // ascending by id
	clock  time.Time
	dues   int
	bodies int
	past   []store.LeasedItem
	last   store.ItemID
	log    []string
}

func modelSpool(k *kit) {
	sp := k.spool()
	seed := k.cfg.Seed
	if seed == 0 {
		seed = rand.Uint64()
	}
	steps := k.cfg.Steps
	if steps == 0 {
		steps = 400
	}
	m := &spoolModel{kit: k, rnd: rand.New(rand.NewPCG(seed, 1)), sp: sp, clock: seconds()}
	k.Cleanup(func() {
		if k.Failed() {
			k.Logf("Config.Seed: %d; the last operations:\n%s", seed, strings.Join(m.log[max(0, len(m.log)-25):], "\n"))
		}
	})
	ops := []func(){m.enqueue, m.enqueue, m.enqueue, m.lease, m.lease, m.lease, m.settle, m.settle, m.settle, m.extend, m.steer, m.remove, m.wait}
	for range steps {
		ops[m.rnd.IntN(len(ops))]()
		m.check()
	}
	for _, i := range m.items {
		b, err := sp.Open(k.Context(), i.entry.ID)
		require.NoError(k, err)
		require.Equal(k, i.body, k.drain(b))
	}
}

func (m *spoolModel) did(format string, args ...any) {
	m.log = append(m.log, fmt.Sprintf(format, args...))
}

// due is a time that no other item has, so that the order is one.
func (m *spoolModel) due() time.Time {
	m.dues++
	return m.clock.Add(time.Duration((m.rnd.IntN(20)-12)*10_000+m.dues) * time.Second)
}

func (m *spoolModel) wait() {
	m.clock = m.clock.Add(time.Duration(m.rnd.IntN(30_000)) * time.Second)
	m.did("now %v", m.clock)
}

func (m *spoolModel) fresh() ([]store.SpoolItem, []*modelItem) {
	var in []store.SpoolItem
	var out []*modelItem
	for range 1 + m.rnd.IntN(3) {
		m.bodies++
		prefix := strings.Repeat("X: y\r\n", m.rnd.IntN(2))
		i := store.SpoolItem{Due: m.due(), Site: fmt.Sprint("site-", m.rnd.IntN(4)), Envelope: fmt.Append(nil, "envelope ", m.bodies),
			Prefix: []byte(prefix), Body: m.stage(mail(m.bodies)), Hold: m.rnd.IntN(6) == 0}
		in = append(in, i)
		text := prefix + mail(m.bodies)
		out = append(out, &modelItem{body: text, entry: store.SpoolEntry{Due: i.Due, Site: i.Site, Envelope: i.Envelope, Hold: i.Hold, Size: int64(len(text))}})
	}
	return in, out
}

// added gives the model's new items their ids.
func (m *spoolModel) added(items []*modelItem, ids []store.ItemID) {
	require.Len(m, ids, len(items))
	for n, i := range items {
		require.Greater(m, ids[n], m.last, "ids grow")
		m.last, i.entry.ID = ids[n], ids[n]
		m.items = append(m.items, i)
	}
}

func (m *spoolModel) enqueue() {
	in, items := m.fresh()
	m.did("enqueue %d", len(in))
	m.added(items, m.kit.enqueue(m.sp, in...))
}

// available is when an item may be leased.
func (i *modelItem) available() time.Time {
	if i.entry.Leased.After(i.entry.Due) {
		return i.entry.Leased
	}
	return i.entry.Due
}

func (m *spoolModel) lease() {
	most, ttl := 1+m.rnd.IntN(4), time.Duration(60+m.rnd.IntN(20_000))*time.Second
	var want []*modelItem
	for _, i := range m.items {
		if !i.entry.Hold && !i.available().After(m.clock) {
			want = append(want, i)
		}
	}
	slices.SortFunc(want, func(a, b *modelItem) int {
		return cmp.Or(a.entry.Due.Compare(b.entry.Due), cmp.Compare(a.entry.ID, b.entry.ID))
	})
	want = want[:min(most, len(want))]
	m.did("lease %d at %v for %v", most, m.clock, ttl)
	got := m.kit.lease(m.sp, m.clock, most, ttl)
	require.Len(m, got, len(want))
	for n, l := range got {
		i := want[n]
		require.Equal(m, i.entry.ID, l.ID, "oldest due first")
		require.Greater(m, l.Fence, i.fence)
		i.fence = l.Fence
		i.entry.Attempts++
		i.entry.Leased = m.clock.Add(ttl)
		require.Equal(m, i.entry.Attempts, l.Attempts)
		require.Equal(m, string(i.entry.Envelope), string(l.Envelope))
		require.Equal(m, i.entry.Site, l.Site)
	}
	m.past = append(m.past, got...)
}

// holder picks a lease that was given, lost or not, and its item if it is the
// present one.
func (m *spoolModel) holder() (store.LeasedItem, *modelItem) {
	if len(m.past) == 0 {
		return store.LeasedItem{}, nil
	}
	l := m.past[len(m.past)-1-m.rnd.IntN(min(len(m.past), 8))]
	for _, i := range m.items {
		if i.entry.ID == l.ID && i.fence == l.Fence {
			return l, i
		}
	}
	return l, nil
}

func (m *spoolModel) settle() {
	l, i := m.holder()
	if l.ID == 0 {
		return
	}
	var next *store.Reschedule
	if m.rnd.IntN(2) == 0 {
		next = &store.Reschedule{Due: m.due(), Site: "again", Envelope: []byte("again"), Hold: m.rnd.IntN(6) == 0}
	}
	var in []store.SpoolItem
	var items []*modelItem
	if m.rnd.IntN(3) == 0 {
		in, items = m.fresh()
	}
	m.did("settle %d fence %d, next %v, and %d more", l.ID, l.Fence, next, len(in))
	ids, err := m.sp.Settle(m.Context(), l.ID, l.Fence, next, in)
	if i == nil {
		require.True(m, isAny(err, store.ErrConflict, store.ErrNotFound), "a lost lease: %v", err)
		return
	}
	if err != nil && !i.entry.Leased.After(m.clock) {
		require.ErrorIs(m, err, store.ErrConflict, "an engine may take an expired lease for lost")
		return
	}
	require.NoError(m, err)
	if next == nil {
		m.items = slices.DeleteFunc(m.items, func(o *modelItem) bool { return o == i })
	} else {
		i.entry.Due, i.entry.Site, i.entry.Envelope, i.entry.Hold = next.Due, next.Site, next.Envelope, next.Hold
		i.entry.Leased, i.fence = time.Time{}, 0
	}
	m.added(items, ids)
}

func (m *spoolModel) extend() {
	l, i := m.holder()
	if l.ID == 0 {
		return
	}
	ttl := time.Duration(60+m.rnd.IntN(20_000)) * time.Second
	m.did("extend %d fence %d at %v by %v", l.ID, l.Fence, m.clock, ttl)
	err := m.sp.Extend(m.Context(), l.ID, l.Fence, m.clock, ttl)
	switch {
	case i == nil:
		require.True(m, isAny(err, store.ErrConflict, store.ErrNotFound), "a lost lease: %v", err)
	case errors.Is(err, store.ErrConflict) && !i.entry.Leased.After(m.clock):
	default:
		require.NoError(m, err)
		i.entry.Leased = m.clock.Add(ttl)
	}
}

func (m *spoolModel) pick() *modelItem {
	if len(m.items) == 0 {
		return nil
	}
	return m.items[m.rnd.IntN(len(m.items))]
}

func (m *spoolModel) steer() {
	i := m.pick()
	if i == nil {
		return
	}
	var s store.Steer
	if m.rnd.IntN(2) == 0 {
		due := m.due()
		s.Due, i.entry.Due = &due, due
	}
	if hold := m.rnd.IntN(4) == 0; m.rnd.IntN(2) == 0 {
		s.Hold, i.entry.Hold = &hold, hold
	}
	m.did("steer %d due %v hold %v", i.entry.ID, s.Due, s.Hold)
	require.NoError(m, m.sp.Steer(m.Context(), i.entry.ID, s))
}

// remove drops an item. Whether it is leased is a matter of the real clock,
// before which no lease of the model ends; an engine may know better by then.
func (m *spoolModel) remove() {
	i := m.pick()
	if i == nil || m.rnd.IntN(2) == 0 {
		return
	}
	m.did("remove %d", i.entry.ID)
	err := m.sp.Remove(m.Context(), i.entry.ID)
	expired := !i.entry.Leased.After(m.clock)
	if !i.entry.Leased.IsZero() && (err != nil || !expired) {
		require.ErrorIs(m, err, store.ErrInUse)
		return
	}
	require.NoError(m, err)
	m.items = slices.DeleteFunc(m.items, func(o *modelItem) bool { return o == i })
}

// check compares the list and the next due time.
func (m *spoolModel) check() {
	got := m.list(m.sp)
	require.Len(m, got, len(m.items))
	var next time.Time
	for n, e := range got {
		i := m.items[n]
		want := i.entry
		require.True(m, want.Due.Equal(e.Due), "due of %d: %v, want %v", e.ID, e.Due, want.Due)
		require.Equal(m, want.Leased.After(m.clock), e.Leased.After(m.clock), "lease of %d: %v, want %v", e.ID, e.Leased, want.Leased)
		require.Equal(m, string(want.Envelope), string(e.Envelope))
		e.Due, e.Leased, e.Created, e.Envelope = want.Due, want.Leased, want.Created, want.Envelope
		require.Equal(m, want, e)
		if at := i.available(); !want.Hold && (next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	due, ok, err := m.sp.NextDue(m.Context())
	require.NoError(m, err)
	require.Equal(m, !next.IsZero(), ok)
	if ok {
		past := !due.After(m.clock) && !next.After(m.clock) // then it is "now" anyway
		require.True(m, past || due.Equal(next), "next due %v, want %v", due, next)
	}
}
