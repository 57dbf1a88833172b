package srs

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Reasons why an address cannot be rewritten. Match them with errors.Is.
var (
	// ErrConfig: a Rewriter without domain or secret.
	ErrConfig = errors.New("srs: no domain or no secret")
	// ErrSyntax: not an address, or an SRS address with parts missing.
	ErrSyntax = errors.New("srs: malformed address")
	// ErrNotRewritten: Reverse was given an address of another domain, or one
	// that is not an SRS address.
	ErrNotRewritten = errors.New("srs: not a rewritten address of this domain")
	// ErrHash: the hash is not ours: a forgery, or made with a secret that is
	// not known any more.
	ErrHash = errors.New("srs: wrong hash")
	// ErrExpired: the address was made too long ago, or in the future.
	ErrExpired = errors.New("srs: expired")
	// ErrTooLong: the result would break the limits of RFC 5321 §4.5.3.1.
	ErrTooLong = errors.New("srs: address too long")
)

// DefaultMaxAge is for how long bounces are taken back: mail is tried for
// about five days (RFC 5321 §4.5.4.1) at each of a few forwarders.
const DefaultMaxAge = 21 * 24 * time.Hour

// DefaultHashLength is how many characters of the hash are kept, as in
// libsrs2.
const DefaultHashLength = 4

// Limits of RFC 5321 §4.5.3.1, in octets.
const (
	maxLocal   = 64
	maxAddress = 254 // a path of 256 without its brackets
)

// Rewriter rewrites senders and takes rewritten ones back. The zero value
// refuses everything with ErrConfig: Domain and Secrets are needed. Fields must
// not change once it is in use; it is then safe for concurrent use.
type Rewriter struct {
	// Domain is the forwarder's own: the one whose SPF record lists it and to
	// which bounces come.
	Domain string
	// Secrets are the keys of the hash. The first makes new addresses, all are
	// accepted, so that a secret can be replaced: put the new one in front and
	// drop the old one after MaxAge. Empty ones are not used.
	Secrets [][]byte
	// MaxAge is for how long a rewritten address is taken back. 0:
	// DefaultMaxAge. Below 1,024 days, after which time stamps repeat; counted
	// in whole days.
	MaxAge time.Duration
	// HashLength is how many characters of the hash new addresses carry and
	// others must have. 0: DefaultHashLength; at most 27.
	HashLength int
	// Clock tells the time. Nil: time.Now.
	Clock func() time.Time
}

// separators may stand between "SRS0" or "SRS1" and what follows.
const separators = "=+-"

// Forward returns the sender under which mail from sender, local@domain, is
// sent on. The null sender "" stays null, since bounces are not bounced, and a
// sender of Domain itself stays as it is. An address that another forwarder
// has rewritten becomes SRS1, which leads back to the first one and does not
// grow with each hop. Errors are ErrConfig, ErrSyntax and ErrTooLong, with
// which mail should be sent on under a sender of the forwarder's choice, or not
// at all.
func (r *Rewriter) Forward(sender string) (string, error) {
	if err := r.configured(); err != nil || sender == "" {
		return "", err
	}
	local, domain, err := split(sender)
	if err != nil {
		return "", err
	}
	if strings.EqualFold(domain, r.Domain) {
		return sender, nil
	}
	switch {
	case tagged(local, "SRS0"):
		// rest keeps the other forwarder's separator.
		rest := local[4:]
		return r.join("SRS1=" + r.hash(r.Secrets, domain, rest) + "=" + domain + "=" + rest)
	case tagged(local, "SRS1"):
		// Its hash is for its maker to check: the first forwarder and what is
		// its own are taken over, with a hash of ours.
		_, first, rest, ok := cut3(local[5:])
		if !ok || first == "" || rest == "" || !strings.ContainsRune(separators, rune(rest[0])) {
			return "", fmt.Errorf("%w: SRS1 of another domain", ErrSyntax)
		}
		return r.join("SRS1=" + r.hash(r.Secrets, first, rest) + "=" + first + "=" + rest)
	}
	stamp := r.stamp()
	return r.join("SRS0=" + r.hash(r.Secrets, stamp, domain, local) + "=" + stamp + "=" + domain + "=" + local)
}

