package storetest

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// modelItem is a spool item the naive way.
type modelItem struct {
	entry store.SpoolEntry
	fence uint64 // of the lease that was given last; 0 when settled
	body  string
}

// spoolKind says what a spoolStep does.
type spoolKind uint8

const (
	spoolEnqueues spoolKind = iota
	spoolLeases
	spoolSettles
	spoolExtends
	spoolSteers
	spoolRemoves
	spoolWaits
	spoolReopens
)

// spoolStep is one operation on a spool as data, as step is on mail.
type spoolStep struct {
	kind   spoolKind
	serial int // of the run as it was made; names the bodies and makes due times differ
	n      int // how many
	pick   int // which item, or which of the last leases, modulo
	delay  int // of due times, clock and leases
	site   int
	except int // lease: leave out this site; 0: none
	next   bool
	hold   bool
	more   bool // settle: enqueue others; steer: the hold too
}

var spoolKinds = []spoolKind{spoolEnqueues, spoolEnqueues, spoolEnqueues, spoolLeases, spoolLeases, spoolLeases,
	spoolSettles, spoolSettles, spoolSettles, spoolExtends, spoolSteers, spoolRemoves, spoolWaits}

func makeSpoolSteps(rnd *rand.Rand, n int) []spoolStep {
	var all []spoolStep
	for i := range n {
		s := spoolStep{kind: spoolKinds[rnd.IntN(len(spoolKinds))], serial: i, n: 1 + rnd.IntN(3), pick: rnd.IntN(60), delay: rnd.IntN(20),
			site: rnd.IntN(4), next: rnd.IntN(2) == 0, hold: rnd.IntN(6) == 0, more: rnd.IntN(3) == 0}
		if rnd.IntN(4) == 0 {
			s.except = 1 + rnd.IntN(3)
		}
		all = append(all, s)
		if i%100 == 99 {
			all = append(all, spoolStep{kind: spoolReopens})
		}
	}
	return all
}

func simplerSpoolSteps(s spoolStep) []spoolStep {
	var out []spoolStep
	add := func(changed bool, f func(*spoolStep)) {
		if changed {
			t := s
			f(&t)
			out = append(out, t)
		}
	}
	add(s.n != 1, func(t *spoolStep) { t.n = 1 })
	add(s.pick != 0, func(t *spoolStep) { t.pick = 0 })
	add(s.delay != 0, func(t *spoolStep) { t.delay = 0 })
	add(s.site != 0, func(t *spoolStep) { t.site = 0 })
	add(s.except != 0, func(t *spoolStep) { t.except = 0 })
	add(s.next, func(t *spoolStep) { t.next = false })
	add(s.hold, func(t *spoolStep) { t.hold = false })
	add(s.more, func(t *spoolStep) { t.more = false })
	return out
}

// spoolModel runs steps on a spool and on a list. Its clock moves by itself,
// ahead of the real one.
type spoolModel struct {
	*kit
	sp    store.Spool
	items []*modelItem // ascending by id
	clock time.Time
	past  []store.LeasedItem
	last  store.ItemID
	log   *[]string
}

func modelSpool(k *kit) {
	k.spool() // or skip
	runRandom(k, makeSpoolSteps, runSpoolModel, simplerSpoolSteps)
}

// runSpoolModel carries out steps on the engine's spool and on the memory
// engine's, each compared with a list, and the two with each other.
func runSpoolModel(k *kit, steps []spoolStep, log *[]string, at *int) {
	start := seconds()
	m := &spoolModel{kit: k, sp: k.spool(), clock: start, log: log}
	other := newKit(k.TB, Config{New: func(testing.TB) store.Store { return memory.New() }, Patience: k.cfg.Patience})
	twin := &spoolModel{kit: other, sp: other.spool(), clock: start, log: new([]string)}
	for i, s := range steps {
		*at = i
		got := m.do(s)
		require.Equal(k, twin.do(s), got, "the memory engine does otherwise")
		m.check()
		twin.check()
	}
	for _, i := range m.items {
		b, err := m.sp.Open(k.Context(), i.entry.ID)
		require.NoError(k, err)
		require.Equal(k, i.body, k.drain(b))
	}
}

