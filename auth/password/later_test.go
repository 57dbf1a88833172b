package password

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/testleak"
)

// legacy are hashes of "correct horse" that cost little.
var legacy = map[string]string{
	"bcrypt":       "$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2",
	"sha512-crypt": "$6$saltstring$.r0X7ub5wGR2v4Xz7svCIozfnlorFh19V89t8KC9Umd81uGhFgsyTRNyzQDXDIm17fFcR9z3z7oBNdsyYBbtm/",
	"sha256-crypt": "{SHA256-CRYPT}$5$saltstring$vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC",
	"crypt scrypt": "{CRYPT}$7$60..../....Sodium$ui6VBsmLswx954YOeqJaNJk4OlI3bFoWz.ZJSzfmd4.",
	"old argon2":   "", // made by the test
}

func TestRenew(t *testing.T) {
	testleak.Check(t)
	weak := cheap(Memory())
	require.NoError(t, weak.Add("x", "correct horse"))
	for name, hash := range legacy {
		for _, file := range []bool{false, true} {
			t.Run(fmt.Sprint(name, " file ", file), func(t *testing.T) {
				u := Memory()
				if file {
					u = File(filepath.Join(t.TempDir(), "users"))
				}
				cheap(u).HashMemory = 128
				u.MoreSCRAM = []string{"SHA-512"}
				if hash == "" {
					hash = weak.doc.users["x"].hash.text
				}
				require.NoError(t, u.SetHash(User{Name: "bob", Account: "b", Groups: []string{"g"}}, hash))
				assert.Empty(t, u.SCRAMHashes())
				_, err := check(t, u, "", "bob", "wrong horse")
				require.ErrorIs(t, err, auth.ErrCredentials)
				require.NoError(t, u.Flush(t.Context()))
				assert.True(t, strings.HasSuffix(u.doc.users["bob"].hash.text, hash), "a wrong password was kept")

				id, err := check(t, u, "", "bob", "correct horse")
				require.NoError(t, err)
				assert.Equal(t, "b", id.Account)
				require.NoError(t, u.Flush(t.Context()))
				e := u.doc.users["bob"]
				assert.Regexp(t, `^\$argon2id\$v=19\$m=128,t=1,p=1\$`, e.hash.text)
				assert.Equal(t, []string{"g"}, e.Groups)
				assert.Equal(t, []string{"SHA-512", "SHA-256"}, u.SCRAMHashes())
				for _, h := range u.SCRAMHashes() {
					_, err = scram(t, u, auth.Request{}, h, "bob", "correct horse")
					require.NoError(t, err)
				}
				_, err = check(t, u, "", "bob", "correct horse")
				require.NoError(t, err)
				_, err = check(t, u, "", "bob", "wrong horse")
				require.ErrorIs(t, err, auth.ErrCredentials)
				require.NoError(t, u.Flush(t.Context()))
				assert.Same(t, e, u.doc.users["bob"], "hashed anew twice")

				// More work than is asked for is kept.
				u.HashMemory = 64
				_, err = check(t, u, "", "bob", "correct horse")
				require.NoError(t, err)
				require.NoError(t, u.Flush(t.Context()))
				assert.Same(t, e, u.doc.users["bob"])
			})
		}
	}
}

// The password is prepared for our own hash, and taken as it came for another
// program's.
func TestRenewUnicode(t *testing.T) {
	u := cheap(Memory())
	const nfd, nfc = "pa\u0308ssword", "p\u00e4ssword"
	foreign, err := parseStored(newStored(u.cost(), nfd).text)
	require.NoError(t, err)
	require.NoError(t, u.SetHash(User{Name: "bob"}, foreign.text))
	_, err = check(t, u, "", "bob", nfc)
	require.ErrorIs(t, err, auth.ErrCredentials)
	_, err = check(t, u, "", "bob", nfd)
	require.NoError(t, err)
	require.NoError(t, u.Flush(t.Context()))
	for _, p := range []string{nfc, nfd} {
		_, err = check(t, u, "", "bob", p)
		require.NoError(t, err)
	}
}

func TestRenewIterations(t *testing.T) {
	u := cheap(Memory())
	require.NoError(t, u.Add("bob", "secret"))
	u.Iterations = 5000
	_, err := check(t, u, "", "bob", "secret")
	require.NoError(t, err)
	require.NoError(t, u.Flush(t.Context()))
	assert.Equal(t, 5000, u.doc.users["bob"].keys["SHA-256"].Iterations)
	_, err = scram(t, u, auth.Request{}, "SHA-256", "bob", "secret")
	require.NoError(t, err)

	// Not while an app password has keys with the former number.
	_, secret, err := u.AddApp("bob", App{Name: "x"})
	require.NoError(t, err)
	u.Iterations = 6000
	before := u.doc.users["bob"]
	_, err = check(t, u, "", "bob", "secret")
	require.NoError(t, err)
	require.NoError(t, u.Flush(t.Context()))
	assert.Same(t, before, u.doc.users["bob"])
	for _, p := range []string{"secret", secret} {
		_, err = scram(t, u, auth.Request{}, "SHA-256", "bob", p)
		require.NoError(t, err)
	}
}

