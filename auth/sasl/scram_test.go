package sasl

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// vector is the example exchange of an RFC.
type vector struct {
	hash, clientNonce, serverNonce, salt string
	clientFirst, serverFirst             string
	clientFinal, serverFinal             string
}

var vectors = []vector{{ // RFC 5802 §5
	hash: "SHA-1", clientNonce: "fyko+d2lbbFgONRv9qkxdawL", serverNonce: "3rfcNHYJY1ZVvWVs7j",
	salt:        "QSXCR+Q6sek8bf92",
	clientFirst: "n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
	serverFirst: "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
	clientFinal: "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
	serverFinal: "v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
}, { // RFC 7677 §3
	hash: "SHA-256", clientNonce: "rOprNGfwEbeRWgbNEkqO", serverNonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
	salt:        "W22ZaJ0SNY7soEsUEjb6gQ==",
	clientFirst: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
	serverFirst: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
	clientFinal: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
	serverFinal: "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
}}

// server answers as in the vector: user "user", password "pencil".
func (v vector) server(t testing.TB) *scramServer {
	t.Helper()
	salt, err := base64.StdEncoding.DecodeString(v.salt)
	require.NoError(t, err)
	keys, err := DeriveSCRAMKeys(v.hash, "pencil", salt, 4096)
	require.NoError(t, err)
	s, err := NewSCRAMServer(v.hash, func(user string) (SCRAMKeys, error) {
		if user == "down" {
			return SCRAMKeys{}, errDown
		}
		return keys, nil
	}, func(authzid, _ string) error {
		if authzid == "root" {
			return errDenied
		}
		return nil
	})
	require.NoError(t, err)
	server := s.(*scramServer)
	server.nonce = func() string { return v.serverNonce }
	return server
}

func (v vector) client(t testing.TB, password string) *scramClient {
	t.Helper()
	c, err := NewSCRAMClient(v.hash, "", "user", password)
	require.NoError(t, err)
	client := c.(*scramClient)
	client.nonce = func() string { return v.clientNonce }
	return client
}

var (
	errDown   = errors.New("down")
	errDenied = errors.New("denied")
)

func TestSCRAMVectors(t *testing.T) {
	for _, v := range vectors {
		t.Run(v.hash, func(t *testing.T) {
			s := v.server(t)
			challenge, done, err := s.Next(nil)
			require.NoError(t, err)
			require.False(t, done)
			require.NotNil(t, challenge)
			require.Empty(t, challenge)
			challenge, done, err = s.Next([]byte(v.clientFirst))
			require.NoError(t, err)
			require.False(t, done)
			require.Equal(t, v.serverFirst, string(challenge))
			challenge, done, err = s.Next([]byte(v.clientFinal))
			require.NoError(t, err)
			require.True(t, done)
			require.Equal(t, v.serverFinal, string(challenge))
			_, _, err = s.Next([]byte(v.clientFinal))
			require.ErrorIs(t, err, ErrMalformed, "the exchange is over")

			c := v.client(t, "pencil")
			mechanism, m, err := c.Start()
			require.NoError(t, err)
			require.Equal(t, "SCRAM-"+v.hash, mechanism)
			require.Equal(t, v.clientFirst, string(m))
			m, err = c.Next([]byte(v.serverFirst))
			require.NoError(t, err)
			require.Equal(t, v.clientFinal, string(m))
			require.False(t, c.Verified(), "before the server's signature")
			m, err = c.Next([]byte(v.serverFinal))
			require.NoError(t, err)
			require.NotNil(t, m)
			require.Empty(t, m)
			require.True(t, c.Verified())
			_, err = c.Next(nil)
			require.Error(t, err)
			require.False(t, c.Verified())
		})
	}
}

