package storetest

import (
	"context"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// A list fails if it has a 7 or more and, after it, two numbers below 100.
func TestShrink(t *testing.T) {
	fails := func(l []int) bool {
		seven, small := false, 0
		for _, n := range l {
			if seven && n < 100 {
				small++
			}
			seven = seven || n >= 7 && n%7 == 0
		}
		return small >= 2
	}
	simpler := func(n int) (out []int) {
		for _, s := range []int{0, n / 2, n - 1} {
			if s >= 0 && s < n {
				out = append(out, s)
			}
		}
		return out
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		list := make([]int, 300)
		for i := range list {
			list[i] = rnd.IntN(1000)
		}
		require.True(t, fails(list))
		got := shrink(slices.Clone(list), time.Now().Add(time.Minute), fails, simpler)
		require.True(t, fails(got))
		require.Len(t, got, 3)
		require.Equal(t, []int{0, 0}, got[1:], "arguments are simplified too")
	}
	require.Empty(t, shrink([]int{1, 2, 3}, time.Now().Add(time.Minute), func([]int) bool { return true }, simpler))
	list := []int{1, 2, 3}
	require.Equal(t, list, shrink(list, time.Now().Add(-time.Second), func([]int) bool { return true }, simpler), "out of time")
	require.Equal(t, list, shrink(list, time.Now().Add(time.Minute), func([]int) bool { return false }, simpler))
}

// shrunk runs a random check on a mutant and gives the message it fails with,
// and how many operations it names.
func shrunk(t *testing.T, c func(k *kit), m *mutant) (string, int) {
	msg := (&recorder{TB: t}).run(check{"", c}, Config{Seed: 12345, Patience: 2 * time.Second, New: func(testing.TB) store.Store {
		return &mutantStore{Store: memory.New(), m: m, boxes: map[string]*boxState{}}
	}})
	require.NotEmpty(t, msg, "not noticed")
	found := regexp.MustCompile(`of 400 operations these (\d+) are enough`).FindStringSubmatch(msg)
	require.Len(t, found, 2, "%s", msg)
	n, err := strconv.Atoi(found[1])
	require.NoError(t, err)
	return msg, n
}

// What a broken engine does wrong is shown in a few operations.
func TestModelShrinks(t *testing.T) {
	for name, c := range map[string]struct {
		most  int
		check func(k *kit)
		mutant
	}{
		"move in two commits": {2, modelRandom, mutants["move in two commits"].mutant},
		"move that copies": {2, modelRandom, mutant{
			move: func(mb store.Mailbox, ctx context.Context, set store.UIDSet, to store.MailboxID) (store.Copied, error) {
				return mb.Copy(ctx, set, to)
			}}},
		"expunge without looking at flags": {2, modelRandom, mutants["expunge without looking at flags"].mutant},
		"UnchangedSince ignored":           {4, modelRandom, mutants["UnchangedSince ignored"].mutant},
		"token ignored":                    {2, modelRandom, mutants["token ignored"].mutant},
		"tombstone dropped":                {4, modelRandom, mutants["tombstone dropped"].mutant},
		"rename not told":                  {4, modelRandom, mutants["rename not told"].mutant},
		"fence ignored":                    {5, modelSpool, mutants["fence ignored"].mutant},
		"never due":                        {1, modelSpool, mutants["never due"].mutant},
	} {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			msg, n := shrunk(t, c.check, &c.mutant)
			t.Logf("%d operations in %v: %s", n, time.Since(start), msg)
			require.LessOrEqual(t, n, c.most)
		})
	}
}
