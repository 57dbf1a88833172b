package sasl

import (
	"errors"
	"strings"
	"testing"

	gosasl "github.com/emersion/go-sasl"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// talk runs client and server against each other, as a protocol with initial
// responses does, or without.
func talk(t *testing.T, c gosasl.Client, s gosasl.Server, initial bool) error {
	t.Helper()
	_, m, err := c.Start()
	require.NoError(t, err)
	if !initial || m == nil {
		challenge, done, err := s.Next(nil)
		require.NoError(t, err)
		require.False(t, done)
		require.NotNil(t, challenge)
		if m == nil {
			m, err = c.Next(challenge)
			require.NoError(t, err)
		}
	}
	for range 5 {
		challenge, done, err := s.Next(m)
		if err != nil || done {
			return err
		}
		if m, err = c.Next(challenge); err != nil {
			return err
		}
	}
	return errors.New("no end")
}

func TestBothSides(t *testing.T) {
	var got []string
	plain := func(authzid, user, password string) error {
		got = []string{authzid, user, password}
		return nil
	}
	login := func(user, password string) error { return plain("", user, password) }
	bearer := func(user, token string) error { return plain("", user, token) }
	for _, initial := range []bool{true, false} {
		require.NoError(t, talk(t, NewPlainClient("z", "us\u00fcr", "pass word"), NewPlainServer(plain), initial))
		assert.Equal(t, []string{"z", "us\u00fcr", "pass word"}, got)
		require.NoError(t, talk(t, NewLoginClient("user", " p "), NewLoginServer(login), initial))
		assert.Equal(t, []string{"", "user", " p "}, got)
		require.NoError(t, talk(t, NewOAuthBearerClient("a,b=c@example.org", "abc.DEF-_~+/=="), NewOAuthBearerServer(bearer), initial))
		assert.Equal(t, []string{"", "a,b=c@example.org", "abc.DEF-_~+/=="}, got)
	}
	// go-sasl's clients speak to these servers.
	require.NoError(t, talk(t, gosasl.NewPlainClient("z", "u", "p"), NewPlainServer(plain), true))
	assert.Equal(t, []string{"z", "u", "p"}, got)
	require.NoError(t, talk(t, gosasl.NewLoginClient("u", "p"), NewLoginServer(login), true))
	assert.Equal(t, []string{"", "u", "p"}, got)
	require.NoError(t, talk(t, gosasl.NewOAuthBearerClient(&gosasl.OAuthBearerOptions{Username: "u", Token: "p", Host: "h", Port: 143}), NewOAuthBearerServer(bearer), true))
	assert.Equal(t, []string{"", "u", "p"}, got)
	require.NoError(t, talk(t, gosasl.NewExternalClient("z"), NewExternalServer(func(authzid string) error {
		assert.Equal(t, "z", authzid)
		return nil
	}), true))
	// Refusals arrive as they are.
	require.ErrorIs(t, talk(t, NewPlainClient("", "u", "p"), NewPlainServer(func(_, _, _ string) error { return errDenied }), true), errDenied)
	require.ErrorIs(t, talk(t, NewLoginClient("u", "p"), NewLoginServer(func(_, _ string) error { return errDenied }), true), errDenied)
	require.ErrorIs(t, talk(t, NewOAuthBearerClient("u", "p"), NewOAuthBearerServer(func(_, _ string) error { return errDenied }), true), errDenied)
	require.ErrorIs(t, talk(t, gosasl.NewExternalClient(""), NewExternalServer(func(string) error { return errDenied }), true), errDenied)
}

func TestPlainServer(t *testing.T) {
	for _, tc := range []struct {
		message, authzid, user, password string
		ok                               bool
	}{
		{"\x00u\x00p", "", "u", "p", true},
		{"z\x00u\x00p", "z", "u", "p", true},
		{"z\x00\u00fc\x00 p ", "z", "\u00fc", " p ", true},
		{"", "", "", "", false},
		{"up", "", "", "", false},
		{"u\x00p", "", "", "", false},
		{"\x00u\x00p\x00", "", "", "", false},
		{"z\x00u\x00p\x00x", "", "", "", false},
		{"\x00\x00\x00", "", "", "", false},
		{"\x00u\x00", "", "", "", false},
		{"\x00\x00p", "", "", "", false},
		{"\x00u\x00\xff", "", "", "", false},
		{"\x00u\x00" + strings.Repeat("p", MaxMessage), "", "", "", false},
	} {
		called := false
		s := NewPlainServer(func(authzid, user, password string) error {
			called = true
			assert.Equal(t, tc.authzid, authzid)
			assert.Equal(t, tc.user, user)
			assert.Equal(t, tc.password, password)
			return nil
		})
		_, done, err := s.Next([]byte(tc.message))
		assert.Equal(t, tc.ok, done, "%.20q", tc.message)
		assert.Equal(t, tc.ok, called, "%.20q", tc.message)
		if !tc.ok {
			require.ErrorIs(t, err, ErrMalformed, "%.20q", tc.message)
		}
		called = false
		_, done, err = s.Next([]byte("\x00u\x00p"))
		require.ErrorIs(t, err, ErrMalformed, "a second try")
		require.False(t, done || called)
	}
	s := NewPlainServer(nil)
	_, _, err := s.Next(nil)
	require.NoError(t, err)
	_, _, err = s.Next(nil)
	require.ErrorIs(t, err, ErrMalformed, "nothing twice")
}

func TestLoginServer(t *testing.T) {
	for _, tc := range []struct {
		name string
		say  []string
		ok   bool
	}{
		{"good", []string{"u", "p"}, true},
		{"no name", []string{"", "p"}, false},
		{"no password", []string{"u", ""}, false},
		{"NUL", []string{"u\x00", "p"}, false},
		{"not UTF-8", []string{"u", "\xff"}, false},
		{"long", []string{"u", strings.Repeat("p", MaxMessage+1)}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := NewLoginServer(func(user, password string) error { return nil })
			challenge, _, err := s.Next(nil)
			require.NoError(t, err)
			require.Equal(t, "Username:", string(challenge))
			done := false
			for i, say := range tc.say {
				challenge, done, err = s.Next([]byte(say))
				if err != nil {
					break
				}
				if i == 0 {
					require.Equal(t, "Password:", string(challenge))
				}
			}
			require.Equal(t, tc.ok, done)
			if !tc.ok {
				require.ErrorIs(t, err, ErrMalformed)
			}
			_, done, err = s.Next([]byte("p"))
			require.ErrorIs(t, err, ErrMalformed)
			require.False(t, done)
		})
	}
}

