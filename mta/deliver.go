package mta

import (
	"context"
	"io"
	"slices"

	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/mta/queue"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// deliverer is the queue's: local items are filed, others go to their MX.
type deliverer struct{ agent *Agent }

func (d deliverer) Deliver(ctx context.Context, m *queue.Message, body store.Body) []queue.Result {
	var results []queue.Result
	// A domain may have become local since: its MX would lead back here.
	if m.Site == localSite || m.Site == junkSite || len(m.Recipients) > 0 && d.agent.isLocal(m.Recipients[0].To) {
		results = d.agent.fileQueued(ctx, m, body)
	} else {
		results = d.agent.Remote.Deliver(ctx, m, body)
	}
	d.agent.traceAttempt(ctx, m, results)
	return results
}

// fileQueued files what could not be filed when it came. The message's own ID
// keeps an account from getting it twice.
func (a *Agent) fileQueued(ctx context.Context, m *queue.Message, body store.Body) []queue.Result {
	results := make([]queue.Result, len(m.Recipients))
	fail := func(err error) []queue.Result {
		for i := range results {
			results[i].Err = err
		}
		return results
	}
	if a.Local == nil {
		return fail(errNotConfigured)
	}
	staged, err := a.stage(ctx, io.NewSectionReader(body, 0, body.Size()))
	if err != nil {
		return fail(err)
	}
	defer staged.Discard()
	errs := a.Local.Deliver(ctx, &mda.Delivery{
		ID: m.ID, From: m.From, Body: staged, Junk: m.Site == junkSite, Date: m.Arrived,
	}, m.Paths())
	for i := range results {
		results[i].Err = errNoResult
		if i < len(errs) {
			results[i].Err = errs[i]
		}
	}
	return results
}

// notifier is the queue's: it composes a notice to the sender.
type notifier struct{ agent *Agent }

func (n notifier) Notify(ctx context.Context, kind queue.NoticeKind, m *queue.Message, about []queue.Recipient, body store.Body) ([]store.SpoolItem, error) {
	if kind == queue.Failed {
		defer n.agent.traceBounced(ctx, m, about)
	}
	if m.From.IsNull() {
		// RFC 5321 §6.1: a notice about a notice would never end.
		n.agent.log().Warn("undeliverable notice dropped", "id", m.ID, "recipients", len(about))
		return nil, nil
	}
	return n.agent.notice(ctx, kind, m, slices.Clone(about), body)
}

// remoteReply is a recipient's last answer as a report wants it.
func remoteReply(a *queue.Answer) smtp.Reply {
	return smtp.Reply{Code: a.Code, Enhanced: a.Enhanced, Text: a.Text}
}
