package store

// HeldLeases is how many leases l remembers.
func HeldLeases(l *Leases) int { return len(l.held) }

// PageCount is the number of pages of a snapshot, SharedPages how many it
// shares with another.
func PageCount(s *Snapshot) int { return len(s.pages) }

// SharedPages is how many pages of s are pages of t.
func SharedPages(s, t *Snapshot) int {
	n := 0
	for _, p := range s.pages {
		for _, q := range t.pages {
			if samePage(p, q) {
				n++
			}
		}
	}
	return n
}
