package password

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"

	"github.com/posta-mail/posta/auth/sasl"
)

const (
	saltSize = 16 // octets; RFC 9106 §3.1
	hashSize = 32
	// The most that Cyrus SASL computes as a client, and with it Postfix and
	// many mail programs, which try nothing else when that fails.
	defaultIterations = 65_536
)

// cost is the parameters of Argon2id.
type cost struct {
	memory uint32 // KiB
	passes uint32
	lanes  uint8
}

// phc is a stored Argon2id hash.
type phc struct {
	cost
	salt, hash []byte
}

var b64 = base64.RawStdEncoding.Strict()

func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// cost is that of new passwords.
func (u *Users) cost() cost {
	return cost{
		memory: uint32(min(positive(u.HashMemory, 19456), maxMemory)),
		passes: uint32(min(positive(u.HashPasses, 2), maxPasses)),
		lanes:  1,
	}
}

func (u *Users) iterations() int { return orDefault(u.Iterations, defaultIterations) }

// Bounds of what a file may ask for, so that a stored hash cannot exhaust the
// process.
const (
	maxMemory = 256 << 10 // KiB
	maxPasses = 64
	maxLanes  = 16
)

func (p phc) String() string {
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, p.memory, p.passes, p.lanes,
		b64.EncodeToString(p.salt), b64.EncodeToString(p.hash))
}

// parsePHC reads $argon2id$v=19$m=,t=,p=$salt$hash.
func parsePHC(s string) (phc, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 6 || parts[0] != "" || parts[1] != "argon2id" || parts[2] != "v=19" {
		return phc{}, errors.New("not an argon2id hash of version 19")
	}
	var p phc
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return phc{}, errors.New("parameters m, t and p expected")
	}
	var n [3]uint64
	for i, bound := range []struct {
		prefix string
		max    uint64
	}{{"m=", maxMemory}, {"t=", maxPasses}, {"p=", maxLanes}} {
		digits, ok := strings.CutPrefix(params[i], bound.prefix)
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || v == 0 || v > bound.max {
			return phc{}, fmt.Errorf("parameter %s out of 1 to %d", bound.prefix, bound.max)
		}
		n[i] = v
	}
	p.memory, p.passes, p.lanes = uint32(n[0]), uint32(n[1]), uint8(n[2])
	var err1, err2 error
	p.salt, err1 = b64.DecodeString(parts[4])
	p.hash, err2 = b64.DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(p.salt) < 8 || len(p.salt) > 64 || len(p.hash) < 16 || len(p.hash) > 64 {
		return phc{}, errors.New("salt or hash")
	}
	return p, nil
}

// compute hashes a prepared password as p was.
func (p phc) compute(password string) []byte {
	return argon2.IDKey([]byte(password), p.salt, p.passes, p.memory, p.lanes, uint32(len(p.hash)))
}

var errBusy = errors.New("password: too many logins are waiting")

// slot takes one of the places for hashing; the returned function gives it
// back.
func (u *Users) slot(ctx context.Context) (func(), error) {
	leave := func() { <-u.slots }
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case u.slots <- struct{}{}:
		return leave, nil
	default:
	}
	if u.queued.Add(1) > int64(positive(u.MaxWaiting, 4096)) {
		u.queued.Add(-1)
		return nil, errBusy
	}
	defer u.queued.Add(-1)
	select {
	case u.slots <- struct{}{}:
		return leave, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// verify tells whether password is the one that stored was made from. The
// cache may know.
func (u *Users) verify(ctx context.Context, name, password string, stored phc) (bool, error) {
	return u.cache.do(ctx, u.cache.key(name, password, stored.String()), func() (bool, error) {
		leave, err := u.slot(ctx)
		if err != nil {
			return false, err
		}
		defer leave()
		return subtle.ConstantTimeCompare(u.compute(stored, password), stored.hash) == 1, nil
	})
}

// fakeKeys are the same for the same name, and fit no password.
func fakeKeys(secret []byte, name string, iterations int) sasl.SCRAMKeys {
	part := func(what string) []byte {
		m := hmac.New(sha256.New, secret)
		m.Write([]byte(what + "\x00" + name))
		return m.Sum(nil)
	}
	return sasl.SCRAMKeys{
		Salt:       part("salt")[:saltSize],
		Iterations: iterations,
		StoredKey:  part("stored"),
		ServerKey:  part("server"),
	}
}

// scramString and parseSCRAM are the form of RFC 5803 §2, with the hash named
// as in the mechanism.
func scramString(k sasl.SCRAMKeys) string {
	e := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", sasl.SCRAMSHA256, k.Iterations, e(k.Salt), e(k.StoredKey), e(k.ServerKey))
}

func parseSCRAM(s string) (*sasl.SCRAMKeys, error) {
	parts := strings.Split(s, "$")
	if len(parts) != 3 || parts[0] != sasl.SCRAMSHA256 {
		return nil, errors.New("not SCRAM-SHA-256 keys")
	}
	count, salt, ok1 := strings.Cut(parts[1], ":")
	stored, server, ok2 := strings.Cut(parts[2], ":")
	n, err := strconv.Atoi(count)
	if !ok1 || !ok2 || err != nil || n < sasl.MinIterations || n > sasl.MaxIterations {
		return nil, fmt.Errorf("iterations out of %d to %d", sasl.MinIterations, sasl.MaxIterations)
	}
	k := &sasl.SCRAMKeys{Iterations: n}
	for _, f := range []struct {
		to   *[]byte
		from string
	}{{&k.Salt, salt}, {&k.StoredKey, stored}, {&k.ServerKey, server}} {
		if *f.to, err = base64.StdEncoding.Strict().DecodeString(f.from); err != nil {
			return nil, errors.New("base64 of SCRAM keys")
		}
	}
	if len(k.Salt) < 8 || len(k.Salt) > 64 || len(k.StoredKey) != sha256.Size || len(k.ServerKey) != sha256.Size {
		return nil, errors.New("length of SCRAM keys")
	}
	return k, nil
}
