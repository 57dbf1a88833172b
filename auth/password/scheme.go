package password

import (
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/scrypt"
)

// Bounds of what a file may ask for, so that a stored hash cannot exhaust the
// process.
const (
	maxMemory = 256 << 10 // KiB
	maxPasses = 64
	maxLanes  = 16
	maxRounds = 2_000_000 // of PBKDF2 and SHA-crypt; also scrypt's r times p, far below
	maxBcrypt = 16        // log2 of rounds: some 4 s
)

const (
	saltSize = 16 // octets; RFC 9106 §3.1
	hashSize = 32
)

// cost is what a check costs: a scheme and its parameters. Its zero value is
// none.
type cost struct {
	scheme  string // key of schemes
	a, b, c uint32
}

// stored is what is kept of one password. It is not changed once it is made.
type stored struct {
	cost
	text string   // as it stands in the file
	id   [32]byte // tells one text from another, in a fixed length
	// foreign: made by another program, of the password as it was sent and not
	// prepared.
	foreign    bool
	salt, hash []byte
}

// scheme is a way to hash passwords.
type scheme struct {
	// parse reads what follows the scheme's name; in it is without "$name$".
	parse func(name, in string) (stored, error)
	// sum hashes as st was; nil is no match. It is called with the password of
	// at most MaxPassword octets.
	sum func(st stored, password []byte) ([]byte, error)
	// salt is the size of the salt that an unknown user is given; 0: saltSize;
	// ofCost: cost.b, as with these schemes a longer salt is more work.
	salt int
}

const ofCost = -1

// schemes are those that can be checked, by the name between the first two $.
// New passwords are always argon2id.
var schemes = map[string]scheme{
	"argon2id":      {parse: parseArgon2, sum: argon2id},
	"argon2i":       {parse: parseArgon2, sum: argon2i},
	"scrypt":        {parse: parseScrypt, sum: sumScrypt},
	"7":             {parse: parseScryptCrypt, sum: sumScrypt},
	"2a":            {parse: parseBcrypt, sum: sumBcrypt, salt: bcryptSalt},
	"2b":            {parse: parseBcrypt, sum: sumBcrypt, salt: bcryptSalt},
	"2y":            {parse: parseBcrypt, sum: sumBcrypt, salt: bcryptSalt},
	"5":             {parse: parseSHACrypt, sum: sumSHACrypt, salt: ofCost},
	"6":             {parse: parseSHACrypt, sum: sumSHACrypt, salt: ofCost},
	"pbkdf2":        {parse: parsePBKDF2, sum: sumPBKDF2},
	"pbkdf2-sha256": {parse: parsePBKDF2, sum: sumPBKDF2},
	"pbkdf2-sha512": {parse: parsePBKDF2, sum: sumPBKDF2},
	"1":             {parse: parseDovecotPBKDF2, sum: sumPBKDF2},
	"ssha":          {parse: parseSalted, sum: sumSalted, salt: ofCost},
	"ssha256":       {parse: parseSalted, sum: sumSalted, salt: ofCost},
	"ssha512":       {parse: parseSalted, sum: sumSalted, salt: ofCost},
}

// prefixes are Dovecot's and RFC 2307's names of schemes, with what the rest must
// begin with: the schemes' own names between $. Where none is given the rest
// has no such beginning.
var prefixes = map[string][]string{
	"ARGON2ID":     {"argon2id"},
	"ARGON2I":      {"argon2i"},
	"BLF-CRYPT":    {"2a", "2b", "2y"},
	"SHA512-CRYPT": {"6"},
	"SHA256-CRYPT": {"5"},
	"PBKDF2":       {"1"},
	"CRYPT":        {"2a", "2b", "2y", "5", "6", "7"},
	"SSHA":         nil,
	"SSHA256":      nil,
	"SSHA512":      nil,
}

var errScheme = errors.New("not a hash of a scheme that is known: argon2id, argon2i, scrypt, bcrypt, PBKDF2, SHA-256- and SHA-512-crypt, SSHA")

// parseStored reads a hash as it stands in the file: $scheme$…, or with a prefix
// in braces as Dovecot and RFC 2307 write it.
func parseStored(text string) (stored, error) {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] >= 0x7f {
			return stored{}, errScheme // it would not stay one word of a line
		}
	}
	rest, allowed := text, []string(nil)
	braced := strings.HasPrefix(text, "{")
	if braced {
		prefix, after, ok := strings.Cut(text[1:], "}")
		prefix = strings.ToUpper(prefix)
		names, known := prefixes[prefix]
		if !ok || !known {
			return stored{}, errScheme
		}
		if names == nil {
			return finish(strings.ToLower(prefix), after, text)
		}
		rest, allowed = after, names
	}
	if !strings.HasPrefix(rest, "$") {
		return stored{}, errScheme
	}
	name, in, _ := strings.Cut(rest[1:], "$")
	known := false
	for _, n := range allowed {
		known = known || n == name
	}
	// "$1$" is MD5-crypt where nobody says that it is Dovecot's PBKDF2.
	if braced && !known || !braced && (name == "1" || strings.HasPrefix(name, "ssha")) {
		return stored{}, errScheme
	}
	return finish(name, in, text)
}

