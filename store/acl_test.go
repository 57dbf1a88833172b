package store_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

func rights(t testing.TB, s string) store.Rights {
	t.Helper()
	r, err := store.ParseRights(s)
	require.NoError(t, err)
	return r
}

func TestACLRights(t *testing.T) {
	acl := func(entries ...string) (list store.ACL) {
		for _, e := range entries {
			id, r, _ := strings.Cut(e, "=")
			list = append(list, store.ACLEntry{Identifier: id, Rights: rights(t, r)})
		}
		return list
	}
	for _, c := range []struct {
		list   store.ACL
		actor  string
		groups []string
		want   string
	}{
		{nil, "bob", nil, ""},
		{acl("bob=lr"), "bob", nil, "lr"},
		{acl("bob=lr"), "Bob", nil, ""},
		{acl("anyone=l", "bob=r", "$team=i"), "bob", []string{"team"}, "lri"},
		{acl("anyone=l", "bob=r", "$team=i"), "bob", []string{"$team"}, "lr"},
		{acl("anyone=lrsw", "-bob=w"), "bob", nil, "lrs"}, // RFC 4314 §2
		{acl("anyone=lrsw", "-bob=w"), "eve", nil, "lrsw"},
		{acl("bob=lr", "-$team=r"), "bob", []string{"team"}, "l"},
		{acl("bob=lr", "-anyone=lrswipkxtea"), "bob", nil, ""},
		{acl("anyone=l"), "", nil, "l"},
		{acl("=lr"), "", nil, ""},
		// Names that are words of the language name nobody.
		{acl("-fred=lr"), "-fred", nil, ""},
		{acl("$team=lr"), "$team", nil, ""},
		{acl("anyone=l"), "anyone", nil, "l"},
		{acl("--fred=lr"), "-fred", nil, ""},
	} {
		assert.Equal(t, c.want, c.list.Rights(c.actor, c.groups...).String(), "%v %q %q", c.list, c.actor, c.groups)
	}
	damaged := store.ACL{{Identifier: store.Anyone, Rights: store.AllRights}, {Identifier: "-bob", Damaged: true}, {Identifier: "eve", Damaged: true}}
	assert.Zero(t, damaged.Rights("bob"))
	assert.Equal(t, store.AllRights, damaged.Rights("eve"))
	assert.Zero(t, damaged[1:].Rights("eve"))
}

func TestACLIsKept(t *testing.T) {
	k := newShared(t)
	inbox := k.id(store.Inbox)
	require.NoError(t, store.WriteACL(t.Context(), k.ann, inbox,
		store.ACLEntry{Identifier: "bob", Rights: rights(t, "lrd")}, store.ACLEntry{Identifier: "-$team", Rights: store.RightPost}))
	require.NoError(t, store.WriteACL(t.Context(), k.ann, inbox, store.ACLEntry{Identifier: "anyone", Rights: store.RightLookup}))
	list, err := store.ReadACL(t.Context(), k.ann, inbox)
	require.NoError(t, err)
	require.Equal(t, store.ACL{{Identifier: "-$team", Rights: store.RightPost}, {Identifier: "anyone", Rights: store.RightLookup},
		{Identifier: "bob", Rights: rights(t, "lrte")}}, list)

	require.NoError(t, store.WriteACL(t.Context(), k.ann, inbox, store.ACLEntry{Identifier: "bob"}, store.ACLEntry{Identifier: "nobody"}))
	list, err = store.ReadACL(t.Context(), k.ann, inbox)
	require.NoError(t, err)
	require.Len(t, list, 2, "an entry without rights is none")

	for _, id := range []string{"", "-", "$", "-$", "a\x00b", "a\nb", "\xff"} {
		assert.ErrorIs(t, store.WriteACL(t.Context(), k.ann, inbox, store.ACLEntry{Identifier: id}), store.ErrInvalid, "%q", id)
	}
	long := store.ACLEntry{Identifier: strings.Repeat("x", store.MaxACLIdentifier+1)}
	assert.ErrorIs(t, store.WriteACL(t.Context(), k.ann, inbox, long), store.ErrLimit)
	assert.ErrorIs(t, store.WriteACL(t.Context(), k.ann, 999, store.ACLEntry{Identifier: "bob", Rights: 1}), store.ErrNotFound)

	_, err = k.ann.(store.Annotations).Annotate(t.Context(), inbox, store.Annotation{Key: store.ACLPrefix + "eve", Value: []byte("lr?")})
	require.NoError(t, err)
	list, err = store.ReadACL(t.Context(), k.ann, inbox)
	require.NoError(t, err)
	require.True(t, list[2].Damaged)
}

func TestRightsAreInherited(t *testing.T) {
	k := newShared(t)
	k.grant("Box", "lr")
	k.grant("", "k") // the top
	_, err := store.CreateMailbox(t.Context(), k.ann, "Box/a/b", store.CreateOptions{})
	require.NoError(t, err)
	_, err = store.CreateMailbox(t.Context(), k.ann, "Top", store.CreateOptions{})
	require.NoError(t, err)
	require.NoError(t, store.RenameMailbox(t.Context(), k.ann, "Dest", "Box/new/Dest"))
	for name, want := range map[string]string{"Box/a": "lr", "Box/a/b": "lr", "Top": "k", "Box/new": "lr", "Box/new/Dest": ""} {
		list, err := store.ReadACL(t.Context(), k.ann, k.id(name))
		require.NoError(t, err)
		assert.Equal(t, want, list.Rights("bob").String(), name)
	}
	_, err = store.CreateMailbox(t.Context(), k.ann, "Box", store.CreateOptions{})
	assert.ErrorIs(t, err, store.ErrExists)
	_, err = store.CreateMailbox(t.Context(), k.ann, "a/../b", store.CreateOptions{})
	assert.ErrorIs(t, err, store.ErrInvalidName)
	require.NoError(t, k.ann.Delete(t.Context(), "Top"))
	_, err = k.ann.Create(t.Context(), "Top", store.CreateOptions{})
	require.NoError(t, err)
	list, err := store.ReadACL(t.Context(), k.ann, k.id("Top"))
	require.NoError(t, err)
	assert.Empty(t, list, "rights go with their mailbox")
}
