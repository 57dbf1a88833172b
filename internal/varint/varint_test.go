package varint

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRoundTrip(t *testing.T) {
	var b []byte
	for _, n := range []int64{0, 1, -1, 63, 64, -64, -65, math.MaxInt64, math.MinInt64} {
		b = binary.AppendUvarint(binary.AppendVarint(b, n), uint64(n))
	}
	b = AppendString(b, "text")
	r := Reader{Rest: b}
	for _, n := range []int64{0, 1, -1, 63, 64, -64, -65, math.MaxInt64, math.MinInt64} {
		require.Equal(t, n, r.Signed())
		require.Equal(t, uint64(n), r.Next())
	}
	require.Equal(t, "text", r.String())
	require.False(t, r.Bad)
	require.Empty(t, r.Rest)
}

func TestEndsEarly(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing": nil, "within a number": {0x80}, "string": {5, 'a'}, "too many octets": {0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := Reader{Rest: b}
			require.Empty(t, r.String())
			require.True(t, r.Bad)
			require.Zero(t, r.Next())
			require.Zero(t, r.Signed())
		})
	}
}

func FuzzReader(f *testing.F) {
	f.Add(binary.AppendVarint(AppendString(nil, "a"), -1))
	f.Add([]byte{0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := Reader{Rest: b}
		for len(r.Rest) > 0 {
			left := len(r.Rest)
			r.Next()
			_ = r.String()
			r.Signed()
			require.True(t, r.Bad || len(r.Rest) < left)
		}
	})
}
