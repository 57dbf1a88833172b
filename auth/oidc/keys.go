package oidc

import (
	"context"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// Limits of what an issuer may send.
const (
	maxDocument = 1 << 20
	maxKeys     = 64
	// RSA keys below are forbidden (RFC 7518 §3.3), above too slow to verify by.
	minRSA, maxRSA = 2048, 8192
	// stale is for how long keys are used that can't be fetched anew: a key that
	// the issuer has withdrawn is not to live on because its list is kept away.
	stale = 24 * time.Hour
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
// not too soon; it returns nothing if there are no newer ones, and the error of
// the last try if that is why there are none.
func (k *keySet) get(ctx context.Context, v *Verifier, id string, fresh bool) ([]jose.JSONWebKey, error) {
	keysFor := v.KeysFor
	if keysFor <= 0 {
		keysFor = DefaultKeysFor
	}
	parent, newer := ctx, fresh
	ctx, cancel := v.within(parent)
	defer cancel()
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		if !k.good.IsZero() && time.Since(k.good) > max(stale, keysFor) {
			k.all, k.good = nil, time.Time{}
		}
		old := k.good.IsZero() || time.Since(k.good) > keysFor
		soon := k.tried()
		switch {
		// Who can do with the keys that are there does not wait for those that
		// a stranger's token asks for.
		case k.busy != nil && (fresh || k.good.IsZero()):
			if err := k.wait(ctx, v); err != nil {
				return nil, err
			}
			if k.tried() { // if not, the one who fetched has gone away
				fresh = false
			}
			continue
		case soon && k.good.IsZero():
			return nil, k.err
		case k.busy == nil && !soon && (fresh || old):
			k.fetch(parent, ctx, v)
			if k.good.IsZero() {
				return nil, k.err
			}
		case fresh:
			return nil, k.err
		}
		if newer && k.err != nil {
			return nil, k.err
		}
		return k.of(id), nil
	}
}

// wait waits for who is fetching.
func (k *keySet) wait(ctx context.Context, v *Verifier) error {
	leave, err := v.wait()
	if err != nil {
		return err
	}
	defer leave()
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

// tried reports whether the keys have been fetched just now, well or not.
func (k *keySet) tried() bool { return !k.fetched.IsZero() && time.Since(k.fetched) < refetch }

// fetch fetches the keys without the lock. Old ones stay if that fails. That the
// caller went away (parent) says nothing about the issuer and is nobody else's
// failure: it does not count as a try.
func (k *keySet) fetch(parent, ctx context.Context, v *Verifier) {
	busy := make(chan struct{})
	k.busy = busy
	k.mu.Unlock()
	var keys []jose.JSONWebKey
	err := errors.New("oidc: fetching keys panicked")
	defer func() {
		k.mu.Lock()
		close(busy)
		k.busy, k.err = nil, err
		if err == nil || parent.Err() == nil {
			k.fetched = time.Now()
		}
		if err == nil {
			k.all, k.good = keys, k.fetched
		}
	}()
	keys, err = v.fetchKeys(ctx)
	if err != nil && v.Logger != nil {
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

// oauthMetadataURL is where that of a server without OpenID Connect is (RFC 8414
// §3.1).
func (v *Verifier) oauthMetadataURL() string {
	host, path, _ := strings.Cut(strings.TrimPrefix(v.Issuer, "https://"), "/")
	if path = strings.TrimSuffix(path, "/"); path != "" {
		path = "/" + path
	}
	return "https://" + host + "/.well-known/oauth-authorization-server" + path
}

// fetchKeys fetches the keys, by the metadata if need be.
func (v *Verifier) fetchKeys(ctx context.Context) ([]jose.JSONWebKey, error) {
	url := v.KeysURL
	if url == "" {
		var meta struct {
			Issuer string `json:"issuer"`
			Keys   string `json:"jwks_uri"`
		}
		err := v.fetch(ctx, v.metadataURL(), &meta)
		if missing := (*statusError)(nil); errors.As(err, &missing) && missing.status == http.StatusNotFound {
			err = v.fetch(ctx, v.oauthMetadataURL(), &meta)
		}
		if err != nil {
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
		if key.UnmarshalJSON(raw) != nil || !verifies(&key, raw) {
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

// verifies reports whether a key is one to verify signatures by.
func verifies(key *jose.JSONWebKey, raw []byte) bool {
	if !key.IsPublic() || !key.Valid() || key.Use != "" && key.Use != "sig" {
		return false
	}
	var more struct {
		Operations []string `json:"key_ops"`
	}
	if json.Unmarshal(raw, &more) != nil || more.Operations != nil && !slices.Contains(more.Operations, "verify") { // RFC 7517 §4.3
		return false
	}
	if r, ok := key.Key.(*rsa.PublicKey); ok {
		return r.N.BitLen() >= minRSA && r.N.BitLen() <= maxRSA
	}
	return true
}

// within is ctx with the time that may be spent on fetching.
func (v *Verifier) within(ctx context.Context) (context.Context, context.CancelFunc) {
	timeout := v.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	return context.WithTimeout(ctx, timeout)
}

// fetch gets a document of JSON.
func (v *Verifier) fetch(ctx context.Context, url string, to any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("%w %s: %w", errFetch, url, err)
	}
	data, err := v.do(req, maxDocument)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, to); err != nil {
		return fmt.Errorf("%w %s: %w", errFetch, req.URL.Redacted(), err)
	}
	return nil
}

// do sends a request and reads its answer, of at most so many octets.
func (v *Verifier) do(req *http.Request, most int64) ([]byte, error) {
	var client http.Client
	if v.Client != nil {
		client = *v.Client
	}
	// A redirection could leave https and the issuer, with the token in hand.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	req.Header.Set("Accept", "application/json")
	url := req.URL.Redacted()
	res, err := client.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFetch, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, &statusError{url, res.StatusCode}
	}
	if kind, _, err := mime.ParseMediaType(res.Header.Get("Content-Type")); err != nil || !strings.HasSuffix(kind, "json") {
		return nil, fmt.Errorf("%w %s: not JSON", errFetch, url)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%w %s: %w", errFetch, url, err)
	case int64(len(data)) > most:
		return nil, fmt.Errorf("%w %s: larger than %d octets", errFetch, url, most)
	}
	return data, nil
}

// statusError is an answer that is none.
type statusError struct {
	url    string
	status int
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%v %s: status %d", errFetch, e.url, e.status)
}

func (e *statusError) Unwrap() error { return errFetch }
