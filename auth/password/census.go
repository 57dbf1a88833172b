package password

import (
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
)

// census counts how many users have a kind of something.
type census[K comparable] struct {
	counts map[K]int
	shares []share[K] // those that names are dealt, made by settle
}

type share[K comparable] struct {
	kind K
	id   string
	n    float64
}

// maxShares bounds the work of draw. The rarer kinds are left out.
const maxShares = 16

func (c *census[K]) add(k K, n int) {
	if c.counts == nil {
		c.counts = make(map[K]int)
	}
	if c.counts[k] += n; c.counts[k] <= 0 {
		delete(c.counts, k)
	}
}

// settle is called after the last add.
func (c *census[K]) settle() {
	c.shares = make([]share[K], 0, len(c.counts))
	for k := range maps.Keys(c.counts) {
		c.shares = append(c.shares, share[K]{k, fmt.Sprint(k), float64(c.counts[k])})
	}
	slices.SortFunc(c.shares, func(a, b share[K]) int {
		return cmp.Or(cmp.Compare(b.n, a.n), cmp.Compare(a.id, b.id))
	})
	c.shares = slices.Clip(c.shares[:min(len(c.shares), maxShares)])
}

// draw deals a name one of the kinds, as often as users have it and the same
// for the same name each time, so that to see the kind of an unknown name is to
// learn nothing about whether there is such a user. When users move from one
// kind to another, so does the like part of the unknown names, and no other
// (weighted rendezvous hashing). False: nobody has any.
func (c *census[K]) draw(secret []byte, what, name string) (kind K, ok bool) {
	best := math.Inf(1)
	m := hmac.New(sha256.New, secret)
	for _, s := range c.shares {
		m.Reset()
		m.Write([]byte(what + "\x00" + s.id + "\x00" + name))
		// Uniform in (0, 1).
		u := (float64(binary.BigEndian.Uint64(m.Sum(nil))>>12) + 0.5) / (1 << 52)
		if score := -math.Log(u) / s.n; score < best {
			best, kind, ok = score, s.kind, true
		}
	}
	return kind, ok
}