func TestSCRAMServerFirst(t *testing.T) {
	for _, tc := range []struct {
		name, message string
		err           error
		user, authzid string
	}{
		{"no binding offered", "y,,n=user,r=abc", nil, "user", ""},
		{"authzid", "n,a=other,n=user,r=abc", nil, "user", "other"},
		{"escaped", "n,a=a=2Cb,n=u=3Ds=2Cer,r=abc", nil, "u=s,er", "a,b"},
		{"unknown extension", "n,,n=user,r=abc,x=1", nil, "user", ""},
		{"UTF-8", "n,,n=b\u00fc,r=abc", nil, "b\u00fc", ""},
		{"binding asked for", "p=tls-exporter,,n=user,r=abc", ErrMalformed, "", ""},
		{"unknown binding", "p=x,,n=user,r=abc", ErrMalformed, "", ""},
		{"mandatory extension", "n,,m=1,n=user,r=abc", ErrMalformed, "", ""},
		{"mandatory extension at end", "n,,n=user,r=abc,m=1", ErrMalformed, "", ""},
		{"empty", "", ErrMalformed, "", ""},
		{"commas", ",,,", ErrMalformed, "", ""},
		{"no flag", ",,n=user,r=abc", ErrMalformed, "", ""},
		{"capital flag", "N,,n=user,r=abc", ErrMalformed, "", ""},
		{"empty authzid", "n,a=,n=user,r=abc", ErrMalformed, "", ""},
		{"authzid without a", "n,other,n=user,r=abc", ErrMalformed, "", ""},
		{"no gs2 header", "n=user,r=abc", ErrMalformed, "", ""},
		{"no nonce", "n,,n=user", ErrMalformed, "", ""},
		{"empty nonce", "n,,n=user,r=", ErrMalformed, "", ""},
		{"space in nonce", "n,,n=user,r=a b", ErrMalformed, "", ""},
		{"8-bit nonce", "n,,n=user,r=\u00fc", ErrMalformed, "", ""},
		{"empty name", "n,,n=,r=abc", ErrMalformed, "", ""},
		{"order", "n,,r=abc,n=user", ErrMalformed, "", ""},
		{"equals sign", "n,,n=us=er,r=abc", ErrMalformed, "", ""},
		{"lower case escape", "n,,n=us=2cer,r=abc", ErrMalformed, "", ""},
		{"cut escape", "n,,n=user=2,r=abc", ErrMalformed, "", ""},
		{"second nonce", "n,,n=user,r=abc,r=def", ErrMalformed, "", ""},
		{"extension without value", "n,,n=user,r=abc,x=", ErrMalformed, "", ""},
		{"extension with digit", "n,,n=user,r=abc,1=x", ErrMalformed, "", ""},
		{"trailing comma", "n,,n=user,r=abc,", ErrMalformed, "", ""},
		{"NUL", "n,,n=us\x00er,r=abc", ErrMalformed, "", ""},
		{"not UTF-8", "n,,n=us\xffer,r=abc", ErrMalformed, "", ""},
		{"too long", "n,,n=" + strings.Repeat("u", MaxMessage) + ",r=abc", ErrMalformed, "", ""},
		{"back end down", "n,,n=down,r=abc", errDown, "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := vectors[1].server(t)
			_, done, err := s.Next([]byte(tc.message))
			require.False(t, done)
			if tc.err != nil {
				require.ErrorIs(t, err, tc.err)
				_, done, err = s.Next([]byte(vectors[1].clientFirst))
				require.ErrorIs(t, err, ErrMalformed, "goes on after an error")
				require.False(t, done)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, tc.user, s.user)
			assert.Equal(t, tc.authzid, s.authzid)
		})
	}
}

func TestSCRAMServerFinal(t *testing.T) {
	v := vectors[1]
	nonce := "r=" + v.clientNonce + v.serverNonce
	proof := v.clientFinal[strings.Index(v.clientFinal, ",p="):]
	for _, tc := range []struct {
		name, message string
		err           error
	}{
		{"altered nonce", "c=biws," + nonce + "x" + proof, ErrProof},
		{"client's nonce alone", "c=biws,r=" + v.clientNonce + proof, ErrProof},
		{"other gs2 header", "c=eSws," + nonce + proof, ErrProof}, // y,,
		{"binding data", "c=cD10bHMtZXhwb3J0ZXIsLHh4eA==," + nonce + proof, ErrProof},
		{"same header, other base64", "c=biwt," + nonce + proof, ErrProof},
		{"extension not signed", "c=biws," + nonce + ",x=1" + proof, ErrProof},
		{"proof of zeroes", "c=biws," + nonce + ",p=" + strings.Repeat("A", 43) + "=", ErrProof},
		{"mandatory extension", "c=biws," + nonce + ",m=1" + proof, ErrMalformed},
		{"no proof", "c=biws," + nonce, ErrMalformed},
		{"short proof", "c=biws," + nonce + ",p=dHzb", ErrMalformed},
		{"empty proof", "c=biws," + nonce + ",p=", ErrMalformed},
		{"newline in proof", "c=biws," + nonce + proof + "\n", ErrMalformed},
		{"proof not last", "c=biws," + nonce + proof + ",x=1", ErrMalformed},
		{"no binding", nonce + proof, ErrMalformed},
		{"empty binding", "c=," + nonce + proof, ErrMalformed},
		{"empty", "", ErrMalformed},
		{"nothing", ",p=", ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := v.server(t)
			_, _, err := s.Next([]byte(v.clientFirst))
			require.NoError(t, err)
			out, done, err := s.Next([]byte(tc.message))
			require.ErrorIs(t, err, tc.err)
			require.False(t, done)
			require.Nil(t, out)
			_, done, err = s.Next([]byte(v.clientFinal))
			require.ErrorIs(t, err, ErrMalformed, "a second try")
			require.False(t, done)
		})
	}
	s := v.server(t)
	_, _, err := s.Next([]byte(v.clientFirst))
	require.NoError(t, err)
	_, done, err := s.Next(nil)
	require.ErrorIs(t, err, ErrMalformed)
	require.False(t, done)
}

