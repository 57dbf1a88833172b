package memory

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strings"

	"github.com/posta-mail/posta/store"
)

var _ store.Annotations = openAccount{}

// Annotations implements store.Annotations.
func (a openAccount) Annotations(ctx context.Context, box store.MailboxID, prefix string) (found []store.Annotation, err error) {
	err = a.read(ctx, func() error {
		if box != 0 && a.byID[box] == nil {
			return store.ErrNotFound
		}
		notes := a.notes[box]
		for _, key := range slices.Sorted(maps.Keys(notes)) {
			if strings.HasPrefix(key, prefix) {
				found = append(found, store.Annotation{Key: key, Value: bytes.Clone(notes[key])})
			}
		}
		return nil
	})
	return found, err
}

// Annotate implements store.Annotations.
func (a openAccount) Annotate(ctx context.Context, box store.MailboxID, set ...store.Annotation) (at store.ModSeq, err error) {
	if err := store.CheckAnnotations(set); err != nil {
		return 0, err
	}
	octets := int64(0)
	for _, n := range set {
		octets += noteSize(n.Key, n.Value)
	}
	if err := a.s.reserve(octets); err != nil {
		return 0, err
	}
	unused := octets
	err = a.write(ctx, func(c *commit) error {
		name := ""
		if box != 0 {
			mb := a.byID[box]
			if mb == nil {
				return store.ErrNotFound
			}
			name = mb.name
		}
		notes := a.notes[box]
		count := len(notes)
		var changed []store.Annotation
		kept := int64(0)
		for _, n := range set {
			old, had := notes[n.Key]
			if had == (n.Value != nil) && bytes.Equal(old, n.Value) {
				continue
			}
			if n.Value != nil {
				n.Value = append([]byte{}, n.Value...)
			}
			changed = append(changed, n)
			kept += noteSize(n.Key, n.Value)
			switch {
			case !had:
				count++
			case n.Value == nil:
				count--
			}
		}
		if count > max(store.MaxAnnotations, len(notes)) {
			return fmt.Errorf("%w: %d annotations", store.ErrLimit, count)
		}
		if len(changed) > 0 {
			c.notes = map[store.MailboxID][]store.Annotation{box: changed}
			c.event(store.MailboxAnnotated, box, name, "")
			at, unused = c.modSeq, octets-kept
		}
		return nil
	})
	a.s.budget.release(unused)
	if err != nil {
		return 0, err
	}
	return at, nil
}

// noteSize is what an annotation takes of the budget.
func noteSize(key string, value []byte) int64 {
	if value == nil {
		return 0
	}
	return int64(len(key) + len(value))
}

// annotate sets and removes annotations. a.mu is held.
func (a *account) annotate(box store.MailboxID, set []store.Annotation) {
	notes := a.notes[box]
	if notes == nil {
		notes = map[string][]byte{}
		a.notes[box] = notes
	}
	for _, n := range set {
		a.s.budget.release(noteSize(n.Key, notes[n.Key]))
		if notes[n.Key] = n.Value; n.Value == nil {
			delete(notes, n.Key)
		}
	}
}

// dropNotes forgets the annotations of a mailbox. a.mu is held.
func (a *account) dropNotes(box store.MailboxID) {
	for key, value := range a.notes[box] {
		a.s.budget.release(noteSize(key, value))
	}
	delete(a.notes, box)
}

// Annotated implements store.AnnotationFinder.
func (s *Store) Annotated(ctx context.Context, key string) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		for name, err := range s.Accounts(ctx) {
			if err != nil {
				yield("", err)
				return
			}
			a, err := s.find(name)
			if err != nil {
				continue // deleted meanwhile
			}
			has := false
			err = a.read(ctx, func() error {
				for _, notes := range a.notes {
					has = has || notes[key] != nil
				}
				return nil
			})
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				yield("", err)
				return
			}
			if has && !yield(name, nil) {
				return
			}
		}
	}
}
