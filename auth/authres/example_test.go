package authres_test

import (
	"fmt"
	"log"
	"strings"

	"github.com/posta-mail/posta/auth/authres"
)

// A border server drops a forged field and adds its own.
func Example() {
	const id = "mx.example.org"
	incoming := []string{
		"Authentication-Results: MX.example.org; dmarc=pass header.from=bank.example",
		"Subject: Your account",
	}
	own := authres.Header{ServID: id, Results: []authres.Result{
		authres.SPF("fail", "mallory@bank.example", ""),
		authres.DMARC("fail", "bank.example", "reject"),
	}}
	field, err := own.Field()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(strings.ReplaceAll(field, "\r\n", "\n"))
	for _, f := range incoming {
		if !authres.Remove([]byte(f), id) {
			fmt.Println(f)
		}
	}
	// Output:
	// Authentication-Results: mx.example.org;
	// 	spf=fail smtp.mailfrom=mallory@bank.example;
	// 	dmarc=fail header.from=bank.example policy.dmarc=reject
	// Subject: Your account
}
