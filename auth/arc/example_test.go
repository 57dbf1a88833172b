package arc_test

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"log"
	"strings"

	"github.com/posta-mail/posta/auth/arc"
	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
)

// keys is a resolver with one record at every name.
type keys string

func (k keys) LookupTXT(context.Context, string) ([]string, error) { return []string{string(k)}, nil }

// A mailing list changes a message, which breaks the author's signature. It
// says under seal what it saw before, and a receiver who trusts it goes by that.
func Example() {
	ctx := context.Background()
	key := ed25519.NewKeyFromSeed([]byte("a seed of exactly thirty-two oct"))
	record, err := dkim.Record(key)
	if err != nil {
		log.Fatal(err)
	}
	verifier := &arc.Verifier{Resolver: keys(record)}

	// The list: verify, change, seal.
	incoming := "From: ann@author.example\r\nSubject: Hello\r\n\r\nText.\r\n"
	in, err := verifier.Verify(ctx, strings.NewReader(incoming))
	if err != nil {
		log.Fatal(err)
	}
	found := &authres.Header{ServID: "mx.lists.example", Results: []authres.Result{authres.DMARC("pass", "author.example", "")}}
	outgoing := strings.Replace(incoming, "Hello", "[list] Hello", 1)
	sealer := &arc.Sealer{Signer: &dkim.Signer{Domain: "lists.example", Selector: "2026", Key: key}}
	set, err := sealer.Seal(ctx, in, found, strings.NewReader(outgoing))
	if err != nil {
		log.Fatal(err)
	}

	// The receiver.
	r, err := verifier.Verify(ctx, strings.NewReader(string(set)+outgoing))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(in.Status, r.Status)
	trusted := arc.Trusted{"lists.example"}
	if s := trusted.DMARC(r, "author.example"); s != nil {
		fmt.Println("DMARC passed at", s.Results.ServID)
	}
	// Output:
	// none pass
	// DMARC passed at mx.lists.example
}
