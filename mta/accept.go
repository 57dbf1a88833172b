package mta

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"time"

	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/message"
	"github.com/posta-mail/posta/mta/queue"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// What mail for this system's own domains is queued under when it could not
// be filed at once. No domain has this form.
const (
	localSite = "@local"
	junkSite  = "@local/junk"
)

// routeTimeout bounds the filing of a message. The client waits for 10 minutes
// (RFC 5321 §4.5.3.2.6).
const routeTimeout = 5 * time.Minute

// accepted is a message that has passed all checks, on its way to the router.
type accepted struct {
	id      string
	from    smtp.Path
	options smtp.MailOptions
	to      []smtp.Path
	added   []byte // header lines of this system, below Received
	prefix  []byte // all header lines this system adds, without those of final delivery
	body    store.Staged
	junk    bool
	discard bool
	filed   []smtp.Path // who has it already
	waiting []waiting   // whom the queue has taken over from local delivery
}

// waiting is a local recipient whose copy could not be filed at once.
type waiting struct {
	to  smtp.Path
	err error
}

// newID names a message: time-ordered, unique, fit for logs and replies.
func newID(now time.Time) string {
	var b [13]byte
	binary.BigEndian.PutUint64(b[:8], uint64(now.UnixMicro()))
	_, _ = rand.Read(b[8:])
	return idEncoding.EncodeToString(b[1:])
}

var idEncoding = base32.HexEncoding.WithPadding(base32.NoPadding)

// route takes responsibility for a message: it files what is local, queues
// the rest, and returns nil when every recipient is filed or durably queued.
// An error refuses the message for all of them (RFC 5321 §6.1: no partial
// success in SMTP).
func (a *Agent) route(ctx context.Context, m *accepted) error {
	if err := ctx.Err(); err != nil {
		return err // the client is gone: it will send the message again
	}
	// From here on it is all or nothing: a client that goes away now does not
	// leave the message with half of the recipients.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), routeTimeout)
	defer cancel()
	var local, remote []smtp.Path
	for _, to := range m.to {
		if a.isLocal(to) {
			local = append(local, to)
		} else {
			remote = append(remote, to)
		}
	}
	// What must wait is queued first: after that only filing can fail, and
	// what fails there can be queued too.
	if len(remote) > 0 {
		if err := a.enqueue(ctx, m, remote); err != nil {
			return err
		}
	}
	if len(local) == 0 {
		return nil
	}
	if err := a.file(ctx, m, local, len(remote) > 0); err != nil || len(m.waiting) == 0 {
		return err
	}
	left := make([]smtp.Path, 0, len(m.waiting))
	for _, w := range m.waiting {
		left = append(left, w.to)
	}
	return a.enqueue(ctx, m, left)
}

// file delivers to local recipients. Those in m.waiting after it are for the
// queue to take over: the rest of a message that has been accepted in part,
// including the refused, whom the queue will report to the sender.
func (a *Agent) file(ctx context.Context, m *accepted, to []smtp.Path, committed bool) error {
	if a.Local == nil {
		return errNotConfigured
	}
	results := a.Local.Deliver(ctx, &mda.Delivery{ID: m.id, From: m.from, Prefix: m.prefix, Body: m.body, Junk: m.junk}, to)
	var refusal error
	for i, rcpt := range to {
		err := error(errNoResult)
		if i < len(results) {
			err = results[i]
		}
		if err == nil {
			m.filed = append(m.filed, rcpt)
			committed = true
			continue
		}
		temporary := smtp.AsError(err).Temporary()
		if temporary && errors.Is(err, mda.ErrPartial) {
			committed = true // some of those behind an alias have it
		}
		if refusal == nil || temporary && !smtp.AsError(refusal).Temporary() {
			refusal = err
		}
		m.waiting = append(m.waiting, waiting{rcpt, err})
	}
	if committed && a.Queue.Spool != nil {
		return nil
	}
	// Nobody has it: the client keeps it, or learns why not. Without a queue
	// those who have it get it again when the client tries again; losing it for
	// the others would be worse.
	m.waiting = nil
	return refusal
}

var errNoResult = smtp.Errorf(451, smtp.EnhancedCode{4, 3, 0}, "Local error, try again later")

func (a *Agent) enqueue(ctx context.Context, m *accepted, to []smtp.Path) error {
	if a.Queue.Spool == nil {
		return errNoQueue
	}
	return a.Queue.Enqueue(ctx, &queue.Submission{
		ID: m.id, From: m.from, Options: m.options, To: to, Prefix: m.prefix, Body: m.body,
		Site: func(to smtp.Path) string { return a.site(to, m.junk) },
	})
}

// site is what a recipient is queued under.
func (a *Agent) site(to smtp.Path, junk bool) string {
	switch {
	case !a.isLocal(to):
		return to.Domain
	case junk:
		return junkSite
	}
	return localSite
}

// Submit sends a message of this system's own or of its users' scripts: it is
// the mda.Submitter of a local agent, for what aliases send elsewhere.
func (a *Agent) Submit(ctx context.Context, id string, from smtp.Path, to []smtp.Path, prefix []byte, body store.Staged) error {
	a.setup()
	if id == "" {
		id = newID(time.Now())
	}
	m := &accepted{id: id, from: from, prefix: prefix, body: body}
	m.options.SMTPUTF8 = from.NeedsSMTPUTF8()
	for _, p := range to {
		m.options.SMTPUTF8 = m.options.SMTPUTF8 || p.NeedsSMTPUTF8()
	}
	if body.Outline().Traits&message.HasEightBitBody != 0 {
		m.options.Body = smtp.Body8BitMIME
	}
	return a.enqueue(ctx, m, to)
}
