package oidc_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/oidc"
	"github.com/posta-mail/posta/auth/sasl"
	"github.com/posta-mail/posta/internal/testleak"
)

func TestMain(m *testing.M) { testleak.Main(m) }

// issuer is an authorization server.
type issuer struct {
	*httptest.Server
	mu      sync.Mutex
	keys    []any // JSON Web Keys
	meta    func(map[string]any)
	answer  map[string]any // to introspection
	handle  http.HandlerFunc
	fetched atomic.Int64
}

func newIssuer(t testing.TB) *issuer {
	i := &issuer{}
	i.Server = httptest.NewTLSServer(http.HandlerFunc(i.serve))
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) serve(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.handle != nil {
		i.handle(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch r.URL.Path {
	case "/.well-known/openid-configuration":
		meta := map[string]any{"issuer": i.URL, "jwks_uri": i.URL + "/keys"}
		if i.meta != nil {
			i.meta(meta)
		}
		json.NewEncoder(w).Encode(meta)
	case "/keys":
		i.fetched.Add(1)
		json.NewEncoder(w).Encode(map[string]any{"keys": i.keys})
	case "/introspect":
		i.fetched.Add(1)
		id, secret, _ := r.BasicAuth()
		if r.ParseForm() != nil || id != "mail%2Bserver" || secret != "p%3Aw" || r.PostForm.Get("token") == "" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		json.NewEncoder(w).Encode(i.answer)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (i *issuer) set(change func()) {
	i.mu.Lock()
	defer i.mu.Unlock()
	change()
}

func (i *issuer) verifier() *oidc.Verifier {
	return &oidc.Verifier{Issuer: i.URL, Audience: []string{"mail", "imap"}, Client: i.Client()}
}

// key is a signing key and what is published of it.
type key struct {
	alg jose.SignatureAlgorithm
	id  string
	key any
}

func newKey(t testing.TB, alg jose.SignatureAlgorithm, id string) key {
	var k crypto.Signer
	var err error
	switch alg {
	case jose.ES256:
		k, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case jose.EdDSA:
		_, k, err = ed25519.GenerateKey(rand.Reader)
	default:
		k, err = rsa.GenerateKey(rand.Reader, 2048)
	}
	require.NoError(t, err)
	return key{alg, id, k}
}

func (k key) public() any {
	return jose.JSONWebKey{Key: k.key.(crypto.Signer).Public(), KeyID: k.id, Algorithm: string(k.alg), Use: "sig"}
}

func (k key) sign(t testing.TB, typ string, claims any) string {
	opt := &jose.SignerOptions{}
	if typ != "" {
		opt.WithType(jose.ContentType(typ))
	}
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: k.alg, Key: jose.JSONWebKey{Key: k.key, KeyID: k.id}}, opt)
	require.NoError(t, err)
	payload, err := json.Marshal(claims)
	require.NoError(t, err)
	signed, err := s.Sign(payload)
	require.NoError(t, err)
	token, err := signed.CompactSerialize()
	require.NoError(t, err)
	return token
}

func (i *issuer) claims() map[string]any {
	return map[string]any{
		"iss": i.URL, "sub": "248289761001", "aud": "mail", "exp": time.Now().Add(time.Hour).Unix(), "iat": time.Now().Unix(),
		"email": "Anna@Example.org", "email_verified": true, "preferred_username": "anna", "scope": "openid mail",
	}
}

func TestToken(t *testing.T) {
	i := newIssuer(t)
	k, other := newKey(t, jose.RS256, "one"), newKey(t, jose.RS256, "one")
	i.keys = []any{k.public()}
	secret := key{alg: jose.HS256, id: "one"}
	der, err := x509.MarshalPKIXPublicKey(k.key.(crypto.Signer).Public())
	require.NoError(t, err)
	secret.key = der // the public key as a secret
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	claim := func(name string, value any) func(map[string]any) {
		return func(c map[string]any) {
			if value == nil {
				delete(c, name)
			} else {
				c[name] = value
			}
		}
	}
	by := func(name string) func(*oidc.Verifier) { return func(v *oidc.Verifier) { v.UserClaim = name } }
	byService := func(v *oidc.Verifier) {
		v.User = func(_ context.Context, req auth.Request, c oidc.Claims) (*auth.Identity, error) {
			if scope := "mail." + string(req.Service); !slices.Contains(c.Scope, scope) {
				return nil, &sasl.TokenError{Status: "insufficient_scope", Scope: scope, Configuration: i.URL + "/.well-known/openid-configuration", Err: auth.ErrForbidden}
			}
			return &auth.Identity{Account: c.Username}, nil
		}
	}
	past, future := time.Now().Add(-time.Hour).Unix(), time.Now().Add(time.Hour).Unix()
	for name, c := range map[string]struct {
		change func(map[string]any)
		sign   func(claims map[string]any) string
		user   string
		set    func(*oidc.Verifier)
		err    error
		status string
		want   string
	}{
		"good":               {want: "anna@example.org"},
		"for a user":         {user: "ANNA@example.org", want: "anna@example.org"},
		"another user":       {user: "bob@example.org", err: auth.ErrForbidden},
		"several services":   {change: claim("aud", []string{"web", "imap"}), want: "anna@example.org"},
		"access token":       {sign: func(c map[string]any) string { return k.sign(t, "at+jwt", c) }, want: "anna@example.org"},
		"of a type":          {sign: func(c map[string]any) string { return k.sign(t, "application/at+JWT", c) }, want: "anna@example.org"},
		"logout token":       {sign: func(c map[string]any) string { return k.sign(t, "logout+jwt", c) }, err: auth.ErrCredentials, status: "invalid_token"},
		"address unverified": {change: claim("email_verified", false), err: auth.ErrCredentials, status: "invalid_token"},
		"unverified as text": {change: claim("email_verified", "false"), err: auth.ErrCredentials, status: "invalid_token"},
		"verified as text":   {change: claim("email_verified", "true"), want: "anna@example.org"},
		"nothing said of it": {change: claim("email_verified", nil), err: auth.ErrCredentials, status: "invalid_token"},
		"address trusted":    {change: claim("email_verified", nil), set: by("email"), want: "anna@example.org"},
		"not trusted so far": {change: claim("email_verified", false), set: by("email"), err: auth.ErrCredentials, status: "invalid_token"},
		"no second choice":   {change: claim("email", nil), err: auth.ErrCredentials, status: "invalid_token"},
		"by name":            {change: claim("preferred_username", "ANNA"), set: by("preferred_username"), want: "anna"},
		"by subject":         {change: claim("sub", "AbC"), set: by("sub"), want: "AbC"},
		"name folds":         {change: claim("preferred_username", "\u212aevin"), set: by("preferred_username"), err: auth.ErrCredentials, status: "invalid_token"},
		"name is no UTF-8":   {change: claim("preferred_username", "\ufffd"), set: by("preferred_username"), err: auth.ErrCredentials, status: "invalid_token"},
		"name of two lines":  {change: claim("preferred_username", "a\r\nb"), set: by("preferred_username"), err: auth.ErrCredentials, status: "invalid_token"},
		"name is a list":     {change: claim("preferred_username", []string{"a"}), set: by("preferred_username"), err: auth.ErrCredentials, status: "invalid_token"},
		"long name":          {change: claim("preferred_username", strings.Repeat("a", 321)), set: by("preferred_username"), err: auth.ErrCredentials, status: "invalid_token"},
		"bound to a key":     {change: claim("cnf", map[string]any{"jkt": "x"}), err: auth.ErrCredentials, status: "invalid_token"},
		"an event":           {change: claim("events", map[string]any{}), err: auth.ErrCredentials, status: "invalid_token"},
		"an ID token":        {change: claim("at_hash", "x"), err: auth.ErrCredentials, status: "invalid_token"},
		"nobody": {set: func(v *oidc.Verifier) {
			v.User = func(context.Context, auth.Request, oidc.Claims) (*auth.Identity, error) { return nil, nil }
		}, user: "anna", err: auth.ErrCredentials},
		"no account": {set: func(v *oidc.Verifier) {
			v.User = func(_ context.Context, _ auth.Request, c oidc.Claims) (*auth.Identity, error) {
				return &auth.Identity{Login: c.Username}, nil
			}
		}, user: "anna", err: auth.ErrCredentials},
		"no leeway":           {change: claim("exp", time.Now().Add(-30*time.Second).Unix()), set: func(v *oidc.Verifier) { v.Leeway = -1 }, err: auth.ErrCredentials, status: "invalid_token"},
		"another issuer":      {change: claim("iss", "https://evil.example"), err: auth.ErrCredentials, status: "invalid_token"},
		"no issuer":           {change: claim("iss", nil), err: auth.ErrCredentials, status: "invalid_token"},
		"another service":     {change: claim("aud", "web"), err: auth.ErrCredentials, status: "invalid_token"},
		"no service":          {change: claim("aud", nil), err: auth.ErrCredentials, status: "invalid_token"},
		"service is a number": {change: claim("aud", 7), err: auth.ErrCredentials, status: "invalid_token"},
		"expired":             {change: claim("exp", past), err: auth.ErrCredentials, status: "invalid_token"},
		"within the leeway":   {change: claim("exp", time.Now().Add(-30*time.Second).Unix()), want: "anna@example.org"},
		"without end":         {change: claim("exp", nil), err: auth.ErrCredentials, status: "invalid_token"},
		"end is text":         {change: claim("exp", "never"), err: auth.ErrCredentials, status: "invalid_token"},
		"end beyond time":     {change: claim("exp", 1e300), err: auth.ErrCredentials, status: "invalid_token"},
		"not yet":             {change: claim("nbf", future), err: auth.ErrCredentials, status: "invalid_token"},
		"made tomorrow":       {change: claim("iat", future), err: auth.ErrCredentials, status: "invalid_token"},
		"since":               {change: claim("nbf", past), want: "anna@example.org"},
		"not signed": {sign: func(c map[string]any) string {
			b, _ := json.Marshal(c)
			return none + "." + base64.RawURLEncoding.EncodeToString(b) + "."
		}, err: auth.ErrCredentials, status: "invalid_token"},
		"by another key":       {sign: func(c map[string]any) string { return other.sign(t, "", c) }, err: auth.ErrCredentials, status: "invalid_token"},
		"public key a secret":  {sign: func(c map[string]any) string { return secret.sign(t, "", c) }, err: auth.ErrCredentials, status: "invalid_token"},
		"other algorithm":      {sign: func(c map[string]any) string { return key{jose.PS256, "one", k.key}.sign(t, "", c) }, err: auth.ErrCredentials, status: "invalid_token"},
		"algorithm not wanted": {set: func(v *oidc.Verifier) { v.Algorithms = []string{"ES256"} }, err: auth.ErrCredentials, status: "invalid_token"},
		"changed": {sign: func(c map[string]any) string {
			p := strings.Split(k.sign(t, "", c), ".")
			c["email"] = "root@example.org"
			b, _ := json.Marshal(c)
			return p[0] + "." + base64.RawURLEncoding.EncodeToString(b) + "." + p[2]
		}, err: auth.ErrCredentials, status: "invalid_token"},
		"garbage":          {sign: func(map[string]any) string { return "a.b.c" }, err: auth.ErrCredentials, status: "invalid_token"},
		"opaque":           {sign: func(map[string]any) string { return "opaque" }, err: auth.ErrCredentials, status: "invalid_token"},
		"empty":            {sign: func(map[string]any) string { return "" }, err: auth.ErrCredentials, status: "invalid_token"},
		"long":             {sign: func(map[string]any) string { return strings.Repeat("a", 20<<10) }, err: auth.ErrCredentials, status: "invalid_token"},
		"no claims":        {sign: func(map[string]any) string { return k.sign(t, "", nil) }, err: auth.ErrCredentials, status: "invalid_token"},
		"scope":            {set: func(v *oidc.Verifier) { v.Scope = []string{"mail"} }, want: "anna@example.org"},
		"scope as a list":  {change: claim("scp", []string{"send"}), set: func(v *oidc.Verifier) { v.Scope = []string{"mail", "send"} }, want: "anna@example.org"},
		"too little scope": {set: func(v *oidc.Verifier) { v.Scope = []string{"mail", "admin"} }, err: auth.ErrForbidden, status: "insufficient_scope"},
		"own mapping": {set: func(v *oidc.Verifier) {
			v.User = func(_ context.Context, _ auth.Request, c oidc.Claims) (*auth.Identity, error) {
				return &auth.Identity{Account: "id-" + c.Subject, Login: c.Username}, nil
			}
		}, user: "anna", want: "id-248289761001"},
		"nobody's": {set: func(v *oidc.Verifier) {
			v.User = func(context.Context, auth.Request, oidc.Claims) (*auth.Identity, error) {
				return nil, auth.ErrForbidden
			}
		}, err: auth.ErrForbidden},
		"scope of this service": {change: claim("scope", "mail.imap"), set: byService, want: "anna"},
		"of another service":    {change: claim("scope", "mail.smtp"), set: byService, err: auth.ErrForbidden, status: "insufficient_scope"},
	} {
		t.Run(name, func(t *testing.T) {
			v := i.verifier()
			if c.set != nil {
				c.set(v)
			}
			claims := i.claims()
			if c.change != nil {
				c.change(claims)
			}
			sign := c.sign
			if sign == nil {
				sign = func(claims map[string]any) string { return k.sign(t, "", claims) }
			}
			id, err := v.Token(t.Context(), auth.Request{Service: auth.IMAP}, c.user, sign(claims))
			require.ErrorIs(t, err, c.err)
			var refusal *sasl.TokenError
			if errors.As(err, &refusal) {
				assert.Equal(t, c.status, refusal.Status)
				assert.Equal(t, i.URL+"/.well-known/openid-configuration", refusal.Configuration)
			} else {
				assert.Empty(t, c.status)
			}
			if c.err == nil {
				require.NoError(t, err)
				assert.Equal(t, c.want, id.Account)
			}
		})
	}
}

// An address is verified only if the issuer says so: User can go by it.
func TestNotVerified(t *testing.T) {
	k := newKey(t, jose.EdDSA, "one")
	for says, not := range map[string]bool{
		``: true, `,"email_verified":true`: false, `,"email_verified":"true"`: false, `,"email_verified":false`: true,
		`,"email_verified":"false"`: true, `,"email_verified":1`: true, `,"email_verified":null`: true, `,"email_verified":[true]`: true,
	} {
		c, err := published(k).Verify(t.Context(), k.raw(t, "", strings.Replace(good, `}`, `,"email":"a@a.example"`+says+`}`, 1)))
		require.NoError(t, err)
		require.Equal(t, not, c.NotVerified, says)
	}
}

func TestAlgorithms(t *testing.T) {
	i := newIssuer(t)
	for _, alg := range []jose.SignatureAlgorithm{jose.RS256, jose.PS512, jose.ES256, jose.EdDSA} {
		k := newKey(t, alg, "")
		i.set(func() {
			i.keys = []any{map[string]any{"kty": "unknown"}, map[string]any{"kty": "oct", "k": "c2VjcmV0"}, newKey(t, jose.ES256, "").public(), k.public()}
		})
		id, err := i.verifier().Token(t.Context(), auth.Request{}, "", k.sign(t, "", i.claims()))
		require.NoError(t, err, alg)
		assert.Equal(t, []string{"anna@example.org"}, id.Senders)
	}
}

// TestRotation replaces the key: new tokens are taken at once, but strangers
// cannot make the keys be fetched again and again.
func TestRotation(t *testing.T) {
	i := newIssuer(t)
	one, two := newKey(t, jose.EdDSA, "one"), newKey(t, jose.EdDSA, "two")
	i.keys = []any{one.public()}
	v := i.verifier()
	login := func(k key) error {
		_, err := v.Token(t.Context(), auth.Request{}, "", k.sign(t, "", i.claims()))
		return err
	}
	require.NoError(t, login(one))
	for range 20 {
		assert.ErrorIs(t, login(two), auth.ErrCredentials)
	}
	assert.EqualValues(t, 1, i.fetched.Load(), "the keys were fetched just now")
	v = i.verifier()
	i.set(func() { i.keys = []any{one.public(), two.public()} })
	require.NoError(t, login(two))
	require.NoError(t, login(one))
	assert.EqualValues(t, 2, i.fetched.Load())
	// Many at once fetch once.
	v = i.verifier()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { assert.NoError(t, login(one)) })
	}
	wg.Wait()
	assert.EqualValues(t, 3, i.fetched.Load())
}

