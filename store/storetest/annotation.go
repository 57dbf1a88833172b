package storetest

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/store"
)

var annotationChecks = []check{
	{"Annotation/values", annotationValues},
	{"Annotation/refused", annotationRefused},
	{"Annotation/limit", annotationLimit},
	{"Annotation/rename-delete", annotationRenameDelete},
	{"Annotation/events", annotationEvents},
	{"Annotation/actors", annotationActors},
	{"Annotation/concurrent", annotationConcurrent},
	{"Annotation/calls", annotationCalls},
	{"Reopen/annotations", reopenAnnotations},
}

var finderChecks = []check{
	{"Annotation/finder", annotationFinder},
	{"Reopen/finder", reopenFinder},
}

// notes gives the account's annotations.
func (k *kit) notes(a store.Account) store.Annotations {
	k.Helper()
	n, ok := a.(store.Annotations)
	require.True(k, ok, "the engine has no annotations")
	return n
}

// note sets annotations: key, value, key, value …
func (k *kit) note(a store.Account, box store.MailboxID, set ...string) store.ModSeq {
	k.Helper()
	var list []store.Annotation
	for i := 0; i < len(set); i += 2 {
		list = append(list, store.Annotation{Key: set[i], Value: []byte(set[i+1])})
	}
	at, err := k.notes(a).Annotate(k.Context(), box, list...)
	require.NoError(k, err)
	return at
}

// noted shows annotations as "key=value key=value".
func (k *kit) noted(a store.Account, box store.MailboxID, prefix string) string {
	k.Helper()
	list, err := k.notes(a).Annotations(k.Context(), box, prefix)
	require.NoError(k, err)
	var all []string
	for _, n := range list {
		require.NotNil(k, n.Value, "%s has a value", n.Key)
		all = append(all, n.Key+"="+string(n.Value))
	}
	return strings.Join(all, " ")
}

func annotationValues(k *kit) {
	a := k.account("anna")
	in, other := k.box(a, store.Inbox).ID(), k.create(a, "Other").ID()
	require.Empty(k, k.noted(a, in, ""))
	start := k.through(a)
	at := k.note(a, in, "/b", "2", "/a/x", "1", "B", "big", "é", "\x00\xff\r\n", "/a", "")
	require.Greater(k, at, start)
	require.Equal(k, at, k.through(a), "one commit")
	require.Equal(k, "/a= /a/x=1 /b=2 B=big é=\x00\xff\r\n", k.noted(a, in, ""), "in the order of octets")
	require.Equal(k, "/a= /a/x=1", k.noted(a, in, "/a"))
	require.Equal(k, "/b=2", k.noted(a, in, "/b"))
	require.Empty(k, k.noted(a, in, "/A"), "no folding of case")
	require.Empty(k, k.noted(a, in, "/a%"))
	require.Empty(k, k.noted(a, in, "/_"))
	require.Empty(k, k.noted(a, other, ""), "each mailbox has its own")
	require.Empty(k, k.noted(a, 0, ""), "and so has the account")
	k.note(a, 0, "/b", "account")
	require.Equal(k, "/b=account", k.noted(a, 0, ""))

	now := k.through(a)
	require.Zero(k, k.note(a, in, "/b", "2", "/a", ""), "nothing changed")
	removed, err := k.notes(a).Annotate(k.Context(), in, store.Annotation{Key: "missing"})
	require.NoError(k, err)
	require.Zero(k, removed)
	removed, err = k.notes(a).Annotate(k.Context(), in)
	require.NoError(k, err)
	require.Zero(k, removed)
	require.Equal(k, now, k.through(a))
	removed, err = k.notes(a).Annotate(k.Context(), in, store.Annotation{Key: "/a"}, store.Annotation{Key: "/b", Value: []byte("3")},
		store.Annotation{Key: "B", Value: []byte{}}, store.Annotation{Key: "é"})
	require.NoError(k, err)
	require.Greater(k, removed, now)
	require.Equal(k, "/a/x=1 /b=3 B=", k.noted(a, in, ""), "none is not empty")
	require.Equal(k, "/b=account", k.noted(a, 0, ""))

	value := []byte("mine")
	_, err = k.notes(a).Annotate(k.Context(), other, store.Annotation{Key: "k", Value: value})
	require.NoError(k, err)
	copy(value, "XXXX") // both what goes in and what comes out are the caller's
	list, err := k.notes(a).Annotations(k.Context(), other, "")
	require.NoError(k, err)
	require.Equal(k, "mine", string(list[0].Value))
	copy(list[0].Value, "YYYY")
	require.Equal(k, "k=mine", k.noted(a, other, ""))
}

