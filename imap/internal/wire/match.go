package wire

// Pattern is a compiled LIST pattern: "*" stands for anything, "%" for anything
// without the hierarchy separator (RFC 9051 §6.3.9). Matching simulates all
// states at once, 64 to a step, so that no pattern makes it slow.
type Pattern struct {
	words    int
	lit      [256][]uint64 // bit i: element i is this octet
	star     []uint64      // bit i: element i is "*"
	percent  []uint64
	wild     []uint64
	n        int
	now, nxt []uint64
	sep      byte
	never    bool
}

// maxPattern is the longest pattern that can match anything.
const maxPattern = 4096

// NewPattern compiles a pattern given in UTF-8. It is not safe for concurrent
// use.
func NewPattern(pattern string, sep byte) *Pattern {
	elems := make([]byte, 0, len(pattern))
	isWild := func(c byte) bool { return c == '*' || c == '%' }
	for i := range len(pattern) {
		c := pattern[i]
		// Neighbouring wildcards are one; "*" is the stronger.
		if n := len(elems); n > 0 && isWild(c) && isWild(elems[n-1]) {
			if c == '*' {
				elems[n-1] = c
			}
			continue
		}
		elems = append(elems, c)
	}
	m := &Pattern{n: len(elems), sep: sep}
	if m.n > maxPattern {
		m.never = true
		return m
	}
	m.words = m.n/64 + 1
	m.star, m.percent, m.wild = make([]uint64, m.words), make([]uint64, m.words), make([]uint64, m.words)
	m.now, m.nxt = make([]uint64, m.words), make([]uint64, m.words)
	for i, c := range elems {
		w, bit := i/64, uint64(1)<<(i%64)
		switch c {
		case '*':
			m.star[w] |= bit
			m.wild[w] |= bit
		case '%':
			m.percent[w] |= bit
			m.wild[w] |= bit
		default:
			if m.lit[c] == nil {
				m.lit[c] = make([]uint64, m.words)
			}
			m.lit[c][w] |= bit
		}
	}
	return m
}

// Match reports whether the whole name matches. The first fold octets of the
// name are compared without case.
func (m *Pattern) Match(name string, fold int) bool {
	if m.never {
		return false
	}
	clear(m.now)
	m.now[0] = 1
	m.skipWild(m.now)
	for i := range len(name) {
		c := name[i]
		other := c
		if i < fold && ('a' <= c|0x20 && c|0x20 <= 'z') {
			other = c ^ 0x20
		}
		if !m.step(c, other) {
			return false
		}
	}
	return m.now[m.n/64]&(1<<(m.n%64)) != 0
}

// step consumes one octet and reports whether any state is left.
func (m *Pattern) step(c, other byte) bool {
	a, b := m.lit[c], m.lit[other]
	carry, any := uint64(0), uint64(0)
	for w := range m.words {
		hit := uint64(0)
		if a != nil {
			hit = a[w]
		}
		if b != nil {
			hit |= b[w]
		}
		moved := m.now[w] & hit
		stay := m.star[w]
		if c != m.sep {
			stay |= m.percent[w]
		}
		m.nxt[w] = moved<<1 | carry | m.now[w]&stay
		carry = moved >> 63
		any |= m.nxt[w]
	}
	m.now, m.nxt = m.nxt, m.now
	m.skipWild(m.now)
	return any != 0
}

// skipWild adds the states behind wildcards, which may match nothing. No two
// wildcards are neighbours, so one pass is enough.
func (m *Pattern) skipWild(s []uint64) {
	carry := uint64(0)
	for w := range s {
		at := s[w] & m.wild[w]
		s[w] |= at<<1 | carry
		carry = at >> 63
	}
}
