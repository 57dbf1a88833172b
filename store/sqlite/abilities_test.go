package sqlite

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func (r *rig) account() store.Account {
	r.t.Helper()
	a, err := r.st.Account(r.t.Context(), "anna", "anna")
	require.NoError(r.t, err)
	return a
}

func (r *rig) count(query string, args ...any) (n int) {
	r.t.Helper()
	require.NoError(r.t, r.st.reader.QueryRow(query, args...).Scan(&n))
	return n
}

// Whatever is done, what the account is said to use is what its mailboxes hold,
// also after reading it again.
func TestQuotaUsage(t *testing.T) {
	r := newRig(t, Options{})
	require.NoError(t, r.st.SetQuota(t.Context(), "anna", store.Usage{Octets: 1 << 20, Messages: 100, Mailboxes: 6}))
	same := func() {
		t.Helper()
		var want store.Usage
		boxes, err := r.account().Mailboxes(t.Context())
		require.NoError(t, err)
		for _, b := range boxes {
			want.Octets += b.Size
			want.Messages += int64(b.Messages)
			want.Mailboxes++
		}
		for range 2 {
			q, err := r.st.Quota(t.Context(), "anna")
			require.NoError(t, err)
			require.Equal(t, store.Quota{Used: want, Limit: store.Usage{Octets: 1 << 20, Messages: 100, Mailboxes: 6}}, q)
			r.reopen()
		}
	}
	same()
	for i := range 40 {
		require.NoError(t, r.place(letter(i)).Err)
	}
	same()
	a := r.account()
	other, err := a.Create(t.Context(), "A/B/C", store.CreateOptions{})
	require.NoError(t, err)
	_, err = r.inbox().Copy(t.Context(), store.UIDs(1, 2, 3), other.ID)
	require.NoError(t, err)
	_, err = r.inbox().Move(t.Context(), store.UIDs(4, 5), other.ID)
	require.NoError(t, err)
	_, err = r.inbox().Expunge(t.Context(), store.UIDs(6, 1))
	require.NoError(t, err)
	same()
	require.ErrorIs(t, r.account().Rename(t.Context(), "INBOX", "X/Y/Z"), store.ErrOverQuota)
	require.ErrorIs(t, r.account().Rename(t.Context(), "A", "X/Y/Z/A"), store.ErrOverQuota)
	require.NoError(t, r.account().Rename(t.Context(), "INBOX", "X/Y"))
	same()
	require.NoError(t, r.account().Rename(t.Context(), "A", "Z"))
	require.NoError(t, r.account().Delete(t.Context(), "Z/B/C"))
	same()
	require.NoError(t, r.st.DeleteAccount(t.Context(), "anna"))
	require.NoError(t, r.st.CreateAccount(t.Context(), "anna"))
	q, err := r.st.Quota(t.Context(), "anna")
	require.NoError(t, err)
	require.Equal(t, store.Quota{Used: store.Usage{Mailboxes: 1}}, q, "nothing is inherited")
}

// However many add at once, in one batch or several, the limit holds.
func TestQuotaRace(t *testing.T) {
	r := newRig(t, Options{})
	require.NoError(t, r.st.SetQuota(t.Context(), "anna", store.Usage{Messages: 50}))
	body := r.stage(letter(1))
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 10 {
				p := r.st.Place(t.Context(), []store.Target{{Account: "anna", Mailbox: "INBOX", Body: body}})[0]
				if p.Err != nil && !strings.Contains(p.Err.Error(), "messages") {
					t.Error(p.Err)
				}
			}
		})
	}
	wg.Wait()
	q, err := r.st.Quota(t.Context(), "anna")
	require.NoError(t, err)
	require.EqualValues(t, 50, q.Used.Messages)
	target := store.Target{Account: "anna", Mailbox: "INBOX", Body: body, Replaces: 7, ReplacesIn: r.inbox().ID()}
	require.NoError(t, r.st.Place(t.Context(), []store.Target{target})[0].Err, "a replacement counts by its difference")
	target.Replaces = 8
	both := r.st.Place(t.Context(), []store.Target{target, {Account: "anna", Mailbox: "INBOX", Body: body}})
	require.ErrorIs(t, both[0].Err, store.ErrOverQuota)
	require.ErrorIs(t, both[1].Err, store.ErrOverQuota)
}

