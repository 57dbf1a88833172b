package password

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// itoa64 is the alphabet of crypt(3) in the order of its values.
const itoa64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

// SHA-crypt's own rounds where none are written, and the fewest there can be.
const (
	defaultRounds = 5000
	minRounds     = 1000
)

// parseSHACrypt reads [rounds=n$]salt$hash.
func parseSHACrypt(name, in string) (stored, error) {
	c := cost{a: defaultRounds}
	if after, ok := strings.CutPrefix(in, "rounds="); ok {
		digits, rest, _ := strings.Cut(after, "$")
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || n > maxRounds {
			return stored{}, fmt.Errorf("rounds out of %d to %d", minRounds, maxRounds)
		}
		c.a, in = uint32(max(n, minRounds)), rest
	}
	salt, sum, ok := strings.Cut(in, "$")
	size := prf(name)().Size()
	if !ok || len(salt) > 16 || len(sum) != (size*8+5)/6 || strings.Trim(sum, itoa64) != "" {
		return stored{}, errors.New("salt or hash of SHA-crypt")
	}
	c.b = uint32(len(salt))
	return stored{cost: c, salt: []byte(salt), hash: []byte(sum)}, nil
}

// sumSHACrypt is SHA-256-crypt and SHA-512-crypt (U. Drepper, Unix crypt using
// SHA-256 and SHA-512, version 0.6): the work is that of rounds hashes of a few
// hundred octets, and more for a long password.
func sumSHACrypt(st stored, password []byte) ([]byte, error) {
	h := prf(st.scheme)()
	size := h.Size()
	sum := func(parts ...[]byte) []byte {
		h.Reset()
		for _, p := range parts {
			h.Write(p)
		}
		return h.Sum(nil)
	}
	b := sum(password, st.salt, password)
	h.Reset()
	h.Write(password)
	h.Write(st.salt)
	h.Write(stretch(b, len(password)))
	for n := len(password); n > 0; n >>= 1 {
		if n&1 != 0 {
			h.Write(b)
		} else {
			h.Write(password)
		}
	}
	a := h.Sum(nil)

	h.Reset()
	for range len(password) {
		h.Write(password)
	}
	p := stretch(h.Sum(nil), len(password))
	h.Reset()
	for range 16 + int(a[0]) {
		h.Write(st.salt)
	}
	s := stretch(h.Sum(nil), len(st.salt))

	c := a
	for i := range int(st.a) {
		h.Reset()
		if i&1 != 0 {
			h.Write(p)
		} else {
			h.Write(c)
		}
		if i%3 != 0 {
			h.Write(s)
		}
		if i%7 != 0 {
			h.Write(p)
		}
		if i&1 != 0 {
			h.Write(c)
		} else {
			h.Write(p)
		}
		c = h.Sum(c[:0])
	}
	return shaCryptText(c, size), nil
}

// stretch repeats b up to n octets.
func stretch(b []byte, n int) []byte {
	return bytes.Repeat(b, n/len(b)+1)[:n]
}

// shaCryptText writes a hash in the order of its octets that SHA-crypt has:
// three columns of a third each, which change places from row to row.
func shaCryptText(c []byte, size int) []byte {
	third := size / 3
	out := make([]byte, 0, (size*8+5)/6)
	at := [3]int{0, third, 2 * third}
	turn := 1 // SHA-512: the second comes first in the next row
	if size == 32 {
		turn = 2
	}
	for row := range third {
		out = crypt64(out, uint32(c[at[0]+row])<<16|uint32(c[at[1]+row])<<8|uint32(c[at[2]+row]), 4)
		at[0], at[1], at[2] = at[turn], at[(turn+1)%3], at[(turn+2)%3]
	}
	if size == 32 {
		return crypt64(out, uint32(c[31])<<8|uint32(c[30]), 3)
	}
	return crypt64(out, uint32(c[63]), 2)
}

// crypt64 writes n characters of six bits, the lowest first.
func crypt64(out []byte, v uint32, n int) []byte {
	for range n {
		out = append(out, itoa64[v&63])
		v >>= 6
	}
	return out
}

// parseScryptCrypt reads crypt(3)'s $7$: N, r and p in crypt's base64, the
// salt as it is, "$" and the hash.
func parseScryptCrypt(_, in string) (stored, error) {
	settings, sum, ok := strings.Cut(in, "$")
	if !ok || len(settings) < 12 || len(sum) != 43 {
		return stored{}, errors.New("not a scrypt hash of crypt")
	}
	n, err1 := uncrypt64(settings[:1])
	r, err2 := uncrypt64(settings[1:6])
	p, err3 := uncrypt64(settings[6:11])
	var hash []byte
	var err4 error
	for rest := sum; rest != "" && err4 == nil; {
		chars := min(4, len(rest))
		var v uint32
		v, err4 = uncrypt64(rest[:chars])
		for range chars * 6 / 8 {
			hash = append(hash, byte(v))
			v >>= 8
		}
		rest = rest[chars:]
	}
	if n == 0 || r == 0 || p == 0 {
		err1 = errors.New("parameters of scrypt")
	}
	return boundedScrypt(cost{a: n, b: r, c: p}, []byte(settings[11:]), hash, err1, err2, err3, err4)
}

// uncrypt64 reads characters of six bits, the lowest first.
func uncrypt64(s string) (v uint32, err error) {
	for i := len(s) - 1; i >= 0; i-- {
		d := strings.IndexByte(itoa64, s[i])
		if d < 0 {
			return 0, errors.New("base64 of crypt")
		}
		v = v<<6 | uint32(d)
	}
	return v, nil
}