// What is refused leaves nothing behind.
func annotationRefused(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	in := k.box(a, store.Inbox).ID()
	k.note(a, in, "kept", "1")
	at := k.through(a)
	good := store.Annotation{Key: "good", Value: []byte("x")}
	for _, c := range []struct {
		kind error
		bad  store.Annotation
	}{
		{store.ErrInvalid, store.Annotation{Value: []byte("no key")}},
		{store.ErrInvalid, store.Annotation{Key: "a\x00b", Value: []byte("x")}},
		{store.ErrInvalid, store.Annotation{Key: "\xff", Value: []byte("x")}},
		{store.ErrInvalid, good},
		{store.ErrLimit, store.Annotation{Key: strings.Repeat("k", store.MaxAnnotationKey+1), Value: []byte("x")}},
		{store.ErrLimit, store.Annotation{Key: "v", Value: make([]byte, store.MaxAnnotationValue+1)}},
	} {
		_, err := k.notes(a).Annotate(ctx, in, good, store.Annotation{Key: "kept"}, c.bad)
		require.ErrorIs(k, err, c.kind, "%.20q", c.bad.Key)
	}
	_, err := k.notes(a).Annotate(ctx, 1<<40, good)
	require.ErrorIs(k, err, store.ErrNotFound)
	_, err = k.notes(a).Annotations(ctx, 1<<40, "")
	require.ErrorIs(k, err, store.ErrNotFound)
	require.Equal(k, "kept=1", k.noted(a, in, ""))
	require.Equal(k, at, k.through(a))
	large := store.Annotation{Key: strings.Repeat("k", store.MaxAnnotationKey), Value: bytes.Repeat([]byte("v"), store.MaxAnnotationValue)}
	_, err = k.notes(a).Annotate(ctx, in, large)
	require.NoError(k, err)
	list, err := k.notes(a).Annotations(ctx, in, "kk")
	require.NoError(k, err)
	require.Equal(k, []store.Annotation{large}, list)
}

func annotationLimit(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	in := k.box(a, store.Inbox).ID()
	for _, box := range []store.MailboxID{in, 0} { // each has its own limit
		var set []store.Annotation
		for i := range store.MaxAnnotations {
			set = append(set, store.Annotation{Key: fmt.Sprint("key-", i), Value: []byte("v")})
		}
		one := store.Annotation{Key: "one more", Value: []byte("v")}
		_, err := k.notes(a).Annotate(ctx, box, append(set[:len(set):len(set)], one)...)
		require.ErrorIs(k, err, store.ErrLimit)
		require.Empty(k, k.noted(a, box, ""))
		_, err = k.notes(a).Annotate(ctx, box, set[:10]...)
		require.NoError(k, err)
		_, err = k.notes(a).Annotate(ctx, box, set...)
		require.NoError(k, err)
		at := k.through(a)
		_, err = k.notes(a).Annotate(ctx, box, store.Annotation{Key: "key-7", Value: []byte("w")}, one)
		require.ErrorIs(k, err, store.ErrLimit)
		require.Equal(k, "key-7=v", k.noted(a, box, "key-7")[:7])
		require.Equal(k, at, k.through(a))
		k.note(a, box, "key-7", "w")
		_, err = k.notes(a).Annotate(ctx, box, one, store.Annotation{Key: "key-8"})
		require.NoError(k, err, "one goes, one comes")
		list, err := k.notes(a).Annotations(ctx, box, "")
		require.NoError(k, err)
		require.Len(k, list, store.MaxAnnotations)
	}
}