// The mechanism verifies the proof before it asks whether the user may act
// for another.
func TestSCRAMAuthorize(t *testing.T) {
	for _, tc := range []struct {
		password string
		err      error
	}{{"pencil", errDenied}, {"pen", ErrProof}} {
		s := vectors[1].server(t)
		c, err := NewSCRAMClient("SHA-256", "root", "user", tc.password)
		require.NoError(t, err)
		_, m, err := c.Start()
		require.NoError(t, err)
		challenge, _, err := s.Next(m)
		require.NoError(t, err)
		m, err = c.Next(challenge)
		require.NoError(t, err)
		_, done, err := s.Next(m)
		require.ErrorIs(t, err, tc.err)
		require.False(t, done)
	}
}

func TestSCRAMServerKeys(t *testing.T) {
	good, err := DeriveSCRAMKeys("SHA-256", "pencil", []byte("salt"), 4096)
	require.NoError(t, err)
	for i, spoil := range []func(*SCRAMKeys){
		func(k *SCRAMKeys) { k.Iterations = 4095 },
		func(k *SCRAMKeys) { k.Salt = nil },
		func(k *SCRAMKeys) { k.StoredKey = nil },
		func(k *SCRAMKeys) { k.ServerKey = k.ServerKey[:20] },
	} {
		k := good
		spoil(&k)
		s, err := NewSCRAMServer("SHA-256", func(string) (SCRAMKeys, error) { return k, nil }, func(string, string) error { return nil })
		require.NoError(t, err)
		_, _, err = s.Next([]byte("n,,n=user,r=abc"))
		require.ErrorIs(t, err, ErrKeys, i)
	}
	_, err = NewSCRAMServer("MD5", nil, nil)
	require.ErrorIs(t, err, ErrKeys)
	_, err = NewSCRAMClient("MD5", "", "user", "x")
	require.ErrorIs(t, err, ErrKeys)
}

