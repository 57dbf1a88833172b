package mta

import (
	"bytes"
	"context"
	"strings"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/verify"
	"github.com/posta-mail/posta/mta/report"
	"github.com/posta-mail/posta/smtp"
)

// verification is a message's while it comes in. A nil one does nothing.
type verification struct{ *verify.Message }

// verify begins the verification of a message.
func (a *Agent) verify(ctx context.Context, peer auth.Peer, from smtp.Path, utf8 bool) *verification {
	if a.NoVerify {
		return nil
	}
	env := verify.Envelope{Remote: peer.Addr(), HELO: peer.HELO, UTF8: utf8}
	if !from.IsNull() {
		env.MailFrom = from.Address()
	}
	return &verification{a.Verify.Begin(ctx, env)}
}

// Write takes the next octets of the message as they came.
func (v *verification) Write(p []byte) (int, error) {
	if v == nil {
		return len(p), nil
	}
	return v.Message.Write(p)
}

// close ends what is still running.
func (v *verification) close() {
	if v != nil {
		_ = v.Close()
	}
}

// results waits for the checks; nil for no verification.
func (v *verification) results(ctx context.Context) *verify.Results {
	if v == nil {
		return nil
	}
	return v.Results(ctx)
}

// authResults is the Authentication-Results field (RFC 8601); empty for no
// verification.
func (a *Agent) authResults(r *verify.Results) []byte {
	if r == nil {
		return nil
	}
	text, err := r.Field()
	if err != nil {
		a.log().Error("no Authentication-Results", "hostname", a.hostname(), "err", err)
		return nil
	}
	return []byte(text)
}

// dispose does what the verification recommends: it reports whether the message
// is junk, or refuses it.
func dispose(d verify.Disposition) (junk bool, err error) {
	switch d.Action {
	case verify.Quarantine:
		return true, nil
	case verify.Reject, verify.Defer:
		return false, smtp.Errorf(d.Code, d.Enhanced, "%s", d.Reason)
	}
	return false, nil
}

// count counts a message for the reports of DMARC. What was deferred will come
// again.
func (a *Agent) count(r *verify.Results, d verify.Disposition, rcpt smtp.Path) {
	if a.Reports == nil || d.Action == verify.Defer {
		return
	}
	s := report.Sample{
		Source: r.Envelope.Remote, MailFrom: r.Envelope.MailFrom[strings.LastIndexByte(r.Envelope.MailFrom, '@')+1:], RcptTo: rcpt.Domain,
		DMARC: r.DMARC, SPF: r.SPF, HELO: r.HELO, DKIM: r.DKIM,
	}
	if r.DMARC.Status == dmarc.StatusFail {
		s.Disposition = map[verify.Action]string{verify.Accept: "none", verify.Quarantine: "quarantine", verify.Reject: "reject"}[d.Action]
	}
	if d.Override != "" {
		s.Overrides = []dmarc.Override{{Type: d.Override, Comment: d.Reason}}
	}
	a.Reports.Add(&s)
}

// SubmitReport signs a message of this system and queues it: it is the Submit
// of a report.Sender. from and to are addresses, local@domain. Errors are those
// of the queue, and a *smtp.Error for what is no address.
func (a *Agent) SubmitReport(ctx context.Context, from, to string, text []byte) error {
	a.setup()
	sender, err := smtp.ParseAddress(from)
	if err != nil {
		return err
	}
	recipient, err := smtp.ParseAddress(to)
	if err != nil {
		return err
	}
	staged, err := a.stage(ctx, bytes.NewReader(text))
	if err != nil {
		return err
	}
	defer staged.Discard()
	return a.Submit(ctx, "", sender, []smtp.Path{recipient}, a.sign(ctx, sender.Domain, staged), staged)
}