func finish(name, in, text string) (stored, error) {
	s, ok := schemes[name]
	if !ok {
		return stored{}, errScheme
	}
	st, err := s.parse(name, in)
	if err != nil {
		return stored{}, err
	}
	st.id = sha256.Sum256([]byte(text))
	st.scheme, st.text, st.foreign = name, text, name != "argon2id" || text[0] == '{'
	return st, nil
}

// newStored hashes a prepared password.
func newStored(c cost, prepared string) stored {
	st := stored{cost: c, salt: randomBytes(saltSize), hash: make([]byte, hashSize)}
	st.hash, _ = argon2id(st, []byte(prepared))
	st.text = fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.a, c.b, c.c,
		b64.EncodeToString(st.salt), b64.EncodeToString(st.hash))
	st.id = sha256.Sum256([]byte(st.text))
	return st
}

// letters are good for the salt of every scheme.
const letters = "2/4cnf7VSjvB0DeqQzZr1lhW5OyTgKxuW3sPq8mEaXt6YkGdRoNbUi9HLJwCFMvI"

// decoy is a hash of that cost. Whether a password fits it means nothing.
func decoy(c cost) stored {
	size := schemes[c.scheme].salt
	switch size {
	case 0:
		size = saltSize
	case ofCost:
		size = int(c.b)
	}
	return stored{cost: c, foreign: c.scheme != "argon2id", salt: []byte(letters[:size]), hash: []byte(letters[:hashSize])}
}

// matches does the work that st costs. The password is of the form that
// st.foreign asks for.
func (st stored) matches(password string) bool {
	sum, err := schemes[st.scheme].sum(st, []byte(password))
	return err == nil && subtle.ConstantTimeCompare(sum, st.hash) == 1
}

// weaker reports whether a password is better hashed anew: by another scheme
// or program, or with less work.
func (st stored) weaker(want cost) bool {
	return st.foreign || uint64(st.a)*uint64(st.b) < uint64(want.a)*uint64(want.b)
}

var (
	b64 = base64.RawStdEncoding.Strict()
	// ab64 is the base64 of Python's passlib.
	ab64 = base64.NewEncoding("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./").WithPadding(base64.NoPadding)
)

// parameters reads numbers such as "m=64,t=1", each from 1 to its bound.
func parameters(in string, names string, bounds ...uint32) (cost, error) {
	fields := strings.Split(in, ",")
	if len(fields) != len(bounds) {
		return cost{}, fmt.Errorf("parameters %s expected", names)
	}
	var n [3]uint32
	for i, name := range strings.Split(names, ",") {
		digits, ok := strings.CutPrefix(fields[i], name+"=")
		v, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || v == 0 || v > uint64(bounds[i]) {
			return cost{}, fmt.Errorf("parameter %s= out of 1 to %d", name, bounds[i])
		}
		n[i] = uint32(v)
	}
	return cost{a: n[0], b: n[1], c: n[2]}, nil
}

// saltAndHash bounds what has been decoded.
func saltAndHash(c cost, salt, hash []byte, errs ...error) (stored, error) {
	if err := errors.Join(errs...); err != nil || len(salt) < 1 || len(salt) > 64 || len(hash) < 16 || len(hash) > 64 {
		return stored{}, errors.New("salt or hash is badly written, too short or too long")
	}
	return stored{cost: c, salt: salt, hash: hash}, nil
}

// parseArgon2 reads v=19$m=,t=,p=$salt$hash (RFC 9106, PHC form).
func parseArgon2(_, in string) (stored, error) {
	parts := strings.Split(in, "$")
	if len(parts) != 4 || parts[0] != "v=19" {
		return stored{}, errors.New("not an argon2 hash of version 19")
	}
	c, err := parameters(parts[1], "m,t,p", maxMemory, maxPasses, maxLanes)
	if err != nil {
		return stored{}, err
	}
	salt, err1 := b64.DecodeString(parts[2])
	hash, err2 := b64.DecodeString(parts[3])
	if len(salt) < 8 {
		err1 = errors.New("RFC 9106 §3.1: at least 8 octets of salt")
	}
	return saltAndHash(c, salt, hash, err1, err2)
}

func argon2id(st stored, password []byte) ([]byte, error) {
	return argon2.IDKey(password, st.salt, st.b, st.a, uint8(st.c), uint32(len(st.hash))), nil
}

func argon2i(st stored, password []byte) ([]byte, error) {
	return argon2.Key(password, st.salt, st.b, st.a, uint8(st.c), uint32(len(st.hash))), nil
}

