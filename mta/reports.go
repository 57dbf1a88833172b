package mta

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/verify"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/mta/report"
	"github.com/posta-mail/posta/smtp"
)

// count counts a message for the reports of DMARC. What was deferred will come
// again, and what could not be evaluated says nothing.
func (a *Agent) count(r *verify.Results, d verify.Disposition, rcpt smtp.Path, h *message.Header) {
	rec := r.DMARC.Record
	if a.Reports == nil || rec == nil || d.Action == verify.Defer || r.DMARC.Status == dmarc.StatusTempError {
		return
	}
	err := a.Reports.Add(report.Observation{
		Published: dmarc.Published{
			Domain: r.DMARC.PolicyDomain, Method: "treewalk", Policy: rec.Policy, Subdomains: rec.Subdomains, NonExistent: rec.NonExistent,
			StrictDKIM: rec.StrictDKIM, StrictSPF: rec.StrictSPF, Testing: rec.Testing, FailureOptions: rec.FailureOptions,
		},
		URIs: rec.AggregateURIs, Row: row(r, d, rcpt), Report: report.IsReport(h),
	})
	if err != nil {
		a.log().Warn("not counted for reports", "domain", r.DMARC.PolicyDomain, "err", err)
	}
}

// maxResults is how many signatures a row tells of.
const maxResults = 10

// row is the outcome for a message as a report tells it.
func row(r *verify.Results, d verify.Disposition, rcpt smtp.Path) dmarc.Row {
	from := r.Envelope.MailFrom
	row := dmarc.Row{
		Source: r.Envelope.Remote.Unmap(), Count: 1, DKIM: r.DMARC.AlignedDKIM, SPF: r.DMARC.AlignedSPF,
		HeaderFrom: r.DMARC.Domain, EnvelopeFrom: strings.ToLower(from[strings.LastIndexByte(from, '@')+1:]), EnvelopeTo: strings.ToLower(rcpt.Domain),
	}
	switch {
	case r.DMARC.Status == dmarc.StatusPass:
		row.Disposition = "pass"
	case r.DMARC.Status != dmarc.StatusFail || d.Action == verify.Accept:
		row.Disposition = "none"
	default:
		row.Disposition = d.Action.String()
		// What a block list or a filter did beyond the policy is not DMARC's doing,
		// and nobody's business.
		if r.DMARC.Policy == dmarc.None || r.DMARC.Policy == dmarc.Quarantine && d.Action == verify.Reject {
			row.Disposition = string(r.DMARC.Policy)
		}
	}
	if d.Override != "" {
		row.Overrides = []dmarc.Override{{Type: d.Override, Comment: d.Reason}}
	}
	for _, i := range byWeight(r)[:min(len(r.DKIM), maxResults)] {
		s := &r.DKIM[i]
		row.Signatures = append(row.Signatures, dmarc.SignatureResult{Domain: s.Domain, Selector: s.Selector, Result: string(s.Status), Human: s.Reason()})
	}
	// One result, of the one scope there is (RFC 9990 §3.1): without a sender MAIL
	// FROM is postmaster at HELO (RFC 7208 §2.4).
	row.Senders = []dmarc.SenderResult{{Domain: r.SPF.Domain, Scope: "mfrom", Result: r.SPF.Status.String()}}
	return row
}

// byWeight orders signatures for a report: those that pass first, and of them
// those of the author's domain, or one above or below it (RFC 9990 §3.1, DKIM
// signatures).
func byWeight(r *verify.Results) []int {
	weight := func(i int) int {
		s := &r.DKIM[i]
		switch author := r.DMARC.Domain; {
		case s.Status != dkim.StatusPass:
			return 3
		case s.Domain == author:
			return 0
		case strings.HasSuffix(author, "."+s.Domain), strings.HasSuffix(s.Domain, "."+author):
			return 1
		}
		return 2
	}
	order := make([]int, len(r.DKIM))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return weight(a) - weight(b) })
	return order
}

// ReportSubmitter returns what a report.Sender needs to send its reports: each
// is signed for the domain it is from and queued.
func (a *Agent) ReportSubmitter() report.Submitter { return reportSubmitter{a} }

type reportSubmitter struct{ agent *Agent }

// Submit signs and queues a report. Errors are those of the queue, a *smtp.Error
// for what is no address, and dmarc.ErrDestination too where that is the
// recipient.
func (s reportSubmitter) Submit(ctx context.Context, m *report.Mail) error {
	a := s.agent
	a.setup()
	from, err := smtp.ParseAddress(m.From)
	if err != nil {
		return err
	}
	to, err := smtp.ParseAddress(m.To)
	if err != nil {
		return fmt.Errorf("%w: %w", dmarc.ErrDestination, err)
	}
	staged, err := a.stage(ctx, bytes.NewReader(m.Message))
	if err != nil {
		return err
	}
	defer staged.Discard()
	return a.Submit(ctx, "", from, []smtp.Path{to}, a.sign(ctx, from.Domain, staged), staged)
}
