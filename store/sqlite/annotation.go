package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/posta-mail/posta/store"
)

type noteKey struct {
	box store.MailboxID
	key string
}

var errEnough = errors.New("enough")

// Annotations implements store.Annotations.
func (a *accountHandle) Annotations(ctx context.Context, box store.MailboxID, prefix string) ([]store.Annotation, error) {
	e, err := a.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer a.leave(e)
	if box != 0 {
		if _, err := e.mailbox(box); err != nil {
			return nil, err
		}
	}
	var found []store.Annotation
	err = each(a.s.q.notes, func(rows *sql.Rows) error {
		n := store.Annotation{Value: []byte{}}
		if err := rows.Scan(&n.Key, &n.Value); err != nil {
			return err
		}
		if !strings.HasPrefix(n.Key, prefix) {
			return errEnough
		}
		if n.Value == nil { // that is how an empty one may come back
			n.Value = []byte{}
		}
		found = append(found, n)
		return nil
	}, e.accountID(), int64(box), prefix)
	if err == errEnough {
		err = nil
	}
	return found, readError(err)
}

// Annotate implements store.Annotations.
func (a *accountHandle) Annotate(ctx context.Context, box store.MailboxID, set ...store.Annotation) (store.ModSeq, error) {
	if err := store.CheckAnnotations(set); err != nil {
		return 0, err
	}
	own := make([]store.Annotation, len(set)) // the caller's again if ctx ends
	for i, n := range set {
		if own[i].Key = n.Key; n.Value != nil {
			own[i].Value = append([]byte{}, n.Value...)
		}
	}
	res := new(store.ModSeq)
	err := a.mutate(ctx, func(a *acctTx) (err error) {
		*res, err = a.annotate(box, own)
		return err
	})
	if err != nil {
		return 0, err
	}
	return *res, nil
}

func (a *acctTx) annotate(id store.MailboxID, set []store.Annotation) (store.ModSeq, error) {
	name := ""
	if id != 0 {
		b, err := a.box(id)
		if err != nil {
			return 0, err
		}
		name = b.m.Name
	}
	had, err := a.noteCount(id)
	if err != nil {
		return 0, err
	}
	count := had
	var changed []store.Annotation
	for _, n := range set {
		old, err := a.note(noteKey{id, n.Key})
		if err != nil {
			return 0, err
		}
		if (old == nil) == (n.Value == nil) && bytes.Equal(old, n.Value) {
			continue
		}
		changed = append(changed, n)
		switch {
		case old == nil:
			count++
		case n.Value == nil:
			count--
		}
	}
	if count > max(store.MaxAnnotations, had) {
		return 0, fmt.Errorf("%w: %d annotations", store.ErrLimit, count)
	}
	if len(changed) == 0 {
		return 0, nil
	}
	at := a.next()
	if a.notes == nil {
		a.notes = make(map[noteKey][]byte)
	}
	for _, n := range changed {
		a.notes[noteKey{id, n.Key}] = n.Value
	}
	a.counts[id] = count
	a.event(store.MailboxAnnotated, at, id, name, "")
	return at, nil
}

// note is an annotation as of the batch; nil: none.
func (a *acctTx) note(k noteKey) ([]byte, error) {
	if v, ok := a.notes[k]; ok || a.created {
		return v, nil
	}
	var v []byte
	err := a.t.s.q.note.QueryRowContext(context.Background(), a.id, int64(k.box), k.key).Scan(&v)
	switch {
	case errors.Is(err, sql.ErrNoRows):
		return nil, nil
	case err != nil:
		return nil, readError(err)
	case v == nil:
		v = []byte{}
	}
	return v, nil
}

// noteCount is how many annotations a mailbox has as of the batch.
func (a *acctTx) noteCount(id store.MailboxID) (n int, err error) {
	if n, ok := a.counts[id]; ok {
		return n, nil
	}
	if !a.created {
		if err := a.t.s.q.noteCount.QueryRowContext(context.Background(), a.id, int64(id)).Scan(&n); err != nil {
			return 0, readError(err)
		}
	}
	if a.counts == nil {
		a.counts = make(map[store.MailboxID]int)
	}
	a.counts[id] = n
	return n, nil
}

// flushNotes writes annotations that changed. Those of a mailbox that is gone
// went with it.
func (t *tx) flushNotes(ctx context.Context, w *writerConn) error {
	for _, a := range t.accounts {
		for k, v := range a.notes {
			if b := a.boxes[k.box]; b != nil && b.deleted {
				continue
			}
			var err error
			if v == nil {
				err = w.exec(ctx, stNoteDel, a.id, int64(k.box), k.key)
			} else {
				err = w.exec(ctx, stNotePut, a.id, int64(k.box), k.key, v)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// Annotated implements store.AnnotationFinder. It reads a few names at a time
// and holds nothing between them.
func (s *Store) Annotated(ctx context.Context, key string) iter.Seq2[string, error] {
	return s.pages(ctx, func(after string, max int) ([]string, error) { return s.q.annotated(key, after, max) })
}
