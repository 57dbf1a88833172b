package store_test

import (
	"context"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// shared is an account of ann's and bob, with whom she shares.
type shared struct {
	testing.TB
	st    *memory.Store
	ann   store.Account
	guard store.Guard
}

// newShared has ann's mailboxes INBOX, Box and Dest, with a message each that
// carries every kind of flag.
func newShared(t testing.TB) *shared {
	t.Helper()
	k := &shared{TB: t, st: memory.New()}
	t.Cleanup(func() { k.st.Close() })
	for _, name := range []string{"ann", "bob", "eve"} {
		require.NoError(t, k.st.CreateAccount(t.Context(), name))
	}
	k.guard = store.Guard{Store: k.st, Actor: "bob", Groups: []string{"team"}}
	var err error
	k.ann, err = k.st.Account(t.Context(), "ann", "ann")
	require.NoError(t, err)
	for _, name := range []string{"Box", "Dest"} {
		_, err := k.ann.Create(t.Context(), name, store.CreateOptions{})
		require.NoError(t, err)
		k.file("Box")
	}
	k.file("Dest")
	return k
}

func (k *shared) target(box string, flags ...store.Flag) store.Target {
	k.Helper()
	body, err := k.st.Stage(k.Context(), strings.NewReader("Subject: x\r\n\r\nHello.\r\n"))
	require.NoError(k, err)
	k.Cleanup(func() { body.Discard() })
	return store.Target{Account: "ann", Mailbox: box, Body: body, Flags: flags}
}

func (k *shared) file(box string) store.UID {
	k.Helper()
	p := k.st.Place(k.Context(), []store.Target{k.target(box, store.FlagDeleted, store.FlagFlagged, "$k")})
	require.NoError(k, p[0].Err)
	return p[0].UID
}

func (k *shared) id(name string) store.MailboxID {
	k.Helper()
	if name == "" {
		return 0
	}
	mb, err := k.ann.Mailbox(k.Context(), name)
	require.NoError(k, err)
	return mb.ID()
}

// grant gives bob rights on a mailbox, and nothing else.
func (k *shared) grant(box, letters string) {
	k.Helper()
	require.NoError(k, store.WriteACL(k.Context(), k.ann, k.id(box), store.ACLEntry{Identifier: "bob", Rights: rights(k, letters)}))
}

func (k *shared) open() store.Account {
	k.Helper()
	acc, err := k.guard.Account(k.Context(), "ann")
	require.NoError(k, err)
	return acc
}

func (k *shared) mailbox(name string) store.Mailbox {
	k.Helper()
	mb, err := k.open().Mailbox(k.Context(), name)
	require.NoError(k, err)
	return mb
}

func (k *shared) row(mb store.Mailbox, uid store.UID) (store.Row, []store.Flag) {
	k.Helper()
	snap, err := mb.Snapshot(k.Context())
	require.NoError(k, err)
	i, ok := snap.Find(uid)
	require.True(k, ok)
	return snap.At(i), snap.Flags(snap.At(i).Flags)
}

// attempt is an operation on Box, with every right on Dest.
type attempt struct {
	// method is what of Account, Mailbox, Annotations and Guard it tries.
	method string
	// Needed on Box: all of all, one of any.
	all, any string
	never    bool
	// known: who has one of these is told that he may not, others that there
	// is nothing. Empty: lr.
	known string
	do    func(ctx context.Context, k *shared, acc store.Account, box, dest store.Mailbox) error
}

var attempts = []attempt{
	{method: "Account.Name", do: func(_ context.Context, _ *shared, a store.Account, _, _ store.Mailbox) error {
		return is(a.Name() == "ann", "name")
	}},
	{method: "Account.Actor", do: func(_ context.Context, _ *shared, a store.Account, _, _ store.Mailbox) error {
		return is(a.Actor() == "bob", "actor")
	}},
	{method: "Account.Watch", do: func(ctx context.Context, _ *shared, a store.Account, _, _ store.Mailbox) error {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		for range a.Watch(ctx) {
		}
		return nil
	}},
	{method: "Account.Mailboxes", all: "l", known: "none", do: func(ctx context.Context, _ *shared, a store.Account, _, _ store.Mailbox) error {
		infos, err := a.Mailboxes(ctx)
		if !slices.ContainsFunc(infos, func(m store.MailboxInfo) bool { return m.Name == "Box" }) && err == nil {
			return store.ErrNotFound
		}
		return err
	}},
	{method: "Account.Mailbox", any: "lrikxa", do: func(ctx context.Context, _ *shared, a store.Account, _, _ store.Mailbox) error {
		_, err := a.Mailbox(ctx, "Box")
		return err
	}},
	{method: "Account.Create", all: "k", do: func(ctx context.Context, _ *shared, a store.Account, _, _ store.Mailbox) error {
		_, err := a.Create(ctx, "Box/new/one", store.CreateOptions{})
		return err
	}},
	{method: "Account.Create", never: true, known: "*", do: func(ctx context.Context, _ *shared, a store.Account, _, _ store.Mailbox) error {
		_, err := a.Create(ctx, "Top", store.CreateOptions{}) // no right on the top
		return err
	}},
	{method: "Account.Rename", all: "x", do: func(ctx context.Context, _ *shared, a store.Account, _, _ store.Mailbox) error {
		return a.Rename(ctx, "Box", "Dest/Box")
	}},
	{method: "Account.Rename", all: "k", do: func(ctx context.Context, _ *shared, a store.Account, _, _ store.Mailbox) error {
		return a.Rename(ctx, "Dest", "Box/Dest")
	}},
	{method: "Account.Delete", all: "x", do: func(ctx context.Context, _ *shared, a store.Account, _, _ store.Mailbox) error {
		return a.Delete(ctx, "Box")
	}},
	{method: "Account.Subscribe", never: true, known: "*", do: func(ctx context.Context, _ *shared, a store.Account, _, _ store.Mailbox) error {
		return a.Subscribe(ctx, "Box", true)
	}},
	{method: "Account.Subscriptions", do: func(ctx context.Context, k *shared, a store.Account, _, _ store.Mailbox) error {
		if err := k.ann.Subscribe(ctx, "Box", true); err != nil {
			return err
		}
		names, err := a.Subscriptions(ctx)
		return errors.Join(err, is(len(names) == 0, "the owner's"))
	}},
	{method: "Account.Changes", all: "l", known: "none", do: func(ctx context.Context, k *shared, a store.Account, _, _ store.Mailbox) error {
		c, err := a.Changes(ctx, 0)
		if !slices.ContainsFunc(c.Events, func(e store.MailboxEvent) bool { return e.Name == "Box" && e.Kind == store.MailboxCreated }) && err == nil {
			return store.ErrNotFound
		}
		return err
	}},
	{method: "Annotations.Annotations", all: "la", known: "l", do: func(ctx context.Context, _ *shared, a store.Account, box, _ store.Mailbox) error {
		_, err := store.ReadACL(ctx, a, box.ID())
		return err
	}},
	{method: "Annotations.Annotate", all: "la", known: "l", do: func(ctx context.Context, _ *shared, a store.Account, box, _ store.Mailbox) error {
		return store.WriteACL(ctx, a, box.ID(), store.ACLEntry{Identifier: "eve", Rights: store.RightLookup})
	}},
	{method: "Annotations.Annotations", all: "l", any: "rswip", do: func(ctx context.Context, _ *shared, a store.Account, box, _ store.Mailbox) error {
		_, err := a.(store.Annotations).Annotations(ctx, box.ID(), "/shared/")
		return err
	}},
	{method: "Annotations.Annotate", all: "l", any: "rswip", do: func(ctx context.Context, _ *shared, a store.Account, box, _ store.Mailbox) error {
		_, err := a.(store.Annotations).Annotate(ctx, box.ID(), store.Annotation{Key: "/shared/comment", Value: []byte("x")})
		return err
	}},
	{method: "Annotations.Annotate", never: true, known: "lrikxa", do: func(ctx context.Context, _ *shared, a store.Account, box, _ store.Mailbox) error {
		_, err := a.(store.Annotations).Annotate(ctx, box.ID(), store.Annotation{Key: "actor/ann\t/private/x", Value: []byte("x")})
		return err
	}},
	{method: "Mailbox.ID", do: func(_ context.Context, k *shared, _ store.Account, box, _ store.Mailbox) error {
		return is(box.ID() == k.id("Box"), "id")
	}},
	{method: "Mailbox.Info", all: "r", do: func(ctx context.Context, _ *shared, _ store.Account, box, _ store.Mailbox) error {
		_, err := box.Info(ctx)
		return err
	}},
	{method: "Mailbox.Snapshot", all: "r", do: func(ctx context.Context, _ *shared, _ store.Account, box, _ store.Mailbox) error {
		_, err := box.Snapshot(ctx)
		return err
	}},
	{method: "Mailbox.Changes", all: "r", do: func(ctx context.Context, _ *shared, _ store.Account, box, _ store.Mailbox) error {
		_, err := box.Changes(ctx, 0)
		return err
	}},
	{method: "Mailbox.Open", all: "r", do: func(ctx context.Context, k *shared, _ store.Account, box, _ store.Mailbox) error {
		b, err := box.Open(ctx, k.boxRow())
		if err != nil {
			return err
		}
		defer b.Close()
		_, err = io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		return err
	}},
	{method: "Mailbox.Details", all: "r", do: func(ctx context.Context, k *shared, _ store.Account, box, _ store.Mailbox) error {
		for d, err := range box.Details(ctx, []store.Row{k.boxRow()}) {
			if err != nil || d.Outline == nil {
				return err
			}
			return nil
		}
		return errors.New("nothing came")
	}},
	{method: "Mailbox.Flag", all: "rs", do: flagging(store.FlagSeen)},
	{method: "Mailbox.Flag", all: "rt", do: flagging(store.FlagDeleted)},
	{method: "Mailbox.Flag", all: "rw", do: flagging("$Forwarded")},
	{method: "Mailbox.Flag", all: "r", any: "tw", do: flagging(store.FlagDeleted, store.FlagDraft)},
	{method: "Mailbox.Flag", all: "r", any: "swt", do: flagging()},
	{method: "Mailbox.Expunge", all: "re", do: func(ctx context.Context, _ *shared, _ store.Account, box, _ store.Mailbox) error {
		done, err := box.Expunge(ctx, store.AllUIDs(), store.FlagDeleted)
		return errors.Join(err, is(err != nil || done.UIDs.Len() == 2, "expunged"))
	}},
	{method: "Mailbox.Copy", all: "r", do: func(ctx context.Context, _ *shared, _ store.Account, box, dest store.Mailbox) error {
		_, err := box.Copy(ctx, store.AllUIDs(), dest.ID())
		return err
	}},
	{method: "Mailbox.Copy", all: "i", do: func(ctx context.Context, _ *shared, _ store.Account, box, dest store.Mailbox) error {
		_, err := dest.Copy(ctx, store.AllUIDs(), box.ID())
		return err
	}},
	{method: "Mailbox.Move", all: "rte", do: func(ctx context.Context, _ *shared, _ store.Account, box, dest store.Mailbox) error {
		_, err := box.Move(ctx, store.AllUIDs(), dest.ID())
		return err
	}},
	{method: "Mailbox.Move", all: "i", do: func(ctx context.Context, _ *shared, _ store.Account, box, dest store.Mailbox) error {
		_, err := dest.Move(ctx, store.AllUIDs(), box.ID())
		return err
	}},
	{method: "Guard.Place", all: "i", do: func(ctx context.Context, k *shared, _ store.Account, _, _ store.Mailbox) error {
		return k.guard.Place(ctx, []store.Target{k.target("Box", store.FlagSeen)})[0].Err
	}},
	{method: "Guard.Place", all: "rte", do: func(ctx context.Context, k *shared, _ store.Account, box, _ store.Mailbox) error {
		t := k.target("Dest")
		t.Replaces, t.ReplacesIn = 1, box.ID()
		return k.guard.Place(ctx, []store.Target{t})[0].Err
	}},
}

func flagging(flags ...store.Flag) func(context.Context, *shared, store.Account, store.Mailbox, store.Mailbox) error {
	return func(ctx context.Context, _ *shared, _ store.Account, box, _ store.Mailbox) error {
		_, err := box.Flag(ctx, store.AllUIDs(), store.FlagUpdate{Flags: flags})
		return err
	}
}

func (k *shared) boxRow() store.Row {
	mb, err := k.ann.Mailbox(k.Context(), "Box")
	require.NoError(k, err)
	row, _ := k.row(mb, 1)
	return row
}

func is(ok bool, what string) error {
	if !ok {
		return errors.New("wrong: " + what)
	}
	return nil
}

// Every operation with every right alone, every two, all but each, all and none.
func TestGuardRights(t *testing.T) {
	const letters = "lrswipkxtea"
	sets := map[string]bool{"": true, letters: true}
	for i := range letters {
		sets[letters[:i]+letters[i+1:]] = true
		for j := range letters[:i+1] {
			sets[letters[j:j+1]+strings.Trim(letters[i:i+1], letters[j:j+1])] = true
		}
	}
	for _, a := range attempts {
		for _, exact := range []string{a.all + a.any, a.all + "l", a.all} {
			sets[exact] = true
		}
	}
	for _, a := range attempts {
		for set := range sets {
			k := newShared(t)
			k.grant("Box", letters)
			k.grant("Dest", letters)
			acc, box, dest := k.open(), k.mailbox("Box"), k.mailbox("Dest")
			k.grant("Box", set) // from now on, for what is open too
			err := a.do(t.Context(), k, acc, box, dest)
			known := a.known
			if known == "" {
				known = "lr"
			}
			switch {
			case !a.never && rights(t, set).Has(rights(t, a.all)) && (a.any == "" || strings.ContainsAny(set, a.any)):
				assert.NoError(t, err, "%s with %q", a.method, set)
			case known == "*" || strings.ContainsAny(set, known) && known != "none":
				assert.ErrorIs(t, err, store.ErrReadOnly, "%s with %q", a.method, set)
			default:
				assert.ErrorIs(t, err, store.ErrNotFound, "%s with %q", a.method, set)
			}
		}
	}
}

// A method that is added to the contract needs a decision here.
func TestGuardKnowsEveryMethod(t *testing.T) {
	want := map[string]bool{"Guard.Place": true}
	for _, typ := range []reflect.Type{reflect.TypeFor[store.Account](), reflect.TypeFor[store.Mailbox](), reflect.TypeFor[store.Annotations]()} {
		for i := range typ.NumMethod() {
			want[typ.Name()+"."+typ.Method(i).Name] = true
		}
	}
	got := map[string]bool{}
	for _, a := range attempts {
		got[a.method] = true
	}
	assert.Equal(t, want, got)
}
