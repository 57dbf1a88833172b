package mda_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// A message for an alias is filed in the mailboxes of two accounts.
func ExampleAgent_Deliver() {
	ctx := context.Background()
	st := memory.New()
	defer st.Close()
	for _, name := range []string{"anna@example.org", "otto@example.org"} {
		if err := st.CreateAccount(ctx, name); err != nil {
			log.Fatal(err)
		}
	}
	agent := &mda.Agent{
		Store:   st,
		Aliases: map[string][]string{"team@example.org": {"anna@example.org", "otto@example.org"}},
	}
	body, err := agent.Stage(ctx, strings.NewReader("Subject: Hello\r\n\r\nHi all.\r\n"))
	if err != nil {
		log.Fatal(err)
	}
	defer body.Discard()
	results := agent.Deliver(ctx, &mda.Delivery{
		ID:   "20261122-1", // a retry with the same ID files nothing again
		From: smtp.Path{Local: "mia", Domain: "example.com"},
		Body: body,
	}, []smtp.Path{{Local: "team", Domain: "example.org"}, {Local: "nobody", Domain: "example.org"}})
	for _, err := range results {
		fmt.Println(err)
	}

	acc, err := st.Account(ctx, "otto@example.org", "otto@example.org")
	if err != nil {
		log.Fatal(err)
	}
	inbox, err := acc.Mailbox(ctx, store.Inbox)
	if err != nil {
		log.Fatal(err)
	}
	snap, err := inbox.Snapshot(ctx)
	if err != nil {
		log.Fatal(err)
	}
	msg, err := inbox.Open(ctx, snap.At(0))
	if err != nil {
		log.Fatal(err)
	}
	defer msg.Close()
	text, err := io.ReadAll(io.NewSectionReader(msg, 0, msg.Size()))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(strings.ReplaceAll(string(text), "\r\n", "\n"))
	// Output:
	// <nil>
	// smtp: 550 5.1.1 No such user here
	// Return-Path: <mia@example.com>
	// Delivered-To: otto@example.org
	// Subject: Hello
	//
	// Hi all.
}

// An LMTP server that files into a store.
func ExampleAgent_LMTP() {
	agent := &mda.Agent{Store: memory.New(), Hostname: "mail.example.org"}
	srv := &smtp.Server{Addr: "127.0.0.1:24", LMTP: true, Handler: agent.LMTP()}
	defer srv.Close()
	// err := srv.ListenAndServe()
}