// parseScrypt reads ln=,r=,p=$salt$hash.
func parseScrypt(_, in string) (stored, error) {
	parts := strings.Split(in, "$")
	if len(parts) != 3 {
		return stored{}, errors.New("not a scrypt hash")
	}
	c, err := parameters(parts[0], "ln,r,p", 24, 64, maxLanes)
	if err != nil {
		return stored{}, err
	}
	salt, err1 := b64.DecodeString(parts[1])
	hash, err2 := b64.DecodeString(parts[2])
	return boundedScrypt(c, salt, hash, err1, err2)
}

// boundedScrypt: memory is 128 × r × N octets (RFC 7914 §2).
func boundedScrypt(c cost, salt, hash []byte, errs ...error) (stored, error) {
	if c.a > 24 || c.b > 64 || c.c > maxLanes || (128*uint64(c.b))<<c.a > maxMemory<<10 {
		return stored{}, fmt.Errorf("scrypt needs more than %d KiB", maxMemory)
	}
	return saltAndHash(c, salt, hash, errs...)
}

func sumScrypt(st stored, password []byte) ([]byte, error) {
	return scrypt.Key(password, st.salt, 1<<st.a, int(st.b), int(st.c), len(st.hash))
}

// bcryptSalt is the size of a salt in bcrypt's base64; its hashes have 31.
const bcryptSalt = 22

// parseBcrypt reads cost$salt-and-hash. "2x" is not among the names: it marks
// hashes of a broken program.
func parseBcrypt(_, in string) (stored, error) {
	digits, rest, ok := strings.Cut(in, "$")
	n, err := strconv.ParseUint(digits, 10, 8)
	if !ok || err != nil || len(digits) != 2 || n < uint64(bcrypt.MinCost) || n > maxBcrypt {
		return stored{}, fmt.Errorf("cost out of %02d to %02d", bcrypt.MinCost, maxBcrypt)
	}
	if len(rest) != bcryptSalt+31 || strings.Trim(rest, itoa64) != "" {
		return stored{}, errors.New("salt or hash of bcrypt")
	}
	return stored{cost: cost{a: uint32(n)}, salt: []byte(rest[:bcryptSalt]), hash: []byte(rest[bcryptSalt:])}, nil
}

func sumBcrypt(st stored, password []byte) ([]byte, error) {
	whole := fmt.Sprintf("$2b$%02d$%s%s", st.a, st.salt, st.hash[:31])
	if err := bcrypt.CompareHashAndPassword([]byte(whole), password); err != nil {
		return nil, err
	}
	return st.hash, nil
}

// prf is the hash of a scheme that is named after one.
func prf(scheme string) func() hash.Hash {
	switch scheme {
	case "pbkdf2", "1", "ssha":
		return sha1.New
	case "pbkdf2-sha256", "ssha256", "5":
		return sha256.New
	}
	return sha512.New
}

// parsePBKDF2 reads rounds$salt$hash as passlib writes it.
func parsePBKDF2(_, in string) (stored, error) {
	parts := strings.Split(in, "$")
	if len(parts) != 3 {
		return stored{}, errors.New("not a PBKDF2 hash")
	}
	salt, err1 := ab64.DecodeString(parts[1])
	hash, err2 := ab64.DecodeString(parts[2])
	return boundedPBKDF2(parts[0], salt, hash, err1, err2)
}

// parseDovecotPBKDF2 reads salt$rounds$hash, the salt as it is, the hash in
// hexadecimal.
func parseDovecotPBKDF2(_, in string) (stored, error) {
	parts := strings.Split(in, "$")
	if len(parts) != 3 {
		return stored{}, errors.New("not a PBKDF2 hash")
	}
	hash, err := hex.DecodeString(parts[2])
	return boundedPBKDF2(parts[1], []byte(parts[0]), hash, err)
}

func boundedPBKDF2(rounds string, salt, hash []byte, errs ...error) (stored, error) {
	n, err := strconv.ParseUint(rounds, 10, 32)
	if err != nil || n == 0 || n > maxRounds {
		return stored{}, fmt.Errorf("rounds out of 1 to %d", maxRounds)
	}
	return saltAndHash(cost{a: uint32(n), b: uint32(len(hash))}, salt, hash, errs...)
}

func sumPBKDF2(st stored, password []byte) ([]byte, error) {
	// cost.b: a longer output is more work.
	return pbkdf2.Key(prf(st.scheme), string(password), st.salt, int(st.a), int(st.b))
}

// parseSalted reads the base64 of hash and salt (RFC 2307 §5.3 as LDAP servers
// have extended it).
func parseSalted(name, in string) (stored, error) {
	all, err := base64.StdEncoding.DecodeString(in)
	size := prf(name)().Size()
	if err != nil || len(all) <= size || len(all) > size+64 {
		return stored{}, errors.New("salt or hash is badly written, too short or too long")
	}
	return stored{cost: cost{b: uint32(len(all) - size)}, salt: all[size:], hash: all[:size]}, nil
}

func sumSalted(st stored, password []byte) ([]byte, error) {
	h := prf(st.scheme)()
	h.Write(password)
	h.Write(st.salt)
	return h.Sum(nil), nil
}