func TestIssuerIsDown(t *testing.T) {
	k := newKey(t, jose.EdDSA, "one")
	answer := func(kind, text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", kind)
			fmt.Fprint(w, text)
		}
	}
	for name, handle := range map[string]func(i *issuer) http.HandlerFunc{
		"not found": func(*issuer) http.HandlerFunc { return http.NotFound },
		"not JSON":  func(*issuer) http.HandlerFunc { return answer("text/html", "<html>") },
		"broken":    func(*issuer) http.HandlerFunc { return answer("application/json", "{") },
		"huge":      func(*issuer) http.HandlerFunc { return answer("application/json", `"`+strings.Repeat("x", 2<<20)+`"`) },
		"another's": func(*issuer) http.HandlerFunc {
			return answer("application/json", `{"issuer":"https://evil.example","jwks_uri":"https://evil.example/"}`)
		},
		"keys by http": func(i *issuer) http.HandlerFunc {
			return answer("application/json", `{"issuer":"`+i.URL+`","jwks_uri":"http://127.0.0.1/"}`)
		},
		"no keys": func(i *issuer) http.HandlerFunc {
			return answer("application/json", `{"issuer":"`+i.URL+`","jwks_uri":"`+i.URL+`/keys","keys":[]}`)
		},
		"redirected": func(i *issuer) http.HandlerFunc {
			return http.RedirectHandler(i.URL+"/elsewhere", http.StatusFound).ServeHTTP
		},
		"slow": func(*issuer) http.HandlerFunc {
			return func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
		},
	} {
		t.Run(name, func(t *testing.T) {
			i := newIssuer(t)
			i.keys = []any{k.public()}
			i.handle = handle(i)
			v := i.verifier()
			v.Timeout = 300 * time.Millisecond
			_, err := v.Token(t.Context(), auth.Request{}, "", k.sign(t, "", i.claims()))
			assert.ErrorIs(t, err, auth.ErrUnavailable)
			assert.NotErrorIs(t, err, auth.ErrCredentials)
		})
	}
}

