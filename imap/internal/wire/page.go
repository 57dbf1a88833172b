package wire

import "strconv"

// Page is a range of results by their place among all of them, from 1 on
// (RFC 9394 §4, partial-range). From is not greater than To.
type Page struct {
	From, To uint32
	// Last counts from the last result back.
	Last bool
	// Turned: it was written with To before From.
	Turned bool
}

// Append appends a page as it was written.
func (g Page) Append(b []byte) []byte {
	if g.Turned {
		g.From, g.To = g.To, g.From
	}
	for i, n := range []uint32{g.From, g.To} {
		if i > 0 {
			b = append(b, ':')
		}
		if g.Last {
			b = append(b, '-')
		}
		b = strconv.AppendUint(b, uint64(n), 10)
	}
	return b
}

// Page reads a partial-range: "1:100", or "-1:-100" for the last ones.
func (p *Parser) Page() (g Page) {
	g.Last = p.try('-')
	g.From = p.nonZero()
	p.expect(':', "Range expected")
	if p.try('-') != g.Last {
		p.fail("Range of two kinds of numbers")
	}
	g.To = p.nonZero()
	if g.From > g.To {
		g.From, g.To, g.Turned = g.To, g.From, true
	}
	if p.err != nil {
		return Page{}
	}
	return g
}

// Of is which of n results the page has: from to, to not included.
func (g Page) Of(n int) (from, to int) {
	a, b := uint64(g.From)-1, min(uint64(g.To), uint64(n))
	if g.From == 0 || a >= b {
		return 0, 0
	}
	if g.Last {
		return n - int(b), n - int(a)
	}
	return int(a), int(b)
}

// Size is how many results the page has at most.
func (g Page) Size() uint64 {
	if g.From == 0 {
		return 0
	}
	return uint64(g.To-g.From) + 1
}