func TestAnnotationRows(t *testing.T) {
	r := newRig(t, Options{})
	ctx := t.Context()
	box, err := r.account().Create(ctx, "Box", store.CreateOptions{})
	require.NoError(t, err)
	notes := func() store.Annotations { return r.account().(store.Annotations) }
	at, err := notes().Annotate(ctx, box.ID, store.Annotation{Key: "/a", Value: []byte{}}, store.Annotation{Key: "/b/ü", Value: []byte("2\x00")})
	require.NoError(t, err)
	require.NotZero(t, at)
	again, err := notes().Annotate(ctx, box.ID, store.Annotation{Key: "/a", Value: []byte{}}, store.Annotation{Key: "none"})
	require.NoError(t, err)
	require.Zero(t, again, "nothing changed")
	_, err = notes().Annotate(ctx, 0, store.Annotation{Key: "/a", Value: []byte("account")})
	require.NoError(t, err)
	r.reopen()
	require.NoError(t, r.account().Rename(ctx, "Box", "Other"))
	got, err := notes().Annotations(ctx, box.ID, "/")
	require.NoError(t, err)
	require.Equal(t, []store.Annotation{{Key: "/a", Value: []byte{}}, {Key: "/b/ü", Value: []byte("2\x00")}}, got)
	got, err = notes().Annotations(ctx, box.ID, "/b/")
	require.NoError(t, err)
	require.Len(t, got, 1)
	got, err = notes().Annotations(ctx, 0, "")
	require.NoError(t, err)
	require.Equal(t, []store.Annotation{{Key: "/a", Value: []byte("account")}}, got)
	for i := range 300 {
		name := fmt.Sprintf("u%03d", i)
		require.NoError(t, r.st.CreateAccount(ctx, name))
		a, err := r.st.Account(ctx, name, name)
		require.NoError(t, err)
		_, err = a.(store.Annotations).Annotate(ctx, 0, store.Annotation{Key: "/shared", Value: []byte("x")})
		require.NoError(t, err)
	}
	var names []string
	for name, err := range r.st.Annotated(ctx, "/shared") {
		require.NoError(t, err)
		names = append(names, name)
	}
	require.Len(t, names, 300)
	require.True(t, slices.IsSorted(names))
	require.Equal(t, 303, r.count("SELECT count(*) FROM annotation"))
	require.NoError(t, r.account().Delete(ctx, "Other"))
	require.NoError(t, r.st.DeleteAccount(ctx, "u007"))
	require.Equal(t, 300, r.count("SELECT count(*) FROM annotation"), "gone with mailbox and account")
}

// The limit counts what a batch has added so far.
func TestAnnotationLimit(t *testing.T) {
	r := newRig(t, Options{})
	notes := r.account().(store.Annotations)
	var set []store.Annotation
	for i := range store.MaxAnnotations - 1 {
		set = append(set, store.Annotation{Key: fmt.Sprint(i), Value: []byte("v")})
	}
	_, err := notes.Annotate(t.Context(), 0, set...)
	require.NoError(t, err)
	errs := make(chan error, 10)
	for i := range 10 {
		go func() {
			_, err := notes.Annotate(t.Context(), 0, store.Annotation{Key: fmt.Sprint("more", i), Value: []byte("v")})
			errs <- err
		}()
	}
	refused := 0
	for range 10 {
		if err := <-errs; err != nil {
			require.ErrorIs(t, err, store.ErrLimit)
			refused++
		}
	}
	require.Equal(t, 9, refused)
	_, err = notes.Annotate(t.Context(), 0, store.Annotation{Key: "0"}, store.Annotation{Key: "new", Value: []byte{}})
	require.NoError(t, err, "one goes, one comes")
}

func TestUIDLRows(t *testing.T) {
	r := newRig(t, Options{})
	ctx := t.Context()
	body := r.stage(letter(1))
	for i := range 6 {
		p := r.st.Place(ctx, []store.Target{{Account: "anna", Mailbox: "INBOX", Body: body, UIDL: fmt.Sprint("old-", i)}})[0]
		require.NoError(t, p.Err)
	}
	require.NoError(t, r.place(letter(2)).Err)
	box, err := r.account().Create(ctx, "Box", store.CreateOptions{})
	require.NoError(t, err)
	_, err = r.inbox().Copy(ctx, store.UIDs(1), box.ID)
	require.NoError(t, err)
	_, err = r.inbox().Move(ctx, store.UIDs(2), box.ID)
	require.NoError(t, err)
	_, err = r.inbox().Expunge(ctx, store.UIDs(4, 5))
	require.NoError(t, err)
	r.reopen()
	got, err := r.inbox().(store.UIDLs).UIDLs(ctx)
	require.NoError(t, err)
	require.Equal(t, map[store.UID]string{1: "old-0", 3: "old-2", 6: "old-5"}, got)
	got, err = r.box("Box").(store.UIDLs).UIDLs(ctx)
	require.NoError(t, err)
	require.Empty(t, got, "copies do not inherit it")
	require.Equal(t, 3, r.count("SELECT count(*) FROM uidl"))
	require.NoError(t, r.account().Rename(ctx, "INBOX", "Old"))
	require.Zero(t, r.count("SELECT count(*) FROM uidl"))
}

