package store

import (
	"cmp"
	"iter"
	"slices"
	"sort"
)

// UIDRange is the UIDs From to To, both included.
type UIDRange struct{ From, To UID }

// UIDSet is a set of UIDs as ranges, ascending, neither overlapping nor
// touching. The zero value is empty. Build it with Add and AddRange.
type UIDSet []UIDRange

// AllUIDs holds every UID.
func AllUIDs() UIDSet { return UIDSet{{1, 1<<32 - 1}} }

// UIDs returns the set of the given UIDs, in any order.
func UIDs(uids ...UID) UIDSet {
	if !slices.IsSorted(uids) {
		uids = slices.Sorted(slices.Values(uids))
	}
	var s UIDSet
	for _, u := range uids {
		s.Add(u)
	}
	return s
}

// UIDRanges returns the set of the given ranges, which may be in any order,
// reversed and overlapping, as peers send them. Its cost is that of sorting.
func UIDRanges(ranges ...UIDRange) UIDSet {
	rs := slices.Clone(ranges)
	for i, r := range rs {
		rs[i] = UIDRange{min(r.From, r.To), max(r.From, r.To)}
	}
	slices.SortFunc(rs, func(a, b UIDRange) int { return cmp.Compare(a.From, b.From) })
	var s UIDSet
	for _, r := range rs {
		s.AddRange(r.From, r.To)
	}
	return s
}

// Equal reports whether both sets hold the same UIDs.
func (s UIDSet) Equal(t UIDSet) bool { return slices.Equal(s, t) }

// Empty reports whether the set holds nothing.
func (s UIDSet) Empty() bool { return len(s) == 0 }

// Len is the number of UIDs in the set.
func (s UIDSet) Len() int {
	n := 0
	for _, r := range s {
		n += int(r.To-r.From) + 1
	}
	return n
}

// Contains reports whether uid is in the set.
func (s UIDSet) Contains(uid UID) bool { return s.Overlaps(uid, uid) }

// Overlaps reports whether a UID between from and to is in the set.
func (s UIDSet) Overlaps(from, to UID) bool {
	i := sort.Search(len(s), func(i int) bool { return s[i].To >= from })
	return i < len(s) && s[i].From <= to
}

// Add adds one UID. Ascending order is the fast case.
func (s *UIDSet) Add(uid UID) { s.AddRange(uid, uid) }

// AddRange adds from to to, in either order. Zero is not a UID and is ignored.
func (s *UIDSet) AddRange(from, to UID) {
	if from > to {
		from, to = to, from
	}
	if to == 0 {
		return
	}
	from = max(from, 1)
	if n := len(*s); n == 0 || (*s)[n-1].To < from-1 {
		*s = append(*s, UIDRange{from, to})
		return
	}
	if last := &(*s)[len(*s)-1]; last.From <= from {
		last.To = max(last.To, to)
		return
	}
	// The first range that overlaps or touches, and the first beyond.
	i := sort.Search(len(*s), func(i int) bool { return uint64((*s)[i].To)+1 >= uint64(from) })
	j := i
	for j < len(*s) && uint64((*s)[j].From) <= uint64(to)+1 {
		from, to = min(from, (*s)[j].From), max(to, (*s)[j].To)
		j++
	}
	if i == j {
		*s = append(*s, UIDRange{})
		copy((*s)[i+1:], (*s)[i:])
		(*s)[i] = UIDRange{from, to}
		return
	}
	(*s)[i] = UIDRange{from, to}
	*s = append((*s)[:i+1], (*s)[j:]...)
}

// All yields every UID, ascending. Bound it by a snapshot before iterating a
// set that came from a peer.
func (s UIDSet) All() iter.Seq[UID] {
	return func(yield func(UID) bool) {
		for _, r := range s {
			for u := r.From; ; u++ {
				if !yield(u) {
					return
				}
				if u == r.To {
					break
				}
			}
		}
	}
}

// Union is the set of UIDs that are in s or in t.
func (s UIDSet) Union(t UIDSet) UIDSet {
	if len(s) == 0 || len(t) == 0 {
		return slices.Concat(s, t)
	}
	return UIDRanges(slices.Concat(s, t)...)
}

// Intersect is the set of UIDs that are in s and in t.
func (s UIDSet) Intersect(t UIDSet) UIDSet {
	var out UIDSet
	for len(s) > 0 && len(t) > 0 {
		if from, to := max(s[0].From, t[0].From), min(s[0].To, t[0].To); from <= to {
			out = append(out, UIDRange{from, to})
		}
		if s[0].To < t[0].To {
			s = s[1:]
		} else {
			t = t[1:]
		}
	}
	return out
}

// Without is the set of UIDs that are in s but not in t.
func (s UIDSet) Without(t UIDSet) UIDSet {
	var out UIDSet
	for _, r := range s {
		from := uint64(r.From)
		for len(t) > 0 && uint64(t[0].To) < from {
			t = t[1:]
		}
		for i := 0; i < len(t) && t[i].From <= r.To; i++ {
			if uint64(t[i].From) > from {
				out = append(out, UIDRange{UID(from), t[i].From - 1})
			}
			from = uint64(t[i].To) + 1
		}
		if from <= uint64(r.To) {
			out = append(out, UIDRange{UID(from), r.To})
		}
	}
	return out
}
