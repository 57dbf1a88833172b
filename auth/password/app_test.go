package password

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
)

func from(service auth.Service, addr string) auth.Request {
	return auth.Request{Service: service, Peer: auth.Peer{Remote: netip.AddrPortFrom(netip.MustParseAddr(addr), 1234)}}
}

// scram logs in by SCRAM through auth.Login.
func scram(t *testing.T, u *Users, req auth.Request, hash, name, password string) (*auth.Identity, error) {
	t.Helper()
	c, err := sasl.NewSCRAMClient(hash, "", name, password)
	require.NoError(t, err)
	login := auth.NewLogin(u, &auth.Governor{Off: true}, true)
	req.Mechanism = "SCRAM-" + hash
	first := true
	var last []byte
	return login.Converse(t.Context(), req, nil, func(challenge []byte) ([]byte, error) {
		if first {
			first = false
			_, m, err := c.Start()
			return m, err
		}
		last, err = c.Next(challenge)
		if last == nil {
			last = []byte{}
		}
		return last, err
	})
}

func TestApps(t *testing.T) {
	for name, u := range map[string]*Users{"memory": Memory(), "file": File(t.TempDir() + "/users")} {
		t.Run(name, func(t *testing.T) {
			cheap(u)
			u.MoreSCRAM = []string{"SHA-1", "SHA-512", "MD5"}
			u.DefaultDomain = "example.org"
			require.NoError(t, u.Add("bob@example.org", "secret"))
			require.NoError(t, u.Add("carol@example.org", "secret"))

			phone, secret, err := u.AddApp("Bob", App{Name: "Bob's phone; the \u2603 one, 100%", Scopes: []auth.Service{auth.IMAP, auth.SMTP}})
			require.NoError(t, err)
			assert.Regexp(t, `^([a-z2-7]{4}-){6}[a-z2-7]{4}$`, secret)
			assert.Regexp(t, `^[a-z2-7]{6}$`, phone.ID)
			assert.WithinDuration(t, time.Now(), phone.Created, 2*time.Second)
			laptop, all, err := u.AddApp("bob", App{Name: "laptop"})
			require.NoError(t, err)
			assert.NotEqual(t, secret, all)

			for _, typed := range []string{secret, strings.ToUpper(secret), strings.ReplaceAll(secret, "-", ""), strings.ReplaceAll(secret, "-", " ")} {
				id, err := u.Password(t.Context(), from(auth.IMAP, "192.0.2.1"), "", "bob", typed)
				require.NoError(t, err, typed)
				assert.Equal(t, "bob@example.org", id.Login)
			}
			for _, hash := range []string{"SHA-1", "SHA-256", "SHA-512"} {
				for _, password := range []string{"secret", secret, all} {
					id, err := scram(t, u, from(auth.IMAP, "192.0.2.1"), hash, "bob", password)
					require.NoError(t, err)
					assert.Equal(t, "bob@example.org", id.Login)
				}
				_, err = scram(t, u, from(auth.POP3, "192.0.2.1"), hash, "bob", secret)
				require.ErrorIs(t, err, auth.ErrCredentials, "out of scope")
				_, err = scram(t, u, from(auth.IMAP, "192.0.2.1"), hash, "carol", secret)
				require.ErrorIs(t, err, auth.ErrCredentials)
				_, err = scram(t, u, from(auth.IMAP, "192.0.2.1"), hash, "eve", secret)
				require.ErrorIs(t, err, auth.ErrCredentials)
			}
			for _, service := range []auth.Service{auth.POP3, auth.ManageSieve, "", "xmpp"} {
				_, err = u.Password(t.Context(), from(service, "192.0.2.1"), "", "bob", secret)
				require.ErrorIs(t, err, auth.ErrForbidden, service)
				_, err = u.Password(t.Context(), from(service, "192.0.2.1"), "", "bob", all)
				require.NoError(t, err)
			}
			for _, who := range []string{"carol", "eve", "b b"} {
				_, err = u.Password(t.Context(), from(auth.IMAP, "192.0.2.1"), "", who, secret)
				require.ErrorIs(t, err, auth.ErrCredentials, "somebody else's")
			}
			_, err = u.Password(t.Context(), from(auth.IMAP, "192.0.2.1"), "", "bob", secret[:30]+"aaaa")
			require.ErrorIs(t, err, auth.ErrCredentials)
			_, err = u.Password(t.Context(), from(auth.IMAP, "192.0.2.1"), "carol", "bob", secret)
			require.ErrorIs(t, err, auth.ErrForbidden)

			// They survive a new password and new settings, in SCRAM too.
			require.NoError(t, u.Set(User{Name: "bob", Groups: []string{"x"}}, "other"))
			require.NoError(t, u.Set(User{Name: "bob"}, ""))
			for _, password := range []string{"other", secret, all} {
				_, err = scram(t, u, from(auth.IMAP, "192.0.2.7"), "SHA-256", "bob", password)
				require.NoError(t, err)
			}
			_, err = scram(t, u, from(auth.IMAP, "192.0.2.7"), "SHA-256", "bob", "secret")
			require.ErrorIs(t, err, auth.ErrCredentials)

			list, err := u.Apps("bob")
			require.NoError(t, err)
			require.Len(t, list, 2)
			one := list[slices.IndexFunc(list, func(a App) bool { return a.ID == phone.ID })]
			assert.Equal(t, phone.Name, one.Name)
			assert.Equal(t, phone.Scopes, one.Scopes)
			assert.Equal(t, netip.MustParseAddr("192.0.2.7"), one.LastAddr)
			assert.WithinDuration(t, time.Now(), one.LastUse, 5*time.Second)

			require.NoError(t, u.RevokeApp("bob", phone.ID))
			require.ErrorIs(t, u.RevokeApp("bob", phone.ID), ErrUnknown)
			_, err = u.Password(t.Context(), from(auth.IMAP, "192.0.2.1"), "", "bob", secret)
			require.ErrorIs(t, err, auth.ErrCredentials)
			_, err = scram(t, u, from(auth.IMAP, "192.0.2.1"), "SHA-256", "bob", secret)
			require.ErrorIs(t, err, auth.ErrCredentials)
			_, err = scram(t, u, from(auth.IMAP, "192.0.2.1"), "SHA-256", "bob", all)
			require.NoError(t, err)
			require.NoError(t, u.RevokeApp("bob", laptop.ID))
		})
	}
}