func TestIntrospection(t *testing.T) {
	i := newIssuer(t)
	good := map[string]any{"active": true, "aud": "mail", "username": "anna", "scope": "mail", "exp": time.Now().Add(time.Hour).Unix()}
	with := func(name string, value any) map[string]any {
		c := maps.Clone(good)
		if c[name] = value; value == nil {
			delete(c, name)
		}
		return c
	}
	for name, c := range map[string]struct {
		answer map[string]any
		any    bool
		err    error
	}{
		"good":            {answer: good},
		"not active":      {answer: with("active", false), err: auth.ErrCredentials},
		"active as text":  {answer: with("active", "true"), err: auth.ErrCredentials},
		"another service": {answer: with("aud", "web"), any: true, err: auth.ErrCredentials},
		"no service":      {answer: with("aud", nil), err: auth.ErrCredentials},
		"any service":     {answer: with("aud", nil), any: true},
		"another issuer":  {answer: with("iss", "https://evil.example"), err: auth.ErrCredentials},
		"expired":         {answer: with("exp", 1), err: auth.ErrCredentials},
		"without end":     {answer: with("exp", nil)},
		"not yet":         {answer: with("nbf", time.Now().Add(time.Hour).Unix()), err: auth.ErrCredentials},
		"empty":           {answer: nil, err: auth.ErrCredentials},
		"issuer no text":  {answer: with("iss", []string{"https://evil.example"}), err: auth.ErrCredentials},
		"refresh token":   {answer: with("token_type", "refresh_token"), err: auth.ErrCredentials},
		"of refresh use":  {answer: with("token_use", "refresh_token"), err: auth.ErrCredentials},
		"bearer":          {answer: with("token_type", "bearer")},
		"bound to a key":  {answer: with("cnf", map[string]any{"jkt": "x"}), err: auth.ErrCredentials},
	} {
		t.Run(name, func(t *testing.T) {
			i.set(func() { i.answer = c.answer })
			v := i.verifier()
			v.UserClaim = "username"
			v.Introspection = &oidc.Introspection{URL: i.URL + "/introspect", ClientID: "mail+server", Secret: "p:w", AnyAudience: c.any}
			id, err := v.Token(t.Context(), auth.Request{}, "", "opaque")
			require.ErrorIs(t, err, c.err)
			if c.err == nil {
				require.NoError(t, err)
				assert.Equal(t, "anna", id.Account)
			}
		})
	}
	i.set(func() { i.answer = good })
	v := i.verifier()
	v.UserClaim = "username"
	v.Introspection = &oidc.Introspection{URL: i.URL + "/introspect", ClientID: "mail+server", Secret: "wrong"}
	_, err := v.Token(t.Context(), auth.Request{}, "", "opaque")
	assert.ErrorIs(t, err, auth.ErrUnavailable)
	plain := i.verifier()
	plain.Introspection = &oidc.Introspection{URL: "http://127.0.0.1/"}
	_, err = plain.Token(t.Context(), auth.Request{}, "", "opaque")
	assert.ErrorIs(t, err, oidc.ErrConfig)

	// An answer holds for a while, within bounds.
	v = i.verifier()
	v.UserClaim = "username"
	v.Introspection = &oidc.Introspection{URL: i.URL + "/introspect", ClientID: "mail+server", Secret: "p:w", CacheEntries: 3, CacheFor: 50 * time.Millisecond}
	for n := range 20 {
		_, err = v.Token(t.Context(), auth.Request{}, "", fmt.Sprint("opaque", n))
		require.NoError(t, err)
	}
	i.set(func() { i.answer = with("active", false) })
	require.Eventually(t, func() bool {
		_, err := v.Token(t.Context(), auth.Request{}, "", "opaque19")
		return errors.Is(err, auth.ErrCredentials)
	}, 5*time.Second, 10*time.Millisecond, "a token that was withdrawn")
}

