package mta

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/auth/verify"
	"github.com/posta-mail/posta/smtp"
)

// TestRowDisposition: a report tells what DMARC did, not what a block list did.
func TestRowDisposition(t *testing.T) {
	for _, c := range []struct {
		status dmarc.Status
		policy dmarc.Policy
		action verify.Action
		want   string
	}{
		{dmarc.StatusPass, dmarc.None, verify.Accept, "pass"},
		{dmarc.StatusPass, dmarc.None, verify.Reject, "pass"},
		{dmarc.StatusFail, dmarc.None, verify.Accept, "none"},
		{dmarc.StatusFail, dmarc.None, verify.Reject, "none"},
		{dmarc.StatusFail, dmarc.None, verify.Quarantine, "none"},
		{dmarc.StatusFail, dmarc.Quarantine, verify.Reject, "quarantine"},
		{dmarc.StatusFail, dmarc.Quarantine, verify.Quarantine, "quarantine"},
		{dmarc.StatusFail, dmarc.Reject, verify.Quarantine, "quarantine"},
		{dmarc.StatusFail, dmarc.Reject, verify.Reject, "reject"},
		{dmarc.StatusFail, dmarc.Reject, verify.Accept, "none"},
		{dmarc.StatusPermError, dmarc.None, verify.Reject, "none"},
	} {
		r := &verify.Results{DMARC: dmarc.Result{Status: c.status, Policy: c.policy}}
		got := row(r, verify.Disposition{Action: c.action}, smtp.Path{})
		assert.Equal(t, c.want, got.Disposition, "%+v", c)
	}
}

// TestRowSender: a bounce's result is of the same scope, the only one.
func TestRowSender(t *testing.T) {
	r := &verify.Results{SPF: spf.Result{Identity: spf.HELO, Domain: "mx.a.test", Status: spf.Pass}}
	got := row(r, verify.Disposition{}, smtp.Path{})
	assert.Equal(t, []dmarc.SenderResult{{Domain: "mx.a.test", Scope: "mfrom", Result: "pass"}}, got.Senders)
	assert.Empty(t, got.EnvelopeFrom)
}

// TestRowSignatures: many signatures do not hide the one that matters.
func TestRowSignatures(t *testing.T) {
	r := &verify.Results{DMARC: dmarc.Result{Status: dmarc.StatusPass, Domain: "m.a.test"}}
	for range maxResults {
		r.DKIM = append(r.DKIM, dkim.Result{Status: dkim.StatusFail, Domain: "m.a.test"})
	}
	for _, d := range []string{"list.test", "a.test", "m.a.test", "x.m.a.test"} {
		r.DKIM = append(r.DKIM, dkim.Result{Status: dkim.StatusPass, Domain: d})
	}
	got := row(r, verify.Disposition{}, smtp.Path{}).Signatures
	assert.Len(t, got, maxResults)
	var domains []string
	for _, s := range got[:5] {
		domains = append(domains, s.Domain+" "+s.Result)
	}
	assert.Equal(t, []string{"m.a.test pass", "a.test pass", "x.m.a.test pass", "list.test pass", "m.a.test fail"}, domains)
}
