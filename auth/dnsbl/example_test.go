package dnsbl_test

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/posta-mail/posta/auth/dnsbl"
	"github.com/posta-mail/posta/internal/testdns"
)

// A check when a client connects: one block list is enough, unless an allow
// list knows the host.
func ExampleChecker_Addr() {
	lists := &dnsbl.Checker{
		Lists: []dnsbl.List{
			{Zone: "bl.example", NoIPv6: true, Reasons: true, Codes: []dnsbl.Code{
				{Network: netip.MustParsePrefix("127.0.0.2/32"), Meaning: "sends spam"},
				{Network: netip.MustParsePrefix("127.0.0.10/32"), Meaning: "dialup", Weight: 2},
			}},
			{Zone: "wl.example", NoIPv6: true, Allow: true, Weight: 5},
		},
		// A real program leaves Resolver out, or sets a *dns.Resolver.
		Resolver: testdns.NewResolver(testdns.Zone{
			"2.0.0.127.bl.example": {A: []string{"127.0.0.2"}},
			"2.0.0.127.wl.example": {A: []string{"127.0.0.2"}},
			"7.2.0.192.bl.example": {A: []string{"127.0.0.2", "127.0.0.10"}, TXT: []string{"see https://bl.example/?192.0.2.7"}},
			"8.2.0.192.bl.example": {A: []string{"127.0.0.2"}},
			"8.2.0.192.wl.example": {A: []string{"127.0.9.2"}},
		}),
	}
	ctx := context.Background()
	for _, h := range lists.Probe(ctx) { // at start, or Watch in a goroutine
		fmt.Println(h.List.String(), h.Err)
	}
	for _, ip := range []string{"192.0.2.7", "192.0.2.8", "192.0.2.9"} {
		results := lists.Addr(ctx, netip.MustParseAddr(ip))
		score := dnsbl.Score(results)
		if score <= 0 {
			fmt.Println("220 welcome,", ip, score)
			continue
		}
		for _, r := range results {
			if r.Listed {
				fmt.Printf("554 5.7.1 %s is on %s: %q %s\n", ip, r.List.String(), r.Meanings, r.Reason)
			}
		}
	}
	// Output:
	// bl.example <nil>
	// wl.example <nil>
	// 554 5.7.1 192.0.2.7 is on bl.example: ["sends spam" "dialup"] see https://bl.example/?192.0.2.7
	// 220 welcome, 192.0.2.8 -4
	// 220 welcome, 192.0.2.9 0
}
