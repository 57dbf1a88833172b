package password

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/sasl"
)

// scramSizes are the hashes that keys can be kept for and the size of their
// keys in octets, strongest first.
var scramSizes = []scramSize{{"SHA-512", 64}, {"SHA-256", 32}, {"SHA-1", 20}}

type scramSize struct {
	hash string
	size int
}

// The most that Cyrus SASL computes as a client, and with it Postfix and
// many mail programs, which try nothing else when that fails.
const defaultIterations = 65_536

func (u *Users) iterations() int { return orDefault(u.Iterations, defaultIterations) }

// hashes are those that keys are kept for; none when Iterations is negative.
func (u *Users) hashes() []string {
	if u.Iterations < 0 {
		return nil
	}
	list := make([]string, 0, len(scramSizes))
	for _, s := range scramSizes {
		if s.hash == "SHA-256" || slices.Contains(u.MoreSCRAM, s.hash) {
			list = append(list, s.hash)
		}
	}
	return list
}

// keys are SCRAM keys by their hash ("SHA-256").
type keys map[string]sasl.SCRAMKeys

// derive makes keys for a password of the user that is called name. Salts are
// those of the keys that the user has, or else those that were shown before
// there were any: all passwords of a user share a salt, so that whichever the
// client was given, its proof can be checked, and nobody sees from a change of
// the salt that something has come into being (RFC 5802 §5.1 asks that it be
// random; this one is to whoever does not have the secret).
func (u *Users) derive(password string, name string, secret []byte, like keys) (keys, error) {
	k := make(keys)
	for _, h := range u.hashes() {
		shown, ok := like[h]
		if !ok {
			var err error
			if shown, err = sasl.FakeSCRAMKeys(h, secret, name, saltSize, u.iterations()); err != nil {
				return nil, fmt.Errorf("password: %w", err)
			}
		}
		one, err := sasl.DeriveSCRAMKeys(h, password, shown.Salt, shown.Iterations)
		if err != nil {
			return nil, fmt.Errorf("password: %w", err)
		}
		k[h] = one
	}
	if len(k) == 0 {
		return nil, nil
	}
	return k, nil
}

// scramCost is what of a user's keys clients see.
type scramCost struct{ iterations, salt int }

// SCRAMHashes implements auth.SCRAMHasher: the hashes for which every user has
// keys, of those that are kept (see MoreSCRAM and OfferSCRAM). A list without users
// offers them all.
func (u *Users) SCRAMHashes() []string {
	u.setup()
	u.mu.RLock()
	d, unread := u.doc, u.doc == nil && u.err == nil
	u.mu.RUnlock()
	if unread && u.refresh() == nil {
		u.mu.RLock()
		d = u.doc
		u.mu.RUnlock()
	}
	if d == nil || u.OfferSCRAM {
		return u.hashes()
	}
	u.mu.RLock()
	defer u.mu.RUnlock()
	return slices.DeleteFunc(u.hashes(), func(h string) bool { return d.keyed[h] < len(d.users) })
}

