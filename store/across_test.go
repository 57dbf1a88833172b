package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// across moves between two stores, so that nothing goes by itself.
type across struct {
	*testing.T
	src, dst *memory.Store
	store.Across
}

func newAcross(t *testing.T, sizes ...int) *across {
	k := &across{T: t, src: memory.New(), dst: memory.New()}
	t.Cleanup(func() { k.src.Close(); k.dst.Close() })
	require.NoError(t, k.src.CreateAccount(t.Context(), "ann"))
	require.NoError(t, k.dst.CreateAccount(t.Context(), "bob"))
	var err error
	k.From, err = k.src.Account(t.Context(), "ann", "ann")
	require.NoError(t, err)
	k.Source, err = k.From.Mailbox(t.Context(), store.Inbox)
	require.NoError(t, err)
	k.To, err = k.dst.Account(t.Context(), "bob", "bob")
	require.NoError(t, err)
	k.Filer, k.Mailbox = k.dst, store.Inbox
	for i, size := range sizes {
		body, err := k.src.Stage(t.Context(), strings.NewReader(fmt.Sprintf("Subject: %d\r\n\r\n%s", i+1, strings.Repeat("x", size))))
		require.NoError(t, err)
		p := k.src.Place(t.Context(), []store.Target{{Account: "ann", Mailbox: store.Inbox, Body: body, Prefix: []byte("X: y\r\n"),
			Flags: []store.Flag{store.FlagSeen, "$k"}, Date: time.Unix(int64(1000+i), 0)}})
		require.NoError(t, p[0].Err)
		require.NoError(t, body.Discard())
	}
	return k
}

// subjects lists a mailbox, and checks what must have been kept.
func (k *across) subjects(mb store.Mailbox) (out []string) {
	k.Helper()
	snap, err := mb.Snapshot(k.Context())
	require.NoError(k, err)
	for _, row := range snap.All() {
		b, err := mb.Open(k.Context(), row)
		require.NoError(k, err)
		text, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		require.NoError(k, err)
		require.NoError(k, b.Close())
		require.True(k, strings.HasPrefix(string(text), "X: y\r\nSubject: "))
		var n int
		_, err = fmt.Sscanf(string(text), "X: y\r\nSubject: %d\r\n", &n)
		require.NoError(k, err)
		require.EqualValues(k, 1000+n-1, row.Date)
		require.Equal(k, []store.Flag{store.FlagSeen, "$k"}, snap.Flags(row.Flags))
		out = append(out, fmt.Sprint(n))
	}
	slices.Sort(out)
	return out
}

func (k *across) dest() store.Mailbox {
	k.Helper()
	mb, err := k.To.Mailbox(k.Context(), k.Mailbox)
	require.NoError(k, err)
	return mb
}

func TestAcross(t *testing.T) {
	k := newAcross(t, 1, 2, 3, 4)
	k.expunge(k.Source, 2)
	done, err := k.Copy(t.Context(), store.UIDs(1, 2, 3, 99))
	require.NoError(t, err)
	require.Equal(t, []store.UID{1, 3}, done.From)
	require.Equal(t, []store.UID{1, 2}, done.To)
	snap, err := k.dest().Snapshot(t.Context())
	require.NoError(t, err)
	require.Equal(t, snap.UIDValidity(), done.UIDValidity)
	require.Equal(t, snap.ModSeq(), done.ModSeq)
	require.Equal(t, []string{"1", "3"}, k.subjects(k.dest()))
	require.Equal(t, []string{"1", "3", "4"}, k.subjects(k.Source))

	again, err := k.Copy(t.Context(), store.AllUIDs())
	require.NoError(t, err)
	require.Equal(t, []store.UID{1, 2, 3}, again.To, "what is there is not copied again")
	k.Operation = "another"
	_, err = k.Copy(t.Context(), store.UIDs(1))
	require.NoError(t, err)
	require.Equal(t, []string{"1", "1", "3", "4"}, k.subjects(k.dest()))
	k.Operation = ""

	k.expunge(k.dest(), 2) // 3 is deleted there: moving it must not lose it
	moved, err := k.Move(t.Context(), store.AllUIDs())
	require.NoError(t, err)
	require.Equal(t, []store.UID{1, 3, 4}, moved.From)
	require.Empty(t, k.subjects(k.Source))
	require.Equal(t, []string{"1", "1", "3", "4"}, k.subjects(k.dest()))

	none, err := k.Move(t.Context(), store.AllUIDs())
	require.NoError(t, err)
	require.Empty(t, none.From)
	k.Mailbox = "Nowhere"
	_, err = k.Move(t.Context(), store.AllUIDs())
	require.ErrorIs(t, err, store.ErrNotFound)
}

func (k *across) expunge(mb store.Mailbox, uid store.UID) {
	k.Helper()
	done, err := mb.Expunge(k.Context(), store.UIDs(uid))
	require.NoError(k, err)
	require.Equal(k, 1, done.UIDs.Len())
}

var errFault = errors.New("fault")

// faults fails the at-th call, before or after it does its work.
type faults struct {
	at, calls int
	after     bool
}

