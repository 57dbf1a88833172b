package password_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/password"
)

// A server logs users in through auth.Login, which keeps the users' governor
// in front of them.
func Example() {
	dir, err := os.MkdirTemp("", "users")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer os.RemoveAll(dir)

	users := password.File(filepath.Join(dir, "users"))
	users.DefaultDomain = "example.org"
	if err := users.Add("bob@example.org", "correct horse"); err != nil {
		fmt.Println(err)
		return
	}

	// Plain text is allowed without TLS for the sake of the example.
	login := auth.NewLogin(users, nil, true)
	req := auth.Request{Service: auth.IMAP}
	fmt.Println(login.Mechanisms(req.Peer))

	id, err := login.Password(context.Background(), req, "Bob", "correct horse")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(id.Login, id.MaySend("bob@example.org"))

	_, err = login.Password(context.Background(), req, "bob", "battery staple")
	fmt.Println(errors.Is(err, auth.ErrCredentials))
	// Output:
	// [SCRAM-SHA-256 PLAIN LOGIN]
	// bob@example.org true
	// true
}

// Users in memory serve tests and demonstrations.
func ExampleMemory() {
	users := password.Memory()
	err := users.Set(password.User{
		Name:    "sales@example.org",
		Account: "shop",
		Senders: []string{"sales@example.org", "@shop.example"},
	}, "correct horse")
	if err != nil {
		fmt.Println(err)
		return
	}
	id, err := users.Password(context.Background(), auth.Request{}, "", "sales@example.org", "correct horse")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(id.Account, id.MaySend("orders@shop.example"))
	// Output: shop true
}
