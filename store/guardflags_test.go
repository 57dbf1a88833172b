package store_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

// What a copy or a new message may not carry is dropped, never refused (RFC
// 4314 §4, with its two examples).
func TestGuardDropsFlags(t *testing.T) {
	for _, c := range []struct {
		rights string
		want   []store.Flag
	}{
		{"rwis", []store.Flag{store.FlagSeen, store.FlagDraft, "$Forwarded"}},
		{"rsti", []store.Flag{store.FlagSeen, store.FlagDeleted}},
		{"ri", nil},
		{"rswti", []store.Flag{store.FlagSeen, store.FlagDeleted, store.FlagDraft, "$Forwarded"}},
	} {
		t.Run(c.rights, func(t *testing.T) {
			k := newShared(t)
			k.grant("Box", "lrswite")
			k.grant("Dest", c.rights)
			box, dest := k.mailbox("Box"), k.mailbox("Dest")
			all := []store.Flag{store.FlagDraft, store.FlagDeleted, store.FlagSeen, "$Forwarded"}
			placed := k.guard.Place(t.Context(), []store.Target{k.target("Dest", slices.Clone(all)...), k.target("Dest")})
			require.NoError(t, placed[0].Err)
			require.NoError(t, placed[1].Err)
			_, flags := k.row(dest, placed[0].UID)
			assert.ElementsMatch(t, c.want, flags, "Place")
			_, flags = k.row(dest, placed[1].UID)
			assert.Empty(t, flags)

			uid := k.guard.Place(t.Context(), []store.Target{k.target("Box", all...)})[0].UID
			copied, err := box.Copy(t.Context(), store.UIDs(uid), dest.ID())
			require.NoError(t, err)
			_, flags = k.row(dest, copied.To[0])
			assert.ElementsMatch(t, c.want, flags, "Copy")
			_, flags = k.row(box, uid)
			assert.ElementsMatch(t, all, flags, "the original")

			moved, err := box.Move(t.Context(), store.UIDs(uid), dest.ID())
			require.NoError(t, err)
			_, flags = k.row(dest, moved.To[0])
			assert.ElementsMatch(t, c.want, flags, "Move")

			owners, err := k.ann.Mailbox(t.Context(), "Dest")
			require.NoError(t, err)
			for _, uid := range []store.UID{placed[0].UID, copied.To[0], moved.To[0]} {
				_, flags = k.row(owners, uid)
				assert.NotContains(t, flags, store.FlagSeen, "ann has not seen it")
			}
		})
	}
}

func TestGuardReplacesOnlyWhatItMay(t *testing.T) {
	for _, c := range []struct {
		rights     string
		replace    []store.Flag
		want       []store.Flag // from \Deleted \Flagged $k
		permission bool
	}{
		{"rw", []store.Flag{store.FlagDraft, "$new"}, []store.Flag{store.FlagDeleted, store.FlagDraft, "$new"}, true},
		{"rt", []store.Flag{store.FlagDraft, store.FlagSeen}, nil, false},
		{"rt", nil, []store.Flag{store.FlagFlagged, "$k"}, true},
		{"rst", []store.Flag{store.FlagSeen, store.FlagDraft}, []store.Flag{store.FlagSeen, store.FlagFlagged, "$k"}, true},
		{"rwt", []store.Flag{"$K", store.FlagSeen}, []store.Flag{"$k"}, true},
		{"rswt", []store.Flag{store.FlagSeen}, []store.Flag{store.FlagSeen}, true},
	} {
		k := newShared(t)
		k.grant("Box", c.rights)
		box := k.mailbox("Box")
		before, flags := k.row(box, 1)
		require.ElementsMatch(t, []store.Flag{store.FlagDeleted, store.FlagFlagged, "$k"}, flags)
		update := store.FlagUpdate{Op: store.FlagsReplace, Flags: c.replace, UnchangedSince: new(store.ModSeq)}
		late, err := box.Flag(t.Context(), store.UIDs(1), update)
		*update.UnchangedSince = before.ModSeq
		done, err2 := box.Flag(t.Context(), store.UIDs(1), update)
		_, flags = k.row(box, 1)
		if !c.permission {
			assert.ErrorIs(t, err, store.ErrReadOnly)
			assert.ErrorIs(t, err2, store.ErrReadOnly)
			assert.Len(t, flags, 3)
			continue
		}
		require.NoError(t, errors.Join(err, err2))
		assert.Empty(t, late.Changed, c.rights)
		assert.True(t, late.Failed.Equal(store.UIDs(1)), c.rights)
		assert.ElementsMatch(t, c.want, flags, c.rights)
		assert.True(t, done.Changed.Equal(store.UIDs(1)) && done.Failed.Empty(), "%s %v", c.rights, done)
		row, _ := k.row(box, 1)
		assert.Equal(t, row.ModSeq, done.ModSeq, c.rights)
	}
}

