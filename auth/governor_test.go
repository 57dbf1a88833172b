package auth

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

// guess makes one attempt and tells how long it had to wait.
func guess(t *testing.T, g *Governor, addr, account string, right bool) (time.Duration, error) {
	t.Helper()
	begin := time.Now()
	if err := g.Admit(t.Context(), ip(addr), account); err != nil {
		return time.Since(begin), err
	}
	if right {
		g.Succeeded(ip(addr), account)
	} else {
		g.Failed(ip(addr), account)
	}
	return time.Since(begin), nil
}

// guesses makes n wrong attempts, each from an address of its own, and
// requires that each is admitted.
func guesses(t *testing.T, g *Governor, account string, n int) {
	t.Helper()
	for i := range n {
		_, err := guess(t, g, fmt.Sprintf("198.51.%d.%d", i/250, i%250), account, false)
		require.NoError(t, err)
	}
}

func TestGovernorAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Governor)
		var waits []time.Duration
		for i := range 10 {
			d, err := guess(t, g, fmt.Sprintf("192.0.2.%d", i), "Bob", false)
			require.NoError(t, err)
			waits = append(waits, d)
		}
		const ms, s = time.Millisecond, time.Second
		assert.Equal(t, []time.Duration{0, 0, 0, 500 * ms, s, 2 * s, 4 * s, 8 * s, 16 * s, 16 * s}, waits)

		// Locked, at once, however it is written, and whatever the password.
		for _, name := range []string{"Bob", "bob", "BOB", "\uff22ob"} {
			d, err := guess(t, g, "203.0.113.1", name, true)
			require.ErrorIs(t, err, ErrThrottled)
			assert.Zero(t, d)
		}
		_, err := guess(t, g, "203.0.113.1", "carol", false)
		require.NoError(t, err)

		// Attempts while it is locked do not make it longer. Then three
		// failures have been forgotten, one each five minutes.
		time.Sleep(15*time.Minute - time.Second)
		_, err = guess(t, g, "203.0.113.2", "bob", false)
		require.ErrorIs(t, err, ErrThrottled)
		time.Sleep(time.Second)
		guesses(t, g, "bob", 3)
		_, err = guess(t, g, "203.0.113.2", "bob", false)
		require.ErrorIs(t, err, ErrThrottled)

		// A success forgets all.
		time.Sleep(16 * time.Minute)
		_, err = guess(t, g, "203.0.113.3", "bob", true)
		require.NoError(t, err)
		d, err := guess(t, g, "192.0.2.1", "bob", false)
		require.NoError(t, err)
		assert.Zero(t, d)

		// So does time.
		time.Sleep(24 * time.Hour)
		g.mu.Lock()
		for _, r := range g.accounts.records {
			assert.True(t, r.idle(time.Now(), g.forget()))
		}
		g.mu.Unlock()
	})
}

func TestGovernorAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Governor{BaseDelay: -1, AddressFailures: 8}
		for i := range 8 {
			_, err := guess(t, g, "192.0.2.1", fmt.Sprint("user", i), false)
			require.NoError(t, err)
		}
		_, err := guess(t, g, "192.0.2.1", "someone", false)
		require.ErrorIs(t, err, ErrThrottled)
		_, err = guess(t, g, "::ffff:192.0.2.1", "someone", false)
		require.ErrorIs(t, err, ErrThrottled, "the same address in IPv6")
		_, err = guess(t, g, "192.0.2.2", "someone", false)
		require.NoError(t, err)

		// A /64 is one address.
		for i := range 8 {
			_, err := guess(t, g, fmt.Sprintf("2001:db8::%x", i+1), fmt.Sprint("user", i), false)
			require.NoError(t, err)
		}
		_, err = guess(t, g, "2001:db8::ffff:1", "someone", false)
		require.ErrorIs(t, err, ErrThrottled)
		// A /48 has four times the allowance.
		for i := range 24 {
			_, err = guess(t, g, fmt.Sprintf("2001:db8:0:%x::1", i+1), fmt.Sprint("other", i), false)
			require.NoError(t, err, i)
		}
		_, err = guess(t, g, "2001:db8:0:ffff::1", "someone", false)
		require.ErrorIs(t, err, ErrThrottled)
		_, err = guess(t, g, "2001:db8:1::1", "someone", false)
		require.NoError(t, err)
	})
}

