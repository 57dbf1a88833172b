package oidc_test

import (
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/oidc"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/auth/sasl"
)

// calls is an issuer without a network, so that time can be the test's.
type calls func(*http.Request) (status int, body string)

func (c calls) RoundTrip(r *http.Request) (*http.Response, error) {
	status, body := c(r)
	if err := r.Context().Err(); err != nil {
		return nil, err
	}
	w := httptest.NewRecorder()
	w.Header().Set("Content-Type", "application/json")
	if status == http.StatusTemporaryRedirect {
		w.Header().Set("Location", body)
	}
	w.WriteHeader(status)
	w.WriteString(body)
	return w.Result(), nil
}

const name = "https://id.example/realm"

func verifier(c calls) *oidc.Verifier {
	return &oidc.Verifier{Issuer: name, Audience: []string{"mail"}, UserClaim: "sub", Client: &http.Client{Transport: c}}
}

// keysOnly serves keys, and metadata.
func keysOnly(keys func(*http.Request) []any) calls {
	return func(r *http.Request) (int, string) {
		if strings.Contains(r.URL.Path, "/.well-known/") {
			return http.StatusOK, `{"issuer":"` + name + `","jwks_uri":"https://id.example/keys"}`
		}
		text, _ := json.Marshal(map[string]any{"keys": keys(r)})
		return http.StatusOK, string(text)
	}
}

func token(t testing.TB, k key) string {
	return k.sign(t, "", map[string]any{"iss": name, "aud": "mail", "sub": "anna", "exp": time.Now().Add(300 * time.Hour).Unix()})
}

func login(ctx context.Context, v *oidc.Verifier, token string) error {
	_, err := v.Token(ctx, auth.Request{}, "", token)
	return err
}

// A new key is taken as soon as the keys may be fetched again, and one that is gone
// is not taken longer than KeysFor.
func TestRotationInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newKey(t, jose.EdDSA, "one"), newKey(t, jose.EdDSA, "two")
		published := []any{one.public()}
		fetched := 0
		v := verifier(keysOnly(func(*http.Request) []any { fetched++; return published }))
		require.NoError(t, login(t.Context(), v, token(t, one)))
		published = []any{two.public()}
		require.ErrorIs(t, login(t.Context(), v, token(t, two)), auth.ErrCredentials)
		require.Equal(t, 1, fetched, "too soon")
		time.Sleep(11 * time.Second)
		require.NoError(t, login(t.Context(), v, token(t, two)))
		require.Equal(t, 2, fetched)
		require.ErrorIs(t, login(t.Context(), v, token(t, one)), auth.ErrCredentials)
		published = []any{one.public()}
		time.Sleep(oidc.DefaultKeysFor + time.Second)
		require.ErrorIs(t, login(t.Context(), v, token(t, two)), auth.ErrCredentials)
	})
}

// While the issuer is down its keys are used, but not for ever.
func TestStaleKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, jose.EdDSA, "one")
		var down atomic.Bool
		up := keysOnly(func(*http.Request) []any { return []any{k.public()} })
		v := verifier(func(r *http.Request) (int, string) {
			if down.Load() {
				return http.StatusServiceUnavailable, ""
			}
			return up(r)
		})
		require.NoError(t, login(t.Context(), v, token(t, k)))
		down.Store(true)
		time.Sleep(20 * time.Hour)
		require.NoError(t, login(t.Context(), v, token(t, k)))
		time.Sleep(5 * time.Hour)
		require.ErrorIs(t, login(t.Context(), v, token(t, k)), auth.ErrUnavailable)
		down.Store(false)
		time.Sleep(11 * time.Second)
		require.NoError(t, login(t.Context(), v, token(t, k)))
	})
}

