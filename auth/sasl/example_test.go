package sasl_test

import (
	"fmt"

	"github.com/posta-mail/posta/auth/sasl"
)

// Both sides of an exchange, without a protocol between them.
func ExampleNewSCRAMClient() {
	keys, err := sasl.DeriveSCRAMKeys("SHA-256", "pencil", []byte("0123456789abcdef"), 4096)
	if err != nil {
		fmt.Println(err)
		return
	}
	server, err := sasl.NewSCRAMServer("SHA-256",
		func(user string) (sasl.SCRAMKeys, error) { return keys, nil },
		func(authzid, user string) error { fmt.Println("welcome", user); return nil })
	if err != nil {
		fmt.Println(err)
		return
	}
	client, err := sasl.NewSCRAMClient("SHA-256", "", "bob", "pencil")
	if err != nil {
		fmt.Println(err)
		return
	}
	name, message, err := client.Start()
	fmt.Println(name)
	for done := false; !done && err == nil; {
		var challenge []byte
		if challenge, done, err = server.Next(message); err == nil {
			message, err = client.Next(challenge)
		}
	}
	fmt.Println(err, client.(sasl.Verifier).Verified())
	// Output:
	// SCRAM-SHA-256
	// welcome bob
	// <nil> true
}

// A client's three lines: what it has, what the server offers, and the strongest
// mechanism that fits.
func ExampleCredentials() {
	who := sasl.Credentials{User: "bob", Password: "pencil"}
	client, err := who.Client([]string{"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-1"}, nil, false)
	if err != nil {
		fmt.Println(err)
		return
	}
	name, _, err := client.Start()
	fmt.Println(name, err)
	// Output: SCRAM-SHA-256 <nil>
}