// An address is delayed too, from a quarter of its allowance on.
func TestGovernorAddressDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Governor)
		for i := range 12 {
			d, err := guess(t, g, "192.0.2.1", fmt.Sprint("user", i), false)
			require.NoError(t, err)
			assert.Equal(t, i == 11, d > 0, i)
		}
		// The delay counts from the last failure.
		time.Sleep(time.Minute)
		d, err := guess(t, g, "192.0.2.1", "new", false)
		require.NoError(t, err)
		assert.Zero(t, d)
	})
}

// Who owns an account must not wipe out guesses at others with it; who
// mistypes is forgiven.
func TestGovernorSuccessAndAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Governor{BaseDelay: -1, AddressFailures: 10}
		for i := range 10 {
			_, err := guess(t, g, "192.0.2.1", fmt.Sprint("victim", i), false)
			require.NoError(t, err)
			if i < 9 {
				_, err = guess(t, g, "192.0.2.1", "mine", true)
				require.NoError(t, err)
			}
		}
		_, err := guess(t, g, "192.0.2.1", "mine", true)
		require.ErrorIs(t, err, ErrThrottled)

		for i := range 30 {
			_, err := guess(t, g, "192.0.2.2", fmt.Sprint("user", i), false)
			require.NoError(t, err)
			_, err = guess(t, g, "192.0.2.2", fmt.Sprint("user", i), true)
			require.NoError(t, err)
		}
		g.mu.Lock()
		assert.Zero(t, g.prefixes.get(recordKey{prefix: netip.MustParsePrefix("192.0.2.2/32")}).count)
		g.mu.Unlock()
	})
}

// Strangers cannot lock the owner out of where they have logged in before.
func TestGovernorOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Governor)
		_, err := guess(t, g, "2001:db8:aa:bb::1", "bob", true)
		require.NoError(t, err)
		guesses(t, g, "bob", 10)
		_, err = guess(t, g, "203.0.113.1", "bob", true)
		require.ErrorIs(t, err, ErrThrottled, "from elsewhere it is locked")

		for range 3 {
			d, err := guess(t, g, "2001:db8:aa:bb::2", "Bob", true)
			require.NoError(t, err)
			assert.Zero(t, d)
		}
		_, err = guess(t, g, "203.0.113.1", "bob", true)
		require.ErrorIs(t, err, ErrThrottled, "the owner's success must not free guessers")

		// From there guesses are limited too.
		for range 10 {
			_, err := guess(t, g, "2001:db8:aa:bb::3", "bob", false)
			require.NoError(t, err)
		}
		_, err = guess(t, g, "2001:db8:aa:bb::4", "bob", true)
		require.ErrorIs(t, err, ErrThrottled)

		// Only the last 8 places are known, and for 30 days.
		time.Sleep(time.Hour)
		for i := range 9 {
			_, err := guess(t, g, fmt.Sprintf("203.0.113.%d", i), "carol", true)
			require.NoError(t, err)
		}
		guesses(t, g, "carol", 10)
		_, err = guess(t, g, "203.0.113.0", "carol", true)
		require.ErrorIs(t, err, ErrThrottled)
		_, err = guess(t, g, "203.0.113.1", "carol", true)
		require.NoError(t, err)
		time.Sleep(31 * 24 * time.Hour)
		guesses(t, g, "carol", 10)
		_, err = guess(t, g, "203.0.113.1", "carol", true)
		require.ErrorIs(t, err, ErrThrottled)
	})
}

// Attempts in parallel do not outrun the count.
func TestGovernorParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Governor{AddressFailures: -1}
		var wg sync.WaitGroup
		var mu sync.Mutex
		verified, throttled := 0, 0
		for i := range 1000 {
			wg.Go(func() {
				addr := ip(fmt.Sprintf("192.0.%d.%d", i/250, i%250))
				err := g.Admit(t.Context(), addr, "bob")
				if err == nil {
					time.Sleep(50 * time.Millisecond) // hashing
					g.Failed(addr, "bob")
				}
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					verified++
				} else {
					assert.ErrorIs(t, err, ErrThrottled)
					throttled++
				}
			})
		}
		wg.Wait()
		assert.LessOrEqual(t, verified, 10, "guesses that were verified")
		assert.Equal(t, 1000, verified+throttled)
		g.mu.Lock()
		defer g.mu.Unlock()
		assert.Zero(t, g.waiting)
		for _, r := range g.accounts.records {
			assert.Zero(t, r.flying)
			assert.Zero(t, r.waiting)
		}
	})
}

