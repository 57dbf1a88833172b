package dns

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	mdns "github.com/miekg/dns"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/internal/testdns"
)

func inMemory(t *testing.T, z testdns.Zone) (*Resolver, *testdns.Server) {
	srv := testdns.InMemory(z)
	t.Cleanup(func() { srv.Close() })
	return &Resolver{Servers: []string{srv.Addr()}, Dial: srv.Dial, Attempts: 1}, srv
}

func TestCacheTimes(t *testing.T) {
	z := testdns.Zone{
		"short.test": {A: []string{"192.0.2.1"}, TTL: 30},
		"zero.test":  {A: []string{"192.0.2.1"}, TTL: -1},
		"long.test":  {A: []string{"192.0.2.1"}, TTL: 1 << 30},
		"neg.test":   {A: []string{"192.0.2.1"}, TTL: 1<<31 + 5}, // RFC 2181 §8
		"alias.test": {CNAME: "gone.test", TTL: 20},
	}
	cases := []struct {
		name     string
		r        *Resolver // settings
		soa      int
		wait     time.Duration
		asked    int
		negative bool
	}{
		{name: "short.test", wait: 29 * time.Second, asked: 1},
		{name: "short.test", wait: 30 * time.Second, asked: 2},
		{name: "short.test", r: &Resolver{MaxTTL: 10 * time.Second}, wait: 10 * time.Second, asked: 2},
		{name: "short.test", r: &Resolver{MaxTTL: -1}, asked: 2},
		{name: "short.test", r: &Resolver{CacheSize: -1}, asked: 2},
		{name: "zero.test", asked: 2},
		{name: "neg.test", asked: 2},
		{name: "long.test", wait: 24*time.Hour - time.Second, asked: 1},
		{name: "long.test", wait: 24 * time.Hour, asked: 2},
		{name: "gone.test", soa: 60, wait: 59 * time.Second, asked: 1, negative: true},
		{name: "gone.test", soa: 60, wait: 60 * time.Second, asked: 2, negative: true},
		{name: "gone.test", soa: 100000, wait: 15*time.Minute - time.Second, asked: 1, negative: true},
		{name: "gone.test", soa: 100000, wait: 15 * time.Minute, asked: 2, negative: true},
		{name: "gone.test", soa: 60, r: &Resolver{NegativeTTL: -1}, asked: 2, negative: true},
		// Without SOA an absence is remembered no longer than a failure (RFC 2308 §5).
		{name: "gone.test", soa: -1, wait: 4 * time.Second, asked: 1, negative: true},
		{name: "gone.test", soa: -1, wait: 5 * time.Second, asked: 2, negative: true},
		{name: "gone.test", soa: -1, r: &Resolver{FailureTTL: -1}, asked: 2, negative: true},
		{name: "alias.test", soa: 60, wait: 19 * time.Second, asked: 1, negative: true},
		{name: "alias.test", soa: 60, wait: 20 * time.Second, asked: 2, negative: true},
	}
	for i, c := range cases {
		t.Run(fmt.Sprint(i, c.name), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv := testdns.InMemory(z)
				defer srv.Close()
				srv.SetNegativeTTL(c.soa)
				r := c.r
				if r == nil {
					r = &Resolver{}
				}
				r.Servers, r.Dial = []string{srv.Addr()}, srv.Dial
				for range 2 {
					a, err := r.A(t.Context(), c.name)
					assert.Equal(t, c.negative, IsNotExist(err), "%v", err)
					assert.GreaterOrEqual(t, a.TTL, time.Duration(0))
					time.Sleep(c.wait)
				}
				assert.Equal(t, c.asked, srv.Count(c.name, "A"))
			})
		})
	}
}

// A name that does not exist has no records of any type; one without records
// of a type may have others.
func TestCacheKinds(t *testing.T) {
	r, srv := inMemory(t, testdns.Zone{"here.test": {A: []string{"192.0.2.1"}}})
	ctx := t.Context()
	_, err := r.A(ctx, "gone.test")
	assert.True(t, IsNotExist(err))
	_, err = r.MX(ctx, "gone.test")
	assert.True(t, IsNotExist(err))
	assert.Equal(t, 1, srv.Count("gone.test", ""))

	_, err = r.MX(ctx, "here.test")
	assert.True(t, IsNoData(err))
	_, err = r.MX(ctx, "here.test")
	assert.True(t, IsNoData(err))
	_, err = r.A(ctx, "here.test")
	assert.NoError(t, err)
	assert.Equal(t, 2, srv.Count("here.test", ""))
}

// A failure is remembered for a few seconds only, and then looked up anew.
func TestCacheFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, srv := inMemory(t, testdns.Zone{"here.test": {}})
		srv.Fail("here.test", "TXT", testdns.ServFail)
		for range 10 {
			_, err := r.TXT(t.Context(), "here.test")
			require.True(t, IsTemporary(err))
		}
		asked := srv.Count("here.test", "TXT")
		require.LessOrEqual(t, asked, 2, "one lookup, whatever its attempts")
		srv.Set("here.test", testdns.Records{TXT: []string{"now"}})
		_, err := r.TXT(t.Context(), "here.test")
		require.True(t, IsTemporary(err))
		time.Sleep(5 * time.Second)
		txt, err := r.TXT(t.Context(), "here.test")
		require.NoError(t, err)
		require.Equal(t, []string{"now"}, txt.Records)
	})
}