func (m *spoolModel) do(s spoolStep) string {
	switch s.kind {
	case spoolEnqueues:
		in, items := m.fresh(s)
		m.did("enqueue %s", strings.Join(describe(in), ", "))
		m.added(items, m.kit.enqueue(m.sp, in...))
		return ""
	case spoolLeases:
		return m.lease(s)
	case spoolSettles:
		return m.settle(s)
	case spoolExtends:
		return m.extend(s)
	case spoolSteers:
		return m.steer(s)
	case spoolRemoves:
		return m.remove(s)
	case spoolReopens:
		if m.cfg.Reopen != nil {
			m.did("reopen")
			m.reopen()
			m.sp = m.spool()
		}
		return ""
	default:
		m.clock = m.clock.Add(time.Duration(1+s.delay) * 1500 * time.Second)
		m.did("the clock is %v", m.clock)
		return ""
	}
}

func (m *spoolModel) did(format string, args ...any) {
	*m.log = append(*m.log, fmt.Sprintf(format, args...))
}

// due is a time that no other item has, so that the order is one.
func (m *spoolModel) due(s spoolStep, i int) time.Time {
	return m.clock.Add(time.Duration((s.delay-12)*10_000+s.serial*4+i) * time.Second)
}

func (s spoolStep) ttl() time.Duration { return time.Duration(60+s.delay*1000) * time.Second }

func describe(items []store.SpoolItem) []string {
	var out []string
	for _, i := range items {
		held := ""
		if i.Hold {
			held = ", held"
		}
		out = append(out, fmt.Sprintf("%s for %s due %v%s", i.Envelope, i.Site, i.Due, held))
	}
	return out
}

