package mta

import (
	"context"
	"time"

	"github.com/posta-mail/posta/mta/queue"
	"github.com/posta-mail/posta/smtp"
)

// Trace has callbacks for what becomes of messages, for metrics and journals.
// Each may be nil. They are called by the goroutine of the session or of the
// delivery attempt, should return soon and must be safe for concurrent use.
// After a crash an event may come a second time.
type Trace struct {
	// Accepted: this system has become responsible for a message, which it
	// calls id, by Inbound, Relay or Submission. Env is not to be changed.
	// The queue may have told of a first attempt before.
	Accepted func(ctx context.Context, id string, env *smtp.Envelope)
	// Delivered: a recipient's copy is in the mailbox, or another system has
	// become responsible for it. Err is nil.
	Delivered func(ctx context.Context, e Event)
	// Deferred: an attempt for a recipient failed, and another will follow.
	Deferred func(ctx context.Context, e Event)
	// Bounced: a recipient's copy was refused for good or given up. The sender
	// is told, unless the reverse-path is null.
	Bounced func(ctx context.Context, e Event)
}

// Event is what happened to one recipient's copy of a message.
type Event struct {
	ID       string // of the message, as in the 250 and in logs
	From, To smtp.Path
	Remote   string // the host that answered; empty: this system
	Err      *smtp.Error
}

func call(ctx context.Context, f func(context.Context, Event), e Event) {
	if f != nil {
		f(ctx, e)
	}
}

// traceAccepted tells of a message that has been routed.
func (a *Agent) traceAccepted(ctx context.Context, m *accepted, env *smtp.Envelope) {
	t := a.Trace
	if t == nil {
		return
	}
	if t.Accepted != nil {
		t.Accepted(ctx, m.id, env)
	}
	for _, to := range m.filed {
		call(ctx, t.Delivered, Event{ID: m.id, From: m.from, To: to})
	}
	for _, w := range m.waiting {
		call(ctx, t.Deferred, Event{ID: m.id, From: m.from, To: w.to, Err: smtp.AsError(w.err)})
	}
}

// traceAttempt tells of the queue's attempt. Lasting failures are told by
// traceBounced, when the sender's notice is made.
func (a *Agent) traceAttempt(ctx context.Context, m *queue.Message, results []queue.Result) {
	if a.Trace == nil {
		return
	}
	for i, r := range results[:min(len(results), len(m.Recipients))] {
		e := Event{ID: m.ID, From: m.From, To: m.Recipients[i].To, Remote: r.Remote}
		if r.Err == nil {
			call(ctx, a.Trace.Delivered, e)
		} else if e.Err = smtp.AsError(r.Err); e.Err.Temporary() && time.Now().Before(m.Expires) {
			call(ctx, a.Trace.Deferred, e)
		}
	}
}

// traceBounced tells of recipients that have been given up.
func (a *Agent) traceBounced(ctx context.Context, m *queue.Message, about []queue.Recipient) {
	if a.Trace == nil {
		return
	}
	for _, r := range about {
		e := Event{ID: m.ID, From: m.From, To: r.To}
		if r.Last != nil {
			e.Remote, e.Err = r.Last.Remote, r.Last.Error()
		}
		call(ctx, a.Trace.Bounced, e)
	}
}