func TestGuardShowsNoMoreThanItMay(t *testing.T) {
	k := newShared(t)
	_, err := k.guard.Account(t.Context(), "ann")
	require.ErrorIs(t, err, store.ErrNotFound, "nothing is shared")
	_, err = k.guard.Account(t.Context(), "nobody")
	require.ErrorIs(t, err, store.ErrNotFound)
	require.ErrorIs(t, k.guard.Place(t.Context(), []store.Target{k.target("Box")})[0].Err, store.ErrNotFound)

	k.grant("Box", "l")
	require.NoError(t, k.ann.Subscribe(t.Context(), "Box", true))
	infos, err := k.open().Mailboxes(t.Context())
	require.NoError(t, err)
	require.Len(t, infos, 1)
	assert.Equal(t, "Box", infos[0].Name)
	assert.Zero(t, infos[0].Messages)
	assert.Zero(t, infos[0].ModSeq)
	assert.False(t, infos[0].Subscribed)
	_, err = k.open().Mailbox(t.Context(), "Dest")
	assert.ErrorIs(t, err, store.ErrNotFound)
	_, err = store.ReadACL(t.Context(), k.open(), k.id("Dest"))
	assert.ErrorIs(t, err, store.ErrNotFound)

	mine, err := store.MyRights(t.Context(), k.open(), k.id("Box"))
	require.NoError(t, err)
	assert.Equal(t, "l", mine.String())
	_, err = store.MyRights(t.Context(), k.open(), k.id("Dest"))
	assert.ErrorIs(t, err, store.ErrNotFound)
	mine, err = store.MyRights(t.Context(), k.ann, k.id("Dest"))
	require.NoError(t, err)
	assert.Equal(t, store.AllRights, mine)

	// What goes out of sight is told, without its name.
	c, err := k.open().Changes(t.Context(), 0)
	require.NoError(t, err)
	for _, e := range c.Events {
		assert.True(t, e.Name == "Box" && e.Kind != store.MailboxChanged && e.Kind != store.MailboxSubscribed, "%+v", e)
	}
	k.grant("Dest", "l")
	acc, box := k.open(), k.id("Box")
	k.grant("Box", "")
	c, err = acc.Changes(t.Context(), c.Through)
	require.NoError(t, err)
	require.Len(t, c.Events, 2)
	assert.Equal(t, "Dest", c.Events[0].Name)
	assert.Equal(t, store.MailboxEvent{Kind: store.MailboxDeleted, ModSeq: c.Through, Mailbox: box}, c.Events[1])
}

func TestGuardPlacesByAccount(t *testing.T) {
	k := newShared(t)
	k.grant("Box", "i")
	own := k.target(store.Inbox, store.FlagSeen)
	own.Account = "bob"
	nowhere := k.target("Nowhere")
	nowhere.Account = "eve"
	placed := k.guard.Place(t.Context(), []store.Target{k.target("Box"), own, nowhere, k.target("Dest"), k.target("Box")})
	assert.ErrorIs(t, placed[0].Err, store.ErrNotFound, "one of the account's fails, all do")
	require.NoError(t, placed[1].Err)
	assert.ErrorIs(t, placed[2].Err, store.ErrNotFound)
	assert.ErrorIs(t, placed[3].Err, store.ErrNotFound)
	assert.ErrorIs(t, placed[4].Err, store.ErrNotFound)
	mb, err := k.ann.Mailbox(t.Context(), "Box")
	require.NoError(t, err)
	info, err := mb.Info(t.Context())
	require.NoError(t, err)
	assert.Equal(t, 2, info.Messages, "nothing was filed")

	bob, err := k.guard.Account(t.Context(), "bob")
	require.NoError(t, err)
	inbox, err := bob.Mailbox(t.Context(), store.Inbox)
	require.NoError(t, err)
	_, flags := k.row(inbox, placed[1].UID)
	assert.Equal(t, []store.Flag{store.FlagSeen}, flags)
	assert.Empty(t, k.guard.Place(t.Context(), nil))
}