// A token by a key that is not known, while the keys cannot be had, may be good:
// its client is not told to throw it away, nor is that counted.
func TestUnknownKeyWhileDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newKey(t, jose.EdDSA, "one"), newKey(t, jose.EdDSA, "two")
		published := []any{one.public()}
		var down atomic.Bool
		up := keysOnly(func(*http.Request) []any { return published })
		v := verifier(func(r *http.Request) (int, string) {
			if down.Load() {
				time.Sleep(time.Second)
				return http.StatusServiceUnavailable, ""
			}
			return up(r)
		})
		require.NoError(t, login(t.Context(), v, token(t, one)))
		down.Store(true)
		published = []any{one.public(), two.public()}
		time.Sleep(time.Minute)
		waiting := make(chan error)
		for range 2 { // one fetches, one waits for it
			go func() { waiting <- login(t.Context(), v, token(t, two)) }()
		}
		for range 2 {
			require.ErrorIs(t, <-waiting, auth.ErrUnavailable)
		}
		require.ErrorIs(t, login(t.Context(), v, token(t, two)), auth.ErrUnavailable, "too soon to ask again")
		require.ErrorIs(t, login(t.Context(), v, token(t, key{two.alg, "", two.key})), auth.ErrUnavailable, "without an id")
		require.NoError(t, login(t.Context(), v, token(t, one)))
		require.ErrorIs(t, login(t.Context(), v, token(t, newKey(t, jose.EdDSA, "one"))), auth.ErrUnavailable, "a key may have another's id")
		down.Store(false)
		time.Sleep(time.Minute)
		require.NoError(t, login(t.Context(), v, token(t, two)))
		require.ErrorIs(t, login(t.Context(), v, token(t, newKey(t, jose.EdDSA, "three"))), auth.ErrCredentials)
	})
}

// What a header asks for that nobody here knows, and what it says twice, is no
// reason to believe what it heads (RFC 7515 §4, §4.1.11; RFC 7797 §6).
func TestHeaders(t *testing.T) {
	k := newKey(t, jose.EdDSA, "one")
	v := published(k)
	for header, ok := range map[string]bool{
		`{"alg":"EdDSA","kid":"one"}`:                                     true,
		`{"alg":"EdDSA"}`:                                                 true,
		`{"alg":"EdDSA","kid":"two"}`:                                     false,
		`{"alg":"EdDSA","kid":["one"]}`:                                   false,
		`{"alg":"none","kid":"one"}`:                                      false,
		`{"alg":"EdDSA","kid":"one","crit":["x"]}`:                        false,
		`{"alg":"EdDSA","kid":"one","crit":["exp"],"exp":1}`:              false,
		`{"alg":"EdDSA","kid":"one","crit":["b64"],"b64":false}`:          false,
		`{"alg":"EdDSA","kid":"one","typ":"logout+jwt"}`:                  false,
		`{"alg":"EdDSA","kid":"one","typ":"token-introspection+jwt"}`:     false,
		`{"alg":"EdDSA","kid":"one","typ":"logout+jwt","typ":"JWT"}`:      false,
		`{"alg":"EdDSA","kid":"one","typ":"logout+jwt","\u0074yp":"JWT"}`: false,
		`{"alg":"EdDSA","alg":"none","kid":"one"}`:                        false,
	} {
		text := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(good))
		signature := ed25519.Sign(k.key.(ed25519.PrivateKey), []byte(text))
		err := login(t.Context(), v, text+"."+base64.RawURLEncoding.EncodeToString(signature))
		if ok {
			require.NoError(t, err, header)
		} else {
			require.ErrorIs(t, err, auth.ErrCredentials, header)
		}
	}
}

// What is no JWT is asked about, whatever its form; what is one never is: the issuer
// would answer for a token that is bound, or of another kind.
func TestWhoIsAsked(t *testing.T) {
	k := newKey(t, jose.EdDSA, "one")
	asked := 0
	keys := keysOnly(func(*http.Request) []any { return []any{k.public()} })
	v := verifier(func(r *http.Request) (int, string) {
		if r.Method != http.MethodPost {
			return keys(r)
		}
		asked++
		return http.StatusOK, `{"active":true,"aud":"mail","sub":"anna"}`
	})
	v.Introspection = &oidc.Introspection{URL: "https://id.example/introspect"}
	for n, opaque := range []string{"opaque", "a.b", "a.b.c", "ya29.c.b0Aaekm1K-x", "v4.public.eyJ9", "e30", "e30.a.b.c", "e30.a.b.c.d", "ImEi.a.b"} {
		require.NoError(t, login(t.Context(), v, opaque), opaque)
		require.Equal(t, n+1, asked)
	}
	asked = 0
	for _, jwt := range []string{
		k.raw(t, "logout+jwt", good), k.raw(t, "", strings.Replace(good, "}", `,"cnf":{}}`, 1)), newKey(t, jose.EdDSA, "one").raw(t, "", good),
		"e30.a.b", "ICB7fQ.a.b", base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(good)) + ".",
	} {
		require.ErrorIs(t, login(t.Context(), v, jwt), auth.ErrCredentials, jwt)
		require.Zero(t, asked, jwt)
	}
}

