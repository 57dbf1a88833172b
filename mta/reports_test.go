package mta_test

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/verify"
	"github.com/posta-mail/posta/internal/testdns"
	"github.com/posta-mail/posta/mta/report"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// TestReports verifies mail of a domain that wants reports, and sends it one:
// here the domain is our own, so that the report can be read.
func TestReports(t *testing.T) {
	zone := world(t)
	zone["_dmarc.ours.test"] = testdns.Records{TXT: []string{"v=DMARC1; p=reject; rua=mailto:bob@ours.test"}}
	seen := &report.Collector{Store: &report.Memory{}}
	s := newSystem(t, zone, func(s *system) { s.Reports = seen })
	forged := strings.Replace(letter, "alice@pass.test", "boss@ours.test", 1)
	require.NoError(t, s.receive("198.51.100.1", "alice@pass.test", forged, "carol@ours.test"))
	require.NoError(t, s.receive("198.51.100.1", "alice@pass.test", forged, "carol@ours.test"))
	require.NoError(t, s.receive("192.0.2.1", "alice@pass.test", letter, "carol@ours.test")) // its domain wants none

	sender := &report.Sender{
		Store: seen.Store, Submitter: s.ReportSubmitter(), Verifier: &dmarc.Evaluator{Resolver: s.Resolver}, Domain: "mx.ours.test", Address: "reports@dmarc.ours.test",
		Allow: func(domain string) bool { return domain == "ours.test" },
	}
	sent, errs := sender.Send(t.Context())
	require.Zero(t, sent, "the day is not over")
	require.Empty(t, errs)
	windows, err := seen.Store.Windows(time.Now().Add(48 * time.Hour))
	require.NoError(t, err)
	require.Len(t, windows, 1)
	assert.Equal(t, "ours.test", windows[0].Published.Domain)
	require.Equal(t, []dmarc.Row{{
		Source: netip.MustParseAddr("198.51.100.1"), Count: 2, Disposition: "quarantine", HeaderFrom: "ours.test", EnvelopeFrom: "pass.test", EnvelopeTo: "ours.test",
		Overrides: []dmarc.Override{{Type: "local_policy", Comment: "Message fails DMARC"}},
		Senders:   []dmarc.SenderResult{{Domain: "pass.test", Scope: "mfrom", Result: "fail"}},
	}}, windows[0].Rows)

	require.NoError(t, s.ReportSubmitter().Submit(t.Context(), &report.Mail{From: "reports@dmarc.ours.test", To: "bob@ours.test", Message: []byte(letter)}))
	s.run()
	require.Eventually(t, func() bool { return len(s.mail("bob@ours.test", store.Inbox)) == 1 }, 10*time.Second, 5*time.Millisecond)
	for _, bad := range []string{"", "bob", "bob@ours.test\r\n"} {
		assert.ErrorIs(t, s.ReportSubmitter().Submit(t.Context(), &report.Mail{From: "reports@dmarc.ours.test", To: bad}), dmarc.ErrDestination)
		assert.Error(t, s.ReportSubmitter().Submit(t.Context(), &report.Mail{From: bad, To: "bob@ours.test"}))
	}
}

// TestStricter has an Agent that goes beyond the standards.
func TestStricter(t *testing.T) {
	seen := &report.Collector{Store: &report.Memory{}}
	s := newSystem(t, world(t), func(s *system) {
		s.Reports = seen
		s.Agent.Verify.Policy = verify.Policy{RejectDMARC: true, DeferTempErrors: true}
	})
	refuses(t, s.receive("198.51.100.1", "alice@none.test", letter, "bob@ours.test"), 550, smtp.EnhancedCode{5, 7, 26})
	s.dns.Fail("_dmarc.pass.test", "TXT", testdns.ServFail)
	s.Resolver.Flush()
	refuses(t, s.receive("198.51.100.1", "alice@none.test", letter, "bob@ours.test"), 451, smtp.EnhancedCode{4, 7, 26})
}
