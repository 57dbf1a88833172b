package store

import (
	"context"
	"io"
)

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
			if p == q {
				n++
			}
		}
	}
	return n
}

// ScanText looks for a text in a stream as Search does in a part.
func ScanText(r io.Reader, needle string) bool {
	s := &search{ctx: context.Background(), texts: []textTerm{{needle: fold(nil, []byte(needle)), body: true}}}
	if err := s.scan.text(s, r); err != nil {
		panic(err)
	}
	return s.texts[0].found == yes
}

// FoldString is the form in which texts are compared.
func FoldString(text string) string { return string(fold(nil, []byte(text))) }

// SearchInParts is Search that looks at no message as a whole.
func SearchInParts(ctx context.Context, mb Mailbox, snap *Snapshot, c *Criteria) (found []UID, err error) {
	s := &search{ctx: ctx, mb: mb, snap: snap}
	if s.root, err = s.compile(c, 0); err != nil {
		return nil, err
	}
	for i := range s.texts {
		s.texts[i].raw = false
	}
	s.run(c, func(r Row, e error) bool {
		if err = e; err == nil {
			found = append(found, r.UID)
		}
		return err == nil
	})
	return found, err
}
