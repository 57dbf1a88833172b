package oidc

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// ErrToken is the kind of errors about tokens that are not good.
var ErrToken = errors.New("oidc: token")

// Verify verifies a token, whoever's it is: signature, issuer, audience and
// time, or what the issuer says of an opaque one. Errors wrap ErrToken, others
// are of what could not be found out; the zero Verifier returns ErrConfig.
func (v *Verifier) Verify(ctx context.Context, token string) (*Claims, error) {
	if err := v.check(); err != nil {
		return nil, err
	}
	if token == "" || len(token) > DefaultMaxToken {
		return nil, fmt.Errorf("%w: empty, or longer than %d octets", ErrToken, DefaultMaxToken)
	}
	if !isJWT(token) {
		if v.Introspection == nil {
			return nil, fmt.Errorf("%w: no JWT", ErrToken)
		}
		return v.introspect(ctx, token)
	}
	algorithms := make([]jose.SignatureAlgorithm, 0, 10)
	for _, a := range v.algorithms() {
		algorithms = append(algorithms, jose.SignatureAlgorithm(a))
	}
	signed, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrToken, err)
	}
	header := signed.Signatures[0].Protected
	if typ, there := header.ExtraHeaders[jose.HeaderType]; there && !plainType(typ) {
		return nil, fmt.Errorf("%w: of type %.40q", ErrToken, fmt.Sprint(typ))
	}
	payload, err := v.verified(ctx, signed, header)
	if err != nil {
		return nil, err
	}
	return v.claims(payload, time.Now())
}

// isJWT reports whether a token says of itself that it is a signed JWT (RFC 7519
// §7.2): other opaque ones have dots, too.
func isJWT(token string) bool {
	head, rest, _ := strings.Cut(token, ".")
	header, err := base64.RawURLEncoding.DecodeString(head)
	return err == nil && bytes.HasPrefix(bytes.TrimSpace(header), []byte("{")) && strings.Count(rest, ".") == 1
}

// plainType reports whether a token is of a kind that lets people in (RFC 8725
// §3.11, RFC 9068 §2.1).
func plainType(typ any) bool {
	name, _ := typ.(string)
	switch strings.TrimPrefix(strings.ToLower(name), "application/") {
	case "jwt", "at+jwt":
		return true
	}
	return false
}

// verified returns the payload if one of the issuer's keys signed it. What the
// token says of its key (jwk, jku, x5c) does not count (RFC 8725 §3.10).
func (v *Verifier) verified(ctx context.Context, signed *jose.JSONWebSignature, header jose.Header) ([]byte, error) {
	for _, fresh := range []bool{false, true} {
		keys, err := v.keys.get(ctx, v, header.KeyID, fresh)
		if err != nil {
			return nil, err
		}
		for i := range keys {
			k := &keys[i]
			if k.Algorithm != "" && k.Algorithm != header.Algorithm {
				continue
			}
			if payload, err := signed.Verify(k.Key); err == nil {
				return payload, nil
			}
		}
	}
	return nil, fmt.Errorf("%w: not signed by a key of the issuer", ErrToken)
}

// claims checks what a verified token says (RFC 7519 §4.1).
func (v *Verifier) claims(payload []byte, now time.Time) (*Claims, error) {
	var all map[string]any
	if err := json.Unmarshal(payload, &all); err != nil || all == nil {
		return nil, fmt.Errorf("%w: no claims", ErrToken)
	}
	if err := usable(all); err != nil {
		return nil, err
	}
	if iss, _ := all["iss"].(string); iss != v.Issuer {
		return nil, fmt.Errorf("%w: of another issuer", ErrToken)
	}
	if !v.addressed(all["aud"]) {
		return nil, fmt.Errorf("%w: for another service", ErrToken)
	}
	expires, ok := instant(all["exp"])
	if !ok || !now.Add(-v.leeway()).Before(expires) {
		return nil, fmt.Errorf("%w: expired, or without end", ErrToken)
	}
	for _, name := range []string{"nbf", "iat"} {
		if _, there := all[name]; !there {
			continue
		}
		if at, ok := instant(all[name]); !ok || at.After(now.Add(v.leeway())) {
			return nil, fmt.Errorf("%w: of the future", ErrToken)
		}
	}
	return claimsOf(all, expires), nil
}

// usable refuses what is no bearer's access token although its issuer signed it
// for this service (RFC 8725 §3.12): a token that is bound to a key, of which
// SASL brings no proof (RFC 7800; RFC 9449 §7.1: never as a bearer token), a
// logout token or another event (RFC 8417 §2.2), and an ID token that says so.
func usable(all map[string]any) error {
	for _, name := range []string{"cnf", "events", "at_hash", "c_hash"} {
		if _, there := all[name]; there {
			return fmt.Errorf("%w: has %s", ErrToken, name)
		}
	}
	return nil
}

func claimsOf(all map[string]any, expires time.Time) *Claims {
	text := func(name string) string {
		s, _ := all[name].(string)
		return s
	}
	c := &Claims{Subject: text("sub"), Username: text("preferred_username"), Email: text("email"), Expires: expires, All: all}
	if c.Username == "" {
		c.Username = text("username") // RFC 7662 §2.2
	}
	// What is not said is not so (OpenID Connect Core §5.1); some write it as text.
	c.NotVerified = all["email_verified"] != true && all["email_verified"] != "true"
	for _, name := range []string{"scope", "scp"} {
		switch list := all[name].(type) {
		case string:
			c.Scope = append(c.Scope, strings.Fields(list)...)
		case []any:
			for _, e := range list {
				if s, ok := e.(string); ok {
					c.Scope = append(c.Scope, s)
				}
			}
		}
	}
	return c
}

// addressed reports whether aud, a text or a list, names this service.
func (v *Verifier) addressed(aud any) bool {
	switch a := aud.(type) {
	case string:
		return slices.Contains(v.Audience, a)
	case []any:
		return slices.ContainsFunc(a, func(e any) bool {
			s, ok := e.(string)
			return ok && slices.Contains(v.Audience, s)
		})
	}
	return false
}

// instant reads a NumericDate (RFC 7519 §2).
func instant(value any) (time.Time, bool) {
	n, ok := value.(float64)
	if !ok || n < 0 || n > 1<<40 {
		return time.Time{}, false
	}
	return time.Unix(int64(n), 0), true
}
