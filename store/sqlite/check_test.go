package sqlite

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func (r *rig) check() []string {
	r.t.Helper()
	var problems []string
	require.NoError(r.t, r.st.Check(r.t.Context(), func(p Problem) {
		require.ErrorIs(r.t, p, store.ErrCorrupt)
		problems = append(problems, p.Error())
	}))
	return problems
}

func TestCheck(t *testing.T) {
	r := newRig(t, Options{Grace: -1, SegmentSize: 1})
	require.Empty(t, r.check())
	r.sparse(100, 3)
	require.NoError(t, r.place(strings.Repeat("x", 400<<10)).Err)
	shared := r.stage(letter(1))
	_, err := r.st.Spool().Enqueue(t.Context(), []store.SpoolItem{{Body: shared}, {Body: shared}})
	require.NoError(t, err)
	_, err = r.inbox().Flag(t.Context(), store.AllUIDs(), store.FlagUpdate{Flags: []store.Flag{store.FlagSeen, "x"}})
	require.NoError(t, err)
	require.Empty(t, r.check())
	r.sweep(0)
	require.Empty(t, r.check())

	mb := r.inbox()
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	l, err := r.st.locate(snap.At(5).Ref)
	require.NoError(t, err)
	f, err := os.OpenFile(r.st.seg.path(l.bodySeg), os.O_RDWR, 0)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteAt([]byte("damage"), l.bodyOff+recHeaderSize)
	require.NoError(t, err)
	problems := r.check()
	require.Len(t, problems, 1)
	require.Contains(t, problems[0], fmt.Sprintf("anna: INBOX: UID %d: body", snap.At(5).UID))

	// A row of the database that lies.
	require.NoError(t, r.st.job(t.Context(), func(w *writerConn) error {
		_, err := w.conn.ExecContext(t.Context(), "UPDATE mailbox SET unseen=unseen+1")
		return err
	}))
	require.Len(t, r.check(), 2)
	require.NoError(t, r.st.job(t.Context(), func(w *writerConn) error {
		_, err := w.conn.ExecContext(t.Context(), "DELETE FROM ref")
		return err
	}))
	r.reopen()
	require.Greater(t, len(r.check()), 20)
}

// A message whose outline is larger than what is kept.
func TestLargeOutline(t *testing.T) {
	r := newRig(t, Options{})
	var b strings.Builder
	b.WriteString("Subject: many\r\nTo: ")
	for i := range 3000 {
		fmt.Fprintf(&b, "Number %d <number%d@example.org>,\r\n ", i, i)
	}
	b.WriteString("last@example.org\r\n\r\nText\r\n")
	require.NoError(t, r.place(b.String()).Err)
	require.NoError(t, r.place(letter(1)).Err)
	l, err := r.st.locate(1)
	require.NoError(t, err)
	require.Less(t, l.size, int64(1000))
	mb := r.inbox()
	snap, err := mb.Snapshot(t.Context())
	require.NoError(t, err)
	for d, err := range mb.Details(t.Context(), []store.Row{snap.At(0)}) {
		require.NoError(t, err)
		require.Len(t, d.Outline.Envelope.To, 3001)
		require.EqualValues(t, b.Len()+6, d.Outline.Size)
		require.Equal(t, "many", d.Outline.Envelope.Subject)
	}
	require.Nil(t, r.st.outlines.get(1), "what is too large to be stored is not kept")
	// Of such ones few are held at a time.
	require.NoError(t, r.place(b.String()).Err)
	require.NoError(t, r.place(letter(2)).Err)
	if snap, err = mb.Snapshot(t.Context()); err != nil {
		t.Fatal(err)
	}
	rows := []store.Row{snap.At(1), snap.At(0), snap.At(2), snap.At(3)}
	require.Equal(t, 2, mb.(*mailboxHandle).details(t.Context(), rows, new(detailPiece)))
	require.Equal(t, 1, mb.(*mailboxHandle).details(t.Context(), rows[2:], new(detailPiece)))
	var got []store.UID
	for d, err := range mb.Details(t.Context(), rows) {
		require.NoError(t, err)
		got = append(got, d.Row.UID)
	}
	require.Equal(t, []store.UID{2, 1, 3, 4}, got)
}

// What a crash can leave of a segment that was being made is no damage.
func TestCheckUnfinishedSegment(t *testing.T) {
	r := newRig(t, Options{})
	require.NoError(t, r.place(letter(1)).Err)
	for size := range segHeaderSize + 1 {
		require.NoError(t, os.WriteFile(r.st.seg.path(99), make([]byte, size), 0o600))
		require.Empty(t, r.check(), "%d octets", size)
	}
	require.NoError(t, os.WriteFile(r.st.seg.path(99), make([]byte, segHeaderSize+1), 0o600))
	require.Len(t, r.check(), 1)
}