func TestConfig(t *testing.T) {
	for name, v := range map[string]*oidc.Verifier{
		"zero":        {},
		"no audience": {Issuer: "https://a.example"},
		"http":        {Issuer: "http://a.example", Audience: []string{"mail"}},
		"keys http":   {Issuer: "https://a.example", Audience: []string{"mail"}, KeysURL: "http://a.example"},
		"none":        {Issuer: "https://a.example", Audience: []string{"mail"}, Algorithms: []string{"RS256", "none"}},
		"secret":      {Issuer: "https://a.example", Audience: []string{"mail"}, Algorithms: []string{"HS256"}},
		"empty name":  {Issuer: "https://a.example", Audience: []string{""}},
		"no host":     {Issuer: "https:///a", Audience: []string{"mail"}},
		"query":       {Issuer: "https://a.example/?a", Audience: []string{"mail"}},
		"a login":     {Issuer: "https://a:b@a.example", Audience: []string{"mail"}},
	} {
		_, err := v.Token(t.Context(), auth.Request{}, "", "a.b.c")
		assert.ErrorIs(t, err, auth.ErrUnavailable, name)
		assert.ErrorIs(t, err, oidc.ErrConfig, name)
	}
	_, err := new(oidc.Verifier).Password(t.Context(), auth.Request{}, "", "anna", "secret")
	assert.ErrorIs(t, err, auth.ErrCredentials)
	v := &oidc.Verifier{Passwords: passwords{}}
	id, err := v.Password(t.Context(), auth.Request{}, "", "anna", "secret")
	require.NoError(t, err)
	assert.Equal(t, "anna", id.Account)
}

