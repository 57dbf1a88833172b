package oidc

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Defaults of Introspection.
const (
	DefaultCacheFor     = time.Minute
	DefaultCacheEntries = 10_000
)

// Introspection asks the issuer about tokens that only it can read (RFC 7662).
// URL must be set. Its fields must not change once it is in use.
type Introspection struct {
	// URL is the issuer's introspection endpoint, https.
	URL string
	// ClientID and Secret are this service's own login there, by HTTP Basic
	// (RFC 6749 §2.3.1).
	ClientID, Secret string
	// AnyAudience lets in tokens whose answer has no aud: RFC 7662 leaves it to
	// the endpoint to answer for this service only. One that has another aud is
	// refused all the same.
	AnyAudience bool
	// CacheFor is for how long an answer holds, if the token does: a token that
	// is withdrawn works as long. 0: DefaultCacheFor; negative: not at all.
	CacheFor time.Duration
	// CacheEntries bounds the answers kept. 0: DefaultCacheEntries.
	CacheEntries int

	mu    sync.Mutex
	cache map[[sha256.Size]byte]cached // by the token's hash
}

// cached is an answer for a good token.
type cached struct {
	claims *Claims
	until  time.Time
}

func (v *Verifier) introspect(ctx context.Context, token string) (*Claims, error) {
	in := v.Introspection
	if !strings.HasPrefix(in.URL, "https://") {
		return nil, fmt.Errorf("%w: introspection is not https", ErrConfig)
	}
	key := sha256.Sum256([]byte(token))
	if c := in.known(key, time.Now()); c != nil {
		return c, nil
	}
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, in.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFetch, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(in.ClientID), url.QueryEscape(in.Secret))
	var all map[string]any
	if err := v.do(req, &all); err != nil {
		return nil, err
	}
	if active, _ := all["active"].(bool); !active {
		return nil, fmt.Errorf("%w: not active", ErrToken)
	}
	c, err := v.answer(all, time.Now())
	if err != nil {
		return nil, err
	}
	in.keep(key, c, time.Now())
	return c, nil
}

// answer checks what an answer says beyond "active" (RFC 7662 §2.2); most of it
// may be left out.
func (v *Verifier) answer(all map[string]any, now time.Time) (*Claims, error) {
	if iss, ok := all["iss"].(string); ok && iss != v.Issuer {
		return nil, fmt.Errorf("%w: of another issuer", ErrToken)
	}
	if aud, there := all["aud"]; there && !v.addressed(aud) || !there && !v.Introspection.AnyAudience {
		return nil, fmt.Errorf("%w: for another service", ErrToken)
	}
	expires := time.Time{}
	if _, there := all["exp"]; there {
		at, ok := instant(all["exp"])
		if !ok || !now.Add(-v.leeway()).Before(at) {
			return nil, fmt.Errorf("%w: expired", ErrToken)
		}
		expires = at
	}
	if _, there := all["nbf"]; there {
		if at, ok := instant(all["nbf"]); !ok || at.After(now.Add(v.leeway())) {
			return nil, fmt.Errorf("%w: of the future", ErrToken)
		}
	}
	return claimsOf(all, expires), nil
}

// known returns what an earlier answer said, while it holds.
func (in *Introspection) known(key [sha256.Size]byte, now time.Time) *Claims {
	in.mu.Lock()
	defer in.mu.Unlock()
	c, ok := in.cache[key]
	if !ok {
		return nil
	}
	if !now.Before(c.until) {
		delete(in.cache, key)
		return nil
	}
	return c.claims
}

// keep keeps an answer. When there is no room, any other gives way.
func (in *Introspection) keep(key [sha256.Size]byte, c *Claims, now time.Time) {
	keep, most := in.CacheFor, in.CacheEntries
	if keep == 0 {
		keep = DefaultCacheFor
	}
	if most <= 0 {
		most = DefaultCacheEntries
	}
	if keep < 0 {
		return
	}
	until := now.Add(keep)
	if !c.Expires.IsZero() && c.Expires.Before(until) {
		until = c.Expires
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.cache == nil {
		in.cache = make(map[[sha256.Size]byte]cached)
	}
	for k := range in.cache {
		if len(in.cache) < most {
			break
		}
		delete(in.cache, k)
	}
	in.cache[key] = cached{c, until}
}
