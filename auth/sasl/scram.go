package sasl

import (
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"strings"
)

// Bounds of the iteration count. A server must not ask for fewer than
// MinIterations (RFC 7677 §4), which would make its keys or a recorded
// exchange cheap to attack; more than MaxIterations would let a server burn
// the client's time.
const (
	MinIterations = 4096
	MaxIterations = 600_000
)

// maxSalt bounds the salt a client hashes, in octets.
const maxSalt = 1024

// scramHash is one hash function of the SCRAM family.
type scramHash struct {
	mechanism string
	size      int
	new       func() hash.Hash
}

// hashByName maps the hash's name, as in SCRAM-<name>, to its function.
func hashByName(name string) (scramHash, error) {
	switch name {
	case "SHA-512":
		return scramHash{SCRAMSHA512, sha512.Size, sha512.New}, nil
	case "SHA-256":
		return scramHash{SCRAMSHA256, sha256.Size, sha256.New}, nil
	case "SHA-1":
		return scramHash{SCRAMSHA1, sha1.Size, sha1.New}, nil
	}
	return scramHash{}, fmt.Errorf("%w: hash %q", ErrKeys, name)
}

func (h scramHash) mac(key []byte, message string) []byte {
	m := hmac.New(h.new, key)
	m.Write([]byte(message))
	return m.Sum(nil)
}

func (h scramHash) sum(b []byte) []byte {
	d := h.new()
	d.Write(b)
	return d.Sum(nil)
}

// salted is SaltedPassword (RFC 5802 §3: Hi is PBKDF2 with HMAC).
func (h scramHash) salted(password string, salt []byte, iterations int) ([]byte, error) {
	return pbkdf2.Key(h.new, password, salt, iterations, h.size)
}

// DeriveSCRAMKeys computes what a server keeps for a password (RFC 5802 §3).
// hash is "SHA-512", "SHA-256" or "SHA-1"; the password is prepared by [Prep];
// iterations must lie between MinIterations and MaxIterations and salt must
// be 1 to 1024 random octets. The work is linear in iterations: about 15 ms
// per 100,000 on one core of 2024. Errors wrap ErrKeys or ErrPrepare.
func DeriveSCRAMKeys(hash, password string, salt []byte, iterations int) (SCRAMKeys, error) {
	h, err := hashByName(hash)
	if err != nil {
		return SCRAMKeys{}, err
	}
	if iterations < MinIterations || iterations > MaxIterations || len(salt) == 0 || len(salt) > maxSalt {
		return SCRAMKeys{}, fmt.Errorf("%w: %d iterations, %d octets of salt", ErrKeys, iterations, len(salt))
	}
	if password, err = Prep(password); err != nil {
		return SCRAMKeys{}, err
	}
	salted, err := h.salted(password, salt, iterations)
	if err != nil {
		return SCRAMKeys{}, fmt.Errorf("%w: %v", ErrKeys, err)
	}
	return SCRAMKeys{
		Salt:       append([]byte(nil), salt...),
		Iterations: iterations,
		StoredKey:  h.sum(h.mac(salted, "Client Key")),
		ServerKey:  h.mac(salted, "Server Key"),
	}, nil
}

// FakeSCRAMKeys are keys for somebody who has none, and fit no password. They
// are the same for the same hash, secret and name, as real ones would be, so that
// asking twice tells nothing (RFC 5802 §9 leaves that to the server). secret
// must be unknown to clients and outlive the process, or a restart would tell;
// saltSize is that of real salts in octets, 1 to 64, and iterations their count,
// or both give it away. Errors are ErrKeys. Safe for concurrent use.
func FakeSCRAMKeys(hash string, secret []byte, name string, saltSize, iterations int) (SCRAMKeys, error) {
	h, err := hashByName(hash)
	if err != nil {
		return SCRAMKeys{}, err
	}
	if saltSize < 1 || saltSize > sha512.Size || iterations < MinIterations || iterations > MaxIterations {
		return SCRAMKeys{}, fmt.Errorf("%w: %d iterations, %d octets of salt", ErrKeys, iterations, saltSize)
	}
	part := func(what string) []byte {
		m := hmac.New(sha512.New, secret)
		m.Write([]byte(what + "\x00" + hash + "\x00" + name))
		return m.Sum(nil)
	}
	return SCRAMKeys{
		Salt:       part("salt")[:saltSize],
		Iterations: iterations,
		StoredKey:  part("stored")[:h.size],
		ServerKey:  part("server")[:h.size],
	}, nil
}

// newNonce is 144 random bits in base64, which holds no comma (RFC 5802
// §5.1).
func newNonce() string {
	b := make([]byte, 18)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// nameEncoder writes a saslname (RFC 5802 §5.1).
var nameEncoder = strings.NewReplacer("=", "=3D", ",", "=2C")

// decodeName reads a saslname. It must not be empty.
func decodeName(s string) (string, error) {
	bad := s == ""
	var b strings.Builder
	for rest := s; rest != ""; {
		plain, after, found := strings.Cut(rest, "=")
		b.WriteString(plain)
		if !found {
			break
		}
		switch {
		case strings.HasPrefix(after, "2C"):
			b.WriteByte(',')
		case strings.HasPrefix(after, "3D"):
			b.WriteByte('=')
		default:
			bad = true // RFC 5802 §5.1: any other "=" fails
		}
		if bad {
			break
		}
		rest = after[2:]
	}
	if bad {
		return "", fmt.Errorf("%w: bad name", ErrMalformed)
	}
	return b.String(), nil
}

// attribute takes the value of an attribute that must be key.
func attribute(s string, key byte) (string, error) {
	if len(s) < 3 || s[0] != key || s[1] != '=' {
		return "", fmt.Errorf("%w: attribute %q expected", ErrMalformed, key)
	}
	return s[2:], nil
}

// checkExtensions accepts optional attributes that are well formed, as they
// are to be ignored when unknown, but neither "m", which announces a
// mandatory one (RFC 5802 §5.1), nor a second one of those with a meaning.
func checkExtensions(attributes []string) error {
	for _, a := range attributes {
		letter := len(a) >= 3 && a[1] == '=' && (a[0]|0x20 >= 'a' && a[0]|0x20 <= 'z')
		if !letter || strings.IndexByte("anmrcsipve", a[0]) >= 0 {
			return fmt.Errorf("%w: extension", ErrMalformed)
		}
	}
	return nil
}

// checkNonce tells whether s is a nonce: printable ASCII without comma.
func checkNonce(s string) error {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == ',' {
			return fmt.Errorf("%w: nonce", ErrMalformed)
		}
	}
	if s == "" {
		return fmt.Errorf("%w: nonce", ErrMalformed)
	}
	return nil
}

// decode64 is strict: the standard library skips CR and LF.
func decode64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("%w: base64", ErrMalformed)
	}
	return b, nil
}