func TestAppErrors(t *testing.T) {
	u := cheap(Memory())
	require.NoError(t, u.Add("bob", "secret"))
	for _, a := range []App{{}, {Name: "a\nb"}, {Name: "\xff"}, {Name: strings.Repeat("x", maxAppName+1)}, {Name: "x", Scopes: []auth.Service{"xmpp"}}} {
		_, _, err := u.AddApp("bob", a)
		require.ErrorIs(t, err, ErrName)
	}
	_, _, err := u.AddApp("eve", App{Name: "x"})
	require.ErrorIs(t, err, ErrUnknown)
	_, _, err = u.AddApp("e e", App{Name: "x"})
	require.ErrorIs(t, err, ErrName)
	_, err = u.Apps("eve")
	require.ErrorIs(t, err, ErrUnknown)
	require.ErrorIs(t, u.RevokeApp("eve", "aaaaaa"), ErrUnknown)
	for range MaxApps {
		_, _, err = u.AddApp("bob", App{Name: "x"})
		require.NoError(t, err)
	}
	_, _, err = u.AddApp("bob", App{Name: "x"})
	require.ErrorIs(t, err, ErrTooMany)
}

// Where app passwords are required the user's own does not work for mail
// programs, and nothing tells that it would be right.
func TestAppsOnly(t *testing.T) {
	u := cheap(Memory())
	require.NoError(t, u.Set(User{Name: "bob", AppsOnly: true}, "secret"))
	_, secret, err := u.AddApp("bob", App{Name: "phone"})
	require.NoError(t, err)
	_, err = check(t, u, "", "bob", "secret")
	require.ErrorIs(t, err, auth.ErrCredentials)
	_, err = scram(t, u, auth.Request{}, "SHA-256", "bob", "secret")
	require.ErrorIs(t, err, auth.ErrCredentials)
	_, err = check(t, u, "", "bob", secret)
	require.NoError(t, err)
	_, err = scram(t, u, auth.Request{}, "SHA-256", "bob", secret)
	require.NoError(t, err)
	_, err = u.TwoStep(t.Context(), auth.Request{}, "bob", "secret", "")
	require.NoError(t, err)
	_, err = u.TwoStep(t.Context(), auth.Request{}, "bob", secret, "")
	require.ErrorIs(t, err, auth.ErrCredentials, "an app password where the user's own is asked for")
	list, err := u.List()
	require.NoError(t, err)
	assert.True(t, list[0].AppsOnly)
}

