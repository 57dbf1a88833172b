package auth_test

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"

	"github.com/posta-mail/posta/auth"
)

// one is an Authenticator of one user.
type one struct{}

func (one) Password(_ context.Context, _ auth.Request, authzid, user, password string) (*auth.Identity, error) {
	right := subtle.ConstantTimeCompare([]byte(password), []byte("secret")) == 1
	if user != "bob" || !right {
		return nil, auth.ErrCredentials
	}
	if authzid != "" && authzid != user {
		return nil, auth.ErrForbidden
	}
	return &auth.Identity{Account: "bob", Login: "bob", Senders: []string{"bob@example.org"}}, nil
}

// A server offers what Login lists and carries messages to and fro, decoded
// from base64.
func ExampleLogin() {
	login := auth.NewLogin(one{}, nil, true) // plain text without TLS: for examples only
	req := auth.Request{Service: auth.SMTP, Mechanism: "PLAIN"}
	fmt.Println(login.Mechanisms(req.Peer))

	ctx := context.Background()
	for _, response := range []string{"\x00bob\x00guess", "\x00bob\x00secret"} {
		exchange, err := login.Start(ctx, req)
		if err != nil {
			fmt.Println(err)
			return
		}
		_, done, err := exchange.Next(ctx, []byte(response))
		switch {
		case errors.Is(err, auth.ErrCredentials):
			fmt.Println("535 5.7.8 wrong user or password")
		case err == nil && done:
			fmt.Println("235 2.7.0 welcome", exchange.Identity().Account)
		}
	}
	// Output:
	// [PLAIN LOGIN]
	// 535 5.7.8 wrong user or password
	// 235 2.7.0 welcome bob
}
