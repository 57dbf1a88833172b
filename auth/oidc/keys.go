package oidc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Limits of what an issuer may send.
const (
	maxDocument = 1 << 20
	maxKeys     = 64
	// refetch is the least time between two fetches of the keys.
	refetch = 10 * time.Second
)

// errFetch is the kind of errors about what could not be fetched.
var errFetch = errors.New("oidc: fetching")

// keySet is an issuer's keys. One goroutine fetches at a time; the others wait
// for it.
type keySet struct {
	mu      sync.Mutex
	fetched time.Time // the last try
	good    time.Time // the last success
	err     error     // of the last try
	all     []jose.JSONWebKey
	busy    chan struct{}
}

// get returns the keys that may have signed: those of the id, or all without
// one. fresh asks for keys that were fetched just now, if none fits and that is
// not too soon; it returns nothing if there are no newer ones.
func (k *keySet) get(ctx context.Context, v *Verifier, id string, fresh bool) ([]jose.JSONWebKey, error) {
	keysFor := v.KeysFor
	if keysFor <= 0 {
		keysFor = DefaultKeysFor
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		old := k.good.IsZero() || time.Since(k.good) > keysFor
		soon := !k.fetched.IsZero() && time.Since(k.fetched) < refetch
		switch {
		case k.busy != nil:
			if err := k.wait(ctx); err != nil {
				return nil, err
			}
			fresh = false
			continue
		case soon && k.good.IsZero():
			return nil, k.err
		case !soon && (fresh || old):
			k.fetch(ctx, v)
			if k.good.IsZero() {
				return nil, k.err
			}
		case fresh:
			return nil, nil
		}
		return k.of(id), nil
	}
}

// wait waits for who is fetching.
func (k *keySet) wait(ctx context.Context) error {
	busy := k.busy
	k.mu.Unlock()
	defer k.mu.Lock()
	select {
	case <-busy:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w keys: %w", errFetch, ctx.Err())
	}
}

// fetch fetches the keys without the lock. Old ones stay if that fails.
func (k *keySet) fetch(ctx context.Context, v *Verifier) {
	k.busy = make(chan struct{})
	k.mu.Unlock()
	timeout := v.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	// Others wait for it too: who began it may go.
	own, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
	defer cancel()
	keys, err := v.fetchKeys(own)
	k.mu.Lock()
	close(k.busy)
	k.busy, k.fetched, k.err = nil, time.Now(), err
	if err == nil {
		k.all, k.good = keys, k.fetched
	} else if v.Logger != nil {
		v.Logger.Warn("keys not fetched", "issuer", v.Issuer, "err", err)
	}
}

// of returns the keys of an id, or all of them.
func (k *keySet) of(id string) []jose.JSONWebKey {
	if id == "" {
		return k.all
	}
	var found []jose.JSONWebKey
	for _, key := range k.all {
		if key.KeyID == id {
			found = append(found, key)
		}
	}
	return found
}

// metadataURL is where the issuer's metadata is (OpenID Connect Discovery §4).
func (v *Verifier) metadataURL() string {
	return strings.TrimSuffix(v.Issuer, "/") + "/.well-known/openid-configuration"
}

// fetchKeys fetches the keys, by the metadata if need be.
func (v *Verifier) fetchKeys(ctx context.Context) ([]jose.JSONWebKey, error) {
	url := v.KeysURL
	if url == "" {
		var meta struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		if err := v.fetch(ctx, v.metadataURL(), &meta); err != nil {
			return nil, err
		}
		// RFC 8414 §3.3: or else anybody's keys would do.
		if meta.Issuer != v.Issuer || !strings.HasPrefix(meta.Keys, "https://") {
			return nil, fmt.Errorf("%w: the metadata is not the issuer's", errFetch)
		}
		url = meta.Keys
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := v.fetch(ctx, url, &set); err != nil {
		return nil, err
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		// RFC 7517 §5: keys of unknown kinds are passed over. Secrets are none
		// that verify anything here.
		if key.UnmarshalJSON(raw) != nil || !key.IsPublic() || !key.Valid() {
			continue
		}
		if keys = append(keys, key); len(keys) == maxKeys {
			break
		}
	}
	if len(keys) == 0 {
		return nil, fmt.Errorf("%w: no usable key", errFetch)
	}
	return keys, nil
}

// fetch gets a document of JSON.
func (v *Verifier) fetch(ctx context.Context, url string, to any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("%w %s: %w", errFetch, url, err)
	}
	return v.do(req, to)
}

// do sends a request and reads its answer.
func (v *Verifier) do(req *http.Request, to any) error {
	client := v.Client
	if client == nil {
		client = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	req.Header.Set("Accept", "application/json")
	url := req.URL.Redacted()
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errFetch, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%w %s: status %d", errFetch, url, res.StatusCode)
	}
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || !strings.HasSuffix(kind, "json") {
		return fmt.Errorf("%w %s: not JSON", errFetch, url)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxDocument+1))
	switch {
	case err != nil:
		return fmt.Errorf("%w %s: %w", errFetch, url, err)
	case len(data) > maxDocument:
		return fmt.Errorf("%w %s: larger than %d octets", errFetch, url, maxDocument)
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("%w %s: %w", errFetch, url, err)
	}
	return nil
}