// Who comes, makes the keys be fetched, and goes, must not keep others out.
func TestCallerGoesAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, jose.EdDSA, "one")
		v := verifier(keysOnly(func(r *http.Request) []any {
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
			}
			return []any{k.public()}
		}))
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan error)
		go func() { gone <- login(ctx, v, token(t, k)) }()
		synctest.Wait()
		waiting := make(chan error)
		go func() { waiting <- login(t.Context(), v, token(t, k)) }()
		synctest.Wait()
		start := time.Now()
		cancel()
		require.ErrorIs(t, <-gone, auth.ErrUnavailable)
		require.Zero(t, time.Since(start), "a context that ends is heeded at once")
		require.NoError(t, <-waiting)
	})
}

// A stranger's token, for which a slow issuer is asked, does not make the others
// wait; and nobody waits longer than Timeout.
func TestSlowIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, other := newKey(t, jose.EdDSA, "one"), newKey(t, jose.EdDSA, "two")
		var slow atomic.Bool
		v := verifier(keysOnly(func(r *http.Request) []any {
			if slow.Load() {
				<-r.Context().Done()
			}
			return []any{k.public()}
		}))
		require.NoError(t, login(t.Context(), v, token(t, k)))
		time.Sleep(time.Minute)
		slow.Store(true)
		stranger := make(chan error)
		go func() { stranger <- login(t.Context(), v, token(t, other)) }()
		synctest.Wait()
		start := time.Now()
		require.NoError(t, login(t.Context(), v, token(t, k)))
		require.Zero(t, time.Since(start))
		<-stranger
		require.Equal(t, oidc.DefaultTimeout, time.Since(start))

		v = verifier(func(r *http.Request) (int, string) { <-r.Context().Done(); return 0, "" })
		start = time.Now()
		_, err := v.Verify(context.Background(), token(t, k))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Equal(t, oidc.DefaultTimeout, time.Since(start))
		require.ErrorIs(t, login(t.Context(), v, token(t, k)), auth.ErrUnavailable)
		require.Equal(t, oidc.DefaultTimeout, time.Since(start), "not asked again at once")
	})
}

// Keys that are too small or too large, for something else, or not public count
// for nothing; nor does what a token brings of its own.
func TestUnfitKeys(t *testing.T) {
	k := newKey(t, jose.RS256, "one")
	change := func(name string, value any) any {
		text, err := json.Marshal(k.public())
		require.NoError(t, err)
		var m map[string]any
		require.NoError(t, json.Unmarshal(text, &m))
		m[name] = value
		return m
	}
	for what, published := range map[string]any{
		"for encryption": change("use", "enc"),
		"for signing":    change("key_ops", []string{"sign"}),
		"another alg":    change("alg", "PS256"),
		"another id":     change("kid", "two"),
		"private":        jose.JSONWebKey{Key: k.key, KeyID: "one"},
		"secret":         map[string]any{"kty": "oct", "k": "c2VjcmV0", "kid": "one"},
	} {
		// Beside one that is fit, or nothing would be known.
		v := verifier(keysOnly(func(*http.Request) []any { return []any{newKey(t, jose.EdDSA, "x").public(), published} }))
		require.ErrorIs(t, login(t.Context(), v, token(t, k)), auth.ErrCredentials, what)
	}
	v := verifier(keysOnly(func(*http.Request) []any { return []any{change("key_ops", []string{"verify"})} }))
	require.NoError(t, login(t.Context(), v, token(t, k)))
	weak, err := rsa.GenerateKey(rand.Reader, 1024)
	require.NoError(t, err)
	small := key{jose.RS256, "one", weak}
	// The library signs with no such key.
	head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"RS256","kid":"one"}`))
	text := head + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"`+name+`","aud":"mail","sub":"root","exp":99999999999}`))
	sum := sha256.Sum256([]byte(text))
	sig, err := rsa.SignPKCS1v15(rand.Reader, weak, crypto.SHA256, sum[:])
	require.NoError(t, err)
	v = verifier(keysOnly(func(*http.Request) []any { return []any{k.public(), small.public()} }))
	require.ErrorIs(t, login(t.Context(), v, text+"."+base64.RawURLEncoding.EncodeToString(sig)), auth.ErrCredentials)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: newKey(t, jose.EdDSA, "").key}, &jose.SignerOptions{EmbedJWK: true})
	require.NoError(t, err)
	signed, err := signer.Sign([]byte(`{"iss":"` + name + `","aud":"mail","sub":"root","exp":99999999999}`))
	require.NoError(t, err)
	own, err := signed.CompactSerialize()
	require.NoError(t, err)
	require.ErrorIs(t, login(t.Context(), v, own), auth.ErrCredentials)
}

