package route

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"

	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/smtp"
	"github.com/stretchr/testify/require"
)

func TestRoute(t *testing.T) {
	many := make([]string, 1000)
	zone := testdns.Zone{
		"two.example":       {MX: []string{"20 b.mx.example", "10 a.mx.example"}},
		"a.mx.example":      {A: []string{"192.0.2.1", "2001:db8::1"}},
		"b.mx.example":      {A: []string{"192.0.2.2"}},
		"implicit.example":  {A: []string{"192.0.2.3"}},
		"nomail.example":    {TXT: []string{"hello"}},
		"null.example":      {MX: []string{"0 ."}, A: []string{"192.0.2.4"}},
		"nullplus.example":  {MX: []string{"0 .", "10 a.mx.example"}},
		"broken.example":    {MX: []string{"10 a.mx.example"}, Fail: map[string]testdns.Failure{"MX": testdns.ServFail}},
		"dead.example":      {MX: []string{"10 gone.mx.example"}, A: []string{"192.0.2.5"}},
		"half.example":      {MX: []string{"10 broken.mx.example", "20 b.mx.example"}},
		"halfdead.example":  {MX: []string{"10 broken.mx.example"}},
		"broken.mx.example": {A: []string{"192.0.2.9"}, Fail: map[string]testdns.Failure{"*": testdns.ServFail}},
		"self.example":      {MX: []string{"10 me.example", "20 b.mx.example"}},
		"backup.example":    {MX: []string{"10 a.mx.example", "20 me.example", "30 b.mx.example"}},
		"me.example":        {A: []string{"192.0.2.77"}},
		"selfaddr.example":  {MX: []string{"10 alias.example"}},
		"alias.example":     {A: []string{"192.0.2.77"}},
		"loopback.example":  {MX: []string{"10 local.example"}},
		"local.example":     {A: []string{"127.0.0.1", "10.0.0.1", "::1", "fe80::1", "0.0.0.0", "100.64.1.1"}},
		"many.example":      {},
		"smart.example":     {A: []string{"10.1.1.1"}},
	}
	for i := range many {
		many[i] = fmt.Sprintf("10 mx%d.many.example", i)
		zone[fmt.Sprintf("mx%d.many.example", i)] = testdns.Records{A: []string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}}
	}
	zone["many.example"] = testdns.Records{MX: many[:40]}
	srv := testdns.New(t, zone)
	resolver := &dns.Resolver{Servers: []string{srv.Addr()}}
	base := Router{Resolver: resolver, Names: []string{"Me.Example."}, Addrs: []netip.AddrPort{netip.MustParseAddrPort("192.0.2.77:25")}}

	smart, literals, private, static := base, base, base, base
	smart.Smarthost = "smart.example:587"
	literals.AllowLiterals = true
	private.AllowPrivate = true
	static.Static = map[string]string{"two.example": "[2001:db8::9]:2525"}

	for _, tc := range []struct {
		name, domain string
		router       *Router
		hosts        []string // name:port addresses
		code         int
		enhanced     smtp.EnhancedCode
	}{
		{name: "by preference", domain: "Two.Example.", hosts: []string{"a.mx.example:25 [192.0.2.1 2001:db8::1]", "b.mx.example:25 [192.0.2.2]"}},
		{name: "implicit MX", domain: "implicit.example", hosts: []string{"implicit.example:25 [192.0.2.3]"}},
		{name: "no MX, no address", domain: "nomail.example", code: 550, enhanced: smtp.EnhancedCode{5, 1, 2}},
		{name: "NXDOMAIN", domain: "nowhere.example", code: 550, enhanced: smtp.EnhancedCode{5, 1, 2}},
		{name: "null MX", domain: "null.example", code: 556, enhanced: smtp.EnhancedCode{5, 1, 10}},
		{name: "null MX beside others is no null MX", domain: "nullplus.example", hosts: []string{"a.mx.example:25 [192.0.2.1 2001:db8::1]"}},
		{name: "SERVFAIL defers", domain: "broken.example", code: 451, enhanced: smtp.EnhancedCode{4, 4, 3}},
		{name: "unusable MX never falls back to A", domain: "dead.example", code: 550, enhanced: smtp.EnhancedCode{5, 4, 4}},
		{name: "one host's failure leaves the others", domain: "half.example", hosts: []string{"b.mx.example:25 [192.0.2.2]"}},
		{name: "only failures defer", domain: "halfdead.example", code: 451, enhanced: smtp.EnhancedCode{4, 4, 3}},
		{name: "best MX is ourselves", domain: "self.example", code: 554, enhanced: smtp.EnhancedCode{5, 4, 6}},
		{name: "we are a backup", domain: "backup.example", hosts: []string{"a.mx.example:25 [192.0.2.1 2001:db8::1]"}},
		{name: "ourselves by address", domain: "selfaddr.example", code: 554, enhanced: smtp.EnhancedCode{5, 4, 6}},
		{name: "loopback and private", domain: "loopback.example", code: 550, enhanced: smtp.EnhancedCode{5, 4, 4}},
		{name: "private if allowed", domain: "loopback.example", router: &private, hosts: []string{"local.example:25 [127.0.0.1 10.0.0.1 100.64.1.1 ::1 fe80::1]"}},
		{name: "smarthost", domain: "two.example", router: &smart, hosts: []string{"smart.example:587 [10.1.1.1]"}},
		{name: "static route", domain: "two.example", router: &static, hosts: []string{":2525 [2001:db8::9]"}},
		{name: "literal refused", domain: "[192.0.2.8]", code: 550, enhanced: smtp.EnhancedCode{5, 1, 2}},
		{name: "literal", domain: "[192.0.2.8]", router: &literals, hosts: []string{":25 [192.0.2.8]"}},
		{name: "IPv6 literal", domain: "[IPv6:2001:db8::8]", router: &literals, hosts: []string{":25 [2001:db8::8]"}},
		{name: "literal to loopback", domain: "[127.0.0.1]", router: &literals, code: 550, enhanced: smtp.EnhancedCode{5, 4, 4}},
		{name: "literal to ourselves", domain: "[192.0.2.77]", router: &literals, code: 554, enhanced: smtp.EnhancedCode{5, 4, 6}},
		{name: "literal that is none", domain: "[example]", router: &literals, code: 501, enhanced: smtp.EnhancedCode{5, 1, 3}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := tc.router
			if r == nil {
				r = &base
			}
			route, err := r.Route(context.Background(), tc.domain)
			if tc.code != 0 {
				var e *smtp.Error
				require.True(t, errors.As(err, &e), "%v", err)
				require.Equal(t, tc.code, e.Code)
				require.Equal(t, tc.enhanced, e.Enhanced)
				return
			}
			require.NoError(t, err)
			var got []string
			for _, h := range route.Hosts {
				got = append(got, fmt.Sprintf("%s:%d %v", h.Name, h.Port, h.Addrs))
			}
			require.Equal(t, tc.hosts, got)
		})
	}

	t.Run("a thousand hosts are capped", func(t *testing.T) {
		route, err := base.Route(context.Background(), "many.example")
		require.NoError(t, err)
		total := 0
		for _, h := range route.Hosts {
			total += len(h.Addrs)
		}
		require.LessOrEqual(t, len(route.Hosts), 10)
		require.LessOrEqual(t, total, 20)
	})
	t.Run("equals are shuffled", func(t *testing.T) {
		first := map[string]bool{}
		for range 50 {
			route, err := base.Route(context.Background(), "many.example")
			require.NoError(t, err)
			first[route.Hosts[0].Name] = true
		}
		require.Greater(t, len(first), 1)
	})
}
