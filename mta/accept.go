package mta

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"time"

	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/mta/queue"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// localSite is what mail for this system's own domains is queued under when
// it could not be filed at once. No domain has this form.
const localSite = "@local"

// accepted is a message that has passed all checks, on its way to the router.
type accepted struct {
	id      string
	from    smtp.Path
	options smtp.MailOptions
	to      []smtp.Path
	prefix  []byte // header lines this system adds, without those of final delivery
	body    store.Staged
	junk    bool
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
	var local, remote []int
	for i, to := range m.to {
		if a.isLocal(to) {
			local = append(local, i)
		} else {
			remote = append(remote, i)
		}
	}
	// What must wait is queued first: after that only filing can fail, and
	// what fails there can be queued too.
	if len(remote) > 0 {
		if a.Queue.Spool == nil {
			return errNoQueue
		}
		if err := a.enqueue(ctx, m, pick(m.to, remote)); err != nil {
			return err
		}
	}
	if len(local) == 0 {
		return nil
	}
	left, err := a.file(ctx, m, pick(m.to, local), len(remote) > 0)
	if err != nil || len(left) == 0 {
		return err
	}
	return a.enqueue(ctx, m, left)
}

// file delivers to local recipients. It returns those that the queue must
// take over: the rest of a message that has been accepted in part, including
// the refused, whom the queue will report to the sender.
func (a *Agent) file(ctx context.Context, m *accepted, to []smtp.Path, committed bool) (left []smtp.Path, err error) {
	if a.Local == nil {
		return nil, errNotConfigured
	}
	results := a.Local.Deliver(ctx, &mda.Delivery{ID: m.id, From: m.from, Prefix: m.prefix, Body: m.body, Junk: m.junk}, to)
	var failed []int
	for i, err := range results {
		if err != nil {
			failed = append(failed, i)
		}
	}
	if len(failed) == 0 {
		return nil, nil
	}
	if a.Queue.Spool == nil || len(failed) == len(to) && !committed {
		// Nobody has it: the client keeps it, or learns why not.
		for _, i := range failed {
			if e := smtp.AsError(results[i]); e.Temporary() {
				return nil, e
			}
		}
		return nil, results[failed[0]]
	}
	return pick(to, failed), nil
}

func (a *Agent) enqueue(ctx context.Context, m *accepted, to []smtp.Path) error {
	return a.Queue.Enqueue(ctx, &queue.Submission{
		ID: m.id, From: m.from, Options: m.options, To: to, Prefix: m.prefix, Body: m.body, Site: a.site,
	})
}

// site is what a recipient is queued under.
func (a *Agent) site(to smtp.Path) string {
	if a.isLocal(to) {
		return localSite
	}
	return to.Domain
}

// Submit sends a message of this system's own or of its users' scripts: it is
// the mda.Submitter of a local agent, for what aliases send elsewhere.
func (a *Agent) Submit(ctx context.Context, id string, from smtp.Path, to []smtp.Path, prefix []byte, body store.Staged) error {
	a.setup()
	if a.Queue.Spool == nil {
		return errNoQueue
	}
	if id == "" {
		id = newID(time.Now())
	}
	return a.enqueue(ctx, &accepted{id: id, from: from, prefix: prefix, body: body}, to)
}
