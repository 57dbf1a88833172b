package password

import (
	"bufio"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
)

// vectors are passwords and what other programs store for them.
func vectors(t testing.TB) (list [][2]string) {
	f, err := os.Open("testdata/hashes.txt")
	require.NoError(t, err)
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if password, hash, ok := strings.Cut(s.Text(), "\t"); ok && s.Text()[0] != '#' {
			list = append(list, [2]string{password, hash})
		}
	}
	return list
}

func TestForeignHashes(t *testing.T) {
	seen := make(map[string]bool)
	for _, v := range vectors(t) {
		st, err := parseStored(v[1])
		require.NoError(t, err, v[1])
		assert.Equal(t, v[1], st.text)
		assert.True(t, st.foreign)
		assert.True(t, st.matches(v[0]), "%q %s", v[0], v[1])
		seen[st.scheme] = true
		if strings.HasPrefix(st.scheme, "argon2") {
			continue // Dovecot's cost 64 MiB each
		}
		assert.False(t, st.matches(v[0]+"x") && !(st.salt != nil && strings.HasPrefix(st.scheme, "2") && len(v[0]) >= 72), "%q %s", v[0]+"x", v[1])
		assert.False(t, st.matches("X"+v[0][1:]), v[1])
		assert.False(t, decoy(st.cost).matches(v[0]))
	}
	assert.ElementsMatch(t, slices.Sorted(maps.Keys(schemes)), slices.Sorted(maps.Keys(seen)), "schemes without a vector")
}

func TestNotAHash(t *testing.T) {
	long := strings.Repeat("A", 200)
	for _, in := range []string{
		"", "x", "$", "$$", "$6", "$9$salt$hash", "{}", "{PLAIN}secret", "{CLEARTEXT}secret", "{SSHA", "{SSHA}", "{SSHA}!", "{SSHA}" + long + long,
		"{SSHA}AAAA", "{ARGON2ID}$6$salt$hash", "{CRYPT}$1$salt$hash", "$1$salt$5000$c7ff4cbf7096f9bdfdec3d9ba195c46afc680579",
		"$ssha$AAAA", "{CRYPT}$argon2id$v=19$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "{SHA512-CRYPT}secret",
		"$argon2id$v=16$m=64,t=1,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "$argon2id$v=19$t=1,m=64,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
		"$argon2id$v=19$m=64,t=1,p=1$c2Fs$aGFzaGhhc2hoYXNoaGFzaA",
		"$scrypt$ln=24,r=64,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "$scrypt$ln=63,r=8,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA",
		"$7$z..../....salt$" + strings.Repeat("A", 43), "$7$6......../....salt$" + strings.Repeat("A", 43), "$7$$", "$7$6....!....salt$" + strings.Repeat("A", 43),
		"$2y$31$" + strings.Repeat("a", 53), "$2y$03$" + strings.Repeat("a", 53), "$2y$5$" + strings.Repeat("a", 53), "$2x$05$" + strings.Repeat("a", 53),
		"$2y$05$" + strings.Repeat("a", 52), "$2y$05$" + strings.Repeat("a", 52) + "!", "$2y$+5$" + strings.Repeat("a", 53),
		"$6$rounds=999999999$salt$" + strings.Repeat("a", 86), "$6$rounds=x$salt$" + strings.Repeat("a", 86), "$6$seventeen-letters$" + strings.Repeat("a", 86),
		"$6$salt$" + strings.Repeat("a", 85), "$6$sa lt$" + strings.Repeat("a", 86), "$6$salt$" + strings.Repeat("a", 85) + "\u00e4", "$6$rounds=5000$salt",
		"$pbkdf2-sha256$99999999$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "$pbkdf2-sha256$0$c2FsdHNhbHQ$aGFzaGhhc2hoYXNoaGFzaA", "$pbkdf2-sha256$1000$c2FsdHNhbHQ$aGFz",
		"{PBKDF2}$1$salt$1000$xx", "{PBKDF2}$1$salt", "$pbkdf2$1000",
	} {
		_, err := parseStored(in)
		assert.Error(t, err, in)
		err = cheap(Memory()).SetHash(User{Name: "bob"}, in)
		if in != "" {
			assert.ErrorIs(t, err, ErrHash, in)
		}
	}
}