// Reverse returns the address that a rewritten one stands for: the original
// sender, or the first forwarder's SRS0 address. It must be called for each
// recipient at Domain that [Is] one, before mail is accepted for it. Errors are
// ErrNotRewritten, ErrSyntax, ErrHash, ErrExpired and ErrConfig; all but the
// last are permanent.
func (r *Rewriter) Reverse(address string) (string, error) {
	if err := r.configured(); err != nil {
		return "", err
	}
	local, domain, err := split(address)
	if err != nil {
		return "", err
	}
	if !strings.EqualFold(domain, r.Domain) {
		return "", ErrNotRewritten
	}
	switch {
	case tagged(local, "SRS0"):
		hash, stamp, rest, ok := cut3(local[5:])
		host, user, ok2 := strings.Cut(rest, "=")
		if !ok || !ok2 || host == "" || user == "" {
			return "", fmt.Errorf("%w: SRS0", ErrSyntax)
		}
		if !r.check(hash, stamp, host, user) {
			return "", ErrHash
		}
		if !r.fresh(stamp) {
			return "", ErrExpired
		}
		return join(user, host)
	case tagged(local, "SRS1"):
		hash, host, rest, ok := cut3(local[5:])
		if !ok || host == "" || rest == "" || !strings.ContainsRune(separators, rune(rest[0])) {
			return "", fmt.Errorf("%w: SRS1", ErrSyntax)
		}
		if !r.check(hash, host, rest) {
			return "", ErrHash
		}
		return join("SRS0"+rest, host)
	}
	return "", ErrNotRewritten
}

// Is reports whether an address looks like one that a forwarder has rewritten.
// Whether it is this forwarder's, and good, [Rewriter.Reverse] tells.
func Is(address string) bool {
	local, _, err := split(address)
	return err == nil && (tagged(local, "SRS0") || tagged(local, "SRS1"))
}

func (r *Rewriter) configured() error {
	if r.Domain == "" || len(r.Secrets) == 0 || len(r.Secrets[0]) == 0 {
		return ErrConfig
	}
	return nil
}

// tagged reports whether a local part begins with SRS0 or SRS1 and a separator.
func tagged(local, tag string) bool {
	return len(local) > 5 && strings.EqualFold(local[:4], tag) && strings.IndexByte(separators, local[4]) >= 0
}

// cut3 splits at the first two "=".
func cut3(s string) (a, b, rest string, ok bool) {
	a, s, ok = strings.Cut(s, "=")
	if !ok {
		return "", "", "", false
	}
	b, rest, ok = strings.Cut(s, "=")
	return a, b, rest, ok
}

func (r *Rewriter) join(local string) (string, error) { return join(local, r.Domain) }

// hash is that of the first secret.
func (r *Rewriter) hash(secrets [][]byte, parts ...string) string {
	m := hmac.New(sha1.New, secrets[0])
	for _, p := range parts {
		// Whatever folds an address on its way must not break it.
		m.Write([]byte(strings.ToLower(p)))
	}
	return base64.RawStdEncoding.EncodeToString(m.Sum(nil))[:r.hashLength()]
}

// check reports whether one of the secrets made the hash. Mail systems fold
// case, so that it cannot count; all secrets are tried in constant time.
func (r *Rewriter) check(hash string, parts ...string) bool {
	ok := false
	for i, s := range r.Secrets {
		if len(s) == 0 {
			continue
		}
		want := strings.ToLower(r.hash(r.Secrets[i:], parts...))
		if hmac.Equal([]byte(want), []byte(strings.ToLower(hash))) {
			ok = true
		}
	}
	return ok
}

func (r *Rewriter) hashLength() int {
	if r.HashLength <= 0 {
		return DefaultHashLength
	}
	return min(r.HashLength, 27) // what SHA-1 gives
}

// base32 are the digits of time stamps, of which two make 1,024 days.
const base32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

const stampDays = 1024

func (r *Rewriter) day() int {
	now := time.Now
	if r.Clock != nil {
		now = r.Clock
	}
	day := int(now().Unix() / (24 * 60 * 60) % stampDays)
	return (day + stampDays) % stampDays // before 1970 it is negative
}

func (r *Rewriter) stamp() string {
	d := r.day()
	return string([]byte{base32[d>>5], base32[d&31]})
}

// fresh reports whether a time stamp is neither too old nor of the future.
func (r *Rewriter) fresh(stamp string) bool {
	if len(stamp) != 2 {
		return false
	}
	stamp = strings.ToUpper(stamp)
	high, low := strings.IndexByte(base32, stamp[0]), strings.IndexByte(base32, stamp[1])
	if high < 0 || low < 0 {
		return false
	}
	age := r.MaxAge
	if age <= 0 {
		age = DefaultMaxAge
	}
	passed := (r.day() - (high<<5 | low) + stampDays) % stampDays
	return passed <= int(min(age/(24*time.Hour), stampDays-1))
}
