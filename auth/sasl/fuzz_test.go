package sasl

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	gosasl "github.com/emersion/go-sasl"
	"github.com/stretchr/testify/require"
)

// fuzzServers makes a server of every mechanism, for which nothing that a fuzzer
// finds is a proof; what came through a check is told to let.
func fuzzServers(t testing.TB, let func(what ...string) error) map[string]gosasl.Server {
	keys := func(hash string) func(string) (SCRAMKeys, error) {
		return func(string) (SCRAMKeys, error) { return FakeSCRAMKeys(hash, []byte("k"), "u", 16, 4096) }
	}
	servers := map[string]gosasl.Server{
		Plain:       NewPlainServer(func(z, u, p string) error { return let(z, u, p) }),
		Login:       NewLoginServer(func(u, p string) error { return let("", u, p) }),
		External:    NewExternalServer(func(z string) error { return let(z) }),
		Anonymous:   NewAnonymousServer(func(trace string) error { return let(trace) }),
		OAuthBearer: NewOAuthBearerServer(func(u, p string) error { return let(u, "", p) }),
		XOAuth2:     NewXOAuth2Server(func(u, p string) error { return let("", u, p) }),
	}
	for _, hash := range []string{"SHA-1", "SHA-256", "SHA-512"} {
		scram := func(authzid, user string) error {
			t.Errorf("SCRAM let %q in as %q without a proof", user, authzid)
			return nil
		}
		s, err := NewSCRAMServer(hash, keys(hash), scram)
		require.NoError(t, err)
		servers["SCRAM-"+hash] = s
		for _, plus := range []bool{true, false} {
			s, err := NewBoundSCRAMServer(hash, []ChannelBinding{bound, {"tls-unique", []byte("u")}}, plus, keys(hash), scram)
			require.NoError(t, err)
			name := "SCRAM-" + hash + Plus
			if !plus {
				name += " offered"
			}
			servers[name] = s
		}
	}
	return servers
}

// FuzzServers gives every server the same messages: nobody is let in whom the
// check or a proof has not let in, what a check gets is text, a challenge has
// bounds, and after the end nothing comes.
func FuzzServers(f *testing.F) {
	f.Add(false, []byte("z\x00u\x00p"), []byte("p"), []byte{})
	f.Add(true, []byte("user=u\x01auth=Bearer t\x01\x01"), []byte{1}, []byte{})
	f.Add(true, []byte("n,a=u,\x01auth=Bearer t\x01\x01"), []byte{1}, []byte{})
	f.Add(true, []byte("p=tls-exporter,,n=u,r=a"), []byte("c=cD10bHMtZXhwb3J0ZXIsLA==,r=a,p=AAAA"), []byte{})
	f.Add(true, []byte("y,a==3D,n=u,r=a,x=1"), []byte("c=eSwsLA==,r=a,p=AAAA"), []byte{})
	for _, v := range computed {
		f.Add(false, []byte(v.clientFirst), []byte(v.clientFinal), []byte{})
	}
	f.Fuzz(func(t *testing.T, refuse bool, first, second, third []byte) {
		calls := 0
		let := func(what ...string) error {
			calls++
			for _, w := range what {
				require.NoError(t, checkText([]byte(w), false))
			}
			if refuse {
				return errDenied
			}
			return nil
		}
		for name, s := range fuzzServers(t, let) {
			calls = 0
			over := false
			for _, m := range [][]byte{first, second, third} {
				challenge, done, err := s.Next(m)
				require.False(t, done && err != nil, name)
				if over {
					require.Error(t, err, name)
				}
				require.LessOrEqual(t, len(challenge), 2*MaxMessage, name)
				if done {
					require.Equal(t, 1, calls, name)
					require.False(t, refuse, name)
				}
				over = over || done || err != nil
			}
			require.LessOrEqual(t, calls, 1, name)
		}
	})
}

