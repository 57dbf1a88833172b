package store

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Random operations against a sorted list.
func TestDueIndex(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	var x DueIndex
	type entry struct {
		*DueNode
		site string
	}
	var model []entry
	for i := range 20000 {
		switch rnd.IntN(4) {
		case 0, 1:
			e := entry{&DueNode{Due: rnd.Int64N(50), ID: ItemID(i)}, fmt.Sprint("site", rnd.IntN(8))}
			x.Add(e.DueNode, e.site)
			model = append(model, e)
		case 2:
			if len(model) > 0 {
				k := rnd.IntN(len(model))
				require.True(t, model[k].Indexed())
				x.Remove(model[k].DueNode)
				require.False(t, model[k].Indexed())
				model = slices.Delete(model, k, k+1)
			}
		case 3:
			except := []string{"site1", "nowhere", "site2", "site1"}[:rnd.IntN(5)]
			now, max := rnd.Int64N(60), rnd.IntN(5)
			slices.SortFunc(model, func(a, b entry) int { return cmp.Or(cmp.Compare(a.Due, b.Due), cmp.Compare(a.ID, b.ID)) })
			var want, got []ItemID
			model = slices.DeleteFunc(model, func(e entry) bool {
				if len(want) >= max || e.Due > now || slices.Contains(except, e.site) {
					return false
				}
				want = append(want, e.ID)
				return true
			})
			x.Take(now, max, except, func(n *DueNode) { got = append(got, n.ID) })
			require.Equal(t, want, got)
		}
	}
	for len(model) > 0 {
		n := x.First()
		first := slices.MinFunc(model, func(a, b entry) int { return cmp.Or(cmp.Compare(a.Due, b.Due), cmp.Compare(a.ID, b.ID)) })
		require.Same(t, first.DueNode, n)
		x.Remove(n)
		model = slices.DeleteFunc(model, func(e entry) bool { return e.DueNode == n })
	}
	require.Nil(t, x.First())
	require.Empty(t, x.sites)
}
