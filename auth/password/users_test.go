package password

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
)

// cheap makes hashing take next to no time.
func cheap(u *Users) *Users {
	u.HashMemory, u.HashPasses, u.Iterations = 64, 1, sasl.MinIterations
	return u
}

func check(t *testing.T, u *Users, authzid, name, password string) (*auth.Identity, error) {
	t.Helper()
	return u.Password(t.Context(), auth.Request{Service: auth.IMAP}, authzid, name, password)
}

func TestPassword(t *testing.T) {
	u := cheap(Memory())
	u.DefaultDomain = "Example.ORG"
	require.NoError(t, u.Add("bob@example.org", "secret"))
	require.NoError(t, u.Add("carol", "p\u00e4ssword")) // becomes carol, at the default domain
	require.NoError(t, u.Set(User{
		Name: "dave@b\u00fccher.example", Account: "d", Senders: []string{"@B\u00dcCHER.example", "d@example.net"}, Groups: []string{"staff"},
	}, "x y"))
	require.NoError(t, u.Set(User{Name: "nobody@example.org", Senders: []string{}}, "quiet"))

	for _, tc := range []struct {
		authzid, name, password string
		err                     error
		account, login          string
		senders                 []string
	}{
		{"", "bob@example.org", "secret", nil, "bob@example.org", "bob@example.org", []string{"bob@example.org"}},
		{"", "BOB@EXAMPLE.org", "secret", nil, "bob@example.org", "bob@example.org", []string{"bob@example.org"}},
		{"", "bob", "secret", nil, "bob@example.org", "bob@example.org", []string{"bob@example.org"}},
		{"bob", "Bob", "secret", nil, "bob@example.org", "bob@example.org", []string{"bob@example.org"}},
		{"", "\uff42\uff4f\uff42", "secret", nil, "bob@example.org", "bob@example.org", []string{"bob@example.org"}}, // full width
		{"carol", "bob", "secret", auth.ErrForbidden, "", "", nil},
		{"carol", "bob", "wrong", auth.ErrCredentials, "", "", nil},
		{"", "bob", "Secret", auth.ErrCredentials, "", "", nil},
		{"", "bob", "secret ", auth.ErrCredentials, "", "", nil},
		{"", "bob@example.net", "secret", auth.ErrCredentials, "", "", nil},
		{"", "bob@", "secret", auth.ErrCredentials, "", "", nil},
		{"", "@example.org", "secret", auth.ErrCredentials, "", "", nil},
		{"", "b b", "secret", auth.ErrCredentials, "", "", nil},
		{"", "bob\x00", "secret", auth.ErrCredentials, "", "", nil},
		{"", "bob\xff", "secret", auth.ErrCredentials, "", "", nil},
		{"", strings.Repeat("b", 400), "secret", auth.ErrCredentials, "", "", nil},
		{"", "bob", "", auth.ErrCredentials, "", "", nil},
		{"", "bob", strings.Repeat("s", MaxPassword+1), auth.ErrCredentials, "", "", nil},
		{"", "bob", "sec\x07ret", auth.ErrCredentials, "", "", nil},
		{"", "carol", "p\u00e4ssword", nil, "carol", "carol@example.org", []string{"carol@example.org"}},
		{"", "carol@example.org", "pa\u0308ssword", nil, "carol", "carol@example.org", []string{"carol@example.org"}}, // NFD
		{"", "dave@xn--bcher-kva.example", "x y", nil, "d", "dave@xn--bcher-kva.example", []string{"@xn--bcher-kva.example", "d@example.net"}},
		{"", "dave@b\u00fccher.example", "x\u00a0y", nil, "d", "dave@xn--bcher-kva.example", []string{"@xn--bcher-kva.example", "d@example.net"}},
		{"", "nobody@example.org", "quiet", nil, "nobody@example.org", "nobody@example.org", []string{}},
	} {
		t.Run(fmt.Sprintf("%.20q %.20q", tc.name, tc.password), func(t *testing.T) {
			id, err := check(t, u, tc.authzid, tc.name, tc.password)
			if tc.err != nil {
				require.ErrorIs(t, err, tc.err)
				require.Nil(t, id)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.account, id.Account)
			assert.Equal(t, tc.login, id.Login)
			assert.ElementsMatch(t, tc.senders, id.Senders)
		})
	}
	id, err := check(t, u, "", "dave@b\u00fccher.example", "x y")
	require.NoError(t, err)
	assert.Equal(t, []string{"staff"}, id.Groups)
	id.Groups[0] = "root"
	id, err = check(t, u, "", "dave@b\u00fccher.example", "x y")
	require.NoError(t, err)
	assert.Equal(t, []string{"staff"}, id.Groups, "a caller changed the list")
}

