package auth

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// model is what a Governor's documentation says, without bounds and without
// thought of speed, for attempts that come one after the other.
type model struct {
	g       *Governor // its settings
	buckets map[string]*bucket
	places  map[string][]modelPlace
	events  []Event
}

// bucket is the failures of one subject: when each will be forgotten.
type bucket struct {
	due          []time.Time
	last, locked time.Time
	row          int
	from         string
	secrets      []string
}

type modelPlace struct {
	from string
	at   time.Time
}

// counted is a bucket and what bounds it.
type counted struct {
	*bucket
	prefix      netip.Prefix // invalid for an account
	lock, grace int
	never       bool
}

func newModel(g *Governor) *model {
	return &model{g: g, buckets: map[string]*bucket{}, places: map[string][]modelPlace{}}
}

func (m *model) bucket(now time.Time, key string) *bucket {
	b := m.buckets[key]
	if b == nil {
		b = new(bucket)
		m.buckets[key] = b
	}
	for len(b.due) > 0 && !now.Before(b.due[0]) {
		if b.due = b.due[1:]; len(b.due) == 0 {
			b.secrets = nil
		}
	}
	b.row = min(b.row, len(b.due))
	return b
}

// counts lists the buckets of an attempt: the account, or the account from a place
// of its owner's, the address, and for IPv6 the network.
func (m *model) counts(now time.Time, addr netip.Addr, account string) []counted {
	var list []counted
	account = strings.ToLower(account)
	net64 := netip.PrefixFrom(addr, map[bool]int{true: 32, false: 64}[addr.Is4()]).Masked()
	if account != "" {
		key := "account " + account
		for _, p := range m.places[account] {
			if p.from == net64.String() && now.Sub(p.at) < 30*24*time.Hour {
				key += " from " + p.from
			}
		}
		lock := map[bool]int{true: 10, false: m.g.AccountFailures}[m.g.AccountFailures == 0]
		grace := map[bool]int{true: lock / 4, false: 2}[lock > 0]
		list = append(list, counted{m.bucket(now, key), netip.Prefix{}, lock, grace, slices.Contains(m.g.NeverLock, account)})
	}
	for _, p := range m.g.Exempt {
		if p.Contains(addr) {
			return list
		}
	}
	lock := map[bool]int{true: 40, false: m.g.AddressFailures}[m.g.AddressFailures == 0]
	grace := map[bool]int{true: lock / 4, false: 10}[lock > 0]
	list = append(list, counted{m.bucket(now, net64.String()), net64, lock, grace, false})
	if addr.Is6() {
		net48 := netip.PrefixFrom(addr, 48).Masked()
		list = append(list, counted{m.bucket(now, net48.String()), net48, 4 * lock, 4 * grace, false})
	}
	return list
}

// pause is how long a bucket makes an attempt wait.
func (c *counted) pause(now time.Time, base time.Duration) time.Duration {
	n := len(c.due) - c.grace
	if n <= 0 || base < 0 {
		return 0
	}
	d := 500 * time.Millisecond
	for i := 1; i < n && d < 16*time.Second; i++ {
		d *= 2
	}
	return max(0, c.last.Add(min(d, 16*time.Second)).Sub(now))
}

// admit tells how long an attempt waits and whether it is admitted then.
func (m *model) admit(now time.Time, addr netip.Addr, account string) (waited time.Duration, ok bool) {
	for at := now; ; {
		list := m.counts(at, addr, account)
		e := Event{Addr: addr, Account: account}
		if account != "" {
			e.Failures = len(list[0].due)
		}
		locked, wait := e, e
		for _, c := range list {
			if d := c.locked.Sub(at); d > locked.Wait {
				locked.Wait, locked.Prefix, locked.Failures, locked.Decision = d, c.prefix, len(c.due), Refused
			}
			if d := c.pause(at, m.g.BaseDelay); d > wait.Wait {
				wait.Wait, wait.Prefix, wait.Failures, wait.Decision = d, c.prefix, len(c.due), Delayed
			}
		}
		switch {
		case locked.Wait > 0:
			m.events = append(m.events, locked)
			return at.Sub(now), false
		case wait.Wait == 0:
			m.events = append(m.events, e)
			return at.Sub(now), true
		}
		if at.Equal(now) {
			m.events = append(m.events, wait)
		}
		at = at.Add(wait.Wait)
	}
}

