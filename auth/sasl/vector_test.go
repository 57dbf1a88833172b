package sasl

import (
	"encoding/base64"
	"encoding/hex"
	"testing"

	"github.com/stretchr/testify/require"
)

// computed are exchanges that no RFC gives, computed with Python's hashlib and
// hmac: SHA-512, and channel binding for every hash.
var computed = []struct {
	hash, clientNonce, serverNonce, salt, binding string
	clientFirst, serverFirst                      string
	clientFinal, serverFinal                      string
}{
	{
		hash: "SHA-512", clientNonce: "rOprNGfwEbeRWgbNEkqO", serverNonce: "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0", salt: "W22ZaJ0SNY7soEsUEjb6gQ==", binding: "",
		clientFirst: "n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
		serverFirst: "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
		clientFinal: "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN8PPC6wdp6dybEmDYXYTxwnYPJQ==",
		serverFinal: "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSeVGT4+5ZxXnJq199RVG2rR7N7Zw==",
	},
	{
		hash: "SHA-1", clientNonce: "abcdefgh", serverNonce: "ijklmnop", salt: "W22ZaJ0SNY7soEsUEjb6gQ==", binding: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		clientFirst: "p=tls-exporter,a=root=2Cme,n=user,r=abcdefgh",
		serverFirst: "r=abcdefghijklmnop,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=5000",
		clientFinal: "c=cD10bHMtZXhwb3J0ZXIsYT1yb290PTJDbWUsAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,r=abcdefghijklmnop,p=gSW2IH5XghA6ILGvlbfJaNT+TKk=",
		serverFinal: "v=YHgWMpCdbIONIX+fgUrZgkFxgzA=",
	},
	{
		hash: "SHA-256", clientNonce: "abcdefgh", serverNonce: "ijklmnop", salt: "W22ZaJ0SNY7soEsUEjb6gQ==", binding: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		clientFirst: "p=tls-exporter,a=root=2Cme,n=user,r=abcdefgh",
		serverFirst: "r=abcdefghijklmnop,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=5000",
		clientFinal: "c=cD10bHMtZXhwb3J0ZXIsYT1yb290PTJDbWUsAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,r=abcdefghijklmnop,p=Y9G/w5X3eV61UyuOBcmmHNXdgSHFadOOfJK7/z99Es0=",
		serverFinal: "v=nkmzvTfD4vHvxBVM4SVHBA8kVvODttT2MSYjcrgeiqI=",
	},
	{
		hash: "SHA-512", clientNonce: "abcdefgh", serverNonce: "ijklmnop", salt: "W22ZaJ0SNY7soEsUEjb6gQ==", binding: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		clientFirst: "p=tls-exporter,a=root=2Cme,n=user,r=abcdefgh",
		serverFirst: "r=abcdefghijklmnop,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=5000",
		clientFinal: "c=cD10bHMtZXhwb3J0ZXIsYT1yb290PTJDbWUsAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,r=abcdefghijklmnop,p=FWZLOKzF0Z/c81LAI5jZtTSGmZDCMF7SBt8JgOq78LJ+Z1r4VDBbp07vpNf26CiNHa6gy76UAJgxGVsYcVpcTg==",
		serverFinal: "v=ZHTTiH4vJLhumKIm6W+L6aZAxASKM6dr3ONt6L4cpnJAWucMhZitVieN/E2Qg80Pcd/VmL4V74FznWxDDTgy2Q==",
	},
}

func TestSCRAMComputed(t *testing.T) {
	for _, v := range computed {
		t.Run(v.hash+" "+v.clientFirst[:1], func(t *testing.T) {
			data, err := hex.DecodeString(v.binding)
			require.NoError(t, err)
			binding := ChannelBinding{"tls-exporter", data}
			plus, authzid, rounds := len(data) > 0, "", 4096
			if plus {
				authzid, rounds = "root,me", 5000
			}
			salt, err := decode64(v.salt)
			require.NoError(t, err)
			keys, err := DeriveSCRAMKeys(v.hash, "pencil", salt, rounds)
			require.NoError(t, err)
			find := func(string) (SCRAMKeys, error) { return keys, nil }
			asked := ""
			allow := func(authzid, _ string) error { asked = authzid; return nil }
			s, err := NewSCRAMServer(v.hash, find, allow)
			if plus {
				s, err = NewBoundSCRAMServer(v.hash, []ChannelBinding{binding}, true, find, allow)
			}
			require.NoError(t, err)
			s.(*scramServer).nonce = func() string { return v.serverNonce }
			m, done, err := s.Next([]byte(v.clientFirst))
			require.NoError(t, err)
			require.False(t, done)
			require.Equal(t, v.serverFirst, string(m))
			m, done, err = s.Next([]byte(v.clientFinal))
			require.NoError(t, err)
			require.True(t, done)
			require.Equal(t, v.serverFinal, string(m))
			require.Equal(t, authzid, asked)

			client := SCRAM{Hash: v.hash, ActAs: authzid, User: "user", Password: "pencil", Plus: plus}
			if plus {
				client.Binding = binding
			}
			c, err := client.Client()
			require.NoError(t, err)
			c.(*scramClient).nonce = func() string { return v.clientNonce }
			_, m, err = c.Start()
			require.NoError(t, err)
			require.Equal(t, v.clientFirst, string(m))
			m, err = c.Next([]byte(v.serverFirst))
			require.NoError(t, err)
			require.Equal(t, v.clientFinal, string(m))
			_, err = c.Next([]byte(v.serverFinal))
			require.NoError(t, err)
			require.True(t, c.(Verifier).Verified())
		})
	}
}

// A proof that is right over another nonce than the server's is none: the last
// message must carry the one that was agreed.
func TestSCRAMOtherNonce(t *testing.T) {
	v := vectors[1]
	for _, nonce := range []string{v.clientNonce + v.serverNonce, v.clientNonce, v.clientNonce + v.serverNonce + "x", "x"} {
		s := v.server(t)
		challenge, _, err := s.Next([]byte(v.clientFirst))
		require.NoError(t, err)
		salted, err := s.h.salted("pencil", s.k.Salt, s.k.Iterations)
		require.NoError(t, err)
		without := "c=biws,r=" + nonce
		key := s.h.mac(salted, "Client Key")
		proof := s.h.mac(s.h.sum(key), v.clientFirst[3:]+","+string(challenge)+","+without)
		for i := range proof {
			proof[i] ^= key[i]
		}
		_, done, err := s.Next([]byte(without + ",p=" + base64.StdEncoding.EncodeToString(proof)))
		if nonce == v.clientNonce+v.serverNonce {
			require.NoError(t, err)
			require.True(t, done)
			continue
		}
		require.ErrorIs(t, err, ErrProof)
		require.False(t, done)
	}
}
