package mta

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"github.com/posta-mail/posta/mta/dsn"
	"github.com/posta-mail/posta/mta/queue"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// notice composes a bounce or a delay notice and returns it ready for the
// queue.
func (a *Agent) notice(ctx context.Context, kind queue.NoticeKind, m *queue.Message, about []queue.Recipient, body store.Body) ([]store.SpoolItem, error) {
	now := time.Now()
	report := dsn.Report{
		ReportingMTA: a.hostname(), To: m.From, ID: m.ID, Arrived: m.Arrived, Date: now,
		Original: body, OriginalSize: body.Size(), UTF8: m.Options.SMTPUTF8,
	}
	for _, r := range about {
		rc := dsn.Recipient{Final: r.To, Action: dsn.Failed}
		if kind == queue.Delayed {
			rc.Action, rc.WillRetryUntil = dsn.Delayed, m.Expires
		}
		if r.Last != nil {
			rc.Diagnostic, rc.Remote, rc.LastAttempt = remoteReply(r.Last), r.Last.Remote, r.Last.At
			rc.Status = status(kind, r.Last)
		}
		report.Recipients = append(report.Recipients, rc)
	}
	r, err := report.Reader()
	if err != nil {
		return nil, err
	}
	staged, err := a.stage(ctx, r)
	if err != nil {
		return nil, err
	}
	id := newID(now)
	prefix := a.sign(ctx, a.hostname(), staged)
	items, err := a.Queue.Items(&queue.Submission{
		ID: id, To: []smtp.Path{m.From}, Prefix: prefix, Body: staged,
		Site:    func(to smtp.Path) string { return a.site(to, false) },
		Options: smtp.MailOptions{Body: smtp.Body8BitMIME, SMTPUTF8: m.Options.SMTPUTF8},
	}, now)
	if err != nil {
		return nil, errors.Join(err, staged.Discard())
	}
	a.log().Info("notice", "id", id, "about", m.ID, "to", m.From, "recipients", len(about))
	return items, nil
}

// status is the code for a report: a message that is given up after passing
// failures has expired (RFC 3463 §3.5, X.4.7).
func status(kind queue.NoticeKind, last *queue.Answer) smtp.EnhancedCode {
	if kind == queue.Failed && last.Code/100 == 4 {
		return smtp.EnhancedCode{5, 4, 7}
	}
	if last.Enhanced == (smtp.EnhancedCode{}) {
		return smtp.EnhancedCode{last.Code / 100, 0, 0}
	}
	return last.Enhanced
}

// Signer makes signature fields.
type Signer interface {
	// Sign returns complete DKIM-Signature fields for a message whose author
	// is in the given domain, or nothing if there is no key for it.
	Sign(ctx context.Context, domain string, message io.Reader) ([]byte, error)
}

// sign returns signature fields for a message of this system. A notice is
// sent without one rather than not at all.
func (a *Agent) sign(ctx context.Context, domain string, body store.Staged) []byte {
	if a.Signer == nil {
		return nil
	}
	sig, err := a.Signer.Sign(ctx, domain, io.NewSectionReader(body, 0, body.Size()))
	if err == nil && !soundHeader(sig) {
		err = errSignature
	}
	if err != nil {
		a.log().Error("notice is not signed", "domain", domain, "err", err)
		return nil
	}
	return bytes.Clone(sig)
}