func TestOAuthBearerServer(t *testing.T) {
	for _, tc := range []struct {
		name, message, user, token string
		ok                         bool
	}{
		{"rfc", "n,a=user@example.com,\x01host=server.example.com\x01port=143\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01\x01", "user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==", true},
		{"no user", "n,,\x01auth=bearer abc\x01\x01", "", "abc", true},
		{"y", "y,,\x01auth=BEARER  abc\x01\x01", "", "abc", true},
		{"binding", "p=x,,\x01auth=Bearer abc\x01\x01", "", "", false},
		{"two tokens", "n,,\x01auth=Bearer abc\x01auth=Bearer def\x01\x01", "", "", false},
		{"other scheme", "n,,\x01auth=Basic abc\x01\x01", "", "", false},
		{"no token", "n,,\x01auth=Bearer \x01\x01", "", "", false},
		{"empty auth", "n,,\x01auth=\x01\x01", "", "", false},
		{"no auth", "n,,\x01host=x\x01\x01", "", "", false},
		{"bad token", "n,,\x01auth=Bearer a b\x01\x01", "", "", false},
		{"no end", "n,,\x01auth=Bearer abc\x01", "", "", false},
		{"no pair", "n,,\x01auth\x01\x01", "", "", false},
		{"no header", "auth=Bearer abc\x01\x01", "", "", false},
		{"bad user", "n,user,\x01auth=Bearer abc\x01\x01", "", "", false},
		{"bad escape", "n,a=u=x,\x01auth=Bearer abc\x01\x01", "", "", false},
		{"empty", "", "", "", false},
		{"dummy", "\x01", "", "", false},
		{"long", "n,,\x01auth=Bearer " + strings.Repeat("a", MaxMessage) + "\x01\x01", "", "", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := NewOAuthBearerServer(func(user, token string) error {
				assert.Equal(t, tc.user, user)
				assert.Equal(t, tc.token, token)
				return nil
			})
			_, done, err := s.Next([]byte(tc.message))
			require.Equal(t, tc.ok, done)
			if !tc.ok {
				require.ErrorIs(t, err, ErrMalformed)
			}
			_, done, err = s.Next([]byte(tc.message))
			require.ErrorIs(t, err, ErrMalformed)
			require.False(t, done)
		})
	}
	// RFC 7628 §3.2.2: the error is told before the exchange fails.
	calls := 0
	s := NewOAuthBearerServer(func(_, _ string) error { calls++; return errDenied })
	challenge, done, err := s.Next([]byte("n,,\x01auth=Bearer abc\x01\x01"))
	require.NoError(t, err)
	require.False(t, done)
	require.JSONEq(t, `{"status":"invalid_token","schemes":"bearer"}`, string(challenge))
	_, done, err = s.Next([]byte("n,,\x01auth=Bearer abc\x01\x01"))
	require.ErrorIs(t, err, errDenied)
	require.False(t, done)
	require.Equal(t, 1, calls)
}

