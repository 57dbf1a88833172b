package auth_test

import (
	"context"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/password"
	"github.com/posta-mail/posta/imap"
	"github.com/posta-mail/posta/store/memory"
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

// A Governor for a site with a web mail server, and a help desk that must get in
// while strangers guess. Servers take it as their field Governor.
func ExampleGovernor() {
	g := &auth.Governor{
		AccountFailures: 3,
		Exempt:          []netip.Prefix{netip.MustParsePrefix("192.0.2.10/32")},
		NeverLock:       []string{"help@example.org"},
		OnDecision: func(e auth.Event) {
			if e.Decision == auth.LockedOut || e.Decision == auth.Spared {
				fmt.Printf("%q %v after %d failures\n", e.Account, e.Decision, e.Failures)
			}
		},
		BaseDelay: -1, // for the example not to take its time
	}
	for _, account := range []string{"bob@example.org", "help@example.org"} {
		for n := range 3 {
			stranger := netip.AddrFrom4([4]byte{198, 51, 100, byte(n)})
			if g.Admit(context.Background(), stranger, account) == nil {
				g.Failed(stranger, account)
			}
		}
	}
	// Output:
	// "bob@example.org" locked out after 3 failures
	// "help@example.org" spared after 3 failures
}

// Users of a file who may also show a certificate: bob's laptop logs in as he.
func ExampleCertificates() {
	users := password.File("users")
	login := struct {
		*password.Users
		auth.Certificates
	}{users, auth.Certificates{
		Authorizer: users,
		Keys:       map[string]string{"6c3ff85bfb4e0ab0a5a1b3cf2bf5d2a3c05dbf5ee0c5b1b3f3cb3e5d4e4d7c2e": "bob@example.org"},
	}}
	authorities := x509.NewCertPool() // those that may issue them
	srv := &imap.Server{Store: memory.New(), Auth: login, TLSConfig: &tls.Config{
		ClientCAs: authorities, ClientAuth: tls.VerifyClientCertIfGiven,
	}}
	_ = srv
}
