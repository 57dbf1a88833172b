package dmarc_test

import (
	"context"
	"fmt"
	"net"

	"github.com/posta-mail/posta/auth/dmarc"
)

// dns is the DNS of the example.
type dns map[string]string

func (d dns) LookupTXT(_ context.Context, name string) ([]string, error) {
	if txt, ok := d[name]; ok {
		return []string{txt}, nil
	}
	return nil, &net.DNSError{Err: "no such host", Name: name, IsNotFound: true}
}

func ExampleEvaluator_Evaluate() {
	e := &dmarc.Evaluator{Resolver: dns{"_dmarc.example.com": "v=DMARC1; p=reject"}}
	r := e.Evaluate(context.Background(), dmarc.Input{
		From: []string{"Alice <alice@news.example.com>"},
		SPF:  dmarc.Identifier{Domain: "mailer.example.net", Pass: true},
		DKIM: []dmarc.Identifier{{Domain: "mail.example.com", Pass: true}},
	})
	fmt.Println(r.Status, r.Domain, r.OrgDomain, r.AlignedSPF, r.AlignedDKIM)

	r = e.Evaluate(context.Background(), dmarc.Input{From: []string{"mallory@example.com"}})
	fmt.Println(r.Status, r.Policy, r.Handling(false))
	// Output:
	// pass news.example.com example.com false true
	// fail reject quarantine
}