// Annotations belong to the mailbox, not to its name.
func annotationRenameDelete(k *kit) {
	ctx := k.Context()
	a := k.account("anna")
	in, box, child := k.box(a, store.Inbox).ID(), k.create(a, "Box").ID(), k.create(a, "Box/child").ID()
	k.note(a, in, "k", "inbox")
	k.note(a, box, "k", "box")
	k.note(a, child, "k", "child")
	require.NoError(k, a.Rename(ctx, "Box", "Moved/Box"))
	require.Equal(k, "k=box", k.noted(a, k.box(a, "Moved/Box").ID(), ""))
	require.Equal(k, "k=child", k.noted(a, k.box(a, "Moved/Box/child").ID(), ""))
	require.Empty(k, k.noted(a, k.create(a, "Box").ID(), ""), "the old name is somebody else's")
	k.add(a, store.Inbox, 1, 1)
	require.NoError(k, a.Rename(ctx, store.Inbox, "Old"))
	require.Equal(k, "k=inbox", k.noted(a, in, ""), "INBOX stays INBOX")
	require.NoError(k, a.Delete(ctx, "Moved/Box"))
	_, err := k.notes(a).Annotations(ctx, box, "")
	require.ErrorIs(k, err, store.ErrNotFound)
	_, err = k.notes(a).Annotate(ctx, box, store.Annotation{Key: "k"})
	require.ErrorIs(k, err, store.ErrNotFound)
	require.Equal(k, "k=child", k.noted(a, child, ""))
	require.Empty(k, k.noted(a, k.create(a, "Moved/Box").ID(), ""))
	k.note(a, 0, "k", "account")
	require.NoError(k, k.st.DeleteAccount(ctx, "anna"))
	_, err = k.notes(a).Annotations(ctx, 0, "")
	require.ErrorIs(k, err, store.ErrNotFound)
	a = k.account("anna")
	require.Empty(k, k.noted(a, 0, ""))
	require.Empty(k, k.noted(a, k.box(a, store.Inbox).ID(), ""))
}

func annotationEvents(k *kit) {
	a := k.account("anna")
	mb, other := k.box(a, store.Inbox), k.create(a, "Other")
	k.add(a, store.Inbox, 1, 2)
	before := k.snap(mb)
	start := k.through(a)
	wake := a.Watch(k.Context())
	at := k.note(a, mb.ID(), "k", "1", "l", "1")
	require.True(k, k.receive(wake))
	e := k.find(k.accountChanges(a, start), store.MailboxAnnotated, store.Inbox)
	require.Equal(k, store.MailboxEvent{Kind: store.MailboxAnnotated, ModSeq: at, Mailbox: mb.ID(), Name: store.Inbox}, e)
	require.Len(k, k.accountChanges(a, start).Events, 1, "no messages have changed")
	d := store.Diff(before, k.snap(mb))
	require.Empty(k, d.Rows)
	require.Empty(k, d.Vanished)
	require.Empty(k, k.accountChanges(a, at).Events)

	second := k.note(a, other.ID(), "k", "1")
	third := k.note(a, 0, "k", "1")
	require.Less(k, second, third)
	c := k.accountChanges(a, at)
	require.Equal(k, []store.MailboxEvent{
		{Kind: store.MailboxAnnotated, ModSeq: second, Mailbox: other.ID(), Name: "Other"},
		{Kind: store.MailboxAnnotated, ModSeq: third},
	}, c.Events)
	k.note(a, 0, "k", "1")
	require.Empty(k, k.accountChanges(a, third).Events, "nothing changed")
	_, err := k.notes(a).Annotate(k.Context(), other.ID(), store.Annotation{Key: "k"})
	require.NoError(k, err)
	require.Len(k, k.accountChanges(a, third).Events, 1, "removing is a change")
}

