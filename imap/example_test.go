package imap_test

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"net"

	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store/memory"
)

// A server for one user whose mail is kept in memory. A real one has a
// TLSConfig instead of InsecureAuth, and a store that lasts.
func Example() {
	ctx := context.Background()
	st := memory.New()
	if err := st.CreateAccount(ctx, "bob@example.org"); err != nil {
		log.Fatal(err)
	}
	users := password.Memory()
	if err := users.Add("bob@example.org", "correct horse"); err != nil {
		log.Fatal(err)
	}
	srv := &imap.Server{Store: st, Auth: users, InsecureAuth: true}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	go srv.Serve(l)

	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Fprint(c, "a LOGIN bob@example.org \"correct horse\"\r\nb STATUS INBOX (MESSAGES)\r\nc LOGOUT\r\n")
	for r := bufio.NewScanner(c); r.Scan(); {
		if line := r.Text(); line[0] != 'a' && line[:4] != "* OK" {
			fmt.Println(line)
		}
	}
	_ = srv.Shutdown(ctx)
	// Output:
	// * STATUS "INBOX" (MESSAGES 0)
	// b OK STATUS completed
	// * BYE Logging out
	// c OK LOGOUT completed
}