// An unknown user is dealt a scheme as often as users have it, always the same,
// and when users change theirs few names do.
func TestCensus(t *testing.T) {
	var c census[cost]
	_, ok := c.draw(nil, "cost", "x")
	require.False(t, ok)
	kinds := []cost{{"2y", 5, 0, 0}, {"6", 5000, 0, 0}, {"argon2id", 64, 1, 1}}
	for i, n := range []int{30, 10, 60} {
		c.add(kinds[i], n)
	}
	c.settle()
	secret := []byte("secret")
	deal := func() (of map[string]cost, counts map[string]int) {
		of, counts = make(map[string]cost), make(map[string]int)
		for i := range 10_000 {
			name := fmt.Sprint("user", i)
			k, ok := c.draw(secret, "cost", name)
			require.True(t, ok)
			of[name] = k
			counts[k.scheme]++
		}
		return of, counts
	}
	before, counts := deal()
	for scheme, want := range map[string]float64{"2y": 3000, "6": 1000, "argon2id": 6000} {
		assert.Less(t, math.Abs(float64(counts[scheme])-want), 6*math.Sqrt(want), scheme)
	}
	again, _ := deal()
	assert.Equal(t, before, again)

	c.add(kinds[0], -10) // ten users have logged in
	c.add(kinds[2], 10)
	c.settle()
	after, counts := deal()
	assert.InDelta(t, 2000, counts["2y"], 300)
	moved := 0
	for name, k := range before {
		if after[name] != k {
			moved++
			assert.NotEqual(t, "argon2id", k.scheme, "a name moved the wrong way")
			assert.NotEqual(t, "2y", after[name].scheme, "a name moved the wrong way")
		}
	}
	assert.Less(t, moved, 1500)

	for _, k := range kinds {
		c.add(k, -1000)
	}
	c.settle()
	assert.Empty(t, c.shares)
	for i := range 100 {
		c.add(cost{a: uint32(i)}, 1)
	}
	c.settle()
	assert.Len(t, c.shares, maxShares)
}

// Unknown users cost what users cost, whatever these have.
func TestDecoys(t *testing.T) {
	u := cheap(Memory())
	u.ReadOnly, u.CacheTTL = true, -1
	costs := make(map[cost]int)
	u.check = func(st stored, password string) bool {
		costs[st.cost]++
		return st.matches(password)
	}
	for i := range 20 {
		require.NoError(t, u.SetHash(User{Name: fmt.Sprint("old", i)}, "$2y$04$abcdefghijklmnopqrstuuMFdJu9yVgmagVAIC24fOZkaFqd3s9JC"))
		require.NoError(t, u.Add(fmt.Sprint("new", i), "secret"))
	}
	for i := range 100 {
		for range 2 {
			_, err := check(t, u, "", fmt.Sprint("nobody", i), "secret")
			require.ErrorIs(t, err, auth.ErrCredentials)
		}
	}
	require.Len(t, costs, 2)
	for k, n := range costs {
		assert.InDelta(t, 100, n, 50, k.scheme)
		assert.Zero(t, n%2, "the same name once with one scheme and once with another")
	}
}

func FuzzStored(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v[1])
	}
	f.Fuzz(func(t *testing.T, text string) {
		st, err := parseStored(text)
		if err != nil {
			return
		}
		require.Equal(t, text, st.text)
		require.Equal(t, []string{text}, strings.Fields(text))
		if st.a > 1<<12 || st.b > 1<<12 || st.a*max(1, st.b) > 1<<13 || strings.HasPrefix(st.scheme, "2") && st.a > 5 || st.scheme == "scrypt" || st.scheme == "7" {
			return // bounded, but not for so many
		}
		st.matches("password")
		decoy(st.cost).matches("password")
	})
}

func BenchmarkSHA512Crypt(b *testing.B) {
	st, err := parseStored("$6$saltstring$MO53nAXQUKXVLlsbiXyPgMsR6q10N7eF7sPvanwdXnEeCj5kE3eYaRvFv0wVW1UZ4SnNTzc1v4OCOq1ASDQZY0")
	require.NoError(b, err)
	b.ReportAllocs()
	for b.Loop() {
		st.matches("correct horse")
	}
}
