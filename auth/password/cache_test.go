package password

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
)

// counting counts hashes, and the most that ran at one time.
type counting struct{ total, now, most atomic.Int64 }

func (c *counting) check(st stored, password string) bool {
	c.total.Add(1)
	now := c.now.Add(1)
	for m := c.most.Load(); now > m && !c.most.CompareAndSwap(m, now); m = c.most.Load() {
	}
	defer c.now.Add(-1)
	runtime.Gosched()
	return st.matches(password)
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c counting
		u := cheap(Memory())
		u.check = c.check
		require.NoError(t, u.Add("bob", "secret"))
		try := func(name, password string, want error, hashes int64) {
			t.Helper()
			before := c.total.Load()
			_, err := check(t, u, "", name, password)
			require.ErrorIs(t, err, want)
			require.Equal(t, hashes, c.total.Load()-before, "hashes")
		}
		// An unknown user costs what a wrong password costs.
		try("bob", "secret", nil, 1)
		try("bob", "wrong", auth.ErrCredentials, 1)
		try("eve", "wrong", auth.ErrCredentials, 1)
		try("e e", "wrong", auth.ErrCredentials, 1)
		try("BOB", "secret", nil, 0)
		try("bob", "wrong", auth.ErrCredentials, 0)
		try("eve", "wrong", auth.ErrCredentials, 0)

		time.Sleep(time.Minute) // failures are forgotten first
		try("bob", "secret", nil, 0)
		try("bob", "wrong", auth.ErrCredentials, 1)
		try("eve", "wrong", auth.ErrCredentials, 1)
		time.Sleep(9 * time.Minute)
		try("bob", "secret", nil, 1)

		// A user who comes into being is not kept out by what is remembered.
		try("new", "secret", auth.ErrCredentials, 1)
		require.NoError(t, u.Add("new", "secret"))
		try("new", "secret", nil, 1)
		require.NoError(t, u.Remove("new"))
		try("new", "secret", auth.ErrCredentials, 0)
	})
}

func TestCacheOff(t *testing.T) {
	var c counting
	u := cheap(Memory())
	u.check, u.CacheTTL = c.check, -1
	require.NoError(t, u.Add("bob", "secret"))
	for range 3 {
		_, err := check(t, u, "", "bob", "secret")
		require.NoError(t, err)
	}
	assert.EqualValues(t, 3, c.total.Load())
	assert.Empty(t, u.cache.good)
}

func TestCacheBound(t *testing.T) {
	u := cheap(Memory())
	u.CacheEntries = 10
	require.NoError(t, u.Add("bob", "secret"))
	_, err := check(t, u, "", "bob", "secret")
	require.NoError(t, err)
	for i := range 100 {
		_, err := check(t, u, "", "bob", fmt.Sprint(i))
		require.ErrorIs(t, err, auth.ErrCredentials)
	}
	assert.Len(t, u.cache.bad, 10)
	assert.Len(t, u.cache.good, 1, "guesses push out what is right")
}

// A login whose context ends must not take those with it that wait for the
// same outcome.
func TestCacheLeaderGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := cheap(Memory())
		u.MaxHashing = 1
		require.NoError(t, u.Add("bob", "secret"))
		u.slots <- struct{}{}
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			_, err := u.Password(ctx, auth.Request{}, "", "bob", "secret")
			assert.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		for range 5 {
			wg.Go(func() {
				_, err := u.Password(t.Context(), auth.Request{}, "", "bob", "secret")
				assert.NoError(t, err)
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		<-u.slots
		wg.Wait()
	})
}

func TestMaxWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := cheap(Memory())
		u.MaxHashing, u.MaxWaiting = 1, 3
		require.NoError(t, u.Add("bob", "secret"))
		u.slots <- struct{}{}
		var wg sync.WaitGroup
		var busy atomic.Int64
		for i := range 10 {
			wg.Go(func() {
				_, err := u.Password(t.Context(), auth.Request{}, "", "bob", fmt.Sprint(i))
				if errors.Is(err, errBusy) {
					assert.ErrorIs(t, err, auth.ErrUnavailable)
					busy.Add(1)
				} else {
					assert.ErrorIs(t, err, auth.ErrCredentials)
				}
			})
		}
		synctest.Wait()
		assert.EqualValues(t, 7, busy.Load())
		<-u.slots
		wg.Wait()
		assert.Zero(t, u.queued.Load())
	})
}

// morning is 5,000 logins of 50 users, 500 at a time, one in ten with a wrong
// password.
func morning(t testing.TB, u *Users) {
	var wg sync.WaitGroup
	for range 500 {
		wg.Go(func() {
			for range 10 {
				name, want := fmt.Sprintf("user%d@example.org", rand.IntN(50)), error(nil)
				password := "secret " + name
				if rand.IntN(10) == 0 {
					password, want = "wrong", auth.ErrCredentials
				}
				_, err := u.Password(context.Background(), auth.Request{}, "", name, password)
				assert.ErrorIs(t, err, want)
			}
		})
	}
	wg.Wait()
}

func staff(t testing.TB, u *Users) {
	for i := range 50 {
		name := fmt.Sprintf("user%d@example.org", i)
		require.NoError(t, u.Add(name, "secret "+name))
	}
}

func TestMorning(t *testing.T) {
	var c counting
	u := cheap(Memory())
	u.check, u.MaxHashing = c.check, 3
	staff(t, u)
	c.total.Store(0)
	morning(t, u)
	assert.LessOrEqual(t, c.most.Load(), int64(3), "more hashes at one time than MaxHashing")
	assert.LessOrEqual(t, c.total.Load(), int64(100), "a hash for each user's right and wrong password")
}

// BenchmarkMorning has the real cost of hashing; each round starts with an
// empty cache.
func BenchmarkMorning(b *testing.B) {
	u := Memory()
	staff(b, u)
	b.ReportAllocs()
	var peak uint64
	for b.Loop() {
		u.cache = newCache(10*time.Minute, 4096)
		stop, stopped := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(stopped)
			var m runtime.MemStats
			for {
				runtime.ReadMemStats(&m)
				peak = max(peak, m.HeapInuse)
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
				}
			}
		}()
		morning(b, u)
		close(stop)
		<-stopped
	}
	b.ReportMetric(float64(peak)/(1<<20), "MiB-heap-peak")
}

func BenchmarkCached(b *testing.B) {
	u := Memory()
	require.NoError(b, u.Add("bob@example.org", "secret"))
	b.ReportAllocs()
	for b.Loop() {
		_, err := u.Password(context.Background(), auth.Request{}, "", "bob@example.org", "secret")
		require.NoError(b, err)
	}
}

func BenchmarkHash(b *testing.B) {
	u := Memory()
	u.CacheTTL = -1
	require.NoError(b, u.Add("bob@example.org", "secret"))
	b.ReportAllocs()
	for b.Loop() {
		_, err := u.Password(context.Background(), auth.Request{}, "", "bob@example.org", "secret")
		require.NoError(b, err)
	}
}