// RFC 8414 §3.1: a server without OpenID Connect has its metadata elsewhere.
func TestOAuthMetadata(t *testing.T) {
	k := newKey(t, jose.EdDSA, "one")
	up := keysOnly(func(*http.Request) []any { return []any{k.public()} })
	var asked []string
	v := verifier(func(r *http.Request) (int, string) {
		asked = append(asked, r.URL.Path)
		if strings.HasSuffix(r.URL.Path, "openid-configuration") {
			return http.StatusNotFound, ""
		}
		return up(r)
	})
	require.NoError(t, login(t.Context(), v, token(t, k)))
	require.Equal(t, []string{"/realm/.well-known/openid-configuration", "/.well-known/oauth-authorization-server/realm", "/keys"}, asked)
}

// A redirection could leave https or the issuer, whatever the client's policy is.
func TestRedirects(t *testing.T) {
	k := newKey(t, jose.EdDSA, "one")
	for _, opaque := range []bool{false, true} {
		v := verifier(func(r *http.Request) (int, string) {
			if r.URL.Host != "evil.example" {
				return http.StatusTemporaryRedirect, "http://evil.example/" + r.URL.Path
			}
			if opaque {
				return http.StatusOK, `{"active":true,"aud":"mail","sub":"root"}`
			}
			return keysOnly(func(*http.Request) []any { return []any{k.public()} })(r)
		})
		v.Introspection = &oidc.Introspection{URL: "https://id.example/introspect"}
		login := login(t.Context(), v, map[bool]string{false: token(t, k), true: "opaque"}[opaque])
		require.ErrorIs(t, login, auth.ErrUnavailable)
	}
}

// What is kept of answers is bounded, belongs to nobody else, and is judged anew by
// each Verifier.
func TestIntrospectionCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, more := 0, ""
		ask := calls(func(*http.Request) (int, string) {
			asked++
			return http.StatusOK, fmt.Sprintf(`{"active":true,"aud":"mail","sub":"anna","groups":["a"],"exp":%d%s}`, time.Now().Add(30*time.Second).Unix(), more)
		})
		v := verifier(ask)
		v.Introspection = &oidc.Introspection{URL: "https://id.example/introspect", CacheEntries: 2}
		c, err := v.Verify(t.Context(), "opaque")
		require.NoError(t, err)
		c.All["sub"], c.All["groups"].([]any)[0] = "root", "wheel"
		c, err = v.Verify(t.Context(), "opaque")
		require.NoError(t, err)
		require.Equal(t, 1, asked, "kept")
		require.Equal(t, "anna", c.All["sub"])
		require.Equal(t, []any{"a"}, c.All["groups"])

		other := verifier(ask)
		other.Audience, other.Introspection = []string{"web"}, v.Introspection
		require.ErrorIs(t, login(t.Context(), other, "opaque"), auth.ErrCredentials)
		require.Equal(t, 1, asked)

		time.Sleep(31 * time.Second) // the token has expired, but for the leeway
		require.NoError(t, login(t.Context(), v, "opaque"))
		require.Equal(t, 2, asked)

		for n := range 5 {
			require.NoError(t, login(t.Context(), v, fmt.Sprint(n)))
		}
		require.Equal(t, 7, asked)
		require.NoError(t, login(t.Context(), v, "4"), "the last is kept")
		require.Equal(t, 7, asked)
		for n := range 5 {
			require.NoError(t, login(t.Context(), v, fmt.Sprint(n)))
		}
		require.GreaterOrEqual(t, asked, 10, "and at most one other")

		more = `,"x":"` + strings.Repeat("x", 5000) + `"`
		before := asked
		require.NoError(t, login(t.Context(), v, "large"))
		require.NoError(t, login(t.Context(), v, "large"))
		require.Equal(t, before+2, asked, "too large to keep")
		more = `,"x":"` + strings.Repeat("x", 70000) + `"`
		require.ErrorIs(t, login(t.Context(), v, "larger"), auth.ErrUnavailable)
	})
}

// What stands behind for passwords keeps what it can do, and its way to count
// failures.
func TestPasswordsBehind(t *testing.T) {
	v := verifier(nil)
	require.Equal(t, []string{"OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"}, auth.NewLogin(v, nil, true).Mechanisms(auth.Peer{}))
	require.Equal(t, "anna", v.CanonicalName("ANNA"))
	require.NotNil(t, v.Governor())
	require.Same(t, v.Governor(), v.Governor())
	_, err := v.SCRAMKeys(t.Context(), auth.Request{}, "anna", "SHA-256")
	require.ErrorIs(t, err, auth.ErrMechanism)
	_, err = v.Authorize(t.Context(), auth.Request{}, "", "anna")
	require.ErrorIs(t, err, auth.ErrMechanism)

	users := new(password.Users)
	v.Passwords = users
	assert.Equal(t, users.SCRAMHashes(), v.SCRAMHashes())
	assert.Equal(t, users.CanonicalName("\u212aevin"), v.CanonicalName("\u212aevin"))
	assert.Same(t, users.Governor(), v.Governor())
	v.Throttle = new(auth.Governor)
	assert.Same(t, v.Throttle, v.Governor())
}