// Attempts that were admitted long ago, as SCRAM's are while the client computes,
// do not outrun the count either when all of them go on at once.
func TestGovernorResumeParallel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Governor{AccountFailures: 3, AddressFailures: -1}
		const most = 3 + keyWaiting
		for range most {
			require.NoError(t, g.Admit(t.Context(), ip("192.0.2.1"), "bob"))
			g.Release(ip("192.0.2.1"), "bob")
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		verified := 0
		for range most {
			wg.Go(func() {
				if err := g.resume(t.Context(), ip("192.0.2.1"), "bob"); err != nil {
					assert.ErrorIs(t, err, ErrThrottled)
					return
				}
				mu.Lock()
				verified++
				mu.Unlock()
				time.Sleep(time.Millisecond)
				g.Failed(ip("192.0.2.1"), "bob")
			})
		}
		begin := time.Now()
		wg.Wait()
		assert.Equal(t, 3, verified)
		assert.Equal(t, time.Millisecond, time.Since(begin))
	})
}

// A client that opens many connections with the right password is served,
// and leaves nothing behind, also when its prefix becomes known on the way.
func TestGovernorParallelSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Governor)
		var wg sync.WaitGroup
		for range 10 + keyWaiting {
			wg.Go(func() {
				if assert.NoError(t, g.Admit(t.Context(), ip("192.0.2.1"), "bob")) {
					time.Sleep(50 * time.Millisecond)
					g.Succeeded(ip("192.0.2.1"), "bob")
				}
			})
		}
		begin := time.Now()
		wg.Wait()
		assert.LessOrEqual(t, time.Since(begin), 150*time.Millisecond, "woken when there is room")
		assert.Empty(t, g.accounts.records)
		assert.Empty(t, g.prefixes.records)
		assert.Zero(t, g.waiting)
	})
}

func TestGovernorWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Two accounts that make one wait, as an attempt is in flight.
		g := &Governor{MaxWaiting: 20, AddressFailures: -1}
		for _, account := range []string{"a", "b"} {
			guesses(t, g, account, 5)
			require.NoError(t, g.Admit(t.Context(), ip("203.0.113.99"), account))
		}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		var mu sync.Mutex
		got := map[string]int{}
		for _, account := range []string{"a", "b"} {
			for i := range 20 {
				wg.Go(func() {
					err := g.Admit(ctx, ip(fmt.Sprintf("203.0.113.%d", i)), account)
					mu.Lock()
					defer mu.Unlock()
					if errors.Is(err, ErrThrottled) {
						got[account]++
					} else {
						assert.ErrorIs(t, err, context.Canceled)
					}
				})
			}
			synctest.Wait()
		}
		mu.Lock()
		assert.Equal(t, map[string]int{"a": 4, "b": 16}, got, "16 for an account, 20 in all")
		mu.Unlock()
		cancel()
		wg.Wait()
		assert.Zero(t, g.waiting)
		// None of them was an attempt.
		g.Release(ip("203.0.113.99"), "a")
		time.Sleep(time.Minute)
		d, err := guess(t, g, "203.0.113.1", "a", true)
		require.NoError(t, err)
		assert.Zero(t, d)
	})
}

// A wait that others make longer and longer ends.
func TestGovernorWaitEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Governor{AccountFailures: -1, AddressFailures: -1}
		guesses(t, g, "bob", 10)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() { // in flight before, failing one after the other
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Second):
					g.Failed(ip("192.0.2.9"), "bob")
				}
			}
		})
		d, err := guess(t, g, "203.0.113.1", "bob", true)
		require.ErrorIs(t, err, ErrThrottled)
		assert.LessOrEqual(t, d, 32*time.Second)
		close(stop)
		wg.Wait()
	})
}

func TestGovernorRelease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Governor)
		for range 100 {
			require.NoError(t, g.Admit(t.Context(), ip("192.0.2.1"), "bob"))
			g.Release(ip("192.0.2.1"), "bob")
		}
		assert.Empty(t, g.accounts.records)
		assert.Empty(t, g.prefixes.records)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, g.Admit(ctx, ip("192.0.2.1"), "bob"), context.Canceled)
	})
}