func TestSCRAMClientFirst(t *testing.T) {
	v := vectors[1]
	nonce := "r=" + v.clientNonce + v.serverNonce
	for _, tc := range []struct {
		name, message string
		err           error
	}{
		{"one iteration", nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1", ErrServer},
		{"4095 iterations", nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4095", ErrServer},
		{"600001 iterations", nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=600001", ErrServer},
		{"2^31 iterations", nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=2147483648", ErrServer},
		{"2^64 iterations", nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=18446744073709555712", ErrServer},
		{"negative iterations", nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=-4096", ErrServer},
		{"a sign", nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=+4096", ErrServer},
		{"a leading zero", nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=04096", ErrServer},
		{"no number", nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096x", ErrServer},
		{"giant salt", nonce + ",s=" + strings.Repeat("AAAA", 1000) + ",i=4096", ErrServer},
		{"other nonce", "r=abc" + v.serverNonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ErrServer},
		{"own nonce only", "r=" + v.clientNonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ErrServer},
		{"comma in nonce", "r=" + v.clientNonce + ",,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ErrMalformed},
		{"mandatory extension", "m=1," + nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", ErrMalformed},
		{"mandatory extension at end", nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,m=1", ErrMalformed},
		{"no salt", nonce + ",i=4096", ErrMalformed},
		{"empty salt", nonce + ",s=,i=4096", ErrMalformed},
		{"salt not base64", nonce + ",s=!!!!,i=4096", ErrMalformed},
		{"no iterations", nonce + ",s=W22ZaJ0SNY7soEsUEjb6gQ==", ErrMalformed},
		{"empty", "", ErrMalformed},
		{"too long", nonce + ",s=" + strings.Repeat("A", MaxMessage) + ",i=4096", ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := v.client(t, "pencil")
			_, _, err := c.Start()
			require.NoError(t, err)
			m, err := c.Next([]byte(tc.message))
			require.ErrorIs(t, err, tc.err)
			require.Nil(t, m)
			_, err = c.Next([]byte(v.serverFirst))
			require.Error(t, err, "goes on after an error")
			require.False(t, c.Verified())
		})
	}
}

func TestSCRAMClientFinal(t *testing.T) {
	v := vectors[1]
	for _, tc := range []struct {
		name, message string
		err           error
	}{
		{"error", "e=invalid-proof", ErrServer},
		{"other signature", "v=" + strings.Repeat("A", 43) + "=", ErrServer},
		{"cut signature", "v=6rriTRBi", ErrServer},
		{"not base64", "v=!", ErrMalformed},
		{"mandatory extension", v.serverFinal + ",m=1", ErrMalformed},
		{"empty", "", ErrMalformed},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := v.client(t, "pencil")
			_, _, err := c.Start()
			require.NoError(t, err)
			_, err = c.Next([]byte(v.serverFirst))
			require.NoError(t, err)
			_, err = c.Next([]byte(tc.message))
			require.ErrorIs(t, err, tc.err)
			require.False(t, c.Verified())
		})
	}
	for _, tc := range []struct {
		user, password string
		err            error
	}{
		{"", "x", ErrMalformed}, {"x", "", ErrMalformed}, {"x\x00", "x", ErrPrepare},
		{"x", "\u0007", ErrPrepare}, {"\u00ad", "x", ErrPrepare}, {"x", "\xff", ErrPrepare},
	} {
		c, err := NewSCRAMClient("SHA-256", "", tc.user, tc.password)
		require.NoError(t, err)
		_, _, err = c.Start()
		require.ErrorIs(t, err, tc.err)
		_, err = c.Next([]byte(v.serverFirst))
		require.Error(t, err)
	}
}

// Names and passwords of all kinds go through both sides.
func TestSCRAMBothSides(t *testing.T) {
	for _, tc := range []struct{ user, client, stored string }{
		{"a,b=c", "x", "x"},
		{"user", "\u2168", "IX"},
		{"user", "p\u00a0q", "p q"},
		{"b\u00fccher@example.org", "\U0001F511 key", "\U0001F511 key"},
		{"user", strings.Repeat("long", 200), strings.Repeat("long", 200)},
	} {
		keys, err := DeriveSCRAMKeys("SHA-256", tc.stored, []byte("saltsalt"), 4096)
		require.NoError(t, err)
		got := ""
		s, err := NewSCRAMServer("SHA-256", func(string) (SCRAMKeys, error) { return keys, nil },
			func(_, user string) error { got = user; return nil })
		require.NoError(t, err)
		c, err := NewSCRAMClient("SHA-256", "", tc.user, tc.client)
		require.NoError(t, err)
		_, m, err := c.Start()
		require.NoError(t, err)
		challenge, _, err := s.Next(m)
		require.NoError(t, err)
		m, err = c.Next(challenge)
		require.NoError(t, err)
		challenge, done, err := s.Next(m)
		require.NoError(t, err)
		require.True(t, done)
		_, err = c.Next(challenge)
		require.NoError(t, err)
		require.Equal(t, tc.user, got)
	}
}

func TestDeriveSCRAMKeys(t *testing.T) {
	salt := []byte("salt")
	k, err := DeriveSCRAMKeys("SHA-256", "pencil", salt, 4096)
	require.NoError(t, err)
	salt[0]++
	assert.NotEqual(t, salt, k.Salt, "the salt is shared with the caller")
	for i, tc := range []struct {
		hash, password string
		salt           []byte
		iterations     int
		err            error
	}{
		{"SHA-384", "x", []byte("s"), 4096, ErrKeys},
		{"SHA-256", "x", nil, 4096, ErrKeys},
		{"SHA-256", "x", make([]byte, 1025), 4096, ErrKeys},
		{"SHA-256", "x", []byte("s"), 4095, ErrKeys},
		{"SHA-256", "x", []byte("s"), 600001, ErrKeys},
		{"SHA-256", "\x01", []byte("s"), 4096, ErrPrepare},
	} {
		_, err := DeriveSCRAMKeys(tc.hash, tc.password, tc.salt, tc.iterations)
		require.ErrorIs(t, err, tc.err, i)
	}
}

func FuzzSCRAMServer(f *testing.F) {
	for _, v := range vectors {
		f.Add(v.clientFirst, v.clientFinal)
	}
	f.Add("y,a=x=2C,n=u=3D,r=a,x=1", "c=eSws,r=a,p=AAAA")
	f.Add("p=tls-unique,,n=u,r=a", "c=,r=,p=")
	v := vectors[1]
	keys, err := v.server(f).keys("user")
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, first, final string) {
		s, err := NewSCRAMServer("SHA-256", func(string) (SCRAMKeys, error) { return keys, nil }, func(string, string) error { return nil })
		require.NoError(t, err)
		s.(*scramServer).nonce = func() string { return v.serverNonce }
		challenge, done, err := s.Next([]byte(first))
		require.False(t, done)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		require.True(t, strings.HasPrefix(string(challenge), "r="))
		_, done, err = s.Next([]byte(final))
		require.Equal(t, err == nil, done)
		if done { // only the vector's proof, or one made for its like
			require.Contains(t, final, ",p=")
			require.Contains(t, first, ",r=")
		} else {
			require.True(t, errors.Is(err, ErrMalformed) || errors.Is(err, ErrProof), "%v", err)
		}
	})
}

func FuzzSCRAMClient(f *testing.F) {
	v := vectors[1]
	f.Add(v.serverFirst, v.serverFinal)
	f.Add("r="+v.clientNonce+"x,s=AAAA,i=4096,x=1", "e=other-error")
	f.Fuzz(func(t *testing.T, first, final string) {
		c := v.client(t, "pencil")
		_, _, err := c.Start()
		require.NoError(t, err)
		if strings.Contains(first, ",i=") && !strings.Contains(first, ",i=4096") {
			return // the work is not the matter here
		}
		if _, err := c.Next([]byte(first)); err != nil {
			return
		}
		_, err = c.Next([]byte(final))
		require.Equal(t, err == nil, c.Verified())
	})
}

func BenchmarkSCRAMServer(b *testing.B) {
	v := vectors[1]
	s := v.server(b)
	first, final := []byte(v.clientFirst), []byte(v.clientFinal)
	b.ReportAllocs()
	for b.Loop() {
		s.step = 0
		_, _, err := s.Next(first)
		require.NoError(b, err)
		_, done, err := s.Next(final)
		require.NoError(b, err)
		require.True(b, done)
	}
}

// A proof may have been made with any of the passwords of a user.
func TestSCRAMMore(t *testing.T) {
	salt, refused := []byte("0123456789abcdef"), errors.New("revoked")
	var matched []string
	keys := func(string) (SCRAMKeys, error) {
		k, err := DeriveSCRAMKeys("SHA-256", "own", salt, MinIterations)
		for _, p := range []string{"phone", "laptop", "revoked"} {
			more, err := DeriveSCRAMKeys("SHA-256", p, salt, MinIterations)
			require.NoError(t, err)
			k.More = append(k.More, SCRAMPair{StoredKey: more.StoredKey, ServerKey: more.ServerKey, Matched: func() error {
				if matched = append(matched, p); p == "revoked" {
					return refused
				}
				return nil
			}})
		}
		k.More = append(k.More, SCRAMPair{StoredKey: []byte("short")})
		return k, err
	}
	try := func(password string) error {
		server, err := NewSCRAMServer("SHA-256", keys, func(string, string) error { matched = append(matched, "authorized"); return nil })
		require.NoError(t, err)
		client, err := NewSCRAMClient("SHA-256", "", "bob", password)
		require.NoError(t, err)
		_, m, err := client.Start()
		require.NoError(t, err)
		for {
			challenge, done, err := server.Next(m)
			if err != nil {
				return err
			}
			m, err = client.Next(challenge)
			require.NoError(t, err, "the server's signature is of the same password")
			if done {
				require.True(t, client.(Verifier).Verified())
				return nil
			}
		}
	}
	for password, want := range map[string][]string{"own": {"authorized"}, "phone": {"phone", "authorized"}, "laptop": {"laptop", "authorized"}} {
		matched = nil
		require.NoError(t, try(password))
		require.Equal(t, want, matched)
	}
	matched = nil
	require.ErrorIs(t, try("revoked"), refused)
	require.Equal(t, []string{"revoked"}, matched)
	matched = nil
	require.ErrorIs(t, try("wrong"), ErrProof)
	require.Empty(t, matched)
}