// SCRAMKeys implements auth.SCRAMAuthenticator. For an unknown user, and for
// one without keys, it makes keys from the name and the file's secret: the
// salt is always the same, as a real one would be, after a restart too, and so
// is the number of iterations, of which names are dealt as many as users have. A
// file without secret, and users in memory, have a secret of the process.
//
// The keys are those of the user's own password, unless AppsOnly is set, and of
// the app passwords that are for req.Service.
func (u *Users) SCRAMKeys(_ context.Context, req auth.Request, user, hash string) (sasl.SCRAMKeys, error) {
	if !slices.ContainsFunc(scramSizes, func(s scramSize) bool { return s.hash == hash }) {
		return sasl.SCRAMKeys{}, auth.ErrMechanism
	}
	u.setup()
	w, err := u.find(user)
	if err != nil {
		return sasl.SCRAMKeys{}, err
	}
	k, err := sasl.FakeSCRAMKeys(hash, w.secret, w.name, w.scram.salt, w.scram.iterations) // for everybody: equal time
	if err != nil {
		return sasl.SCRAMKeys{}, fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	e, known := w.like, w.entry != nil
	shown, has := e.shown(hash)
	if known && has {
		k.Salt, k.Iterations = shown.Salt, shown.Iterations
	}
	if own := e.keys[hash]; known && own.StoredKey != nil && !e.AppsOnly {
		k.StoredKey, k.ServerKey = own.StoredKey, own.ServerKey
	}
	// Everybody has as many, as each costs time, here and when the proof is
	// checked.
	k.More = make([]sasl.SCRAMPair, MaxApps)
	for i := range k.More {
		a := u.noApp
		if i < len(e.apps) {
			a = e.apps[i]
		}
		of := a.keys[hash]
		if !a.allows(req.Service) || of.Iterations != k.Iterations || string(of.Salt) != string(k.Salt) || !known {
			of = u.noApp.keys[hash]
		}
		k.More[i] = sasl.SCRAMPair{StoredKey: of.StoredKey, ServerKey: of.ServerKey, Matched: func() error { return u.used(e.Name, a, req) }}
	}
	return k, nil
}

// shown are the keys whose salt and iterations clients see.
func (e *entry) shown(hash string) (sasl.SCRAMKeys, bool) {
	if k, ok := e.keys[hash]; ok {
		return k, true
	}
	for _, a := range e.apps {
		if k, ok := a.keys[hash]; ok {
			return k, true
		}
	}
	return sasl.SCRAMKeys{}, false
}

// allShown are they for every hash.
func (e *entry) allShown() keys {
	all := make(keys)
	for _, s := range scramSizes {
		if k, ok := e.shown(s.hash); ok {
			all[s.hash] = k
		}
	}
	return all
}

// nothing are keys that fit no password.
func nothing() keys {
	k := make(keys)
	for _, s := range scramSizes {
		k[s.hash] = sasl.SCRAMKeys{Salt: randomBytes(saltSize), Iterations: sasl.MinIterations, StoredKey: randomBytes(s.size), ServerKey: randomBytes(s.size)}
	}
	return k
}

// Authorize implements auth.SCRAMAuthenticator.
func (u *Users) Authorize(_ context.Context, _ auth.Request, authzid, user string) (*auth.Identity, error) {
	u.setup()
	w, err := u.find(user)
	if err != nil {
		return nil, err
	}
	if w.entry == nil { // removed since the exchange began
		return nil, auth.ErrCredentials
	}
	return u.identity(w.entry, authzid)
}

// WithoutSCRAM returns the same users as an Authenticator that does not offer
// SCRAM, for clients that fail with it.
func (u *Users) WithoutSCRAM() auth.Authenticator { return plainOnly{u} }

type plainOnly struct{ users *Users }

func (p plainOnly) Governor() *auth.Governor         { return p.users.Governor() }
func (p plainOnly) CanonicalName(user string) string { return p.users.CanonicalName(user) }
func (p plainOnly) Password(ctx context.Context, req auth.Request, authzid, user, password string) (*auth.Identity, error) {
	return p.users.Password(ctx, req, authzid, user, password)
}

// encodeKeys and parseKeys have the form of RFC 5803 §2 for each hash, which is
// named as in the mechanism, separated by sep.
func encodeKeys(k keys, sep string) string {
	e := base64.StdEncoding.EncodeToString
	var all []string
	for _, s := range scramSizes {
		if one, ok := k[s.hash]; ok {
			all = append(all, fmt.Sprintf("SCRAM-%s$%d:%s$%s:%s", s.hash, one.Iterations, e(one.Salt), e(one.StoredKey), e(one.ServerKey)))
		}
	}
	return strings.Join(all, sep)
}

func parseKeys(s, sep string) (keys, error) {
	k := make(keys)
	for one := range strings.SplitSeq(s, sep) {
		hash, parsed, err := parseSCRAM(one)
		if err != nil {
			return nil, err
		}
		if _, twice := k[hash]; twice {
			return nil, errors.New("keys for the same hash twice")
		}
		k[hash] = parsed
	}
	return k, nil
}

func parseSCRAM(s string) (hash string, k sasl.SCRAMKeys, err error) {
	parts := strings.Split(s, "$")
	size := 0
	for _, known := range scramSizes {
		if parts[0] == "SCRAM-"+known.hash {
			hash, size = known.hash, known.size
		}
	}
	if len(parts) != 3 || size == 0 {
		return "", k, errors.New("not SCRAM keys")
	}
	count, salt, ok1 := strings.Cut(parts[1], ":")
	stored, server, ok2 := strings.Cut(parts[2], ":")
	n, err := strconv.Atoi(count)
	if !ok1 || !ok2 || err != nil || n < sasl.MinIterations || n > sasl.MaxIterations {
		return "", k, fmt.Errorf("iterations out of %d to %d", sasl.MinIterations, sasl.MaxIterations)
	}
	k.Iterations = n
	for _, f := range []struct {
		to   *[]byte
		from string
	}{{&k.Salt, salt}, {&k.StoredKey, stored}, {&k.ServerKey, server}} {
		if *f.to, err = base64.StdEncoding.Strict().DecodeString(f.from); err != nil {
			return "", k, errors.New("base64 of SCRAM keys")
		}
	}
	if len(k.Salt) < 8 || len(k.Salt) > 64 || len(k.StoredKey) != size || len(k.ServerKey) != size {
		return "", k, errors.New("length of SCRAM keys")
	}
	return hash, k, nil
}