func TestEdit(t *testing.T) {
	for name, u := range map[string]*Users{"memory": Memory(), "file": File(t.TempDir() + "/users")} {
		t.Run(name, func(t *testing.T) {
			cheap(u)
			require.NoError(t, u.Add("bob@example.org", "one"))
			require.ErrorIs(t, u.Add("BOB@example.org", "two"), ErrExists)
			_, err := check(t, u, "", "bob@example.org", "one")
			require.NoError(t, err)

			// A new password takes effect at once, in spite of the cache.
			require.NoError(t, u.Set(User{Name: "bob@example.org"}, "two"))
			_, err = check(t, u, "", "bob@example.org", "one")
			require.ErrorIs(t, err, auth.ErrCredentials)
			_, err = check(t, u, "", "bob@example.org", "two")
			require.NoError(t, err)

			// An empty one leaves it, and the rest is replaced.
			require.NoError(t, u.Set(User{Name: "bob@example.org", Account: "b", Groups: []string{"a b", "c,d", "50%", "\u2003"}}, ""))
			id, err := check(t, u, "", "bob@example.org", "two")
			require.NoError(t, err)
			assert.Equal(t, "b", id.Account)
			assert.Equal(t, []string{"a b", "c,d", "50%", "\u2003"}, id.Groups)
			require.ErrorIs(t, u.Set(User{Name: "eve"}, ""), ErrUnknown)

			require.ErrorIs(t, u.Add("b b", "x"), ErrName)
			require.ErrorIs(t, u.Add("#bob", "x"), ErrName)
			require.ErrorIs(t, u.Add("", "x"), ErrName)
			require.ErrorIs(t, u.Add("carol", ""), ErrPassword)
			require.ErrorIs(t, u.Add("carol", "\x01"), ErrPassword)
			require.ErrorIs(t, u.Add("carol", strings.Repeat("x", MaxPassword+1)), ErrPassword)
			require.ErrorIs(t, u.Set(User{Name: "carol", Senders: []string{"nodomain"}}, "x"), ErrName)
			require.ErrorIs(t, u.Set(User{Name: "carol", Groups: []string{""}}, "x"), ErrName)
			require.ErrorIs(t, u.Set(User{Name: "carol", Groups: []string{"\xff"}}, "x"), ErrName)
			require.ErrorIs(t, u.Set(User{Name: "carol", Groups: make([]string, 100000)}, "x"), ErrName)

			require.NoError(t, u.SetPassword("BOB@example.org", "three"))
			id, err = check(t, u, "", "bob@example.org", "three")
			require.NoError(t, err)
			assert.Equal(t, "b", id.Account)
			assert.Len(t, id.Groups, 4)
			_, err = check(t, u, "", "bob@example.org", "two")
			require.ErrorIs(t, err, auth.ErrCredentials)
			_, err = scram(t, u, auth.Request{}, "SHA-256", "bob@example.org", "three")
			require.NoError(t, err)
			require.ErrorIs(t, u.SetPassword("eve", "x"), ErrUnknown)
			require.ErrorIs(t, u.SetPassword("bob@example.org", ""), ErrPassword)

			require.NoError(t, u.Add("alice", "x"))
			list, err := u.List()
			require.NoError(t, err)
			require.Len(t, list, 2)
			assert.Equal(t, User{Name: "alice", Account: "alice"}, list[0])
			assert.Equal(t, "bob@example.org", list[1].Name)

			require.NoError(t, u.Remove("Bob@example.org"))
			require.ErrorIs(t, u.Remove("bob@example.org"), ErrUnknown)
			_, err = check(t, u, "", "bob@example.org", "two")
			require.ErrorIs(t, err, auth.ErrCredentials)
		})
	}
}

// With a default domain a bare and a full name are one user, whichever is kept.
func TestDefaultDomainEdit(t *testing.T) {
	u := cheap(Memory())
	require.NoError(t, u.Add("bob", "one"))
	u.DefaultDomain = "example.org" // as another program would have it
	require.ErrorIs(t, u.Add("bob@example.org", "two"), ErrExists)
	require.NoError(t, u.Set(User{Name: "bob@example.org"}, "two"))
	id, err := check(t, u, "", "bob", "two")
	require.NoError(t, err)
	assert.Equal(t, "bob", id.Account, "the account moved")
	assert.Equal(t, "bob@example.org", id.Login)
	require.NoError(t, u.Remove("bob@example.org"))

	// Who is there under both names is gone under both.
	u = cheap(Memory())
	require.NoError(t, errors.Join(u.Add("bob", "one"), u.Add("bob@example.org", "two")))
	u.DefaultDomain = "example.org"
	require.NoError(t, u.Remove("bob"))
	list, err := u.List()
	require.NoError(t, err)
	assert.Empty(t, list)
	require.ErrorIs(t, u.Remove("bob"), ErrUnknown)
}