// Annotations are the mailbox's, whoever looks.
func annotationActors(k *kit) {
	a := k.account("anna")
	b := k.account("bob")
	guest := k.actor("anna", "bob")
	in := k.box(a, store.Inbox).ID()
	k.note(a, in, "acl", "bob lr")
	require.Equal(k, "acl=bob lr", k.noted(guest, in, ""))
	at := k.note(guest, in, "comment", "by bob")
	require.Equal(k, "acl=bob lr comment=by bob", k.noted(a, in, ""))
	k.find(k.accountChanges(a, at-1), store.MailboxAnnotated, store.Inbox)
	require.Empty(k, k.noted(b, k.box(b, store.Inbox).ID(), ""))
}

func annotationConcurrent(k *kit) {
	a := k.account("anna")
	in := k.box(a, store.Inbox)
	start := k.through(a)
	const writers, each = 8, 12
	n := k.notes(a)
	var t team
	marks := make([][]store.ModSeq, writers)
	for w := range writers {
		t.run(func() error {
			for i := range each {
				at, err := n.Annotate(k.Context(), in.ID(),
					store.Annotation{Key: fmt.Sprintf("own-%d-%02d", w, i), Value: []byte("x")},
					store.Annotation{Key: "shared", Value: fmt.Appendf(nil, "%d-%d", w, i)})
				if err != nil {
					return err
				}
				marks[w] = append(marks[w], at)
			}
			return nil
		})
	}
	require.NoError(k, t.wait())
	list, err := k.notes(a).Annotations(k.Context(), in.ID(), "own-")
	require.NoError(k, err)
	require.Len(k, list, writers*each, "none is lost")
	told := map[store.ModSeq]bool{}
	for _, e := range k.accountChanges(a, start).Events {
		require.Equal(k, store.MailboxAnnotated, e.Kind)
		told[e.ModSeq] = true
	}
	seen := map[store.ModSeq]bool{}
	last, value := store.ModSeq(0), ""
	for w := range marks {
		for i, at := range marks[w] {
			require.False(k, seen[at], "mod-sequence %d twice", at)
			seen[at] = true
			require.True(k, told[at], "the change at %d is told", at)
			if at > last {
				last, value = at, fmt.Sprintf("shared=%d-%d", w, i)
			}
		}
	}
	require.Equal(k, value, k.noted(a, in.ID(), "shared"), "the last one wins")
}

func annotationCalls(k *kit) {
	a := k.account("anna")
	n := k.notes(a)
	if _, err := n.Annotate(k.ended(), 0, store.Annotation{Key: "k", Value: []byte("v")}); err != nil {
		require.ErrorIs(k, err, context.Canceled)
	}
	if _, err := n.Annotations(k.ended(), 0, ""); err != nil {
		require.ErrorIs(k, err, context.Canceled)
	}
	require.NoError(k, k.st.Close())
	_, err := n.Annotate(context.Background(), 0, store.Annotation{Key: "k", Value: []byte("v")})
	require.ErrorIs(k, err, store.ErrUnavailable)
	_, err = n.Annotations(context.Background(), 0, "")
	require.ErrorIs(k, err, store.ErrUnavailable)
}

func reopenAnnotations(k *kit) {
	k.needsReopen()
	a := k.account("anna")
	k.note(a, 0, "account", "x", "empty", "")
	k.note(a, k.create(a, "Box").ID(), "k", "1", "l", "2")
	_, err := k.notes(a).Annotate(k.Context(), 0, store.Annotation{Key: "account"})
	require.NoError(k, err)
	gone := k.create(a, "Gone").ID()
	k.note(a, gone, "k", "1")
	require.NoError(k, a.Delete(k.Context(), "Gone"))
	want := k.accountChanges(a, 1)
	for range 2 {
		k.reopen()
		a = k.open("anna")
		require.Equal(k, "empty=", k.noted(a, 0, ""))
		require.Equal(k, "k=1 l=2", k.noted(a, k.box(a, "Box").ID(), ""))
		_, err = k.notes(a).Annotations(k.Context(), gone, "")
		require.ErrorIs(k, err, store.ErrNotFound)
		require.Equal(k, want, k.accountChanges(a, 1))
	}
}

