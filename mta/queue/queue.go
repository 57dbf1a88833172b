package queue

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// Deliverer makes one delivery attempt.
type Deliverer interface {
	// Deliver tries to hand body to all recipients of m and returns one
	// result per recipient, in order: nil is delivered; an error that is or
	// wraps an *smtp.Error says by its code whether to try again; any other
	// is temporary. It must return soon after ctx ends.
	Deliver(ctx context.Context, m *Message, body store.Body) []Result
}

// Result is the outcome of an attempt for one recipient.
type Result struct {
	Err    error
	Remote string // the host that answered, if one did
	// Down: nothing at the destination answered at all, so that trying
	// other mail for the same site now would be a waste.
	Down bool
}

// NoticeKind says what a notice tells.
type NoticeKind uint8

// Kinds of notices (RFC 3464 §2.3.3).
const (
	Failed NoticeKind = iota + 1
	Delayed
)

// Notifier composes what is sent back to the sender. The returned items are
// queued in the same commit in which the recipients leave the queue, so that
// no notice is lost. It returns none for a message with a null reverse-path.
type Notifier interface {
	Notify(ctx context.Context, kind NoticeKind, m *Message, about []Recipient, body store.Body) ([]store.SpoolItem, error)
}

// Queue delivers what is in a spool. Set Spool and Deliverer before use, and no
// field after; its methods are safe for concurrent use.
type Queue struct {
	Spool     store.Spool
	Deliverer Deliverer
	// Notifier is told of failures and delays; nil sends no notices.
	Notifier Notifier

	// Retry are the waits after the first, second … attempt; the last one
	// repeats. Each varies by a tenth, so that what failed together is not
	// tried together. Nil: 5, 25 and 60 minutes, then 2 and 3 hours
	// (RFC 5321 §4.5.4.1).
	Retry []time.Duration
	// Expire is how long delivery is tried; 5 days if zero (RFC 5321
	// §4.5.4.1 asks for at least 4 to 5). Each message tells its own end.
	Expire time.Duration
	// DelayNotice is when the sender is told of a delay; 4 hours if zero,
	// never if negative.
	DelayNotice time.Duration
	// AttemptTimeout bounds one attempt; 30 minutes if zero.
	AttemptTimeout time.Duration
	// Workers is how many attempts run at once; 64 if zero.
	Workers int
	// SiteWorkers is how many of them for one site; 8 if zero.
	SiteWorkers int
	// SiteDown is how long a site that did not answer is left alone; 1
	// minute if zero.
	SiteDown time.Duration
	// Lease is how long the spool keeps an item for this process; 5 minutes if zero.
	// After a crash its items wait that long.
	Lease  time.Duration
	Logger *slog.Logger
}

// Submission is a message to be queued.
type Submission struct {
	ID      string
	From    smtp.Path
	Options smtp.MailOptions
	To      []smtp.Path
	Prefix  []byte // header lines in front of Body
	Body    store.Staged
	// Site tells under what a recipient is scheduled; nil: its domain.
	Site func(smtp.Path) string
}

// ErrNoRecipients is returned for a submission to nobody.
var ErrNoRecipients = errors.New("queue: no recipients")

// Enqueue adds a message: when it returns nil every recipient is in the queue
// durably, otherwise none is.
func (q *Queue) Enqueue(ctx context.Context, s *Submission) error {
	items, err := q.Items(s, time.Now())
	if err != nil {
		return err
	}
	if _, err := q.Spool.Enqueue(ctx, items); err != nil {
		return err
	}
	q.log().Info("queued", "id", s.ID, "from", s.From, "recipients", len(s.To), "items", len(items))
	return nil
}

// maxRecipients is how many recipients an item has at most: as many as every
// server takes at once (RFC 5321 §4.5.3.1.8).
const maxRecipients = 100

// Items makes the spool items of a submission: one for each site and hundred
// recipients there.
func (q *Queue) Items(s *Submission, now time.Time) ([]store.SpoolItem, error) {
	if len(s.To) == 0 {
		return nil, ErrNoRecipients
	}
	site := s.Site
	if site == nil {
		site = func(p smtp.Path) string { return strings.ToLower(p.Domain) }
	}
	var order []string
	bySite := map[string][]Recipient{}
	for _, to := range s.To {
		k := site(to)
		if bySite[k] == nil {
			order = append(order, k)
		}
		bySite[k] = append(bySite[k], Recipient{To: to})
	}
	items := make([]store.SpoolItem, 0, len(order))
	for _, k := range order {
		for some := range slices.Chunk(bySite[k], maxRecipients) {
			envelope, err := encode(&Message{
				ID: s.ID, From: s.From, Options: s.Options, Recipients: some,
				Arrived: now, Expires: now.Add(positive(q.Expire, 5*24*time.Hour)),
			})
			if err != nil {
				return nil, err
			}
			items = append(items, store.SpoolItem{Due: now, Site: k, Envelope: envelope, Prefix: s.Prefix, Body: s.Body})
		}
	}
	return items, nil
}

// List returns up to max messages of the queue after an item, in order.
func (q *Queue) List(ctx context.Context, after store.ItemID, max int) ([]Entry, error) {
	entries, err := q.Spool.List(ctx, after, max)
	if err != nil {
		return nil, err
	}
	list := make([]Entry, 0, len(entries))
	for i := range entries {
		m, err := decode(&entries[i])
		list = append(list, Entry{SpoolEntry: entries[i], Message: m, Err: err})
	}
	return list, nil
}

// Entry is what List tells of an item.
type Entry struct {
	store.SpoolEntry
	Message *Message // nil if Err is not
	Err     error
}

func (q *Queue) log() *slog.Logger {
	if q.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return q.Logger
}

// positive is d, or def if d is not set.
func positive[T int | time.Duration](d, def T) T {
	if d <= 0 {
		return def
	}
	return d
}