func (f *faults) call(do func() error) error {
	f.calls++
	if f.calls != f.at {
		return do()
	}
	if f.after {
		if err := do(); err != nil {
			return err
		}
	}
	return errFault
}

type faultyBox struct {
	store.Mailbox
	*faults
}

func (b faultyBox) Snapshot(ctx context.Context) (s *store.Snapshot, err error) {
	err = b.call(func() error { s, err = b.Mailbox.Snapshot(ctx); return err })
	return s, err
}

func (b faultyBox) Open(ctx context.Context, row store.Row) (body store.Body, err error) {
	err = b.call(func() error { body, err = b.Mailbox.Open(ctx, row); return err })
	return body, err
}

func (b faultyBox) Expunge(ctx context.Context, uids store.UIDSet, with ...store.Flag) (e store.Expunged, err error) {
	err = b.call(func() error { e, err = b.Mailbox.Expunge(ctx, uids, with...); return err })
	return e, err
}

// faultyFiler counts the largest Place.
type faultyFiler struct {
	store.Filer
	*faults
	messages, octets *int
}

func (f faultyFiler) Stage(ctx context.Context, r io.Reader) (s store.Staged, err error) {
	err = f.call(func() error { s, err = f.Filer.Stage(ctx, r); return err })
	return s, err
}

func (f faultyFiler) Place(ctx context.Context, targets []store.Target) (p []store.Placed) {
	var octets int
	for _, t := range targets {
		octets += int(t.Body.Size())
	}
	*f.messages, *f.octets = max(*f.messages, len(targets)), max(*f.octets, octets)
	err := f.call(func() error { p = f.Filer.Place(ctx, targets); return nil })
	if err != nil {
		p = make([]store.Placed, len(targets))
		for i := range p {
			p[i].Err = err
		}
	}
	return p
}

func (k *across) fail(at int, after bool) *faults {
	f := &faults{at: at, after: after}
	k.Source = faultyBox{k.Source, f}
	k.Filer = faultyFiler{k.Filer, f, new(int), new(int)}
	return f
}

// Every call fails once, before and after it has done its work; then the same
// is done again. Each message is there exactly once.
func TestAcrossIsRetried(t *testing.T) {
	for _, moving := range []bool{true, false} {
		for _, after := range []bool{false, true} {
			for at := 1; ; at++ {
				k := newAcross(t, 1, 2, 3)
				do := func() error {
					if moving {
						_, err := k.Move(t.Context(), store.AllUIDs())
						return err
					}
					_, err := k.Copy(t.Context(), store.AllUIDs())
					return err
				}
				source, filer := k.Source, k.Filer
				f := k.fail(at, after)
				err := do()
				if f.calls < at {
					require.NoError(t, err)
					require.Greater(t, at, 8)
					break
				}
				require.ErrorIs(t, err, errFault)
				k.Source, k.Filer = source, filer
				all := append(k.subjects(k.Source), k.subjects(k.dest())...)
				for _, s := range []string{"1", "2", "3"} {
					assert.Contains(t, all, s, "call %d lost something", at)
				}
				require.NoError(t, do())
				assert.Equal(t, []string{"1", "2", "3"}, k.subjects(k.dest()), "call %d", at)
				if moving {
					assert.Empty(t, k.subjects(k.Source), "call %d", at)
				}
			}
		}
	}
}

func TestAcrossInBatches(t *testing.T) {
	sizes := slices.Repeat([]int{10}, 150)
	sizes = append(sizes, 17<<20, 9<<20, 9<<20, 10)
	k := newAcross(t, sizes...)
	k.fail(0, false)
	done, err := k.Move(t.Context(), store.AllUIDs())
	require.NoError(t, err)
	require.Len(t, done.To, len(sizes))
	f := k.Filer.(faultyFiler)
	require.Equal(t, 64, *f.messages)
	require.Less(t, *f.octets, 18<<20)
	require.Len(t, k.subjects(k.dest()), len(sizes))
}

// Into a mailbox that the actor may add to but not read.
func TestAcrossToAShare(t *testing.T) {
	k := newShared(t)
	k.grant("Dest", "li")
	bob, err := k.guard.Account(t.Context(), "bob")
	require.NoError(t, err)
	inbox, err := bob.Mailbox(t.Context(), store.Inbox)
	require.NoError(t, err)
	own := k.target(store.Inbox, store.FlagFlagged, store.FlagSeen)
	own.Account = "bob"
	require.NoError(t, k.guard.Place(t.Context(), []store.Target{own})[0].Err)
	tr := store.Across{From: bob, Source: inbox, Filer: k.guard, To: k.open(), Mailbox: "Dest"}
	for range 2 {
		done, err := tr.Copy(t.Context(), store.AllUIDs())
		require.NoError(t, err)
		require.Equal(t, []store.UID{2}, done.To)
	}
	dest, err := k.ann.Mailbox(t.Context(), "Dest")
	require.NoError(t, err)
	_, flags := k.row(dest, 2)
	require.Empty(t, flags)
	k.grant("Dest", "l")
	_, err = tr.Move(t.Context(), store.AllUIDs())
	require.ErrorIs(t, err, store.ErrReadOnly)
	info, err := inbox.Info(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, info.Messages)
}
