package dns_test

import (
	"context"
	"fmt"

	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
)

func ExampleResolver() {
	srv, err := testdns.Listen("127.0.0.1:0", testdns.Zone{
		"example.org":    {MX: []string{"10 mx.example.org"}},
		"mx.example.org": {A: []string{"192.0.2.1"}},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer srv.Close()

	r := &dns.Resolver{Servers: []string{srv.Addr()}} // without Servers: those of the host
	ctx := context.Background()
	mx, err := r.MX(ctx, "example.org")
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, m := range mx.Records {
		ip, err := r.IP(ctx, m.Host)
		fmt.Println(m.Preference, m.Host, ip.Records, err)
	}
	_, err = r.TXT(ctx, "example.org")
	fmt.Println("no TXT record:", dns.IsNoData(err))
	_, err = r.TXT(ctx, "example.net")
	fmt.Println("no such name:", dns.IsNotExist(err))
	// Output:
	// 10 mx.example.org [192.0.2.1] <nil>
	// no TXT record: true
	// no such name: true
}
