// Package varint reads what encoding/binary's AppendUvarint and AppendVarint
// have written, one number after the other.
package varint

import "encoding/binary"

// Reader takes numbers and strings off Rest. Bad is set when it ends within
// one; all that follow are zero then. Set Rest before the first call. Not safe
// for concurrent use.
type Reader struct {
	Rest []byte
	Bad  bool
}

// Next is the next unsigned number.
func (r *Reader) Next() uint64 {
	if len(r.Rest) > 0 && r.Rest[0] < 0x80 { // most of them
		x := r.Rest[0]
		r.Rest = r.Rest[1:]
		return uint64(x)
	}
	x, n := binary.Uvarint(r.Rest)
	if n <= 0 {
		r.Rest, r.Bad = nil, true
		return 0
	}
	r.Rest = r.Rest[n:]
	return x
}

// Signed is the next number that AppendVarint has written.
func (r *Reader) Signed() int64 {
	v := r.Next()
	return int64(v>>1) ^ -int64(v&1)
}

// String is the next string, which its length as an unsigned number precedes.
func (r *Reader) String() string {
	n := r.Next()
	if n > uint64(len(r.Rest)) {
		r.Rest, r.Bad = nil, true
		return ""
	}
	s := string(r.Rest[:n])
	r.Rest = r.Rest[n:]
	return s
}

// AppendString appends a string for String.
func AppendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
