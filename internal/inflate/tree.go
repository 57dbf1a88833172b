package inflate

import "math/bits"

const (
	maxBits  = 15 // of a code (RFC 1951 §3.2.7)
	fastBits = 9
)

// tree is a code (RFC 1951 §3.2.2). Short codes are looked up, long ones found by
// length.
type tree struct {
	fast    [1 << fastBits]uint16 // by the bits as they come: symbol<<4 | length
	count   [maxBits + 1]uint16   // codes of each length
	symbols [288]uint16           // in the order of their codes
}

// init makes the code of some lengths, one for each symbol. A code must be
// complete, or empty, or have one symbol of one bit.
func (t *tree) init(lengths []uint8) bool {
	t.fast, t.count = [1 << fastBits]uint16{}, [maxBits + 1]uint16{}
	most := 0
	for _, l := range lengths {
		t.count[l]++
		most = max(most, int(l))
	}
	t.count[0] = 0
	if most == 0 {
		return true
	}
	var next, at [maxBits + 2]int // the next code of each length, and where its symbol goes
	code := 0
	for l := 1; l <= most; l++ {
		code <<= 1
		next[l], at[l+1] = code, at[l]+int(t.count[l])
		code += int(t.count[l])
	}
	if code != 1<<most && (code != 1 || most != 1) {
		return false
	}
	for sym, l := range lengths {
		if l == 0 {
			continue
		}
		t.symbols[at[l]] = uint16(sym)
		at[l]++
		if l <= fastBits {
			first := int(bits.Reverse16(uint16(next[l])) >> (16 - l))
			for i := first; i < len(t.fast); i += 1 << l {
				t.fast[i] = uint16(sym)<<4 | uint16(l)
			}
		}
		next[l]++
	}
	return true
}

// find gives the symbol at the begin of b, of which n bits are there, and the
// length of its code.
func (t *tree) find(b uint64, n uint) (sym int, used uint, ok bool) {
	if e := t.fast[b&(1<<fastBits-1)]; e != 0 {
		used = uint(e & 15)
		return int(e >> 4), used, used <= n
	}
	code, first, at := 0, 0, 0
	for used = 1; used <= min(n, maxBits); used++ {
		code |= int(b & 1)
		b >>= 1
		count := int(t.count[used])
		if code-first < count {
			return int(t.symbols[at+code-first]), used, true
		}
		at += count
		first = (first + count) << 1
		code <<= 1
	}
	return 0, 0, false
}

// fixed are the lengths of the code that needs no header (RFC 1951 §3.2.6).
func (r *Reader) fixed() {
	var l [288]uint8
	for i := range l {
		switch {
		case i < 144:
			l[i] = 8
		case i < 256:
			l[i] = 9
		case i < 280:
			l[i] = 7
		default:
			l[i] = 8
		}
	}
	r.lit.init(l[:])
	for i := range l[:32] {
		l[i] = 5
	}
	r.offset.init(l[:32])
}

// codeOrder is the order of the lengths of the code for code lengths.
var codeOrder = [...]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// dynamicHead reads how many lengths there are.
func (r *Reader) dynamicHead() bool {
	if !r.need(14) {
		return false
	}
	d := &r.dyn
	*d = dynamic{nlit: r.take(5) + 257, ndist: r.take(5) + 1, ncode: r.take(4) + 4}
	if d.nlit > 286 || d.ndist > 30 {
		return r.corrupt()
	}
	r.step = (*Reader).codeLengths
	return true
}

// codeLengths reads the code for code lengths.
func (r *Reader) codeLengths() bool {
	d := &r.dyn
	for ; d.i < d.ncode; d.i++ {
		if !r.need(3) {
			return false
		}
		d.lengths[codeOrder[d.i]] = uint8(r.take(3))
	}
	if !r.code.init(d.lengths[:19]) {
		return r.corrupt()
	}
	d.i, d.lengths = 0, [len(d.lengths)]uint8{}
	r.step = (*Reader).lengths
	return true
}

// lengths reads the lengths of both codes, which follow one another.
func (r *Reader) lengths() bool {
	d := &r.dyn
	total := d.nlit + d.ndist
	for d.i < total {
		full := r.need(maxBits + 7)
		sym, used, ok := r.code.find(r.bits, r.n)
		if !ok {
			return r.missing(full, r.n)
		}
		if sym < 16 {
			r.take(used)
			d.lengths[d.i] = uint8(sym)
			d.i++
			continue
		}
		repeat := [...]struct{ base, bits uint }{{3, 2}, {3, 3}, {11, 7}}[sym-16]
		if used+repeat.bits > r.n {
			return false
		}
		r.take(used)
		n, value := int(repeat.base)+r.take(repeat.bits), uint8(0)
		if sym == 16 {
			if d.i == 0 {
				return r.corrupt()
			}
			value = d.lengths[d.i-1]
		}
		if d.i+n > total {
			return r.corrupt()
		}
		for range n {
			d.lengths[d.i] = value
			d.i++
		}
	}
	if !r.lit.init(d.lengths[:d.nlit]) || !r.offset.init(d.lengths[d.nlit:total]) {
		return r.corrupt()
	}
	r.step = (*Reader).symbol
	return true
}