func TestExternalServer(t *testing.T) {
	for message, ok := range map[string]bool{"": true, "z": true, "\x00": false, "\xff": false, strings.Repeat("z", MaxMessage+1): false} {
		s := NewExternalServer(func(authzid string) error {
			assert.Equal(t, message, authzid)
			return nil
		})
		_, done, err := s.Next([]byte(message))
		require.Equal(t, ok, done)
		if !ok {
			require.ErrorIs(t, err, ErrMalformed)
		}
		_, done, err = s.Next([]byte(message))
		require.ErrorIs(t, err, ErrMalformed)
		require.False(t, done)
	}
}

// What would be misread by the server is refused before it is sent.
func TestClientValues(t *testing.T) {
	for i, c := range []gosasl.Client{
		NewPlainClient("", "u\x00", "p"), NewPlainClient("", "u", "p\x00"), NewPlainClient("\x00", "u", "p"),
		NewPlainClient("", "", "p"), NewPlainClient("", "u", ""),
		NewLoginClient("", "p"), NewLoginClient("u", ""), NewLoginClient("u\x00", "p"),
		NewOAuthBearerClient("u", ""), NewOAuthBearerClient("u", "a\x01b"), NewOAuthBearerClient("u\x01", "a"),
	} {
		_, _, err := c.Start()
		require.ErrorIs(t, err, ErrMalformed, i)
	}
	for i, c := range []gosasl.Client{NewPlainClient("", "u", "p"), NewLoginClient("u", "p")} {
		_, _, err := c.Start()
		require.NoError(t, err)
		for range 3 {
			_, err = c.Next(nil)
		}
		require.ErrorIs(t, err, gosasl.ErrUnexpectedServerChallenge, i)
	}
}

