package sqlite

import (
	"context"
	"database/sql"
	"hash/maphash"
	"time"

	"github.com/posta-mail/posta/store"
)

type tokenKey struct {
	a     *acctTx
	token string
}

type tokenRow struct {
	at     int64
	placed store.Placed
}

// tokenFilter says quickly that a token is new, which most are: Bloom filters,
// each for a span of time, so that old ones can be let go. Of the committer.
type tokenFilter struct {
	seed maphash.Seed
	keep int64 // seconds
	gens []*bloom
}

// Sizes of one filter: 16 bits and four probes a token let one in 400 pass.
const (
	bloomFirst   = 1 << 14
	bloomLargest = 1 << 20
	bloomBits    = 16
	bloomProbes  = 4
)

type bloom struct {
	bits  []uint64
	count int
	last  int64 // time of the last token
}

func (f *tokenFilter) hash(account int64, token string) uint64 {
	h := maphash.String(f.seed, token)
	return h ^ uint64(account)*0x9e3779b97f4a7c15
}

func (b *bloom) probe(h uint64, fn func(word, mask uint64) bool) bool {
	n := uint64(len(b.bits)) * 64
	step := h>>32 | 1
	for range bloomProbes {
		bit := h % n
		if !fn(bit/64, 1<<(bit%64)) {
			return false
		}
		h += step * 0x9e3779b97f4a7c15
	}
	return true
}

func (f *tokenFilter) add(account int64, token string, at int64) {
	g := len(f.gens)
	if g == 0 || f.gens[g-1].count*bloomBits >= len(f.gens[g-1].bits)*64 {
		size := bloomFirst
		if g > 0 {
			size = min(2*len(f.gens[g-1].bits)*64/bloomBits, bloomLargest)
		}
		f.gens = append(f.gens, &bloom{bits: make([]uint64, size*bloomBits/64)})
		for len(f.gens) > 1 && f.gens[0].last < at-f.keep {
			f.gens = f.gens[1:]
		}
		g = len(f.gens)
	}
	b := f.gens[g-1]
	b.count++
	b.last = max(b.last, at)
	b.probe(f.hash(account, token), func(word, mask uint64) bool { b.bits[word] |= mask; return true })
}

// mayHave reports whether the token may be known.
func (f *tokenFilter) mayHave(account int64, token string) bool {
	h := f.hash(account, token)
	for _, b := range f.gens {
		if b.probe(h, func(word, mask uint64) bool { return b.bits[word]&mask != 0 }) {
			return true
		}
	}
	return false
}

// load fills the filter from the database.
func (f *tokenFilter) load(ctx context.Context, db *sql.DB, now time.Time, keep time.Duration) error {
	f.seed, f.keep = maphash.MakeSeed(), int64(keep/time.Second)+3600 // sweeps come late
	rows, err := db.QueryContext(ctx, "SELECT account, token, at FROM token")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var account, at int64
		var token []byte
		if err := rows.Scan(&account, &token, &at); err != nil {
			return err
		}
		f.add(account, string(token), at)
	}
	return rows.Err()
}

// duplicate returns what an earlier placement with the token became.
func (t *tx) duplicate(a *acctTx, token string) (store.Placed, bool, error) {
	if token == "" {
		return store.Placed{}, false, nil
	}
	if r, ok := t.tokens[tokenKey{a, token}]; ok {
		return r.placed, true, nil
	}
	if a.created || !t.s.tokens.mayHave(a.id, token) {
		return store.Placed{}, false, nil
	}
	p, ok, err := t.s.q.token(a.id, token)
	return p, ok, readError(err)
}

func (t *tx) remember(a *acctTx, token string, p store.Placed) {
	if token == "" {
		return
	}
	if t.tokens == nil {
		t.tokens = make(map[tokenKey]tokenRow)
	}
	t.tokens[tokenKey{a, token}] = tokenRow{t.s.now().Unix(), p}
}

func (t *tx) flushTokens(ctx context.Context, w *writerConn) error {
	var values []any
	for k, r := range t.tokens {
		p := &r.placed
		values = append(values, []byte(k.token), k.a.id, r.at, int64(p.Mailbox), int64(p.UIDValidity), int64(p.UID), int64(p.ModSeq))
	}
	return w.insert(ctx, stTokenPut, values)
}