type passwords struct{}

func (passwords) Password(_ context.Context, _ auth.Request, _, user, _ string) (*auth.Identity, error) {
	return &auth.Identity{Account: user}, nil
}

// TestLogin goes all the way through a SASL exchange.
func TestLogin(t *testing.T) {
	i := newIssuer(t)
	k := newKey(t, jose.ES256, "one")
	i.keys = []any{k.public()}
	l := auth.NewLogin(i.verifier(), &auth.Governor{Off: true}, true)
	require.Contains(t, l.Mechanisms(auth.Peer{}), sasl.OAuthBearer)
	initial := func(token string) []byte { return []byte("n,,\x01auth=Bearer " + token + "\x01\x01") }
	id, err := l.Converse(t.Context(), auth.Request{Mechanism: sasl.OAuthBearer}, initial(k.sign(t, "", i.claims())), nil)
	require.NoError(t, err)
	assert.Equal(t, "anna@example.org", id.Account)
	told := ""
	_, err = l.Converse(t.Context(), auth.Request{Mechanism: sasl.OAuthBearer}, initial("a.b.c"), func(challenge []byte) ([]byte, error) {
		told = string(challenge)
		return []byte{1}, nil
	})
	assert.ErrorIs(t, err, auth.ErrCredentials)
	assert.Contains(t, told, `"invalid_token"`)
	assert.Contains(t, told, "openid-configuration")
}

func ExampleVerifier() {
	i := newIssuer(&testing.T{})
	defer i.Close()
	k := newKey(&testing.T{}, jose.EdDSA, "one")
	i.keys = []any{k.public()}
	users := &oidc.Verifier{Issuer: i.URL, Audience: []string{"mail"}, Client: i.Client()}
	id, err := users.Token(context.Background(), auth.Request{Service: auth.IMAP}, "", k.sign(&testing.T{}, "", i.claims()))
	fmt.Println(id.Account, err)
	// Output: anna@example.org <nil>
}
