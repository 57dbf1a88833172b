package imap

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestNumbers counts across every carry.
func TestNumbers(t *testing.T) {
	for _, r := range [][2]uint32{{1, 1}, {1, 12}, {8, 11}, {9, 9}, {99, 101}, {1, 10_010}, {999_998, 1_000_001}, {4_294_967_290, math.MaxUint32}, {math.MaxUint32, math.MaxUint32}} {
		s := &session{}
		s.numbers(r[0], r[1])
		want := ""
		for n := uint64(r[0]); n <= uint64(r[1]); n++ {
			want += fmt.Sprintf(" %d", n)
		}
		assert.Equal(t, want, string(s.out.b))
	}
}