// Messages placed without waiting share commits and keep their order.
func TestPlaceLater(t *testing.T) {
	r := newRig(t, Options{})
	var waits []func() []store.Placed
	commits := 0
	hold, held := make(chan struct{}), make(chan struct{})
	r.database(func(point string) error {
		if point == "begin" {
			if commits++; commits == 1 {
				close(held)
				<-hold
			}
		}
		return nil
	})
	for i := range 100 {
		target := store.Target{Account: "anna", Mailbox: "INBOX", Body: r.stage(letter(i)), Prefix: []byte("X: y\r\n")}
		waits = append(waits, r.st.PlaceLater(t.Context(), []store.Target{target}))
		if i == 0 {
			<-held
		}
	}
	close(hold)
	for i, wait := range waits {
		p := wait()
		require.NoError(t, p[0].Err)
		require.EqualValues(t, i+1, p[0].UID)
	}
	require.LessOrEqual(t, commits, 3)
	for i, body := range r.bodies() {
		require.Equal(t, letter(i), body)
	}

	ctx, cancel := context.WithCancel(t.Context())
	wait := r.st.PlaceLater(ctx, []store.Target{{Account: "anna", Mailbox: "INBOX", Body: r.stage(letter(7))}})
	cancel()
	if err := wait()[0].Err; err != nil {
		require.ErrorIs(t, err, context.Canceled)
	}
	spare := r.stage(letter(9))
	last := r.st.PlaceLater(t.Context(), []store.Target{{Account: "anna", Mailbox: "INBOX", Body: r.stage(letter(8))}})
	require.NoError(t, r.st.Close(), "which files what is queued")
	require.NoError(t, last()[0].Err)
	late := r.st.PlaceLater(t.Context(), []store.Target{{Account: "anna", Mailbox: "INBOX", Body: spare}})
	require.ErrorIs(t, late()[0].Err, store.ErrUnavailable)
}

// One message for a mailbox and for the queue is stored once.
func TestSpoolSharesBody(t *testing.T) {
	for _, size := range []int{5_000, 400_000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			r := newRig(t, Options{})
			body := r.stage("Subject: both\r\n\r\n" + strings.Repeat("x", size))
			target := store.Target{Account: "anna", Mailbox: "INBOX", Body: body, Prefix: []byte("X: y\r\n")}
			placed := r.st.PlaceLater(t.Context(), []store.Target{target})
			ids, err := r.st.Spool().Enqueue(t.Context(), []store.SpoolItem{{Body: body, Site: "a"}, {Body: body, Site: "b"}})
			require.NoError(t, err)
			require.NoError(t, placed()[0].Err)
			require.NoError(t, body.Discard())
			require.Equal(t, 1, r.records(kindBody))
			require.Equal(t, 1, r.count("SELECT count(DISTINCT bodyseg || ':' || bodyoff) FROM spool"))
			b, err := r.st.Spool().Open(t.Context(), ids[1])
			require.NoError(t, err)
			require.EqualValues(t, body.Size(), b.Size())
			require.NoError(t, b.Close())
			require.Len(t, r.bodies(), 1)
		})
	}
}

// records counts what the segments have of a kind.
func (r *rig) records(kind byte) (n int) {
	r.t.Helper()
	nums, err := r.st.seg.list()
	require.NoError(r.t, err)
	for _, num := range nums {
		h, err := r.st.seg.acquire(num)
		require.NoError(r.t, err)
		info, err := h.file.Stat()
		require.NoError(r.t, err)
		_, err = scanRecords(h.file, segHeaderSize, info.Size(), func(_ int64, h recordHeader) error {
			if h.kind == kind {
				n++
			}
			return nil
		})
		require.NoError(r.t, err)
		h.release()
	}
	return n
}
