package store_test

import (
	"context"
	"fmt"
	"strings"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// A message is staged once and placed in one commit per account; a snapshot
// shows it, and a search finds it.
func Example() {
	ctx := context.Background()
	var st store.Store = memory.New() // or sqlite.Open, …
	defer st.Close()
	if err := st.CreateAccount(ctx, "anna"); err != nil {
		panic(err)
	}

	body, err := st.Stage(ctx, strings.NewReader("Subject: Caf\u00e9\r\n\r\nSee you at noon.\r\n"))
	if err != nil {
		panic(err)
	}
	defer body.Discard()
	placed := st.Place(ctx, []store.Target{{
		Account: "anna", Mailbox: store.Inbox, Body: body,
		Prefix: []byte("Return-Path: <bob@example.org>\r\n"),
		Token:  "queue-17/anna", // a retry files nothing twice
	}})
	if err := placed[0].Err; err != nil {
		panic(err)
	}

	anna, err := st.Account(ctx, "anna", "anna")
	if err != nil {
		panic(err)
	}
	inbox, err := anna.Mailbox(ctx, store.Inbox)
	if err != nil {
		panic(err)
	}
	snap, err := inbox.Snapshot(ctx)
	if err != nil {
		panic(err)
	}
	for row, err := range store.Search(ctx, inbox, snap, &store.Criteria{Text: []string{"CAFE", "noon"}}) {
		fmt.Println("UID", row.UID, row.Size, "octets", err)
	}
	// Output: UID 1 68 octets <nil>
}

// Anna lets Bob read a mailbox and flag what is in it.
func ExampleGuard() {
	ctx := context.Background()
	st := memory.New()
	defer st.Close()
	for _, name := range []string{"anna", "bob"} {
		if err := st.CreateAccount(ctx, name); err != nil {
			panic(err)
		}
	}
	anna, err := st.Account(ctx, "anna", "anna")
	if err != nil {
		panic(err)
	}
	lists, err := store.CreateMailbox(ctx, anna, "Lists", store.CreateOptions{})
	if err != nil {
		panic(err)
	}
	rights, err := store.ParseRights("lrsw")
	if err != nil {
		panic(err)
	}
	if err := store.WriteACL(ctx, anna, lists.ID, store.ACLEntry{Identifier: "bob", Rights: rights}); err != nil {
		panic(err)
	}

	bob := store.Guard{Store: st, Actor: "bob"}
	for share, err := range bob.Shared(ctx) {
		fmt.Println(share.Account, share.Mailboxes[0].Name, err)
	}
	shared, err := bob.Account(ctx, "anna")
	if err != nil {
		panic(err)
	}
	fmt.Println(shared.Delete(ctx, "Lists"))
	fmt.Println(shared.Delete(ctx, store.Inbox))
	// Output:
	// anna Lists <nil>
	// store: not permitted: no right
	// store: not found
}

func ExampleSnapshot_With() {
	old := store.NewSnapshot(1, 1, 3, 7, nil, []store.Row{{UID: 1, ModSeq: 5}, {UID: 2, ModSeq: 7}})
	now := old.With(store.Changes{Since: 7, Through: 8, Rows: []store.Row{{UID: 3, ModSeq: 8}}, Vanished: store.UIDs(1), UIDNext: 4})
	for i, row := range now.All() {
		fmt.Println("message", i+1, "is UID", row.UID)
	}
	// Output:
	// message 1 is UID 2
	// message 2 is UID 3
}

func ExampleCanonicalName() {
	for _, name := range []string{"inbox/Lists", "e\u0301t\u00e9", "../etc"} {
		fmt.Println(store.CanonicalName(name))
	}
	// Output:
	// INBOX/Lists <nil>
	// été <nil>
	//  store: invalid mailbox name: reserved level
}