// What a client sees of SCRAM does not change when a user or an app password
// comes into being, and not with the service.
func TestSaltStays(t *testing.T) {
	u := cheap(File(filepath.Join(t.TempDir(), "users")))
	require.NoError(t, u.Add("carol", "x"))
	see := func(service auth.Service) (salt string, iterations, more int) {
		k, err := u.SCRAMKeys(t.Context(), auth.Request{Service: service}, "bob", "SHA-256")
		require.NoError(t, err)
		return string(k.Salt), k.Iterations, len(k.More)
	}
	salt, iterations, more := see(auth.IMAP)
	same := func(what string) {
		t.Helper()
		for _, s := range services {
			salt2, iterations2, more2 := see(s)
			require.Equal(t, salt, salt2, what)
			require.Equal(t, iterations, iterations2, what)
			require.Equal(t, more, more2, what)
		}
	}
	same("unknown")
	require.NoError(t, u.SetHash(User{Name: "bob"}, "$2y$04$abcdefghijklmnopqrstuuMFdJu9yVgmagVAIC24fOZkaFqd3s9JC"))
	same("without keys")
	_, _, err := u.AddApp("bob", App{Name: "x", Scopes: []auth.Service{auth.SMTP}})
	require.NoError(t, err)
	same("with an app password")
	require.NoError(t, u.Set(User{Name: "bob", AppsOnly: true}, "a"))
	same("with a password")
	require.NoError(t, u.Remove("bob"))
	require.NoError(t, u.Add("bob", "b"))
	same("again")
	require.NoError(t, u.Remove("bob"))
	same("gone")
}

// A client with an app password that has no keys must not be led to SCRAM.
func TestSCRAMHashesOfApps(t *testing.T) {
	u := cheap(Memory())
	u.MoreSCRAM = []string{"SHA-512"}
	require.NoError(t, u.Set(User{Name: "bob", AppsOnly: true}, "secret"))
	_, _, err := u.AddApp("bob", App{Name: "x"})
	require.NoError(t, err)
	assert.Equal(t, []string{"SHA-512", "SHA-256"}, u.SCRAMHashes())
	u.MoreSCRAM = nil
	a, _, err := u.AddApp("bob", App{Name: "y"})
	require.NoError(t, err)
	u.MoreSCRAM = []string{"SHA-512"}
	assert.Equal(t, []string{"SHA-256"}, u.SCRAMHashes())
	require.NoError(t, u.RevokeApp("bob", a.ID))
	assert.Equal(t, []string{"SHA-512", "SHA-256"}, u.SCRAMHashes())

	missing := File(filepath.Join(t.TempDir(), "users"))
	assert.Equal(t, []string{"SHA-256"}, missing.SCRAMHashes(), "no file yet")
	missing.Iterations = -1
	assert.Empty(t, missing.SCRAMHashes())
}

