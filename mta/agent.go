package mta

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"strings"
	"sync"

	"github.com/posta-mail/posta/auth/verify"
	"github.com/posta-mail/posta/dns"
	"github.com/posta-mail/posta/internal/wire"
	"github.com/posta-mail/posta/mda"
	"github.com/posta-mail/posta/mta/delivery"
	"github.com/posta-mail/posta/mta/queue"
	"github.com/posta-mail/posta/mta/report"
	"github.com/posta-mail/posta/mta/route"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// Agent is a mail transfer agent. Set its fields before the first call and
// not after; its methods are safe for concurrent use. A zero Agent has no
// domains, no queue and accepts nothing.
type Agent struct {
	// Hostname is this system's name: in Received, Authentication-Results
	// and notices, in EHLO to others, and as a mail exchanger. "localhost"
	// if empty.
	Hostname string
	// Domains are the domains whose mail ends here, in any case, as A-labels.
	Domains []string
	// Local files mail for Domains; nil: none of it can be delivered.
	Local Local
	// Spool is where the queue keeps what is on its way; nil: nothing can be
	// sent elsewhere, and no notices; a message that cannot be filed for all
	// of its recipients is refused for all, though some may have it.
	Spool store.Spool
	// Stager keeps message bodies while they come in; nil: Local, if it is
	// one (mda.Agent is).
	Stager Stager

	// Signer signs submitted messages and notices; nil: no signatures.
	Signer Signer
	// Resolver answers all DNS questions; nil: a dns.Resolver with the system's servers.
	Resolver *dns.Resolver
	// Checks see each message at every phase, in this order, after this
	// package's own checks. They apply to Inbound.
	Checks []Check
	// SubmissionChecks are the same for Submission.
	SubmissionChecks []Check
	// MaxHops is the number of Received fields from which on a message is
	// taken to be in a loop; 100 if zero (RFC 5321 §6.3).
	MaxHops int
	// HeaderMemory bounds the octets that headers of messages being received
	// take beyond their first 8 KiB, on all connections together: four times
	// their size, of which one may have 1 MiB (more is 552 5.3.4). 64 MiB if
	// zero; negative: no bound. A message for which there is none left gets 452
	// 4.3.1. The first 8 KiB are another 32 KiB of a connection's memory.
	HeaderMemory int64
	// Verify is how messages from elsewhere are verified: SPF, DKIM, ARC and
	// DMARC. Its Hostname and Resolver are set from this Agent if empty. Its
	// zero value refuses nothing.
	Verify verify.Verifier
	// NoVerify turns that off.
	NoVerify bool
	// Reports counts what was verified, for DMARC's aggregate reports, which a
	// report.Sender sends by ReportSubmitter; nil: nothing is counted.
	Reports *report.Collector

	// Route says where mail for a domain goes. Its Resolver and Names are
	// set from this Agent if empty.
	Route route.Router
	// Remote makes the attempts at other systems. Its Router and the Hostname of
	// its Transport.Client are set from this Agent if empty.
	Remote delivery.Remote
	// Queue holds the schedule. Its Spool, Deliverer, Notifier and Logger
	// are set from this Agent if empty.
	Queue queue.Queue

	Logger *slog.Logger
	// Trace is told what becomes of messages; nil for none.
	Trace *Trace

	once    sync.Once
	headers *wire.Budget
	domains map[string]bool
	mu      sync.Mutex
	stop    context.CancelFunc // of Run
	done    chan struct{}
}

// Local files mail for recipients of this system. *mda.Agent is one.
type Local interface {
	// Check answers RCPT with nil or an *smtp.Error.
	Check(ctx context.Context, to smtp.Path) error
	// Deliver returns one result per recipient.
	Deliver(ctx context.Context, d *mda.Delivery, to []smtp.Path) []error
}

// Stager keeps a body until it is placed; every store.Store is one.
type Stager interface {
	Stage(ctx context.Context, r io.Reader) (store.Staged, error)
}