func (m *model) failed(now time.Time, addr netip.Addr, account, secret string) {
	list := m.counts(now, addr, account)
	failure := len(m.events)
	m.events = append(m.events, Event{Decision: Failed, Addr: addr, Account: account})
	from := netip.PrefixFrom(addr, map[bool]int{true: 32, false: 64}[addr.Is4()]).Masked().String()
	for _, c := range list {
		b := c.bucket
		b.last = now
		own := !c.prefix.IsValid()
		if own && secret != "" {
			if slices.Contains(b.secrets, secret) {
				m.events[failure].Failures = len(b.due)
				return
			}
			b.secrets = append([]string{secret}, b.secrets[:min(len(b.secrets), 3)]...)
		}
		most := c.lock
		if c.lock <= 0 || c.never {
			most = max(c.lock, c.grace+31)
		}
		if len(b.due) < most {
			next := now
			if n := len(b.due); n > 0 {
				next = b.due[n-1]
			}
			b.due = append(b.due, next.Add(5*time.Minute))
		}
		if own {
			if b.from != from {
				b.from, b.row = from, 0
			}
			b.row++
			m.events[failure].Failures = len(b.due)
		}
		if c.lock > 0 && len(b.due) >= c.lock {
			e := Event{Spared, addr, account, c.prefix, 0, len(b.due)}
			if !c.never {
				if now.Before(b.locked) {
					continue
				}
				e.Decision, e.Wait = LockedOut, 15*time.Minute
				b.locked = now.Add(e.Wait)
			}
			m.events = append(m.events, e)
		}
	}
}

func (m *model) succeeded(now time.Time, addr netip.Addr, account string) {
	from := netip.PrefixFrom(addr, map[bool]int{true: 32, false: 64}[addr.Is4()]).Masked().String()
	refund := 0
	for _, c := range m.counts(now, addr, account) {
		if c.prefix.IsValid() {
			c.due = c.due[:max(0, len(c.due)-refund)]
			continue
		}
		if c.from == from {
			refund = c.row
		}
		*c.bucket = bucket{}
	}
	m.events = append(m.events, Event{Decision: Succeeded, Addr: addr, Account: account})
	if account = strings.ToLower(account); account == "" {
		return
	}
	places := slices.DeleteFunc(m.places[account], func(p modelPlace) bool { return p.from == from })
	places = append([]modelPlace{{from, now}}, places...)
	m.places[account] = places[:min(len(places), 8)]
}

// modelAddr is an address of a few networks, so that they meet.
func modelAddr(r *rand.Rand) netip.Addr {
	if r.IntN(2) == 0 {
		return netip.AddrFrom4([4]byte{192, 0, 2, byte(r.IntN(12))})
	}
	return netip.MustParseAddr(fmt.Sprintf("2001:db8:%x:%x::%x", r.IntN(2), r.IntN(6), r.IntN(100)))
}

// step is one attempt by both: they must wait, decide and tell the same.
func step(t *testing.T, g *Governor, m *model, r *rand.Rand) {
	addr := modelAddr(r)
	account := []string{"", "anna", "Anna", "bob", "carol", "dave", "help"}[r.IntN(7)]
	began := time.Now()
	waited, ok := m.admit(began, addr, account)
	err := g.Admit(t.Context(), addr, account)
	require.Equal(t, waited, time.Since(began), "%v %q", addr, account)
	require.Equal(t, ok, err == nil, "%v %q", addr, account)
	if !ok {
		require.ErrorIs(t, err, ErrThrottled)
		return
	}
	now := time.Now()
	switch n := r.IntN(20); {
	case n == 0:
		g.settle(addr, account, "", nil)
		m.succeeded(now, addr, account)
	case n == 1:
		g.settle(addr, account, "", ErrUnavailable)
	default:
		secret := []string{"", "", "summer", "winter", fmt.Sprint(r.Uint32())}[r.IntN(5)]
		g.settle(addr, account, secret, ErrCredentials)
		m.failed(now, addr, account, secret)
	}
}