func TestPrep(t *testing.T) {
	for _, tc := range []struct {
		in, out string
		ok      bool
	}{
		// RFC 4013 §3.
		{"I\u00adX", "IX", true},
		{"user", "user", true},
		{"USER", "USER", true},
		{"\u00aa", "a", true},
		{"\u2168", "IX", true},
		{"\u0007", "", false},
		{"\u0627\u0031", "", false},

		{"a\u00a0\u3000b", "a  b", true},
		{"a\u0308", "\u00e4", true},
		{"\u0627\u0031\u0627", "\u0627\u0031\u0627", true},
		{"\u0627a\u0627", "", false},
		{"a\u0627", "", false},
		{"\u05d0-", "", false},
		{"\x7f", "", false}, {"\u0085", "", false}, {"\u2028", "", false},
		{"\ue000", "", false}, {"\U000f0000", "", false}, {"\U0010fffd", "", false},
		{"\ufdd0", "", false}, {"\uffff", "", false}, {"\U0001fffe", "", false},
		{"\ufffd", "", false}, {"\u2ff0", "", false}, {"\u200e", "", false}, {"\U000e0041", "", false},
		{"\xff", "", false}, {"a\xc3", "", false}, {"\xed\xa0\x80", "", false},
		{"\u200b\ufeff", " ", true},
		{"\U0001F511", "\U0001F511", true},
		{"", "", true},
	} {
		out, err := Prep(tc.in)
		require.Equal(t, tc.out, out, "%q", tc.in)
		if tc.ok {
			require.NoError(t, err, "%q", tc.in)
		} else {
			require.ErrorIs(t, err, ErrPrepare, "%q", tc.in)
		}
	}
}

func FuzzPlainServer(f *testing.F) {
	f.Add([]byte("z\x00u\x00p"))
	f.Add([]byte("\x00u\x00"))
	f.Fuzz(func(t *testing.T, message []byte) {
		_, done, err := NewPlainServer(func(authzid, user, password string) error {
			require.Equal(t, string(message), authzid+"\x00"+user+"\x00"+password)
			return nil
		}).Next(message)
		require.Equal(t, err == nil && message != nil, done)
	})
}

func FuzzLoginServer(f *testing.F) {
	f.Add([]byte("u"), []byte("p"))
	f.Fuzz(func(t *testing.T, user, password []byte) {
		s := NewLoginServer(func(u, p string) error {
			require.Equal(t, string(user)+string(password), u+p)
			return nil
		})
		for i, m := range [][]byte{user, password} {
			if m == nil {
				m = []byte{}
			}
			_, done, err := s.Next(m)
			if err != nil {
				require.False(t, done)
				return
			}
			require.Equal(t, i == 1, done)
		}
	})
}

func FuzzOAuthBearerServer(f *testing.F) {
	f.Add([]byte("n,a=user@example.com,\x01host=server.example.com\x01auth=Bearer vF9d==\x01\x01"))
	f.Add([]byte("y,,\x01\x01"))
	f.Fuzz(func(t *testing.T, message []byte) {
		user, token, err := parseBearer(message)
		if err != nil {
			return
		}
		// What was understood can be said by the client.
		_, m, err := NewOAuthBearerClient(user, token).Start()
		require.NoError(t, err)
		u, tok, err := parseBearer(m)
		require.NoError(t, err)
		require.Equal(t, user+"\x00"+token, u+"\x00"+tok)
	})
}

func FuzzExternalServer(f *testing.F) {
	f.Add([]byte("bob"))
	f.Add([]byte("\x00"))
	f.Fuzz(func(t *testing.T, message []byte) {
		if message == nil {
			message = []byte{}
		}
		_, done, err := NewExternalServer(func(string) error { return nil }).Next(message)
		require.Equal(t, err == nil, done)
	})
}

func FuzzPrep(f *testing.F) {
	f.Add("I\u00adX\u2168")
	f.Add("\u0627\u0031\u0627")
	f.Fuzz(func(t *testing.T, s string) {
		out, err := Prep(s)
		if err != nil {
			return
		}
		again, err := Prep(out)
		if err == nil {
			require.Equal(t, out, again, "not stable")
		}
	})
}