// A caller that gave up leaves nothing behind.
func TestCancelledLookupIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, srv := inMemory(t, testdns.Zone{"here.test": {TXT: []string{"now"}}})
		srv.Delay("here.test", time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		_, err := r.TXT(ctx, "here.test")
		require.True(t, IsTemporary(err))
		_, err = r.TXT(t.Context(), "here.test")
		require.NoError(t, err)
	})
}

// What a caller does to its records must not reach the cache.
func TestCacheOwnership(t *testing.T) {
	r, _ := inMemory(t, testdns.Zone{"t.test": {TLSA: []string{"3 1 1 0102"}, MX: []string{"10 a.test"}}})
	a, err := r.TLSA(t.Context(), "t.test")
	require.NoError(t, err)
	a.Records[0].Data[0] = 99
	b, err := r.TLSA(t.Context(), "t.test")
	require.NoError(t, err)
	assert.Equal(t, []byte{1, 2}, b.Records[0].Data)
	mx, err := r.LookupMX(t.Context(), "t.test")
	require.NoError(t, err)
	mx[0].Host = "changed"
	mx, err = r.LookupMX(t.Context(), "t.test")
	require.NoError(t, err)
	assert.Equal(t, "a.test.", mx[0].Host)
}

func TestCacheBounds(t *testing.T) {
	var c cache
	later := time.Now().Add(time.Hour)
	put := func(i int, txt string, size int) {
		name := fmt.Sprintf("n%d.test", i)
		c.put(key{name, mdns.TypeTXT}, &entry{name: name, expires: later, cacheable: true, rrs: []mdns.RR{
			&mdns.TXT{Hdr: mdns.RR_Header{Name: name + ".", Rrtype: mdns.TypeTXT}, Txt: []string{txt}},
		}}, size)
	}
	for i := range 1000 {
		put(i, "short", 100)
		_, ok := c.get(key{"n0.test", mdns.TypeTXT}, time.Now())
		require.True(t, ok, "what is used stays")
	}
	assert.Equal(t, 100, c.lru.Len())
	assert.Equal(t, 100, len(c.m))
	_, ok := c.get(key{"n500.test", mdns.TypeTXT}, time.Now())
	assert.False(t, ok)
	_, ok = c.get(key{"n999.test", mdns.TypeTXT}, time.Now())
	assert.True(t, ok)

	for i := range 1000 { // large answers push out more
		put(i, strings.Repeat("x", 8000), 100)
	}
	assert.LessOrEqual(t, c.cost, 100<<10)
	assert.Less(t, c.lru.Len(), 15)
	put(5000, strings.Repeat("x", 20000), 100)
	_, ok = c.get(key{"n5000.test", mdns.TypeTXT}, time.Now())
	assert.False(t, ok, "too large to be kept")
	c.flush()
	assert.Zero(t, c.cost)
	assert.Zero(t, c.lru.Len())
}

func TestResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	c := resolvConf{path: path}
	now := time.Now()
	assert.Equal(t, []string{"127.0.0.1:53"}, c.servers(now), "no file")
	write := func(text string, mtime time.Time) {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		require.NoError(t, os.Chtimes(path, mtime, mtime))
	}
	write("search example.org\nnameserver 192.0.2.53\nnameserver 2001:db8::53\n", now)
	assert.Equal(t, []string{"127.0.0.1:53"}, c.servers(now.Add(time.Second)), "not looked at again yet")
	now = now.Add(6 * time.Second)
	assert.Equal(t, []string{"192.0.2.53:53", "[2001:db8::53]:53"}, c.servers(now))
	write("nameserver 192.0.2.54\n", now)
	assert.Equal(t, []string{"192.0.2.54:53"}, c.servers(now.Add(6*time.Second)))
	require.NoError(t, os.Rename(path, path+".away"))
	assert.Equal(t, []string{"127.0.0.1:53"}, c.servers(now.Add(12*time.Second)))
	require.NoError(t, os.Rename(path+".away", path))
	assert.Equal(t, []string{"192.0.2.54:53"}, c.servers(now.Add(18*time.Second)), "back as it was")
	write("# nothing\n", now.Add(time.Minute))
	assert.Equal(t, []string{"127.0.0.1:53"}, c.servers(now.Add(24*time.Second)))

	for in, want := range map[string]string{
		"192.0.2.1": "192.0.2.1:53", "2001:db8::1": "[2001:db8::1]:53", "[2001:db8::1]": "[2001:db8::1]:53",
		"[2001:db8::1]:5353": "[2001:db8::1]:5353", "ns.test": "ns.test:53", "ns.test:54": "ns.test:54",
	} {
		assert.Equal(t, want, withPort(in))
	}
}
