package dmarc

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/testdns"
)

// TestWithResolvers runs the cases that depend on how absence is told over the
// wire, with the toolkit's own resolver and its test double.
func TestWithResolvers(t *testing.T) {
	zone := testdns.Zone{
		"_dmarc.example.com":    {TXT: []string{"v=DMARC1; p=quarantine; sp=none; np=reject"}},
		"there.example.com":     {A: []string{"192.0.2.1"}},
		"host.ent.example.com":  {A: []string{"192.0.2.2"}},
		"_dmarc.bad.example":    {TXT: []string{"v=DMARC1; p=none; np=reject"}},
		"_dmarc.registry":       {TXT: []string{"v=DMARC1; p=none; np=reject; psd=y"}},
		"known.registry":        {MX: []string{"10 mx.example.com"}},
		"broken.bad.example":    {A: []string{"192.0.2.3"}},
		"_dmarc.failing.test":   {TXT: []string{"v=DMARC1; p=reject"}},
		"mail.failing.test":     {A: []string{"192.0.2.4"}},
		"other.example.invalid": {A: []string{"192.0.2.5"}},
	}
	srv := testdns.New(t, zone)
	double := testdns.NewResolver(zone)
	for _, fail := range []func(string, string, testdns.Failure){srv.Fail, double.Fail} {
		fail("broken.bad.example", "TXT", testdns.ServFail)
		fail("_dmarc.failing.test", "TXT", testdns.ServFail)
	}
	for name, r := range map[string]Resolver{
		"dns":     &dns.Resolver{Servers: []string{srv.Addr()}, Attempts: 1},
		"testdns": double,
	} {
		t.Run(name, func(t *testing.T) {
			e := &Evaluator{Resolver: r}
			for _, c := range []struct {
				domain string
				status Status
				policy Policy
				tag    string
			}{
				{"example.com", StatusFail, Quarantine, "p"},
				{"there.example.com", StatusFail, None, "sp"},
				{"ent.example.com", StatusFail, None, "sp"}, // RFC 8020: an empty non-terminal exists
				{"missing.example.com", StatusFail, Reject, "np"},
				{"a.missing.example.com", StatusFail, Reject, "np"},
				{"known.registry", StatusFail, None, "p"},
				{"unknown.registry", StatusFail, Reject, "np"},
				{"broken.bad.example", StatusTempError, None, "p"},
				{"mail.failing.test", StatusTempError, None, ""},
				{"other.example.invalid", StatusNone, None, ""},
			} {
				r := e.Evaluate(context.Background(), Input{From: []string{"x@" + c.domain}})
				assert.Equal(t, c.status, r.Status, "%s: %v", c.domain, r.Err)
				assert.Equal(t, c.policy, r.Policy, c.domain)
				assert.Equal(t, c.tag, r.Tag, c.domain)
			}
		})
	}
}