func TestGovernorOff(t *testing.T) {
	var none *Governor
	for _, g := range []*Governor{{Off: true}, none} {
		for range 100 {
			require.NoError(t, g.Admit(t.Context(), ip("192.0.2.1"), "bob"))
			g.Failed(ip("192.0.2.1"), "bob")
			g.Succeeded(ip("192.0.2.1"), "bob")
			g.Release(ip("192.0.2.1"), "bob")
			require.NoError(t, g.resume(t.Context(), ip("192.0.2.1"), "bob"))
		}
	}
}

func TestGovernorExempt(t *testing.T) {
	g := &Governor{BaseDelay: -1, AddressFailures: 5, Exempt: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	for i := range 50 {
		_, err := guess(t, g, "127.0.0.1", fmt.Sprint("user", i), false)
		require.NoError(t, err)
	}
	for range 10 {
		_, err := guess(t, g, "127.0.0.1", "bob", false)
		require.NoError(t, err)
	}
	_, err := guess(t, g, "127.0.0.1", "bob", false)
	require.ErrorIs(t, err, ErrThrottled, "accounts are counted from there too")

	// Without address, and without account.
	for range 10 {
		require.NoError(t, g.Admit(t.Context(), netip.Addr{}, "carol"))
		g.Failed(netip.Addr{}, "carol")
	}
	require.ErrorIs(t, g.Admit(t.Context(), netip.Addr{}, "carol"), ErrThrottled)
	require.NoError(t, g.Admit(t.Context(), netip.Addr{}, "dave"))
	g.Succeeded(netip.Addr{}, "dave")
	for range 5 {
		require.NoError(t, g.Admit(t.Context(), ip("192.0.2.1"), ""))
		g.Failed(ip("192.0.2.1"), "")
	}
	require.ErrorIs(t, g.Admit(t.Context(), ip("192.0.2.1"), ""), ErrThrottled)
}

// Neither memory nor a lock gives way to a flood of names and addresses.
func TestGovernorMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &Governor{BaseDelay: -1, MaxEntries: 1000}
		guesses(t, g, "victim", 10)
		for i := range 20000 {
			addr := fmt.Sprintf("10.%d.%d.1", i/250, i%250)
			_, err := guess(t, g, addr, fmt.Sprint("user", i), false)
			require.NoError(t, err)
			if i%2 == 0 {
				_, err = guess(t, g, addr, fmt.Sprint("owner", i), true)
				require.NoError(t, err)
			}
		}
		assert.Len(t, g.accounts.records, 1000)
		assert.Len(t, g.prefixes.records, 1000)
		assert.Len(t, g.known, 1000)
		_, err := guess(t, g, "203.0.113.1", "victim", true)
		require.ErrorIs(t, err, ErrThrottled, "pushed out by entries that count less")

		// What has faded makes room.
		time.Sleep(24 * time.Hour)
		for i := range 2000 {
			_, err := guess(t, g, fmt.Sprintf("10.0.%d.2", i%250), fmt.Sprint("new", i), false)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		assert.LessOrEqual(t, len(g.accounts.records), 1000)
	})
}

func TestGovernorEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var events []Event
		g := &Governor{AccountFailures: 4}
		g.OnDecision = func(e Event) {
			g.mu.Lock() // no lock is held
			defer g.mu.Unlock()
			events = append(events, e)
		}
		addr := ip("192.0.2.1")
		for range 4 {
			_, err := guess(t, g, "192.0.2.1", "bob", false)
			require.NoError(t, err)
		}
		_, err := guess(t, g, "192.0.2.1", "bob", false)
		require.ErrorIs(t, err, ErrThrottled)
		_, err = guess(t, g, "192.0.2.1", "carol", true)
		require.NoError(t, err)
		const ms = time.Millisecond
		none := netip.Prefix{}
		assert.Equal(t, []Event{
			{Admitted, addr, "bob", none, 0, 0}, {Failed, addr, "bob", none, 0, 1},
			{Admitted, addr, "bob", none, 0, 1}, {Failed, addr, "bob", none, 0, 2},
			{Delayed, addr, "bob", none, 500 * ms, 2}, {Admitted, addr, "bob", none, 0, 2}, {Failed, addr, "bob", none, 0, 3},
			{Delayed, addr, "bob", none, 1000 * ms, 3}, {Admitted, addr, "bob", none, 0, 3}, {Failed, addr, "bob", none, 0, 4},
			{LockedOut, addr, "bob", none, 15 * time.Minute, 4},
			{Refused, addr, "bob", none, 15 * time.Minute, 4},
			{Admitted, addr, "carol", none, 0, 0}, {Succeeded, addr, "carol", none, 0, 0},
		}, events)
		names := ""
		for d := Admitted; d <= Spared+1; d++ {
			names += d.String() + ";"
		}
		assert.Equal(t, "admitted;delayed;refused;failed;succeeded;locked out;spared;unknown;", names)
	})
}

