package sqlite

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/message"
)

func parsed(i int) *message.Outline {
	return message.ParseBytes(fmt.Appendf(nil, "Subject: %d\r\n\r\n%s", i, strings.Repeat("x", i%7)), nil)
}

func TestOutlines(t *testing.T) {
	const most = 64 << 10
	c := newOutlines(most)
	assert.Nil(t, c.get(1))
	rnd := rand.New(rand.NewPCG(1, 2))
	hits := 0
	for i := range 5000 {
		ref := uint64(rnd.ExpFloat64() * 40)
		o := c.get(ref)
		if o == nil {
			c.keep(ref, parsed(int(ref)), 100+rnd.IntN(1000))
		} else {
			hits++
			require.Equal(t, fmt.Sprint(ref), o.Envelope.Subject)
		}
		require.LessOrEqual(t, c.total, int64(most), i)
		sum := int64(0)
		for at, e := range c.ring {
			sum += e.size
			if e.outline != nil {
				require.Equal(t, at, c.at[e.ref])
			}
		}
		require.Equal(t, sum, c.total)
	}
	assert.Greater(t, hits, 1500, "what is asked for often stays")
	c.keep(1<<40, parsed(1), most)
	assert.Nil(t, c.get(1<<40), "too large")
	none := newOutlines(-1)
	none.keep(1, parsed(1), 1)
	assert.Nil(t, none.get(1))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range uint64(500) {
				if c.get(i) == nil {
					c.keep(i, parsed(int(i)), 500)
				}
			}
		})
	}
	wg.Wait()
}
