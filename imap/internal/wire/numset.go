package wire

import "strconv"

// NumRange is a range of a number set, in the order it was written; 0 stands
// for "*".
type NumRange struct{ From, To uint32 }

// NumSet is a set of message numbers or UIDs as the client wrote it: ranges in
// any order, overlapping, never expanded. Saved is "$", the result of an
// earlier search (RFC 9051 §6.4.4.1).
type NumSet struct {
	Ranges []NumRange
	Saved  bool
}

// NumSet reads a sequence-set (RFC 9051 §9).
func (p *Parser) NumSet() NumSet {
	if p.try('$') {
		return NumSet{Saved: true}
	}
	var s NumSet
	for p.err == nil {
		if len(s.Ranges) >= p.lim.Ranges {
			p.fail("Too many ranges")
			break
		}
		r := NumRange{From: p.seqNumber()}
		r.To = r.From
		if p.try(':') {
			r.To = p.seqNumber()
		}
		s.Ranges = append(s.Ranges, r)
		if !p.try(',') {
			break
		}
	}
	return s
}

// plainSet reads a sequence-set in which "*" and "$" are not allowed.
func (p *Parser) plainSet() NumSet {
	s := p.NumSet()
	for _, r := range s.Ranges {
		if r.From == 0 || r.To == 0 {
			p.fail("\"*\" is not allowed here")
		}
	}
	if s.Saved {
		p.fail("\"$\" is not allowed here")
	}
	return s
}

// length is how many numbers a set without "*" names, those that it names twice
// counted twice.
func (s NumSet) length() (n uint64) {
	for _, r := range s.Ranges {
		n += uint64(max(r.From, r.To)-min(r.From, r.To)) + 1
	}
	return n
}

func (p *Parser) seqNumber() uint32 {
	if p.try('*') {
		return 0
	}
	return p.nonZero()
}

// isNumSet reports whether a number set may begin here.
func (p *Parser) isNumSet() bool {
	c := p.peek()
	return c == '*' || c == '$' || c-'0' <= 9
}

// AppendRange appends a range of a number set.
func AppendRange(b []byte, from, to uint32) []byte {
	b = strconv.AppendUint(b, uint64(from), 10)
	if to != from {
		b = append(b, ':')
		b = strconv.AppendUint(b, uint64(to), 10)
	}
	return b
}

// NumSetWriter appends ascending or arbitrary numbers as a number set, joining
// neighbours. The zero value is ready; End appends what is pending.
type NumSetWriter struct {
	from, to uint32
	some     bool // a range has been written
}

// Add appends a number.
func (w *NumSetWriter) Add(b []byte, n uint32) []byte { return w.AddRange(b, n, n) }

// AddRange appends from to to, from not being greater.
func (w *NumSetWriter) AddRange(b []byte, from, to uint32) []byte {
	if w.to != 0 && w.to+1 == from {
		w.to = to
		return b
	}
	b = w.End(b)
	w.from, w.to = from, to
	return b
}

// End completes the set.
func (w *NumSetWriter) End(b []byte) []byte {
	if w.to == 0 {
		return b
	}
	if w.some {
		b = append(b, ',')
	}
	b = AppendRange(b, w.from, w.to)
	w.some, w.from, w.to = true, 0, 0
	return b
}