// Errors of Run.
var (
	// ErrNoSpool: without a spool there is no queue to run.
	ErrNoSpool = errors.New("mta: no spool")
	// ErrRunning: the Agent is running already.
	ErrRunning = errors.New("mta: already running")
)

// setup fills in what the fields leave open, once.
func (a *Agent) setup() {
	a.once.Do(func() {
		switch {
		case a.HeaderMemory == 0:
			a.headers = wire.NewBudget(64 << 20)
		case a.HeaderMemory > 0:
			a.headers = wire.NewBudget(a.HeaderMemory)
		}
		a.domains = map[string]bool{}
		for _, d := range a.Domains {
			a.domains[strings.ToLower(strings.TrimSuffix(d, "."))] = true
		}
		if a.Resolver == nil {
			a.Resolver = &dns.Resolver{Logger: a.Logger}
		}
		if a.Stager == nil {
			a.Stager, _ = a.Local.(Stager)
		}
		if a.Verify.Hostname == "" {
			a.Verify.Hostname = a.hostname()
		}
		if a.Verify.Resolver == nil {
			a.Verify.Resolver = a.Resolver
		}
		if a.Route.Resolver == nil {
			a.Route.Resolver = a.Resolver
		}
		if len(a.Route.Names) == 0 {
			a.Route.Names = []string{a.hostname()}
		}
		if a.Remote.Router == nil {
			a.Remote.Router = &a.Route
		}
		if c := &a.Remote.Transport.Client; c.Hostname == "" {
			c.Hostname = a.hostname()
		}
		if a.Remote.Logger == nil {
			a.Remote.Logger = a.Logger
		}
		q := &a.Queue
		if q.Spool == nil {
			q.Spool = a.Spool
		}
		if q.Deliverer == nil {
			q.Deliverer = deliverer{a}
		}
		if q.Notifier == nil {
			q.Notifier = notifier{a}
		}
		if q.Logger == nil {
			q.Logger = a.Logger
		}
	})
}

// Run works off the queue until ctx ends or Shutdown is called, when it
// returns nil after the attempts under way.
func (a *Agent) Run(ctx context.Context) error {
	a.setup()
	if a.Queue.Spool == nil {
		return ErrNoSpool
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.mu.Lock()
	if a.stop != nil {
		a.mu.Unlock()
		return ErrRunning
	}
	done := make(chan struct{})
	a.stop, a.done = cancel, done
	a.mu.Unlock()
	defer func() {
		a.mu.Lock()
		a.stop, a.done = nil, nil
		a.mu.Unlock()
		close(done)
	}()
	err := a.Queue.Run(ctx)
	a.Remote.Transport.CloseIdle()
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Shutdown ends Run and waits for it, or for ctx.
func (a *Agent) Shutdown(ctx context.Context) error {
	a.mu.Lock()
	stop, done := a.stop, a.done
	a.mu.Unlock()
	if stop == nil {
		return nil
	}
	stop()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Agent) hostname() string {
	if a.Hostname == "" {
		return "localhost"
	}
	return a.Hostname
}

// isLocal reports whether mail for the address ends here.
func (a *Agent) isLocal(p smtp.Path) bool {
	if p.Domain == "" {
		return strings.EqualFold(p.Local, "postmaster") // RFC 5321 §4.5.1
	}
	return a.domains[strings.ToLower(p.Domain)]
}

func (a *Agent) log() *slog.Logger {
	if a.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.Logger
}

// stage keeps a body.
func (a *Agent) stage(ctx context.Context, r io.Reader) (store.Staged, error) {
	if a.Stager == nil {
		return nil, errNotConfigured
	}
	return a.Stager.Stage(ctx, r)
}

// Replies of the router.
var (
	errNotConfigured = smtp.Errorf(451, smtp.EnhancedCode{4, 3, 5}, "System not configured for mail")
	errRelay         = smtp.Errorf(550, smtp.EnhancedCode{5, 7, 1}, "Relaying denied")
	errNoQueue       = smtp.Errorf(550, smtp.EnhancedCode{5, 7, 1}, "This system sends no mail elsewhere")
)