// The issuer is not asked by more tokens at a time than may wait, and not again
// at once about one that it has refused; nobody's answer gives way to refusals.
func TestFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked, most, now := 0, 0, 0
		var mu sync.Mutex
		v := verifier(func(r *http.Request) (int, string) {
			mu.Lock()
			asked++
			now++
			most = max(most, now)
			mu.Unlock()
			time.Sleep(time.Second)
			mu.Lock()
			now--
			mu.Unlock()
			if r.FormValue("token") == "good" {
				return http.StatusOK, `{"active":true,"aud":"mail","sub":"anna"}`
			}
			return http.StatusOK, `{"active":false}`
		})
		v.MaxWaiting = 5
		v.Introspection = &oidc.Introspection{URL: "https://id.example/introspect", CacheEntries: 20}
		require.NoError(t, login(t.Context(), v, "good"))
		counts := map[error]int{}
		var wg sync.WaitGroup
		for n := range 100 {
			wg.Go(func() {
				err := login(t.Context(), v, fmt.Sprint("stranger", n))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case errors.Is(err, oidc.ErrBusy):
					assert.ErrorIs(t, err, auth.ErrUnavailable)
					counts[oidc.ErrBusy]++
				case errors.Is(err, auth.ErrCredentials):
					counts[auth.ErrCredentials]++
				}
			})
		}
		wg.Wait()
		require.Equal(t, map[error]int{auth.ErrCredentials: 5, oidc.ErrBusy: 95}, counts)
		require.Equal(t, 5, most)
		require.Equal(t, 6, asked)

		for n := range 100 {
			require.ErrorIs(t, login(t.Context(), v, fmt.Sprint("x", n%10)), auth.ErrCredentials)
		}
		require.Less(t, asked, 40, "refusals are kept")
		require.NoError(t, login(t.Context(), v, "good"))
		before := asked
		for n := range 30 {
			require.ErrorIs(t, login(t.Context(), v, fmt.Sprint("y", n)), auth.ErrCredentials)
		}
		require.NoError(t, login(t.Context(), v, "good"))
		require.Equal(t, before+30, asked, "who is let in is kept apart")
		time.Sleep(11 * time.Second)
		require.ErrorIs(t, login(t.Context(), v, "y29"), auth.ErrCredentials)
		require.Equal(t, before+31, asked)
	})
}

// Those who wait for keys are as many.
func TestFloodOfKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKey(t, jose.EdDSA, "one")
		v := verifier(keysOnly(func(*http.Request) []any { time.Sleep(time.Second); return []any{k.public()} }))
		v.MaxWaiting = 5
		var busy atomic.Int64
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if err := login(t.Context(), v, token(t, k)); err != nil {
					assert.ErrorIs(t, err, oidc.ErrBusy)
					busy.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 14, busy.Load(), "one fetches, five wait")
		require.NoError(t, login(t.Context(), v, token(t, k)))
	})
}

// A bad token is answered in the same words whoever it is said to be of.
func TestNoOracle(t *testing.T) {
	k := newKey(t, jose.EdDSA, "one")
	v := verifier(keysOnly(func(*http.Request) []any { return []any{k.public()} }))
	v.User = func(context.Context, auth.Request, oidc.Claims) (*auth.Identity, error) {
		t.Error("a user is looked for by a token that is not good")
		return nil, nil
	}
	l := auth.NewLogin(v, &auth.Governor{Off: true}, true)
	told := map[string]bool{}
	for _, user := range []string{"", "a=anna", "a=nobody"} {
		initial := []byte("n," + user + ",\x01auth=Bearer " + newKey(t, jose.EdDSA, "one").raw(t, "", good) + "\x01\x01")
		_, err := l.Converse(t.Context(), auth.Request{Mechanism: sasl.OAuthBearer}, initial, func(challenge []byte) ([]byte, error) {
			told[string(challenge)] = true
			return []byte{1}, nil
		})
		require.ErrorIs(t, err, auth.ErrCredentials)
	}
	require.Len(t, told, 1)
}
