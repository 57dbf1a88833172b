package pop3_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"strings"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/internal/memnet"
	"github.com/posta-mail/posta/pop3"
	"github.com/posta-mail/posta/store"
	"github.com/posta-mail/posta/store/memory"
)

// users is the smallest Authenticator; auth/password keeps real ones.
type users map[string]string

func (u users) Password(_ context.Context, _ auth.Request, authzid, user, password string) (*auth.Identity, error) {
	if u[user] == "" || u[user] != password || authzid != "" && authzid != user {
		return nil, auth.ErrCredentials
	}
	return &auth.Identity{Account: user, Login: user}, nil
}

// A server over a store with one message, and a client that fetches it.
func Example() {
	ctx := context.Background()
	st := memory.New()
	defer st.Close()
	if err := st.CreateAccount(ctx, "anna"); err != nil {
		log.Fatal(err)
	}
	body, err := st.Stage(ctx, strings.NewReader("Subject: Hello\r\n\r\nHi Anna.\r\n"))
	if err != nil {
		log.Fatal(err)
	}
	st.Place(ctx, []store.Target{{Account: "anna", Mailbox: store.Inbox, Body: body}})

	srv := &pop3.Server{
		Hostname:     "pop.example.org",
		Store:        st,
		Auth:         users{"anna": "secret"},
		InsecureAuth: true, // for the example: there is no TLS here
	}
	l := memnet.Listen() // or srv.ListenAndServe()
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()

	nc, err := l.Dial(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(nc, "USER anna\r\nPASS secret\r\nRETR 1\r\nDELE 1\r\nQUIT\r\n")
	answers := bufio.NewScanner(nc)
	for answers.Scan() {
		fmt.Println(answers.Text())
	}
	_, _ = io.Copy(io.Discard, nc)
	// Output:
	// +OK pop.example.org POP3 ready
	// +OK Send PASS
	// +OK 1 messages (28 octets)
	// +OK 28 octets
	// Subject: Hello
	//
	// Hi Anna.
	// .
	// +OK Message 1 marked deleted
	// +OK Bye, 1 messages deleted
}
