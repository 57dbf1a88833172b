package dkim

import (
	"fmt"
	"strings"
	"time"
)

// Defaults of Rotation.
const (
	DefaultKeyPeriod  = 180 * 24 * time.Hour
	DefaultKeyPublish = 2 * 24 * time.Hour
	DefaultKeyKeep    = 14 * 24 * time.Hour
	DefaultKeyRevoke  = 30 * 24 * time.Hour
)

// Rotation says when the keys of a domain sign and what the DNS has to hold, so
// that neither a message under way nor a cached answer is ever without its key
// (RFC 6376 §3.1, §6.1.2). It only computes: keys and records are the caller's.
// The zero value works; zero or less means the default everywhere. It may be
// used by several goroutines at once.
type Rotation struct {
	// Period is how long a key signs, default 180 days.
	Period time.Duration
	// Publish is how long before its first signature a key is published, default
	// 2 days: no less than the zone takes to reach all of its servers, and the
	// negative TTL.
	Publish time.Duration
	// Keep is how long after its last signature a key stays published, default
	// 14 days: no less than Signer.Expiry and the days that a message may lie in
	// queues.
	Keep time.Duration
	// Revoke is how long after that the record has an empty p=, which tells a
	// key that was withdrawn from a DNS that fails (RFC 6376 §3.6.1), default
	// 30 days. Afterwards it may be removed.
	Revoke time.Duration
}

// RotatedKey is one key of a domain.
type RotatedKey struct {
	Selector  string
	Algorithm Algorithm
	// Start is when the key begins to sign. It ends when the next key of the
	// same algorithm starts.
	Start time.Time
}

// KeyState is where in its life a key is.
type KeyState int

const (
	// KeyWaiting: not to be published yet.
	KeyWaiting KeyState = iota
	// KeyPublished: to be published, but too new to sign.
	KeyPublished
	// KeySigning: signs, and is to be published.
	KeySigning
	// KeyRetired: signs no longer, but is still to be published.
	KeyRetired
	// KeyRevoked: its record is RevokedRecord.
	KeyRevoked
	// KeyRemoved: its record, and the private key, may be removed.
	KeyRemoved
)

// String is the state in one word.
func (s KeyState) String() string {
	names := [...]string{"waiting", "published", "signing", "retired", "revoked", "removed"}
	if s < 0 || int(s) >= len(names) {
		return fmt.Sprintf("state %d", int(s))
	}
	return names[s]
}

// Published reports whether the key's own record has to be in the DNS.
func (s KeyState) Published() bool { return s >= KeyPublished && s <= KeyRetired }

// RevokedRecord is the text of the record of a key that was withdrawn (RFC 6376
// §3.6.1).
const RevokedRecord = "v=DKIM1; p="

// States returns the state of each key at a time, in the order of keys. Of each
// algorithm the key that started last signs, past its Period too: a domain that
// forgets to rotate still signs. Of keys that start at once the last one does.
func (r *Rotation) States(keys []RotatedKey, now time.Time) []KeyState {
	publish, keep, revoke := orDefault(r.Publish, DefaultKeyPublish), orDefault(r.Keep, DefaultKeyKeep), orDefault(r.Revoke, DefaultKeyRevoke)
	states := make([]KeyState, len(keys))
	for i := range keys {
		end, ends := successor(keys, i)
		switch start := keys[i].Start; {
		case now.Before(start.Add(-publish)):
			states[i] = KeyWaiting
		case now.Before(start):
			states[i] = KeyPublished
		case !ends || now.Before(end):
			states[i] = KeySigning
		case now.Before(end.Add(keep)):
			states[i] = KeyRetired
		case now.Before(end.Add(keep + revoke)):
			states[i] = KeyRevoked
		default:
			states[i] = KeyRemoved
		}
	}
	return states
}

// successor is when the next key of the algorithm of keys[i] starts.
func successor(keys []RotatedKey, i int) (at time.Time, ok bool) {
	for j := range keys {
		k := &keys[j]
		later := k.Start.After(keys[i].Start) || j > i && k.Start.Equal(keys[i].Start)
		if k.Algorithm == keys[i].Algorithm && later && (!ok || k.Start.Before(at)) {
			at, ok = k.Start, true
		}
	}
	return at, ok
}

// Next returns when the next key of an algorithm is to be published at the
// latest, which is when it should have been made, and when it is to start. If
// that has passed, or there is no key, it is to be published now.
func (r *Rotation) Next(keys []RotatedKey, a Algorithm, now time.Time) (publish, start time.Time) {
	lead := orDefault(r.Publish, DefaultKeyPublish)
	for _, k := range keys {
		if k.Algorithm == a && k.Start.After(start) {
			start = k.Start
		}
	}
	if !start.IsZero() {
		start = start.Add(orDefault(r.Period, DefaultKeyPeriod))
	}
	if earliest := now.Add(lead); start.Before(earliest) {
		start = earliest
	}
	return start.Add(-lead), start
}

// ZoneLine returns a TXT record for a zone file (RFC 1035 §5.1): the owner name
// SELECTOR._domainkey.DOMAIN with A-labels, a TTL in whole seconds, left out
// where it is not positive, and the text as character-strings of at most 255
// octets. The error is ErrConfig for names that cannot be.
func ZoneLine(domain, selector, text string, ttl time.Duration) (string, error) {
	d, okDomain := canonicalDomain(domain, 1)
	s, okSelector := canonicalDomain(selector, 1)
	if !okDomain || !okSelector || len(s)+len("._domainkey.")+len(d) > 253 {
		return "", fmt.Errorf("%w: domain %q, selector %q", ErrConfig, domain, selector)
	}
	var b strings.Builder
	b.WriteString(s + "._domainkey." + d + ".")
	if sec := int64(ttl / time.Second); sec > 0 {
		fmt.Fprintf(&b, " %d", sec)
	}
	b.WriteString(" IN TXT")
	for _, part := range SplitText(text) {
		b.WriteString(` "`)
		for i := 0; i < len(part); i++ {
			switch c := part[i]; {
			case c == '"' || c == '\\':
				b.WriteByte('\\')
				b.WriteByte(c)
			case c < ' ' || c >= 0x7f:
				fmt.Fprintf(&b, "\\%03d", c) // RFC 1035 §5.1
			default:
				b.WriteByte(c)
			}
		}
		b.WriteByte('"')
	}
	return b.String(), nil
}
