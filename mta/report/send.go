package report

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/message"
)

// Mail is a report ready to be sent: one recipient, and the whole message.
type Mail struct {
	From, To string
	Message  []byte
}

// Submitter takes mail to be sent. It signs with DKIM for the domain of From:
// a report must itself pass DMARC (RFC 9990 §3.5.2). It is tried again after an
// error, unless that is dmarc.ErrDestination: the recipient is no address.
type Submitter interface {
	Submit(ctx context.Context, m *Mail) error
}

// Verifier finds where reports may go; *dmarc.Evaluator is one.
type Verifier interface {
	Destinations(ctx context.Context, policyDomain string, uris []string) ([]dmarc.Destination, []error)
}

// Defaults of a Sender.
const (
	DefaultMaxPerDay         = 1000
	DefaultMaxPerDestination = 20
	DefaultMaxSize           = 10 << 20
	DefaultInterval          = time.Hour
	DefaultMaxAge            = 3 * 24 * time.Hour
)

// settle is for how long a day that has ended is left alone: for messages that
// are still being counted, and for clocks that are put back a little.
const settle = 10 * time.Minute

// Reasons why a report is not sent. Match them with errors.Is.
var (
	// ErrSender: the Sender lacks something it needs.
	ErrSender = errors.New("report: the sender is not complete")
	// ErrTooLarge: the report is over MaxSize.
	ErrTooLarge = errors.New("report: too large")
	// ErrCap: a cap of the day is reached; it is tried again.
	ErrCap = errors.New("report: a cap is reached")
	// ErrExpired: a report could not be sent within MaxAge.
	ErrExpired = errors.New("report: too old")
)

// Sender sends the reports of the days that have ended. Its fields must not
// change once it is used; its methods are safe for concurrent use.
type Sender struct {
	// Store, Submitter and Verifier are needed.
	Store     Store
	Submitter Submitter
	Verifier  Verifier
	// Domain is the receiver's name, Org what it is called (empty: Domain).
	// Address is the author of reports, in a domain used for nothing else; no
	// reports are sent about its domain. Contact is for people, and optional.
	Domain, Org, Address, Contact string
	// Allow says which policy domains may get reports: those of known
	// reputation. Without it none are sent.
	Allow func(policyDomain string) bool
	// MaxPerDay is how many mails are sent in a day of UTC, MaxPerDestination
	// how many to one domain, MaxSize how large an attachment may be before
	// base64: of a larger one the rarer rows are left out. 0: the Default of the
	// same name.
	MaxPerDay, MaxPerDestination, MaxSize int
	// Interval is how often Run looks, MaxAge when a window that cannot be sent
	// is given up, counted from its end. 0: DefaultInterval, DefaultMaxAge.
	Interval, MaxAge time.Duration
	// Done, if not nil, is told by Run what each round did.
	Done func(sent int, errs []error)

	mu   sync.Mutex
	caps caps
	sent map[string]bool // identifier and address, of windows that are not done
}

// caps counts mails of a day.
type caps struct {
	day    time.Time
	all    int
	byHost map[string]int
}

// take reports whether one more mail may go to host today, and counts it.
func (c *caps) take(now time.Time, host string, all, each int) bool {
	if day := dayOf(now); !day.Equal(c.day) {
		*c = caps{day: day, byHost: make(map[string]int)}
	}
	if c.all >= all || c.byHost[host] >= each {
		return false
	}
	c.all++
	c.byHost[host]++
	return true
}

// give takes back what was counted, for a mail that was not sent.
func (c *caps) give(host string) {
	c.all--
	c.byHost[host]--
}

// room reports whether the day has any mail left.
func (c *caps) room(now time.Time, all int) bool {
	return !c.day.Equal(dayOf(now)) || c.all < all
}

// Run sends until ctx ends, and returns its error, or ErrSender at once. It
// looks every Interval, first after a random part of it, so that not all the
// world's reports are sent at midnight.
func (s *Sender) Run(ctx context.Context) error {
	if err := s.check(); err != nil {
		return err
	}
	interval := cmp.Or(max(s.Interval, 0), DefaultInterval)
	t := time.NewTimer(rand.N(interval))
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
		sent, errs := s.Send(ctx)
		if s.Done != nil && ctx.Err() == nil {
			s.Done(sent, errs)
		}
		t.Reset(interval)
	}
}

