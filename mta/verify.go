package mta

import (
	"context"

	"github.com/posta-mail/posta/auth"
	"github.com/posta-mail/posta/auth/verify"
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