func (m *spoolModel) fresh(s spoolStep) ([]store.SpoolItem, []*modelItem) {
	var in []store.SpoolItem
	var out []*modelItem
	for n := range s.n {
		body := s.serial*4 + n + 1
		prefix := strings.Repeat("X: y\r\n", body%2)
		i := store.SpoolItem{Due: m.due(s, n), Site: fmt.Sprint("site-", (s.site+n)%4), Envelope: fmt.Append(nil, "envelope ", body),
			Prefix: []byte(prefix), Body: m.stage(mail(body)), Hold: s.hold}
		in = append(in, i)
		text := prefix + mail(body)
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

// available is when an item may be leased.
func (i *modelItem) available() time.Time {
	if i.entry.Leased.After(i.entry.Due) {
		return i.entry.Leased
	}
	return i.entry.Due
}

func (m *spoolModel) lease(s spoolStep) string {
	most, ttl := 1+s.pick%4, s.ttl()
	var except []string
	if s.except > 0 {
		except = []string{fmt.Sprint("site-", s.except), "no-such-site"}
	}
	var want []*modelItem
	for _, i := range m.items {
		if !i.entry.Hold && !i.available().After(m.clock) && !slices.Contains(except, i.entry.Site) {
			want = append(want, i)
		}
	}
	slices.SortFunc(want, func(a, b *modelItem) int {
		return cmp.Or(a.entry.Due.Compare(b.entry.Due), cmp.Compare(a.entry.ID, b.entry.ID))
	})
	want = want[:min(most, len(want))]
	m.did("lease %d at %v for %v but for %v", most, m.clock, ttl, except)
	got, err := m.sp.Lease(m.Context(), m.clock, most, ttl, except...)
	require.NoError(m, err)
	require.Len(m, got, len(want))
	outcome := ""
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
		outcome += string(l.Envelope) + "; "
	}
	m.past = append(m.past, got...)
	return outcome
}

// holder picks a lease that was given, lost or not, and its item if it is the
// present one. One that has ended without another given may be settled still,
// or not, as the engine likes, and is not picked.
func (m *spoolModel) holder(s spoolStep) (store.LeasedItem, *modelItem) {
	if len(m.past) == 0 {
		return store.LeasedItem{}, nil
	}
	l := m.past[len(m.past)-1-s.pick%min(len(m.past), 8)]
	for _, i := range m.items {
		if i.entry.ID == l.ID && i.fence == l.Fence {
			if !i.entry.Leased.After(m.clock) {
				return store.LeasedItem{}, nil
			}
			return l, i
		}
	}
	return l, nil
}

func (m *spoolModel) settle(s spoolStep) string {
	l, i := m.holder(s)
	if l.ID == 0 {
		return ""
	}
	var next *store.Reschedule
	if s.next {
		next = &store.Reschedule{Due: m.due(s, 3), Site: "again", Envelope: fmt.Append(nil, "again ", s.serial), Hold: s.hold}
	}
	var in []store.SpoolItem
	var items []*modelItem
	if s.more {
		in, items = m.fresh(s)
	}
	m.did("settle %d fence %d, next %v, and enqueue %v", l.ID, l.Fence, next, describe(in))
	ids, err := m.sp.Settle(m.Context(), l.ID, l.Fence, next, in)
	if i == nil {
		require.True(m, isAny(err, store.ErrConflict, store.ErrNotFound), "a lost lease: %v", err)
		return "lost"
	}
	require.NoError(m, err)
	if next == nil {
		m.items = slices.DeleteFunc(m.items, func(o *modelItem) bool { return o == i })
	} else {
		i.entry.Due, i.entry.Site, i.entry.Envelope, i.entry.Hold = next.Due, next.Site, next.Envelope, next.Hold
		i.entry.Leased, i.fence = time.Time{}, 0
	}
	m.added(items, ids)
	return "settled"
}

func (m *spoolModel) extend(s spoolStep) string {
	l, i := m.holder(s)
	if l.ID == 0 {
		return ""
	}
	ttl := s.ttl()
	m.did("extend %d fence %d at %v by %v", l.ID, l.Fence, m.clock, ttl)
	err := m.sp.Extend(m.Context(), l.ID, l.Fence, m.clock, ttl)
	if i == nil {
		require.True(m, isAny(err, store.ErrConflict, store.ErrNotFound), "a lost lease: %v", err)
		return "lost"
	}
	require.NoError(m, err)
	i.entry.Leased = m.clock.Add(ttl)
	return "extended"
}

func (m *spoolModel) pick(s spoolStep) *modelItem {
	if len(m.items) == 0 {
		return nil
	}
	return m.items[s.pick%len(m.items)]
}

func (m *spoolModel) steer(s spoolStep) string {
	i := m.pick(s)
	if i == nil {
		return ""
	}
	var to store.Steer
	if s.next {
		due := m.due(s, 3)
		to.Due, i.entry.Due = &due, due
	}
	if hold := s.hold; s.more {
		to.Hold, i.entry.Hold = &hold, hold
	}
	m.did("steer %d: due %v, hold %v", i.entry.ID, to.Due, s.more && s.hold)
	require.NoError(m, m.sp.Steer(m.Context(), i.entry.ID, to))
	return ""
}

// remove drops an item that is not leased. Whether a lease has ended is a
// matter of the real clock, so one that has by the model's is left alone.
func (m *spoolModel) remove(s spoolStep) string {
	i := m.pick(s)
	leased := i != nil && !i.entry.Leased.IsZero()
	if i == nil || leased && !i.entry.Leased.After(m.clock) {
		return ""
	}
	m.did("remove %d", i.entry.ID)
	err := m.sp.Remove(m.Context(), i.entry.ID)
	if leased {
		require.ErrorIs(m, err, store.ErrInUse)
		return "leased"
	}
	require.NoError(m, err)
	m.items = slices.DeleteFunc(m.items, func(o *modelItem) bool { return o == i })
	return "removed"
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