// annotated lists who has an annotation.
func (k *kit) annotated(key string) []string {
	k.Helper()
	f, ok := k.st.(store.AnnotationFinder)
	require.True(k, ok, "the engine is no AnnotationFinder")
	names := []string{}
	for name, err := range f.Annotated(k.Context(), key) {
		require.NoError(k, err)
		names = append(names, name)
	}
	return names
}

func annotationFinder(k *kit) {
	ctx := k.Context()
	require.Empty(k, k.annotated("acl/x"))
	accounts := map[string]store.Account{}
	for _, name := range []string{"zoe", "anna", "bob", "Carol", "dave"} {
		accounts[name] = k.account(name)
	}
	box := k.create(accounts["zoe"], "Shared")
	k.note(accounts["zoe"], box.ID(), "acl/x", "lr")
	k.note(accounts["zoe"], k.box(accounts["zoe"], store.Inbox).ID(), "acl/x", "lr", "acl/y", "lr")
	k.note(accounts["bob"], 0, "acl/x", "")
	k.note(accounts["anna"], k.box(accounts["anna"], store.Inbox).ID(), "acl/x", "lr")
	k.note(accounts["Carol"], 0, "acl/xx", "lr", "ACL/X", "lr")
	require.Equal(k, []string{"anna", "bob", "zoe"}, k.annotated("acl/x"), "each once, in order")
	require.Equal(k, []string{"zoe"}, k.annotated("acl/y"))
	for name, err := range k.st.(store.AnnotationFinder).Annotated(ctx, "acl/x") {
		require.NoError(k, err)
		require.Equal(k, "anna", name)
		k.note(accounts["dave"], 0, "acl/x", "1") // nothing is locked meanwhile
		break
	}
	_, err := k.notes(accounts["bob"]).Annotate(ctx, 0, store.Annotation{Key: "acl/x"})
	require.NoError(k, err)
	require.Equal(k, []string{"anna", "dave", "zoe"}, k.annotated("acl/x"))
	_, err = k.notes(accounts["zoe"]).Annotate(ctx, k.box(accounts["zoe"], store.Inbox).ID(), store.Annotation{Key: "acl/x"})
	require.NoError(k, err)
	require.Equal(k, []string{"anna", "dave", "zoe"}, k.annotated("acl/x"), "there is one more")
	require.NoError(k, accounts["zoe"].Delete(ctx, "Shared"))
	require.NoError(k, k.st.DeleteAccount(ctx, "dave"))
	require.Equal(k, []string{"anna"}, k.annotated("acl/x"))
	for _, err := range k.st.(store.AnnotationFinder).Annotated(k.ended(), "acl/x") {
		if err != nil {
			require.ErrorIs(k, err, context.Canceled)
		}
	}
	require.NoError(k, k.st.Close())
	n := 0
	for _, err := range k.st.(store.AnnotationFinder).Annotated(context.Background(), "acl/x") {
		require.ErrorIs(k, err, store.ErrUnavailable)
		n++
	}
	require.Equal(k, 1, n)
}

func reopenFinder(k *kit) {
	k.needsReopen()
	for _, name := range []string{"zoe", "anna", "bob"} {
		k.note(k.account(name), 0, "k", "v")
	}
	_, err := k.notes(k.open("bob")).Annotate(k.Context(), 0, store.Annotation{Key: "k"})
	require.NoError(k, err)
	k.reopen()
	require.Equal(k, []string{"anna", "zoe"}, k.annotated("k"))
}
