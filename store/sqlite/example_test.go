package sqlite_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/sqlite"
)

func Example() {
	dir, err := os.MkdirTemp("", "mail")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx := context.Background()

	st, err := sqlite.Open(dir)
	if err != nil {
		log.Fatal(err)
	}
	defer st.Close()
	if err := st.CreateAccount(ctx, "anna"); err != nil {
		log.Fatal(err)
	}

	body, err := st.Stage(ctx, strings.NewReader("Subject: Hello\r\n\r\nHello, Anna.\r\n"))
	if err != nil {
		log.Fatal(err)
	}
	defer body.Discard()
	placed := st.Place(ctx, []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: body}})
	if placed[0].Err != nil {
		log.Fatal(placed[0].Err)
	}
	fmt.Println("durable as UID", placed[0].UID)

	account, err := st.Account(ctx, "anna", "anna")
	if err != nil {
		log.Fatal(err)
	}
	inbox, err := account.Mailbox(ctx, store.Inbox)
	if err != nil {
		log.Fatal(err)
	}
	snapshot, err := inbox.Snapshot(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, row := range snapshot.All() {
		b, err := inbox.Open(ctx, row)
		if err != nil {
			log.Fatal(err)
		}
		text, _ := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
		b.Close()
		fmt.Printf("%q\n", text)
	}
	// Output:
	// durable as UID 1
	// "Subject: Hello\r\n\r\nHello, Anna.\r\n"
}