// FuzzClients gives every client the same challenges: none panics, none that
// wants a proof of the server takes these for one, no secret goes out by SCRAM.
func FuzzClients(f *testing.F) {
	f.Add([]byte{}, []byte{})
	f.Add([]byte(`{"status":"401"}`), []byte("Password:"))
	f.Add([]byte("r=abcdefghijkl,s=AAAA,i=4096"), []byte("v=AAAA"))
	f.Add([]byte("e=other-error"), []byte("r=x"))
	f.Fuzz(func(t *testing.T, first, second []byte) {
		clients := []gosasl.Client{
			NewPlainClient("", "u", "secret!"), NewLoginClient("u", "secret!"), NewExternalClient(""), NewAnonymousClient("x"),
			NewOAuthBearerClient("u", "token"), NewXOAuth2Client("u", "token"),
		}
		for _, hash := range []string{"SHA-1", "SHA-256", "SHA-512"} {
			for _, b := range []ChannelBinding{{}, bound} {
				c, err := SCRAM{Hash: hash, User: "u", Password: "secret!", Binding: b, Plus: b.usable()}.Client()
				require.NoError(t, err)
				c.(*scramClient).nonce = func() string { return "abcdefgh" }
				clients = append(clients, c)
			}
		}
		for _, c := range clients {
			name, _, err := c.Start()
			require.NoError(t, err)
			for _, m := range [][]byte{first, second} {
				if _, count, ok := strings.Cut(string(m), ",i="); ok && count != "4096" && !strings.HasPrefix(count, "4096,") {
					break // the work is not the matter here
				}
				answer, err := c.Next(m)
				if err != nil {
					break
				}
				if v, ok := c.(Verifier); ok {
					require.False(t, v.Verified(), name)
					require.NotContains(t, string(answer), "secret!")
				}
			}
		}
	})
}

// FuzzSCRAMBothSides lets client and server agree or not, and then changes one
// octet on the way: both come to the same end, and only an exchange that nobody
// has touched comes to a good one.
func FuzzSCRAMBothSides(f *testing.F) {
	f.Add("user", "pencil", "pencil", "", uint8(0), uint8(9), uint16(0), byte(0))
	f.Add("a,b=c", "\u2168", "IX", "z=", uint8(1), uint8(0), uint16(3), byte(1))
	f.Add("user", "x", "y", "", uint8(2), uint8(1), uint16(0), byte(0x80))
	f.Add("user", "x", "x", "", uint8(7), uint8(2), uint16(20), byte(4))
	f.Add("user", "x", "x", "", uint8(11), uint8(3), uint16(2), byte(2))
	f.Fuzz(func(t *testing.T, user, password, stored, authzid string, kind, message uint8, at uint16, change byte) {
		hash := []string{"SHA-1", "SHA-256", "SHA-512"}[kind%3]
		plus, offered := kind/3%2 == 1, kind/6%2 == 1
		keys, err := DeriveSCRAMKeys(hash, stored, []byte("saltsalt"), MinIterations)
		if err != nil {
			return
		}
		find := func(string) (SCRAMKeys, error) { return keys, nil }
		gotUser, gotAuthzid := "", ""
		allow := func(z, u string) error { gotAuthzid, gotUser = z, u; return nil }
		s, err := NewSCRAMServer(hash, find, allow)
		client := SCRAM{Hash: hash, ActAs: authzid, User: user, Password: password, Plus: plus}
		if plus || offered {
			s, err = NewBoundSCRAMServer(hash, []ChannelBinding{bound}, plus, find, allow)
		}
		require.NoError(t, err)
		if plus {
			client.Binding = bound
		}
		c, err := client.Client()
		require.NoError(t, err)
		_, m, err := c.Start()
		if err != nil {
			return
		}
		touched := false
		pass := func(n uint8, m []byte) []byte {
			if message == n && change != 0 && len(m) > 0 {
				touched = true
				m = bytes.Clone(m)
				m[int(at)%len(m)] ^= change
			}
			return m
		}
		in := scramTalk(c, s, m, pass)
		wantPassword, err := Prep(password)
		require.NoError(t, err)
		have, err := Prep(stored)
		require.NoError(t, err)
		valid := checkText([]byte(authzid), false) == nil && checkText(m, false) == nil
		if touched {
			// A changed name of an optional attribute can't be there: there are none.
			require.False(t, in)
			return
		}
		require.Equal(t, valid && wantPassword == have, in)
		if in {
			prepared, err := Prep(user)
			require.NoError(t, err)
			require.Equal(t, prepared, gotUser)
			require.Equal(t, authzid, gotAuthzid)
		}
	})
}

// scramTalk runs the four messages through pass, and reports whether both sides
// are content.
func scramTalk(c gosasl.Client, s gosasl.Server, m []byte, pass func(n uint8, m []byte) []byte) bool {
	challenge, _, err := s.Next(pass(0, m))
	if err != nil {
		return false
	}
	if m, err = c.Next(pass(1, challenge)); err != nil {
		return false
	}
	challenge, done, err := s.Next(pass(2, m))
	if err != nil || !done {
		return false
	}
	_, err = c.Next(pass(3, challenge))
	return err == nil && c.(Verifier).Verified() && !errors.Is(err, ErrServer)
}
