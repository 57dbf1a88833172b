package spf_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/internal/testdns"
)

func ExampleChecker_Check() {
	checker := &spf.Checker{
		// A real program leaves Resolver out, or sets a *dns.Resolver.
		Resolver: testdns.NewResolver(testdns.Zone{
			"example.org":     {TXT: []string{"v=spf1 ip4:192.0.2.0/24 -all exp=why.example.org"}},
			"why.example.org": {TXT: []string{"%{i} is not one of our hosts"}},
		}),
	}
	for _, ip := range []string{"192.0.2.7", "198.51.100.1"} {
		res := checker.Check(context.Background(), netip.MustParseAddr(ip), "client.example.net", "user@example.org")
		fmt.Printf("%s %s %q\n", res.Status, res.Mechanism, res.Explanation)
	}
	// Output:
	// pass ip4:192.0.2.0/24 ""
	// fail -all "198.51.100.1 is not one of our hosts"
}

func ExampleParse() {
	_, err := spf.Parse("v=spf1 a:192.0.2.1 -all")
	fmt.Println(err)
	// Output:
	// spf: syntax error in "a:192.0.2.1": an IP address where a domain name belongs: use ip4 or ip6
}
