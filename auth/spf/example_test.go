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

// How a result came about, for people.
func ExampleResult_Explain() {
	checker := &spf.Checker{
		Resolver: testdns.NewResolver(testdns.Zone{
			"example.org":      {TXT: []string{"v=spf1 mx include:_spf.example.net -all"}, MX: []string{"10 mx.example.org"}},
			"mx.example.org":   {A: []string{"192.0.2.1"}},
			"_spf.example.net": {TXT: []string{"v=spf1 ip4:198.51.100.0/24 ~all"}},
		}),
	}
	res := checker.Check(context.Background(), netip.MustParseAddr("198.51.100.7"), "client.example.net", "user@example.org")
	fmt.Print(res.Explain())
	// Output:
	// pass: mailfrom user@example.org from 198.51.100.7
	//   record of example.org: found
	//     ? TXT example.org: "v=spf1 mx include:_spf.example.net -all"
	//   mx: no match
	//     ? MX example.org: mx.example.org.
	//     ? A mx.example.org: 192.0.2.1
	//   include:_spf.example.net: match
	//     record of _spf.example.net: found
	//       ? TXT _spf.example.net: "v=spf1 ip4:198.51.100.0/24 ~all"
	//     ip4:198.51.100.0/24: match
	// decided by include:_spf.example.net, terms with lookups: 2, of these without result: 0
}

func ExampleParseReceived() {
	r, err := spf.ParseReceived("fail (mx.example.org: no) client-ip=192.0.2.1; envelope-from=\"a@example.com\"; identity=mailfrom")
	fmt.Println(r.Status, r.ClientIP, r.Sender, r.Comment, err)
	// Output: fail 192.0.2.1 a@example.com mx.example.org: no <nil>
}
