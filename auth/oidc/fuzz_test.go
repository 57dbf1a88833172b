package oidc_test

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/oidc"
)

// good is a token's claims for [verifier].
const good = `{"iss":"` + name + `","aud":"mail","sub":"anna","exp":99999999999}`

// published is an issuer with one key.
func published(k key) *oidc.Verifier {
	return verifier(keysOnly(func(*http.Request) []any { return []any{k.public()} }))
}

// raw signs what may be no JSON, under a header's typ.
func (k key) raw(t testing.TB, typ, payload string) string {
	opt := &jose.SignerOptions{}
	if typ != "" {
		opt.WithType(jose.ContentType(typ))
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: jose.JSONWebKey{Key: k.key, KeyID: k.id}}, opt)
	require.NoError(t, err)
	signed, err := s.Sign([]byte(payload))
	require.NoError(t, err)
	text, err := signed.CompactSerialize()
	require.NoError(t, err)
	return text
}

// FuzzVerify: whatever a token is, only what the key has signed lets anybody in.
func FuzzVerify(f *testing.F) {
	k := newKey(f, jose.EdDSA, "one")
	v := published(k)
	signed := k.raw(f, "", good)
	f.Add(signed)
	f.Add(k.raw(f, "at+jwt", `{"exp":1}`))
	f.Add("a.b.c")
	f.Add("eyJhbGciOiJub25lIn0." + strings.Split(signed, ".")[1] + ".")
	f.Add(newKey(f, jose.EdDSA, "one").raw(f, "", good))
	f.Fuzz(func(t *testing.T, token string) {
		c, err := v.Verify(context.Background(), token)
		// The last character of the signature has bits that mean nothing.
		if err == nil && token[:strings.LastIndexByte(token, '.')] != signed[:strings.LastIndexByte(signed, '.')] {
			t.Fatalf("%q lets %v in", token, c)
		}
		if err != nil {
			require.ErrorIs(t, err, oidc.ErrToken)
		}
	})
}

// FuzzClaims signs whatever claims there are with the right key. What is let in
// is for this service, of this issuer, of its time, a bearer's and of a plain
// name.
func FuzzClaims(f *testing.F) {
	k := newKey(f, jose.EdDSA, "one")
	for _, payload := range []string{
		good, `{}`, `null`, `[]`, `{"iss":"` + name + `","aud":["web","mail"],"sub":"a","exp":9e10,"nbf":1,"iat":1.5,"scope":"a b","scp":["c"]}`,
		strings.Replace(good, `}`, `,"cnf":{}}`, 1), strings.Replace(good, `"exp"`, `"exp":1,"exp"`, 1), strings.Replace(good, `"aud"`, `"AUD"`, 1),
		strings.Replace(good, "anna", `\u0000`, 1), strings.Replace(good, "anna", `\ud800`, 1), strings.Repeat(`{"a":`, 2000), `{"exp":1e400}`,
	} {
		f.Add(payload, "")
		f.Add(payload, "logout+jwt")
	}
	v := published(k)
	f.Fuzz(func(t *testing.T, payload, typ string) {
		if len(payload) > 8<<10 {
			return
		}
		id, err := v.Token(context.Background(), auth.Request{}, "", k.raw(t, typ, payload))
		if err != nil {
			require.ErrorIs(t, err, auth.ErrCredentials)
			return
		}
		var c struct {
			Issuer   string          `json:"iss"`
			Audience json.RawMessage `json:"aud"`
			Expires  float64         `json:"exp"`
			Subject  string          `json:"sub"`
		}
		var all map[string]json.RawMessage
		require.NoError(t, json.Unmarshal([]byte(payload), &all))
		for name, to := range map[string]any{"iss": &c.Issuer, "aud": &c.Audience, "exp": &c.Expires, "sub": &c.Subject} {
			require.NoError(t, json.Unmarshal(all[name], to), name)
		}
		require.Equal(t, name, c.Issuer)
		require.Contains(t, string(c.Audience), "mail")
		require.Greater(t, c.Expires, float64(time.Now().Add(-oidc.DefaultLeeway).Unix()))
		require.Equal(t, c.Subject, id.Account)
		require.NotEmpty(t, id.Account)
		require.False(t, strings.ContainsAny(id.Account, "\x00\r\n\t\x7f\ufffd"))
		for _, bad := range []string{"cnf", "events", "at_hash", "c_hash"} {
			require.NotContains(t, all, bad)
		}
		require.Contains(t, []string{"", "jwt", "at+jwt"}, strings.TrimPrefix(strings.ToLower(typ), "application/"))
	})
}

// FuzzIssuer has an issuer that answers anything: metadata, keys, and what it is
// asked about. Nobody is let in by a key that is none, nor by an answer that
// does not say so.
func FuzzIssuer(f *testing.F) {
	k := newKey(f, jose.EdDSA, "one")
	keys, err := json.Marshal(map[string]any{"keys": []any{k.public()}})
	require.NoError(f, err)
	meta := `{"issuer":"` + name + `","jwks_uri":"https://id.example/keys"}`
	f.Add(meta, string(keys), `{"active":true,"aud":"mail","sub":"anna"}`)
	f.Add(`{"issuer":1}`, `{"keys":[{"kty":"oct","k":"AA"},{"kty":"RSA","n":"AQ","e":"AQAB"},{}]}`, `{"active":false}`)
	f.Add(meta, `{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""},{"kty":"OKP","crv":"Ed25519","x":"AA"}]}`, `{"active":true,"aud":1,"exp":"x"}`)
	f.Add(meta, `{"keys":[{"kty":"RSA","x5c":["AAAA"]}]}`, `[]`)
	mine := k.raw(f, "", good)
	f.Fuzz(func(t *testing.T, meta, keys, answer string) {
		v := verifier(func(r *http.Request) (int, string) {
			switch {
			case strings.Contains(r.URL.Path, "/.well-known/"):
				return http.StatusOK, meta
			case r.Method == http.MethodPost:
				return http.StatusOK, answer
			}
			return http.StatusOK, keys
		})
		v.Introspection = &oidc.Introspection{URL: "https://id.example/introspect"}
		if login(context.Background(), v, mine) == nil {
			var set struct{ Keys []map[string]any }
			require.NoError(t, json.Unmarshal([]byte(keys), &set))
			want, err := json.Marshal(k.public())
			require.NoError(t, err)
			var public map[string]any
			require.NoError(t, json.Unmarshal(want, &public))
			require.True(t, slices.ContainsFunc(set.Keys, func(m map[string]any) bool { return m["x"] == public["x"] }), keys)
		}
		if login(context.Background(), v, "opaque") == nil {
			var a map[string]any
			require.NoError(t, json.Unmarshal([]byte(answer), &a))
			require.Equal(t, true, a["active"])
			require.NotEmpty(t, a["sub"])
			require.Contains(t, answer, "mail")
		}
	})
}