func (s *Sender) check() error {
	if s.Store == nil || s.Submitter == nil || s.Verifier == nil || s.Domain == "" || hostOf(s.Address) == "" {
		return ErrSender
	}
	return nil
}

// Send sends the reports of all days that ended at least 10 minutes ago, and
// says how many mails that were and what went wrong. A window stays in the store
// as long as a later try may help, and what was sent of it is not sent again;
// should the process end in between, the report has the same identifier, file
// name and Message-ID. Where caps do not allow all, which go first differs
// from day to day.
func (s *Sender) Send(ctx context.Context) (int, []error) {
	if err := s.check(); err != nil {
		return 0, []error{err}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	windows, err := s.Store.Windows(dayOf(time.Now().Add(-settle)))
	if err != nil {
		return 0, []error{err}
	}
	ids := make(map[string]bool, len(windows))
	for i := range windows {
		ids[s.id(&windows[i])] = true
	}
	for key := range s.sent { // of windows that are done
		if id, _, _ := strings.Cut(key, " "); !ids[id] {
			delete(s.sent, key)
		}
	}
	slices.SortFunc(windows, func(a, b Window) int {
		return cmp.Or(a.Day.Compare(b.Day), cmp.Compare(s.id(&a), s.id(&b)))
	})
	sent, errs := s.round(ctx, windows)
	if store, ok := s.Store.(interface{ Save() error }); ok && len(windows) > 0 {
		if err := store.Save(); err != nil {
			errs = append(errs, err)
		}
	}
	return sent, errs
}

// round tries all windows once.
func (s *Sender) round(ctx context.Context, windows []Window) (int, []error) {
	var errs []error
	sent := 0
	for i := range windows {
		if ctx.Err() != nil {
			return sent, append(errs, ctx.Err())
		}
		w := &windows[i]
		n, problems := s.window(ctx, w)
		sent += n
		again := false
		for _, err := range problems {
			errs = append(errs, fmt.Errorf("%s: %w", w.Published.Domain, err))
			again = again || !final(err)
		}
		// What ended with ctx was not tried, however old it is.
		if again && (ctx.Err() != nil || time.Since(w.Day.Add(24*time.Hour)) < cmp.Or(max(s.MaxAge, 0), DefaultMaxAge)) {
			continue
		}
		if again {
			errs = append(errs, fmt.Errorf("%s: %w", w.Published.Domain, ErrExpired))
		}
		if err := s.Store.Done(w); err != nil {
			errs = append(errs, err) // what was sent is remembered, should it come again
		}
	}
	return sent, errs
}

// final reports whether a later try cannot help.
func final(err error) bool {
	return errors.Is(err, dmarc.ErrNotAgreed) || errors.Is(err, dmarc.ErrDestination) || errors.Is(err, dmarc.ErrAuthorDomain) ||
		errors.Is(err, dmarc.ErrReport) || errors.Is(err, ErrTooLarge)
}

// window sends one window.
func (s *Sender) window(ctx context.Context, w *Window) (int, []error) {
	domain := w.Published.Domain
	if len(w.Rows) == 0 || s.Allow == nil || !s.Allow(domain) || domain == hostOf(s.Address) {
		return 0, nil
	}
	if !s.caps.room(time.Now(), cmp.Or(s.MaxPerDay, DefaultMaxPerDay)) {
		return 0, []error{ErrCap} // before DNS is asked
	}
	a, data, err := s.pack(w)
	if err != nil {
		return 0, []error{err}
	}
	to, errs := s.Verifier.Destinations(ctx, domain, w.URIs)
	sent := 0
	for _, d := range to {
		key := a.ID + " " + d.Address
		host := hostOf(d.Address)
		if host == "" || s.sent[key] {
			continue
		}
		if !s.caps.take(time.Now(), host, cmp.Or(s.MaxPerDay, DefaultMaxPerDay), cmp.Or(s.MaxPerDestination, DefaultMaxPerDestination)) {
			errs = append(errs, fmt.Errorf("%w: %s", ErrCap, host))
			continue
		}
		m, err := s.mail(a, d.Address, data)
		if err == nil {
			err = s.Submitter.Submit(ctx, m)
		}
		if err != nil {
			s.caps.give(host)
			errs = append(errs, err)
			continue
		}
		if s.sent == nil {
			s.sent = make(map[string]bool)
		}
		s.sent[key] = true
		sent++
	}
	return sent, errs
}

// pack compresses the report. One that is too large goes without the rarer half
// of its rows, until it fits: else whoever sends enough nonsense in a domain's
// name keeps its owner from hearing of anything.
func (s *Sender) pack(w *Window) (*dmarc.Aggregate, []byte, error) {
	for {
		a := s.aggregate(w)
		var data bytes.Buffer
		if err := a.WriteGzip(&data); err != nil {
			return nil, nil, err
		}
		if data.Len() <= cmp.Or(s.MaxSize, DefaultMaxSize) {
			return a, data.Bytes(), nil
		}
		half := len(w.Rows) / 2
		if half == 0 {
			return nil, nil, fmt.Errorf("%w: %d octets", ErrTooLarge, data.Len())
		}
		slices.SortStableFunc(w.Rows, func(a, b dmarc.Row) int { return cmp.Compare(b.Count, a.Count) })
		for i := half; i < len(w.Rows); i++ {
			w.Lost += w.Rows[i].Count
		}
		w.Rows = w.Rows[:half]
	}
}

func (s *Sender) id(w *Window) string { return reportID(w, s.Domain) }

// reportID is the same whenever the window is: receivers know a report that
// came twice by it (RFC 9990 §3.5.1). It has letters and digits alone, so that
// it can be the same in the file's name (§3.5.2).
func reportID(w *Window, receiver string) string {
	h := sha256.Sum256(fmt.Appendf(nil, "%d %q %q", w.Day.Unix(), receiver, fmt.Sprintf("%+q", []any{w.Published})))
	return w.Day.Format("20060102") + hex.EncodeToString(h[:16])
}

func (s *Sender) aggregate(w *Window) *dmarc.Aggregate {
	a := &dmarc.Aggregate{
		Org: cmp.Or(s.Org, s.Domain), Email: s.Address, Contact: s.Contact, ID: s.id(w), Generator: "Posta",
		Begin: w.Day, End: w.Day.Add(24*time.Hour - time.Second), Published: w.Published, Records: w.Rows,
	}
	if w.Lost > 0 {
		a.Errors = []string{fmt.Sprintf("%d messages are not in this report: there were too many different outcomes", w.Lost)}
	}
	return a
}

// mail puts a report into a message (RFC 9990 §3.5.2).
func (s *Sender) mail(a *dmarc.Aggregate, to string, data []byte) (*Mail, error) {
	var b, text, file message.Builder
	text.SetText(fmt.Sprintf("This is a DMARC aggregate report of %s about %s,\nfrom %s to %s.\n", a.Org, a.Published.Domain,
		a.Begin.Format(time.RFC3339), a.End.Format(time.RFC3339)))
	name := []message.Param{{Name: "filename", Value: a.Filename(s.Domain)}}
	file.Add("Content-Disposition", message.FormatParams("attachment", name)).SetBody("application/gzip", "base64", bytes.NewReader(data))
	b.AddDate(time.Now()).AddMessageID("<"+a.ID+"@"+hostOf(s.Address)+">").
		AddAddresses("From", address(s.Address)).AddAddresses("To", address(to)).
		AddText("Subject", a.Subject(s.Domain)).Add("Auto-Submitted", "auto-generated").
		SetMultipart("mixed", nil, &text, &file)
	octets, err := b.Bytes()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", dmarc.ErrReport, err)
	}
	return &Mail{From: s.Address, To: to, Message: octets}, nil
}