func TestSCRAMKeys(t *testing.T) {
	u := cheap(Memory())
	u.DefaultDomain = "example.org"
	require.NoError(t, u.Add("bob@example.org", "secret"))
	login := auth.NewLogin(u, &auth.Governor{Off: true}, true)

	scram := func(name, password string) (*auth.Identity, error) {
		c, err := sasl.NewSCRAMClient("SHA-256", "", name, password)
		require.NoError(t, err)
		x, err := login.Start(t.Context(), auth.Request{Mechanism: sasl.SCRAMSHA256})
		require.NoError(t, err)
		_, m, err := c.Start()
		require.NoError(t, err)
		for range 2 {
			challenge, done, err := x.Next(t.Context(), m)
			if err != nil {
				return nil, err
			}
			if m, err = c.Next(challenge); err != nil {
				return nil, err
			}
			if done {
				require.True(t, c.(sasl.Verifier).Verified())
				return x.Identity(), nil
			}
		}
		return nil, errors.New("no end")
	}
	for _, name := range []string{"bob", "Bob@Example.org"} {
		id, err := scram(name, "secret")
		require.NoError(t, err)
		assert.Equal(t, "bob@example.org", id.Login)
	}
	_, err := scram("bob", "wrong")
	require.ErrorIs(t, err, auth.ErrCredentials)
	_, err = scram("eve", "secret")
	require.ErrorIs(t, err, auth.ErrCredentials)

	// An unknown user looks like a known one, always the same.
	keys := func(name string) sasl.SCRAMKeys {
		k, err := u.SCRAMKeys(t.Context(), auth.Request{}, name, "SHA-256")
		require.NoError(t, err)
		k.More = nil // functions
		return k
	}
	known, eve := keys("bob"), keys("eve")
	assert.Equal(t, known.Iterations, eve.Iterations)
	assert.Len(t, eve.Salt, len(known.Salt))
	assert.Equal(t, eve, keys("EVE@example.org"))
	assert.NotEqual(t, eve.Salt, keys("mallory").Salt)
	_, err = u.SCRAMKeys(t.Context(), auth.Request{}, "bob", "MD5")
	require.ErrorIs(t, err, auth.ErrMechanism)

	// A user without keys too.
	u.Iterations = -1
	require.NoError(t, u.Add("plain", "secret"))
	assert.Equal(t, []string{"PLAIN", "LOGIN"}, login.Mechanisms(auth.Peer{}), "SCRAM that nobody has keys for")
	cheap(u)
	assert.Equal(t, []string{"PLAIN", "LOGIN"}, login.Mechanisms(auth.Peer{}), "SCRAM that not all have keys for")
	u.OfferSCRAM = true
	assert.Equal(t, known.Iterations, keys("plain").Iterations)
	_, err = scram("plain", "secret")
	require.ErrorIs(t, err, auth.ErrCredentials)

	without := auth.NewLogin(u.WithoutSCRAM(), nil, true)
	assert.Equal(t, []string{"PLAIN", "LOGIN"}, without.Mechanisms(auth.Peer{}))
	assert.Same(t, u.Governor(), without.Governor)
	_, err = without.Password(t.Context(), auth.Request{}, "plain", "secret")
	require.NoError(t, err)
}

func TestCanceled(t *testing.T) {
	u := cheap(Memory())
	u.MaxHashing = 1
	require.NoError(t, u.Add("bob", "secret"))
	u.slots <- struct{}{} // someone is hashing
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for i := range 20 { // equal attempts and different ones
		wg.Go(func() {
			_, err := u.Password(ctx, auth.Request{}, "", "bob", fmt.Sprint(i%4))
			assert.ErrorIs(t, err, auth.ErrUnavailable)
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	cancel()
	wg.Wait()
	<-u.slots
	assert.Zero(t, u.queued.Load())
	assert.Empty(t, u.cache.underway)
	_, err := check(t, u, "", "bob", "secret")
	require.NoError(t, err)
}
