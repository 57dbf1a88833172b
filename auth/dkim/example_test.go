package dkim_test

import (
	"context"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/posta-mail/posta/auth/dkim"
)

// dns is the DNS of the example: one key record.
type dns map[string]string

func (d dns) LookupTXT(_ context.Context, name string) ([]string, error) {
	return []string{d[name]}, nil
}

// A message is signed with a fresh key and verified with what the DNS says.
func Example() {
	ctx := context.Background()
	key, err := dkim.GenerateKey(dkim.Ed25519SHA256)
	if err != nil {
		log.Fatal(err)
	}
	record, err := dkim.Record(key)
	if err != nil {
		log.Fatal(err)
	}

	msg := "From: alice@example.org\r\nSubject: hello\r\n\r\nHello, world.\r\n"
	signer := &dkim.Signer{Domain: "example.org", Selector: "2026a", Key: key}
	fields, err := dkim.Sign(ctx, []*dkim.Signer{signer}, strings.NewReader(msg))
	if err != nil {
		log.Fatal(err)
	}

	v := &dkim.Verifier{Resolver: dns{"2026a._domainkey.example.org": record}}
	results, err := v.Verify(ctx, strings.NewReader(string(fields)+msg))
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range results {
		fmt.Println(r.Status, r.Domain, r.Algorithm, r.Trusted)
	}
	// Output: pass example.org ed25519-sha256 true
}

// A key is followed by another: both are published for a while, one signs.
func ExampleRotation() {
	march := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	keys := []dkim.RotatedKey{
		{Selector: "2026a", Algorithm: dkim.RSASHA256, Start: march.AddDate(0, -6, 0)},
		{Selector: "2026b", Algorithm: dkim.RSASHA256, Start: march},
	}
	var rotation dkim.Rotation
	for _, days := range []int{-1, 0, 14, 44} {
		fmt.Println(rotation.States(keys, march.AddDate(0, 0, days)))
	}
	// Output:
	// [signing published]
	// [retired signing]
	// [revoked signing]
	// [removed signing]
}
