package password

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"
)

// cache remembers the outcomes of hashing, and lets equal attempts share one.
type cache struct {
	secret  []byte
	ttl     time.Duration // negative: remember nothing
	entries int

	mu       sync.Mutex
	good     map[cacheKey]time.Time // until when
	bad      map[cacheKey]time.Time
	underway map[cacheKey]*flight
}

// badFor bounds the time for which a failure is remembered.
const badFor = time.Minute

type cacheKey [sha256.Size]byte

// flight is one hash that others wait for. The fields are set before done is
// closed.
type flight struct {
	done chan struct{}
	ok   bool
	err  error
}

func newCache(ttl time.Duration, entries int) *cache {
	return &cache{
		secret: randomBytes(32), ttl: ttl, entries: entries,
		good: make(map[cacheKey]time.Time), bad: make(map[cacheKey]time.Time),
		underway: make(map[cacheKey]*flight),
	}
}

// key includes the stored hash, so that an outcome holds for it alone: when
// the user changes, it is not found any more.
func (c *cache) key(parts ...string) cacheKey {
	m := hmac.New(sha256.New, c.secret)
	for _, p := range parts {
		m.Write(binary.BigEndian.AppendUint64(nil, uint64(len(p))))
		m.Write([]byte(p))
	}
	return cacheKey(m.Sum(nil))
}

// do returns the remembered outcome, that of an equal attempt under way, or
// check's.
func (c *cache) do(ctx context.Context, k cacheKey, check func() (bool, error)) (bool, error) {
	for {
		c.mu.Lock()
		now := time.Now()
		if until, found := c.good[k]; found && now.Before(until) {
			c.mu.Unlock()
			return true, nil
		}
		if until, found := c.bad[k]; found && now.Before(until) {
			c.mu.Unlock()
			return false, nil
		}
		f, shared := c.underway[k]
		if !shared {
			f = &flight{done: make(chan struct{})}
			c.underway[k] = f
		}
		c.mu.Unlock()
		if !shared {
			c.fly(k, f, check)
			return f.ok, f.err
		}
		select {
		case <-f.done:
			if f.err == nil {
				return f.ok, nil
			}
			// The other's context ended, not ours.
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// fly runs check and remembers its outcome.
func (c *cache) fly(k cacheKey, f *flight, check func() (bool, error)) {
	f.err = errBusy // for those who wait, should check panic
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.underway, k)
		if f.err == nil && c.ttl > 0 {
			now := time.Now()
			if f.ok {
				c.put(c.good, k, now, c.ttl)
			} else {
				c.put(c.bad, k, now, min(c.ttl, badFor))
			}
		}
		close(f.done)
	}()
	f.ok, f.err = check()
}

// put makes room by looking at a few entries: the expired go, and of a full
// map the one that expires first.
func (c *cache) put(m map[cacheKey]time.Time, k cacheKey, now time.Time, ttl time.Duration) {
	var victim cacheKey
	var first time.Time
	looked := 0
	for key, until := range m {
		if looked++; !now.Before(until) {
			delete(m, key)
		} else if first.IsZero() || until.Before(first) {
			victim, first = key, until
		}
		if looked >= 8 {
			break
		}
	}
	if len(m) >= c.entries {
		delete(m, victim)
	}
	m[k] = now.Add(ttl)
}
