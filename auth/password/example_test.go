package password_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

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

// Users of another server keep their passwords: what it has stored is checked, and
// replaced when they log in.
func ExampleUsers_SetHash() {
	users := password.Memory()
	err := users.SetHash(password.User{Name: "bob@example.org"}, "{BLF-CRYPT}$2y$05$abcdefghijklmnopqrstuuHNbAKRhpaujgo33bRWs.NLUTJO3lOy2")
	if err != nil {
		fmt.Println(err)
		return
	}
	login := auth.NewLogin(users, nil, true)
	fmt.Println(login.Mechanisms(auth.Peer{}))
	if _, err := login.Password(context.Background(), auth.Request{}, "bob@example.org", "correct horse"); err != nil {
		fmt.Println(err)
		return
	}
	_ = users.Flush(context.Background()) // for the example: it is made a moment later anyway
	fmt.Println(login.Mechanisms(auth.Peer{}))
	// Output:
	// [PLAIN LOGIN]
	// [SCRAM-SHA-256 PLAIN LOGIN]
}

// A password for one device, which is shown once.
func ExampleUsers_AddApp() {
	users := password.Memory()
	if err := users.Set(password.User{Name: "bob@example.org", AppsOnly: true}, "correct horse"); err != nil {
		fmt.Println(err)
		return
	}
	phone, secret, err := users.AddApp("bob@example.org", password.App{Name: "Bob's phone", Scopes: []auth.Service{auth.IMAP, auth.SMTP}})
	if err != nil {
		fmt.Println(err)
		return
	}
	login := auth.NewLogin(users, nil, true)
	try := func(service auth.Service, secret string) bool {
		_, err := login.Password(context.Background(), auth.Request{Service: service}, "bob@example.org", secret)
		return err == nil
	}
	fmt.Println(len(secret), try(auth.IMAP, secret), try(auth.POP3, secret), try(auth.IMAP, "correct horse"))

	apps, _ := users.Apps("bob@example.org")
	fmt.Println(apps[0].Name, apps[0].ID == phone.ID, !apps[0].LastUse.IsZero())
	fmt.Println(users.RevokeApp("bob@example.org", phone.ID), try(auth.IMAP, secret))
	// Output:
	// 34 true false false
	// Bob's phone true true
	// <nil> false
}

// A second step for the page where users manage their app passwords.
func ExampleUsers_TwoStep() {
	users := password.Memory()
	if err := users.Add("bob@example.org", "correct horse"); err != nil {
		fmt.Println(err)
		return
	}
	secret := password.NewTOTP()
	_ = secret.URI("Example Mail", "bob@example.org") // is shown as a QR code
	enrolled := time.Now().Add(-30 * time.Second)
	recovery, err := users.SetTOTP("bob@example.org", secret, secret.Code(enrolled))
	if err != nil {
		fmt.Println(err)
		return
	}
	try := func(code string) error {
		_, err := users.TwoStep(context.Background(), auth.Request{}, "bob@example.org", "correct horse", code)
		return err
	}
	fmt.Println(errors.Is(try(""), password.ErrCodeNeeded))
	code := secret.Code(time.Now())
	fmt.Println(try(code), errors.Is(try(code), auth.ErrCredentials))
	fmt.Println(try(recovery[0]), errors.Is(try(recovery[0]), auth.ErrCredentials))
	// Output:
	// true
	// <nil> true
	// <nil> true
}
