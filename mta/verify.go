package mta

import (
	"context"
	"errors"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/smtp"
)

// Results are what message authentication said of a message.
type Results struct {
	// SPF is about MAIL FROM, or HELO if that is null.
	SPF   spf.Result
	DKIM  []dkim.Result
	DMARC dmarc.Result
}

// verification runs the checks of one message while it comes in: SPF beside
// everything else, DKIM over the octets written to it. A nil one does nothing.
type verification struct {
	agent  *Agent
	from   smtp.Path
	dkim   *dkim.Verification
	spf    chan spf.Result
	cancel context.CancelFunc
}

// verify begins the checks of a message.
func (a *Agent) verify(ctx context.Context, peer auth.Peer, from smtp.Path) *verification {
	if a.NoVerify {
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	v := &verification{
		agent: a, from: from, cancel: cancel, spf: make(chan spf.Result, 1),
		dkim: (&dkim.Verifier{Resolver: a.Resolver}).NewVerification(ctx),
	}
	checker := spf.Checker{Resolver: a.Resolver, Receiver: a.hostname()}
	mailFrom := ""
	if !from.IsNull() {
		mailFrom = from.Address()
	}
	go func() { v.spf <- checker.Check(ctx, peer.Addr(), peer.HELO, mailFrom) }()
	return v
}

// Write takes the next octets of the message as they came.
func (v *verification) Write(p []byte) (int, error) {
	if v == nil {
		return len(p), nil
	}
	return v.dkim.Write(p)
}

// close ends what is still running.
func (v *verification) close() {
	if v != nil {
		v.cancel()
		_ = v.dkim.Close()
	}
}

// results waits for the checks and evaluates DMARC over them.
func (v *verification) results(ctx context.Context, h *message.Header) *Results {
	if v == nil {
		return nil
	}
	r := &Results{DKIM: v.dkim.Results()}
	select {
	case r.SPF = <-v.spf:
	case <-ctx.Done():
		r.SPF = spf.Result{Status: spf.TempError, Err: ctx.Err()}
	}
	r.DMARC = v.dmarc(ctx, r, h)
	return r
}

// dmarc evaluates what SPF and DKIM have found.
func (v *verification) dmarc(ctx context.Context, r *Results, h *message.Header) dmarc.Result {
	in := dmarc.Input{SPF: dmarc.Identifier{Domain: r.SPF.Domain, Pass: r.SPF.Status == spf.Pass}}
	for _, f := range h.All("From") {
		in.From = append(in.From, f.Value())
	}
	open := r.SPF.Status == spf.TempError
	for _, d := range r.DKIM {
		in.DKIM = append(in.DKIM, dmarc.Identifier{Domain: d.Domain, Pass: d.Trusted})
		open = open || d.Status == dkim.StatusTempError
	}
	e := dmarc.Evaluator{Resolver: v.agent.Resolver}
	res := e.Evaluate(ctx, in)
	if res.Status != dmarc.StatusFail || !open {
		return res
	}
	// RFC 9989 §5.3.6: what could not be looked up is no failure. Had it
	// passed, would that have been enough?
	in.SPF.Pass = in.SPF.Pass || r.SPF.Status == spf.TempError
	for i, d := range r.DKIM {
		in.DKIM[i].Pass = in.DKIM[i].Pass || d.Status == dkim.StatusTempError
	}
	if e.Evaluate(ctx, in).Status == dmarc.StatusFail {
		return res
	}
	res.Status, res.Policy, res.Err = dmarc.StatusTempError, dmarc.None, dmarc.ErrDNS
	return res
}

// quarantine reports whether the message is to be filed as junk. Reject is
// treated so too (RFC 9989 §7.4), and an author whom nobody can check: that
// is how a policy would be got round.
func (r *Results) quarantine() bool {
	return r != nil && (r.DMARC.Handling(false) == dmarc.Quarantine ||
		errors.Is(r.DMARC.Err, dmarc.ErrManyAuthors) || errors.Is(r.DMARC.Err, dmarc.ErrAuthorDomain))
}

// authResults is the Authentication-Results field (RFC 8601); empty for no
// checks.
func (a *Agent) authResults(r *Results, from smtp.Path, peer auth.Peer, utf8 bool) []byte {
	if r == nil {
		return nil
	}
	mailFrom := ""
	if !from.IsNull() {
		mailFrom = from.Address()
	}
	h := authres.Header{ServID: a.hostname(), UTF8: utf8}
	h.Results = append(h.Results, authres.SPF(r.SPF.Status.String(), mailFrom, peer.HELO))
	for i := range r.DKIM {
		d := &r.DKIM[i]
		if errors.Is(d.Err, dkim.ErrTooManySignatures) {
			continue // there may be thousands
		}
		res := authres.DKIM(string(d.Status), d.Domain, d.Selector, d.Identifier, string(d.Algorithm), d.SignaturePrefix)
		res.Reason = d.Reason()
		h.Results = append(h.Results, res)
	}
	if len(r.DKIM) == 0 {
		h.Results = append(h.Results, authres.Result{Method: authres.MethodDKIM, Value: string(dkim.StatusNone)})
	}
	res := authres.DMARC(string(r.DMARC.Status), r.DMARC.Domain, string(r.DMARC.Policy))
	res.Reason = r.DMARC.Reason()
	h.Results = append(h.Results, res)
	text, err := h.Field()
	if err != nil {
		a.log().Error("no Authentication-Results", "hostname", a.hostname(), "err", err)
		return nil
	}
	return []byte(text)
}