// A login does not wait for the hash that is made after it, nor for the file's
// lock, and what is written meanwhile wins.
func TestRenewLosesNoEdit(t *testing.T) {
	testleak.Check(t)
	path := filepath.Join(t.TempDir(), "users")
	u, other := cheap(File(path)), cheap(File(path))
	require.NoError(t, u.SetHash(User{Name: "bob"}, legacy["bcrypt"]))
	require.NoError(t, u.SetHash(User{Name: "carol"}, legacy["bcrypt"]))
	unlock, err := lockFolder(filepath.Dir(path), time.Second)
	require.NoError(t, err)
	for _, name := range []string{"bob", "carol"} {
		_, err = check(t, u, "", name, "correct horse")
		require.NoError(t, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, u.Flush(ctx), context.DeadlineExceeded)

	// Somebody with the lock gives bob another password.
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	fresh := cheap(Memory())
	fresh.Iterations = -1 // without keys, as before
	require.NoError(t, fresh.Add("bob", "new password"))
	lines := strings.Split(string(data), "\n")
	lines[1] = fresh.doc.lines[0]
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600))
	unlock()
	require.NoError(t, u.Flush(t.Context()))
	require.NoError(t, other.Load())
	_, err = check(t, other, "", "bob", "new password")
	require.NoError(t, err)
	_, err = check(t, other, "", "bob", "correct horse")
	require.ErrorIs(t, err, auth.ErrCredentials)
	assert.False(t, other.doc.users["carol"].hash.foreign, "the other one is written")
	require.NoError(t, other.Flush(t.Context()))
}

// Many migrated users on one morning: few writings.
func TestRenewBatches(t *testing.T) {
	testleak.Check(t)
	var log bytes.Buffer
	path := filepath.Join(t.TempDir(), "users")
	text := magic + " 1\n"
	for i := range 300 {
		text += fmt.Sprintf("user%d password=%s\n", i, legacy["sha512-crypt"])
	}
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	u := cheap(File(path))
	var wg sync.WaitGroup
	var failed atomic.Int64
	for round := 0; round < 50 && (u.doc == nil || u.doc.costs.counts[u.cost()] < 300); round++ {
		for w := range 8 {
			wg.Go(func() {
				for i := w; i < 300; i += 8 {
					if _, err := u.Password(t.Context(), auth.Request{}, "", fmt.Sprint("user", i), "correct horse"); err != nil {
						failed.Add(1)
					}
				}
			})
		}
		wg.Wait()
		require.NoError(t, u.Flush(t.Context()))
	}
	assert.Zero(t, failed.Load())
	assert.Equal(t, 300, u.doc.costs.counts[u.cost()])
	assert.Equal(t, []string{"SHA-256"}, u.SCRAMHashes())
	assert.Empty(t, u.later.names)
	assert.Empty(t, log.String())
}

// A file that cannot be written keeps nobody out, and is not tried at each
// login.
func TestRenewReadOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		path := filepath.Join(dir, "users")
		u := cheap(File(path))
		u.CheckEvery = -1
		require.NoError(t, u.SetHash(User{Name: "bob"}, legacy["bcrypt"]))
		require.NoError(t, os.Rename(dir, dir+"~"))
		for range 3 {
			_, err := check(t, u, "", "bob", "correct horse")
			require.NoError(t, err)
			require.NoError(t, u.Flush(t.Context()))
			assert.True(t, u.later.paused.After(time.Now()))
		}
		require.NoError(t, os.Rename(dir+"~", dir))
		_, err := check(t, u, "", "bob", "correct horse")
		require.NoError(t, err)
		require.NoError(t, u.Flush(t.Context()))
		assert.True(t, u.doc.users["bob"].hash.foreign)
		time.Sleep(pause)
		_, err = check(t, u, "", "bob", "correct horse")
		require.NoError(t, err)
		require.NoError(t, u.Flush(t.Context()))
		assert.False(t, u.doc.users["bob"].hash.foreign)

		require.NoError(t, u.SetHash(User{Name: "carol"}, legacy["bcrypt"]))
		u.ReadOnly = true
		_, err = check(t, u, "", "carol", "correct horse")
		require.NoError(t, err)
		require.NoError(t, u.Flush(t.Context()))
		assert.True(t, u.doc.users["carol"].hash.foreign)
	})
}

// An editor that saves without the lock while we write is not overwritten.
func TestEditConflict(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	u := cheap(File(path))
	require.NoError(t, u.Add("bob", "secret"))
	carol := line(t, "carol")
	times := 0
	err := u.edit(func(d *document) error {
		if times++; times == 1 {
			f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = f.WriteString(carol + "\n")
			require.NoError(t, err)
			require.NoError(t, f.Close())
		}
		e := *d.users["bob"]
		e.Groups = []string{"g"}
		d.put(&e)
		return nil
	})
	require.NoError(t, err)
	assert.Equal(t, 2, times)
	require.NoError(t, u.Load())
	assert.Contains(t, u.doc.users, "carol")
	assert.Equal(t, []string{"g"}, u.doc.users["bob"].Groups)

	err = u.edit(func(d *document) error {
		f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = f.WriteString("#\n")
		require.NoError(t, err)
		require.NoError(t, f.Close())
		d.lines = append(d.lines, "# ours")
		return nil
	})
	require.ErrorIs(t, err, ErrConflict)
	left, err := os.ReadDir(filepath.Dir(path))
	require.NoError(t, err)
	assert.Len(t, left, 1, "temporary files are left")
}

// What a crash has left is removed by the next edit, and nothing else.
func TestSweep(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "users")
	for _, name := range []string{".users.tmp-123", ".users2.tmp-1", "users.tmp-1"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o600))
	}
	require.NoError(t, cheap(File(path)).Add("bob", "x"))
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	var names []string
	for _, e := range left {
		names = append(names, e.Name())
	}
	assert.Equal(t, []string{".users2.tmp-1", "users", "users.tmp-1"}, names)
}
