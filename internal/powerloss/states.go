package powerloss

import (
	"bytes"
	"fmt"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Point is a moment at which power may fail.
type Point struct {
	Number int
	// Said is what the program has written to its output since the point
	// before. What was said is known to the world.
	Said []byte

	top     *node
	pending []*change
}

// Unsynced is how many changes are not durable.
func (p *Point) Unsynced() int { return len(p.pending) }

// unsynced are the changes that are not durable, of all that could be found
// after a crash, in their order.
func (n *node) unsynced() []*change {
	var all []*change
	seen := make(map[*node]bool)
	var visit func(n *node)
	visit = func(n *node) {
		if seen[n] {
			return
		}
		if seen[n] = true; n.fleeting {
			return
		}
		all = append(all, n.pending...)
		for _, e := range n.entries {
			visit(e)
		}
		for _, c := range n.pending {
			if c.entry != nil {
				visit(c.entry)
			}
		}
	}
	visit(n)
	slices.SortStableFunc(all, func(a, b *change) int { return a.order - b.order })
	return all
}

// tear is the part of a write that reached the disk: some of its sectors, and
// how far the file grew.
type tear struct {
	parts [][2]int64
	grow  int64
}

// State is one choice of the changes that were not durable.
type State struct {
	point *Point
	How   string // the choice was made
	kept  []bool
	torn  map[int]*tear
}

// Choice says which states of a point to make.
type Choice struct {
	// Random is how many random choices are made, and how many torn writes.
	Random, Torn int
	// Old has changes tried alone at every point where they are not durable,
	// instead of the first three.
	Old bool
}

// States yields the states of a point without repeating one: nothing that was
// not synced, all of it, each change alone, random choices and torn writes.
func (p *Point) States(c Choice, rng *rand.Rand) iter.Seq[*State] {
	return func(yield func(*State) bool) {
		seen := make(map[string]bool)
		n := len(p.pending)
		try := func(how string, keep func(i int) bool) bool {
			s := &State{point: p, How: how, kept: make([]bool, n)}
			key := make([]byte, n)
			for i := range s.kept {
				if s.kept[i] = keep(i); s.kept[i] {
					key[i] = 1
				}
			}
			if seen[string(key)] {
				return true
			}
			seen[string(key)] = true
			return yield(s)
		}
		if !try("none", func(int) bool { return false }) || !try("all", func(int) bool { return true }) {
			return
		}
		for k := range n {
			if (c.Old || p.Number-p.pending[k].point < 3) && !try("one", func(i int) bool { return i == k }) {
				return
			}
		}
		for range c.Random {
			chance := []float64{0.2, 0.5, 0.8}[rng.IntN(3)]
			if !try("some", func(int) bool { return rng.Float64() < chance }) {
				return
			}
		}
		p.tornStates(c.Torn, rng, yield)
	}
}

// tornStates yields states with one write in parts: all that came before it is
// there and nothing that came after, or anything.
func (p *Point) tornStates(many int, rng *rand.Rand, yield func(*State) bool) {
	var writes []int
	for i, c := range p.pending {
		if c.kind == write {
			writes = append(writes, i)
		}
	}
	if len(writes) == 0 {
		return
	}
	for range many {
		k := writes[len(writes)-1-min(rng.IntN(len(writes)), rng.IntN(len(writes)))] // rather a late one
		s := &State{point: p, How: "torn", kept: make([]bool, len(p.pending)), torn: map[int]*tear{k: p.pending[k].tear(rng)}}
		some := rng.IntN(2) == 0
		for i := range s.kept {
			s.kept[i] = i <= k
			if some && i != k {
				s.kept[i] = rng.IntN(2) == 0
			}
		}
		if !yield(s) {
			return
		}
	}
}

// tear chooses sectors of 512 octets or pages of 4 KiB: the first ones, or any,
// or none of which the file nevertheless has the length.
func (c *change) tear(rng *rand.Rand) *tear {
	size := int64(512)
	if rng.IntN(2) == 0 {
		size = 4096
	}
	t, n := new(tear), int64(len(c.data))
	first, stop := rng.IntN(2) == 0, rng.Int64N(n)
	for from := int64(0); from < n; {
		to := min(from+size-(c.off+from)%size, n)
		if first && to <= stop || !first && rng.IntN(2) == 0 {
			t.parts = append(t.parts, [2]int64{from, to})
			t.grow = to
		}
		from = to
	}
	if rng.IntN(2) == 0 {
		t.grow = n
	}
	return t
}

// String describes the choice.
func (s *State) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "point %d, %s of %d:", s.point.Number, s.How, len(s.kept))
	for i, c := range s.point.pending {
		switch {
		case b.Len() > 2000:
			return b.String() + " …"
		case s.torn[i] != nil:
			fmt.Fprintf(&b, " [%s: %v, %d]", c, s.torn[i].parts, s.torn[i].grow)
		case s.kept[i]:
			fmt.Fprintf(&b, " [%s]", c)
		}
	}
	return b.String()
}

// Write makes the files in an empty folder.
func (s *State) Write(dir string) error {
	w := &writer{kept: make(map[*change]bool), torn: make(map[*change]*tear)}
	for i, c := range s.point.pending {
		w.kept[c], w.torn[c] = s.kept[i], s.torn[i]
	}
	for _, c := range s.point.pending {
		if c.needs != nil && c.needs.pending() && !w.kept[c.needs] {
			w.kept[c] = false
		}
	}
	return w.folder(dir, s.point.top)
}

// pending reports whether a change is not durable.
func (c *change) pending() bool { return slices.Contains(c.of.pending, c) }

type writer struct {
	kept map[*change]bool
	torn map[*change]*tear
}

func (w *writer) folder(dir string, n *node) error {
	entries := make(map[string]*node)
	for name, e := range n.entries {
		entries[name] = e
	}
	for _, c := range n.pending {
		if w.kept[c] {
			c.enter(entries)
		}
	}
	for name, e := range entries {
		path := filepath.Join(dir, name)
		if !e.folder {
			if err := os.WriteFile(path, w.content(e), 0o600); err != nil {
				return err
			}
			continue
		}
		if err := os.Mkdir(path, 0o700); err != nil {
			return err
		}
		if err := w.folder(path, e); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) content(n *node) []byte {
	if !slices.ContainsFunc(n.pending, func(c *change) bool { return w.kept[c] }) {
		return n.content
	}
	b := bytes.Clone(n.content)
	for _, c := range n.pending {
		if w.kept[c] {
			b = c.apply(b, w.torn[c])
		}
	}
	return b
}