// The Governor does what its documentation says, whoever comes from wherever.
func TestGovernorModel(t *testing.T) {
	settings := []func() *Governor{
		func() *Governor { return new(Governor) },
		func() *Governor { return &Governor{AccountFailures: 3, AddressFailures: 12} },
		func() *Governor { return &Governor{AccountFailures: -1, NeverLock: []string{"help"}} },
		func() *Governor {
			return &Governor{AddressFailures: -1, NeverLock: []string{"help"}, Exempt: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/29")}}
		},
		func() *Governor { return &Governor{BaseDelay: -1, AccountFailures: -1, NeverLock: []string{"help"}} },
		func() *Governor { return &Governor{AccountFailures: -1, AddressFailures: 8} },
	}
	pauses := [][]time.Duration{
		{0, 0, 0, 0, time.Millisecond, time.Second, time.Minute, 7 * time.Minute, time.Hour, 40 * time.Minute},
		{0, 0, 0, time.Millisecond, time.Second}, // so that counts get high
	}
	for n := range 60 {
		seed := rand.Uint64()
		t.Run(fmt.Sprint(n%len(settings), " seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := rand.New(rand.NewPCG(seed, 0))
				g := settings[n%len(settings)]()
				m := newModel(g)
				var events []Event
				g.OnDecision = func(e Event) { events = append(events, e) }
				for range 400 {
					step(t, g, m, r)
					require.Equal(t, m.events, events)
					m.events, events = nil, nil
					pauses := pauses[n/len(settings)%2]
					time.Sleep(pauses[r.IntN(len(pauses))])
					if r.IntN(200) == 0 {
						time.Sleep(time.Duration(r.IntN(2)) * 31 * 24 * time.Hour)
					}
				}
				for _, rec := range g.accounts.records {
					require.Zero(t, rec.flying+rec.waiting)
				}
			})
		})
	}
}

// However many come at once, with tables that are too small for them: the tables
// keep their bounds, nobody waits longer than is said, no more guesses at an
// account are verified than its allowance, nothing stays in flight, and who
// comes from where they have been before is not locked out by strangers.
func TestGovernorModelParallel(t *testing.T) {
	for n := range 6 {
		seed, most := rand.Uint64(), []int{64, 100_000}[n%2]
		t.Run(fmt.Sprint(most, " seed ", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := &Governor{MaxEntries: most, MaxWaiting: 100, AccountFailures: 5, AddressFailures: -1}
				home := netip.MustParseAddr("203.0.113.7")
				require.NoError(t, g.Admit(t.Context(), home, "owner"))
				g.Succeeded(home, "owner")
				var mu sync.Mutex
				guesses := map[string]int{}
				var wg sync.WaitGroup
				for n := range 500 {
					r := rand.New(rand.NewPCG(seed, uint64(n)))
					wg.Go(func() {
						for range 4 {
							account := "owner"
							if r.IntN(3) > 0 {
								account = fmt.Sprint("user", r.IntN(200))
							}
							addr := netip.AddrFrom4([4]byte{10, byte(r.IntN(4)), byte(r.IntN(256)), byte(r.IntN(256))})
							began := time.Now()
							err := g.Admit(t.Context(), addr, account)
							assert.LessOrEqual(t, time.Since(began), 32*time.Second)
							if err != nil {
								assert.ErrorIs(t, err, ErrThrottled)
								continue
							}
							time.Sleep(time.Duration(r.IntN(100)) * time.Millisecond)
							mu.Lock()
							guesses[account]++
							mu.Unlock()
							g.Failed(addr, account)
						}
					})
				}
				wg.Go(func() {
					for range 100 {
						began := time.Now()
						assert.NoError(t, g.Admit(t.Context(), home, "owner"))
						assert.Zero(t, time.Since(began))
						g.Succeeded(home, "owner")
						time.Sleep(50 * time.Millisecond)
					}
				})
				wg.Wait()
				if most > 64 { // else a record may give way
					for account, n := range guesses {
						assert.LessOrEqual(t, n, 5, account)
					}
				}
				g.mu.Lock()
				defer g.mu.Unlock()
				assert.Zero(t, g.waiting)
				assert.LessOrEqual(t, len(g.accounts.records), most)
				assert.LessOrEqual(t, len(g.prefixes.records), most)
				assert.LessOrEqual(t, len(g.known), most)
				for _, rec := range g.accounts.records {
					assert.Zero(t, rec.flying+rec.waiting)
				}
			})
		})
	}
}
