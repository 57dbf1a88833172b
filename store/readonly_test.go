package store_test

import (
	"bytes"
	"context"
	"io"
	"iter"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/storetest"
)

// page is a source of one account whose mailboxes are lists of texts.
type page map[string]*texts

func (p page) Accounts(context.Context) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) { yield("reader", nil) }
}

func (p page) Mailboxes(_ context.Context, account string) (boxes []store.SourceMailbox, err error) {
	if account != "reader" {
		return nil, store.ErrNotFound
	}
	for name, t := range p {
		boxes = append(boxes, store.SourceMailbox{ID: t.id, Name: name, Messages: t})
	}
	return boxes, nil
}

type texts struct {
	id    store.MailboxID
	texts []string
	short int // octets that bodies lack
}

func (t *texts) Snapshot(context.Context) (*store.Snapshot, error) {
	var rows []store.Row
	for i, s := range t.texts {
		n := uint64(i + 1)
		rows = append(rows, store.Row{UID: store.UID(n), Size: uint32(len(s)), ModSeq: store.ModSeq(n), Created: store.ModSeq(n), Ref: n})
	}
	return store.NewSnapshot(t.id, 1, store.UID(len(rows)+1), store.ModSeq(len(rows)+1), nil, rows), nil
}

func (t *texts) Open(_ context.Context, row store.Row) (store.Body, error) {
	s := t.texts[row.Ref-1]
	return memBody{bytes.NewReader([]byte(s[:len(s)-t.short]))}, nil
}

type memBody struct{ *bytes.Reader }

func (memBody) Close() error { return nil }

func newPage() page {
	return page{"Notes/first": {id: 1, texts: []string{"Subject: a\r\n\r\none\r\n", "Subject: b\r\n\r\n", "no header", "Subject: c\r\n\r\nthree"}}, "Archive": {id: 7}}
}

func TestReadOnly(t *testing.T) {
	storetest.RunReadOnly(t, storetest.ReadOnlyConfig{New: func(testing.TB) store.Store { return store.ReadOnly(newPage()) }})
}

// told tells its history.
type told struct{ *texts }

func (b told) Changes(ctx context.Context, since store.ModSeq) (store.Changes, error) {
	snap, err := b.Snapshot(ctx)
	return store.ChangesOf(snap, since), err
}

// toldPage is a page whose mailboxes do.
type toldPage struct{ page }

func (p toldPage) Mailboxes(ctx context.Context, account string) ([]store.SourceMailbox, error) {
	boxes, err := p.page.Mailboxes(ctx, account)
	for i := range boxes {
		boxes[i].Messages = told{boxes[i].Messages.(*texts)}
	}
	return boxes, err
}

func TestReadOnlyGrows(t *testing.T) {
	for _, tells := range []bool{false, true} {
		p := newPage()
		var src store.Source = p
		if tells {
			src = toldPage{p}
		}
		st := store.ReadOnly(src)
		acc, err := st.Account(t.Context(), "reader", "reader")
		require.NoError(t, err)
		mb, err := acc.Mailbox(t.Context(), "Notes/first")
		require.NoError(t, err)
		snap, err := mb.Snapshot(t.Context())
		require.NoError(t, err)
		c, err := mb.Changes(t.Context(), snap.ModSeq())
		require.NoError(t, err)
		require.Empty(t, c.Rows)
		ac, err := acc.Changes(t.Context(), snap.ModSeq())
		require.NoError(t, err)
		require.Equal(t, store.AccountChanges{Since: snap.ModSeq(), Through: snap.ModSeq()}, ac)

		ctx, cancel := context.WithCancel(t.Context())
		woken := acc.Watch(ctx)
		p["Notes/first"].texts = append(p["Notes/first"].texts, "Subject: new\r\n\r\n")
		st.Wake()
		<-woken
		cancel()
		_, err = acc.Changes(t.Context(), snap.ModSeq())
		require.ErrorIs(t, err, store.ErrHistoryGone)
		c, err = mb.Changes(t.Context(), snap.ModSeq()-1)
		if !tells {
			require.ErrorIs(t, err, store.ErrHistoryGone)
			continue
		}
		require.NoError(t, err)
		require.Len(t, c.Rows, 1)
		require.EqualValues(t, 5, c.Rows[0].UID)
		again, err := mb.Snapshot(t.Context())
		require.NoError(t, err)
		require.Equal(t, again.ModSeq(), c.Through)
	}
}

// What an author can get wrong is told, not served.
func TestReadOnlyBadSource(t *testing.T) {
	st := store.ReadOnly(page{"inbox": {id: 1}})
	_, err := st.Account(t.Context(), "reader", "reader")
	assert.ErrorIs(t, err, store.ErrInvalidName)
	assert.ErrorContains(t, err, `"inbox"`)

	st = store.ReadOnly(page{store.Inbox: {id: 1, texts: []string{"Subject: a\r\n\r\n"}, short: 1}})
	acc, err := st.Account(t.Context(), "reader", "reader")
	require.NoError(t, err)
	mb, err := acc.Mailbox(t.Context(), store.Inbox)
	require.NoError(t, err)
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	_, err = mb.Open(t.Context(), snap.At(0))
	assert.ErrorIs(t, err, store.ErrCorrupt)
	for _, err := range mb.Details(t.Context(), []store.Row{snap.At(0)}) {
		assert.ErrorIs(t, err, store.ErrCorrupt)
	}
	rights, err := store.MyRights(t.Context(), acc, mb.ID())
	require.NoError(t, err)
	assert.Equal(t, "lr", rights.String())
}

type closing struct {
	page
	closed int
}

func (c *closing) Close() error { c.closed++; return io.ErrClosedPipe }

func TestReadOnlyClosesItsSource(t *testing.T) {
	c := &closing{page: newPage()}
	st := store.ReadOnly(c)
	require.ErrorIs(t, st.Close(), io.ErrClosedPipe)
	require.NoError(t, st.Close())
	require.Equal(t, 1, c.closed)
}