// Accounts that are never locked are delayed, and who guesses them is locked out
// all the same; what was done for a day is forgotten in hours.
func TestGovernorNeverLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := map[Decision]int{}
		g := &Governor{NeverLock: []string{"Help"}, OnDecision: func(e Event) { told[e.Decision]++ }}
		guesses(t, g, "help", 100)
		assert.Equal(t, map[Decision]int{Admitted: 100, Delayed: 97, Failed: 100, Spared: 91}, told)
		d, err := guess(t, g, "203.0.113.1", "HELP", true)
		require.NoError(t, err)
		assert.Equal(t, 16*time.Second, d)
		told = map[Decision]int{}
		guesses(t, g, "other", 10)
		_, err = guess(t, g, "203.0.113.1", "other", true)
		require.ErrorIs(t, err, ErrThrottled)
		assert.Zero(t, told[Spared])

		guesses(t, g, "help", 100)
		time.Sleep(4 * time.Hour)
		d, err = guess(t, g, "203.0.113.2", "help", false)
		require.NoError(t, err)
		assert.Zero(t, d)
		g.mu.Lock()
		assert.Equal(t, 1, g.accounts.get(recordKey{account: foldName("help")}).count)
		g.mu.Unlock()

		g = &Governor{NeverLock: []string{"help"}, BaseDelay: -1}
		for range 40 {
			_, err = guess(t, g, "192.0.2.1", "help", false)
			require.NoError(t, err)
		}
		_, err = guess(t, g, "192.0.2.1", "help", true)
		require.ErrorIs(t, err, ErrThrottled, "the address")
	})
}

// flood makes attempts from accounts and prefixes of their own, the last of them
// of accounts with as many places as are remembered, and returns the heap that
// they have taken.
func flood(tb testing.TB, entries, attempts int) (octets uint64) {
	g := &Governor{BaseDelay: -1, AddressFailures: -1, MaxEntries: entries}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range attempts {
		name := fmt.Sprint("user", i)
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		require.NoError(tb, g.Admit(tb.Context(), addr, name))
		g.Failed(addr, name)
		if i < attempts-entries*5/4 {
			continue
		}
		for n := range maxPlaces + 1 {
			g.Succeeded(netip.AddrFrom4([4]byte{11, byte(n), byte(i >> 8), byte(i)}), name)
		}
		g.Failed(addr, name) // the table is full again
	}
	octets = heap() - before
	assert.Equal(tb, []int{entries, entries, entries}, []int{len(g.accounts.records), len(g.prefixes.records), len(g.known)})
	runtime.KeepAlive(g)
	return octets
}

// A flood takes no more memory than is said.
func TestGovernorHeap(t *testing.T) {
	const part = 8
	used := part * flood(t, 65536/part, 3*65536/part)
	t.Logf("%d MiB", used>>20)
	assert.Less(t, used>>20, uint64(90))
}

// BenchmarkGovernorHeap is a flood of a million accounts and prefixes.
func BenchmarkGovernorHeap(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(float64(flood(b, 65536, 1_000_000))/(1<<20), "MiB")
	}
}

func BenchmarkGovernor(b *testing.B) {
	g := new(Governor)
	addr := ip("2001:db8::1")
	b.ReportAllocs()
	for b.Loop() {
		if err := g.Admit(context.Background(), addr, "bob@example.org"); err != nil {
			b.Fatal(err)
		}
		g.Succeeded(addr, "bob@example.org")
	}
}

// BenchmarkGovernorFlood is a flood of names when the tables are full.
func BenchmarkGovernorFlood(b *testing.B) {
	g := &Governor{BaseDelay: -1, AddressFailures: -1}
	i := 0
	attempt := func() {
		addr := netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		name := fmt.Sprint("user", i)
		i++
		if err := g.Admit(context.Background(), addr, name); err != nil {
			b.Fatal(err)
		}
		g.Failed(addr, name)
	}
	for range 70000 {
		attempt()
	}
	b.ReportAllocs()
	for b.Loop() {
		attempt()
	}
}
