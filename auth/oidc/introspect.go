package oidc

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
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
	// RefusedFor is for how long a token that the issuer does not know, or knows
	// no more, is not asked about again: who sends one again and again is not to
	// have the issuer flooded.
	RefusedFor = 10 * time.Second
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
	// CacheEntries bounds the answers kept, each of up to 4 KiB; larger ones
	// are not kept. As many refusals are kept beside them, for RefusedFor, without
	// their text, unless CacheFor is negative. 0 or negative: DefaultCacheEntries.
	CacheEntries int

	mu sync.Mutex
	// By the token's hash. Apart, so that strangers push nobody's answer out.
	good, refused answers
}

// answers are what is kept; a refusal has no text.
type answers map[[sha256.Size]byte]cached

// Limits of an answer, in octets: as it is read, and as it is kept.
const (
	maxAnswer = 64 << 10
	maxKept   = 4 << 10
)

// cached is an answer for a good token, as it came: its size is known, nobody
// else has a hand on it, and it is judged anew each time, whoever asks.
type cached struct {
	answer []byte
	until  time.Time
}

func (v *Verifier) introspect(ctx context.Context, token string) (*Claims, error) {
	in := v.Introspection
	key := sha256.Sum256([]byte(token))
	if data, known := in.known(key, time.Now()); known && data == nil {
		return nil, errInactive
	} else if known {
		return v.answer(data, time.Now())
	}
	leave, err := v.wait()
	if err != nil {
		return nil, err
	}
	defer leave()
	ctx, cancel := v.within(ctx)
	defer cancel()
	form := url.Values{"token": {token}, "token_type_hint": {"access_token"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, in.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFetch, err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(url.QueryEscape(in.ClientID), url.QueryEscape(in.Secret))
	data, err := v.do(req, maxAnswer)
	if err != nil {
		return nil, err
	}
	c, err := v.answer(data, time.Now())
	switch {
	case errors.Is(err, errInactive):
		in.keep(&in.refused, key, nil, time.Now().Add(RefusedFor), time.Now())
	case err == nil && len(data) <= maxKept:
		in.keep(&in.good, key, bytes.Clone(data), c.Expires, time.Now())
	}
	return c, err
}

// errInactive is what RFC 7662 §2.2 has for all that is no good token.
var errInactive = fmt.Errorf("%w: not active", ErrToken)

// answer checks what an answer says (RFC 7662 §2.2); most of it may be left out.
func (v *Verifier) answer(data []byte, now time.Time) (*Claims, error) {
	var all map[string]any
	if err := json.Unmarshal(data, &all); err != nil {
		return nil, fmt.Errorf("%w %s: %w", errFetch, v.Introspection.URL, err)
	}
	if active, _ := all["active"].(bool); !active {
		return nil, errInactive
	}
	// A refresh token is active too, and never a bearer's.
	if kind, there := all["token_type"].(string); there && !strings.EqualFold(kind, "Bearer") && kind != "access_token" || all["token_use"] == "refresh_token" {
		return nil, fmt.Errorf("%w: of type %.40q", ErrToken, kind)
	}
	if err := usable(all); err != nil {
		return nil, err
	}
	if iss, there := all["iss"]; there && iss != any(v.Issuer) {
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

// known returns what an earlier answer said, while it holds: nothing for a
// refusal.
func (in *Introspection) known(key [sha256.Size]byte, now time.Time) (answer []byte, ok bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, kept := range []answers{in.good, in.refused} {
		c, ok := kept[key]
		if ok && now.Before(c.until) {
			return c.answer, true
		}
		delete(kept, key)
	}
	return nil, false
}

// keep keeps an answer. When there is no room, any other gives way.
func (in *Introspection) keep(kept *answers, key [sha256.Size]byte, answer []byte, expires, now time.Time) {
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
	if !expires.IsZero() && expires.Before(until) {
		until = expires
	}
	if !until.After(now) {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if *kept == nil {
		*kept = make(answers)
	}
	for k := range *kept {
		if len(*kept) < most {
			break
		}
		delete(*kept, k)
	}
	(*kept)[key] = cached{answer, until}
}