// Last uses are written all in one, not with each login, and by Flush.
func TestLastUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "users")
		u := cheap(File(path))
		u.WriteUses = time.Minute
		require.NoError(t, u.Add("bob", "secret"))
		a, secret, err := u.AddApp("bob", App{Name: "phone"})
		require.NoError(t, err)
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		written := func() App {
			list, err := File(path).Apps("bob")
			require.NoError(t, err)
			return list[0]
		}
		for range 20 {
			_, err = u.Password(t.Context(), from(auth.IMAP, "2001:db8::1"), "", "bob", secret)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, string(before), string(after))
		list, err := u.Apps("bob")
		require.NoError(t, err)
		assert.Equal(t, time.Second, time.Since(list[0].LastUse))

		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, list[0], written())
		assert.Equal(t, a.ID, written().ID)
		assert.Equal(t, netip.MustParseAddr("2001:db8::1"), written().LastAddr)

		_, err = u.Password(t.Context(), from(auth.IMAP, "2001:db8::2"), "", "bob", secret)
		require.NoError(t, err)
		require.NoError(t, u.Flush(t.Context()))
		assert.Equal(t, netip.MustParseAddr("2001:db8::2"), written().LastAddr)
		assert.Nil(t, u.later.timer)

		// What cannot be written stays for the next time.
		_, err = u.Password(t.Context(), from(auth.IMAP, "2001:db8::3"), "", "bob", secret)
		require.NoError(t, err)
		require.NoError(t, os.Rename(path, path+"~"))
		require.NoError(t, os.Mkdir(path, 0o700))
		require.Error(t, u.Flush(t.Context()))
		require.NoError(t, os.Remove(path))
		require.NoError(t, os.Rename(path+"~", path))
		require.NoError(t, u.Flush(t.Context()))
		assert.Equal(t, netip.MustParseAddr("2001:db8::3"), written().LastAddr)

		u.ReadOnly = true
		_, err = u.Password(t.Context(), from(auth.IMAP, "2001:db8::4"), "", "bob", secret)
		require.NoError(t, err)
		require.NoError(t, u.Flush(t.Context()))
		assert.Equal(t, netip.MustParseAddr("2001:db8::3"), written().LastAddr)
	})
}

// The proof of an app password that is revoked while it is on its way.
func TestRevokedMeanwhile(t *testing.T) {
	u := cheap(Memory())
	require.NoError(t, u.Add("bob", "secret"))
	a, _, err := u.AddApp("bob", App{Name: "phone"})
	require.NoError(t, err)
	k, err := u.SCRAMKeys(t.Context(), auth.Request{Service: auth.IMAP}, "bob", "SHA-256")
	require.NoError(t, err)
	require.NotNil(t, k.More[0].Matched)
	require.NoError(t, k.More[0].Matched())
	require.NoError(t, u.RevokeApp("bob", a.ID))
	require.ErrorIs(t, k.More[0].Matched(), auth.ErrCredentials)
}

func FuzzCompact(f *testing.F) {
	f.Add("abcd-efgh-ijkl-mnop-qrst-uvwx-yz23")
	f.Add("ABCD EFGH IJKLMNOP-qrst-uvwx-yz23")
	f.Add(strings.Repeat("-", 1000))
	f.Fuzz(func(t *testing.T, typed string) {
		text, ok := compact(typed, appGroups)
		if !ok {
			return
		}
		require.Len(t, text, 28)
		again, ok := compact(text, appGroups)
		require.True(t, ok)
		require.Equal(t, text, again)
	})
}

// A file with a line that is too long lets nobody in: the last use must not
// make one of a line that an operator has written up to the limit.
func TestLastUseInLongLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users")
	u := File(path)
	cheap(u)
	require.NoError(t, u.Add("bob", "secret"))
	require.NoError(t, u.Add("carol", "secret"))
	_, secret, err := u.AddApp("bob", App{Name: "phone"})
	require.NoError(t, err)
	_, other, err := u.AddApp("carol", App{Name: "phone"})
	require.NoError(t, err)

	data, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(string(data), "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "bob ") })
	lines[i] = strings.Replace(lines[i], " apps=", " groups= apps=", 1)
	lines[i] = strings.Replace(lines[i], "groups=", "groups="+strings.Repeat("g", maxLine-len(lines[i])), 1)
	require.Len(t, lines[i], maxLine)
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600))

	u = File(path)
	cheap(u)
	require.NoError(t, u.Load())
	for name, password := range map[string]string{"bob": secret, "carol": other} {
		_, err = u.Password(t.Context(), from(auth.IMAP, "192.0.2.1"), "", name, password)
		require.NoError(t, err)
	}
	require.NoError(t, u.Flush(t.Context()))
	again := File(path)
	require.NoError(t, again.Load(), "the file can still be read")
	apps, err := again.Apps("carol")
	require.NoError(t, err)
	assert.False(t, apps[0].LastUse.IsZero(), "and the others' last uses are there")
}
