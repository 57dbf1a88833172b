package storetest

import (
	"slices"
	"time"
)

// shrinkAttempts bounds how often a failing run is tried with less.
const shrinkAttempts = 500

// shrink makes a list that fails smaller while it fails: it leaves out chunks,
// of half the list first and of one element last, and then puts simpler ones
// in place of the elements (delta debugging). It ends when nothing can go any
// more, after shrinkAttempts, or at the deadline.
func shrink[T any](list []T, deadline time.Time, fails func([]T) bool, simpler func(T) []T) []T {
	attempts := 0
	over := func() bool { return attempts >= shrinkAttempts || time.Now().After(deadline) }
	still := func(l []T) bool { attempts++; return fails(l) }
	for smaller := true; smaller && !over(); {
		smaller = false
		for size := max(len(list)/2, 1); size > 0 && !over(); size /= 2 {
			for from := len(list) - size; from > -size && !over(); { // what came last is needed least often
				lo := max(from, 0)
				if less := slices.Delete(slices.Clone(list), lo, from+size); still(less) {
					list, smaller = less, true
				}
				from = min(from, len(list)) - size
			}
		}
		for i := 0; i < len(list) && !over(); i++ {
			for again := true; again && !over(); {
				again = false
				for _, s := range simpler(list[i]) {
					less := slices.Clone(list)
					less[i] = s
					if !over() && still(less) {
						list, smaller, again = less, true, true
						break
					}
				}
			}
		}
	}
	return list
}