func TestPrivateMetadata(t *testing.T) {
	k := newShared(t)
	k.grant("Box", "lr")
	box := k.id("Box")
	annotate := func(acc store.Account, key, value string) {
		t.Helper()
		_, err := acc.(store.Annotations).Annotate(t.Context(), box, store.Annotation{Key: key, Value: []byte(value)})
		require.NoError(t, err)
	}
	all := func(acc store.Account, prefix string) (out []string) {
		t.Helper()
		set, err := acc.(store.Annotations).Annotations(t.Context(), box, prefix)
		require.NoError(t, err)
		for _, a := range set {
			out = append(out, a.Key+"="+string(a.Value))
		}
		return out
	}
	annotate(k.ann, "/private/comment", "ann's")
	annotate(k.ann, "/shared/comment", "ours")
	annotate(k.ann, "x-program", "hers")
	annotate(k.open(), "/private/comment", "bob's")
	annotate(k.open(), "/private/z", "")
	for _, prefix := range []string{"", "/"} {
		assert.Equal(t, []string{"/private/comment=bob's", "/private/z=", "/shared/comment=ours"}, all(k.open(), prefix), prefix)
	}
	assert.Equal(t, []string{"/private/comment=bob's"}, all(k.open(), "/private/c"))
	assert.Empty(t, all(k.open(), "actor/"))
	assert.Empty(t, all(k.open(), "x-"))
	assert.Contains(t, all(k.ann, ""), "/private/comment=ann's")
	k.grant("Box", "la")
	assert.Equal(t, []string{"acl/bob=la"}, all(k.open(), ""))
}

// scanned hides that the store finds annotations.
type scanned struct{ store.Store }

// unshared is a store without annotations.
type unshared struct{ store.Store }

func (unshared) Account(_ context.Context, _, _ string) (store.Account, error) {
	return nil, store.ErrReadOnly
}

// broken cannot open one account.
type broken struct{ store.Store }

func (b broken) Account(ctx context.Context, name, actor string) (store.Account, error) {
	if name == "ann" {
		return nil, store.ErrCorrupt
	}
	return b.Store.Account(ctx, name, actor)
}

func TestSharedWith(t *testing.T) {
	k := newShared(t)
	eve, err := k.st.Account(t.Context(), "eve", "eve")
	require.NoError(t, err)
	inbox, err := eve.Mailbox(t.Context(), store.Inbox)
	require.NoError(t, err)
	list := func(seq iter.Seq2[store.Share, error]) (out []string) {
		t.Helper()
		for s, err := range seq {
			if err != nil {
				out = append(out, s.Account+" "+err.Error())
				continue
			}
			for _, m := range s.Mailboxes {
				out = append(out, s.Account+"/"+m.Name)
			}
		}
		return out
	}
	both := func(want ...string) {
		t.Helper()
		assert.Equal(t, want, list(k.guard.Shared(t.Context())))
		g := k.guard
		g.Store = scanned{k.st}
		assert.Equal(t, want, list(g.Shared(t.Context())), "without a finder")
	}
	both()
	k.grant("Box", "r")
	both()
	k.grant("Box", "lr")
	k.grant("Dest", "l")
	both("ann/Box", "ann/Dest")
	require.NoError(t, store.WriteACL(t.Context(), eve, inbox.ID(), store.ACLEntry{Identifier: "$team", Rights: store.RightLookup},
		store.ACLEntry{Identifier: "anyone", Rights: store.RightLookup}))
	both("ann/Box", "ann/Dest", "eve/INBOX")
	require.NoError(t, store.WriteACL(t.Context(), eve, inbox.ID(), store.ACLEntry{Identifier: "-bob", Rights: store.RightLookup}))
	both("ann/Box", "ann/Dest")
	require.NoError(t, store.WriteACL(t.Context(), eve, inbox.ID(), store.ACLEntry{Identifier: "-bob"}))

	g := k.guard
	g.Store = broken{k.st}
	assert.Equal(t, []string{"ann " + store.ErrCorrupt.Error(), "eve/INBOX"}, list(g.Shared(t.Context())))
	for range k.guard.Shared(t.Context()) {
		break
	}
	g.Store = unshared{k.st}
	assert.Empty(t, list(g.Shared(t.Context())))
}
