// Package delivery makes one attempt to hand a message to another system: it
// goes through the hosts of a route and their addresses until one has
// answered, encrypted where the host can. Connections are kept for the next
// message to the same host under the same policy.
package delivery

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/netip"
	"sync"
	"time"
	"unicode/utf8"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posta-mail/posta/mta/queue"
	"github.com/posta-mail/posta/mta/route"
	"github.com/posta-mail/posta/smtp"
	"github.com/posta-mail/posta/store"
)

// Router finds where mail for a domain goes; *route.Router is one.
type Router interface {
	Route(ctx context.Context, domain string) (*route.Route, error)
}

// Remote is a queue.Deliverer for other systems. Set its fields before use;
// safe for concurrent use.
type Remote struct {
	// Router is required.
	Router Router
	// Transport makes the connections and keeps them for the next message to the
	// same host under the same policy. Its Client.Hostname is given in EHLO. A
	// TCP connection gets 30 s unless Client.Timeouts says otherwise, since there
	// may be many; Client.Allow8Bit is always set.
	Transport smtp.Transport
	// Secure decides about TLS for each host; nil encrypts where it is
	// offered, without demanding a certificate. A host for which it returns an
	// error is not used. A message with REQUIRETLS goes over verified TLS only,
	// whatever it says. Under smtp.TLSOpportunistic a failed handshake leads to
	// plain text on another connection (RFC 7435 §3), under no other mode.
	Secure func(ctx context.Context, domain string, host route.Host) (smtp.TLSPolicy, error)
	// Auth, if not nil, gives what to log in with at a host (a smarthost), or
	// nil. It is asked for each message and each connection; to one host it has to
	// be the same login. Where there is one, TLSOpportunistic and TLSRequired mean TLSVerified: no password goes to
	// whoever is first to answer.
	Auth   func(host route.Host) gosasl.Client
	Logger *slog.Logger

	once sync.Once
}

// Replies of this system, when no other gave one.
var (
	errNoRouter = smtp.Errorf(451, smtp.EnhancedCode{4, 3, 5}, "No route configured")
	errPolicy   = smtp.Errorf(451, smtp.EnhancedCode{4, 7, 5}, "TLS policy of the destination cannot be determined")
)

// Deliver implements queue.Deliverer. All recipients of m have the same domain.
// A recipient that one host has answered for is not offered to another; after
// the end of the message has been sent no other host gets it at all.
func (d *Remote) Deliver(ctx context.Context, m *queue.Message, body store.Body) []queue.Result {
	results := make([]queue.Result, len(m.Recipients))
	if len(results) == 0 {
		return results
	}
	a := &attempt{remote: d, ctx: ctx, message: m, body: body, results: results}
	for i := range results {
		a.pending = append(a.pending, i)
	}
	a.run()
	return results
}

// attempt is one try at all hosts of a route.
type attempt struct {
	remote  *Remote
	ctx     context.Context
	message *queue.Message
	body    store.Body
	results []queue.Result
	pending []int // recipients without an answer
}

func (a *attempt) run() {
	domain := a.message.Recipients[0].To.Domain
	if a.remote.Router == nil {
		a.fail(queue.Result{Err: errNoRouter})
		return
	}
	r, err := a.remote.Router.Route(a.ctx, domain)
	if err != nil {
		a.fail(queue.Result{Err: err})
		return
	}
	last := queue.Result{Err: errNoRouter}
	down := len(r.Hosts) > 0
	for _, h := range r.Hosts {
		sec, err := a.security(domain, h)
		if err != nil {
			last, down = queue.Result{Err: errPolicy, Remote: h.Name}, false
			continue
		}
		for _, addr := range h.Addrs {
			res := a.host(h, addr, sec)
			if len(a.pending) == 0 {
				return
			}
			if err := a.ctx.Err(); err != nil {
				a.fail(queue.Result{Err: err})
				return
			}
			a.log().Info("host not usable", "id", a.message.ID, "domain", domain, "host", res.Remote, "addr", addr, "err", res.Err)
			down = down && res.Down
			// A passing failure of one host outweighs a lasting one of
			// another: the message may still get through.
			if last.Err == errNoRouter || smtp.IsTemporary(res.Err) || !smtp.IsTemporary(last.Err) {
				last = res
			}
		}
	}
	last.Down = down
	a.fail(last)
}

// fail gives every recipient without an answer the same result.
func (a *attempt) fail(r queue.Result) {
	for _, i := range a.pending {
		a.results[i] = r
	}
	a.pending = nil
}

// security asks how to secure the connections to a host.
func (a *attempt) security(domain string, h route.Host) (smtp.TLSPolicy, error) {
	if a.remote.Secure == nil {
		return smtp.TLSPolicy{}, nil
	}
	sec, err := a.remote.Secure(a.ctx, domain, h)
	if err != nil {
		a.log().Warn("no TLS policy", "domain", domain, "host", h.Name, "err", err)
	}
	return sec, err
}

// host tries one address. Recipients who are pending after it may be offered to
// the next; res says why they are.
func (a *attempt) host(h route.Host, addr netip.Addr, sec smtp.TLSPolicy) (res queue.Result) {
	to := a.target(h, addr, sec)
	for {
		res, beyond := a.transaction(to, remoteName(h, addr))
		if beyond == nil {
			return res
		}
		// RFC 9422 §4.2: who is beyond the host's limit comes in the next
		// transaction.
		a.pending = beyond
	}
}

// transaction offers the pending recipients to a host. beyond are those that it
// takes no more in the same transaction; there are fewer each time.
func (a *attempt) transaction(to *smtp.Target, name string) (res queue.Result, beyond []int) {
	env := &smtp.Envelope{From: a.message.From, MailOptions: a.message.Options}
	env.Size = a.body.Size()
	for _, i := range a.pending {
		env.To = append(env.To, smtp.Recipient{Path: a.message.Recipients[i].To})
	}
	sent, err := a.remote.transport().Send(a.ctx, to, env, io.NewSectionReader(a.body, 0, a.body.Size()))
	if sent.Conn.TLSFailure != nil && sent.Conn.Messages == 0 {
		a.log().Warn("TLS handshake failed, plain text instead", "host", name, "addr", to.Addr, "err", sent.Conn.TLSFailure)
	}
	if sent.Conn.Remote == nil { // there was no connection
		return a.result(name, err), nil
	}
	again := err != nil && elsewhere(err)
	var pending []int
	for n, i := range a.pending {
		switch answer := sent.Recipients[n]; {
		case errors.Is(answer, smtp.ErrLimit) && n > 0:
			beyond = append(beyond, i)
		case again && !refused(answer):
			pending = append(pending, i)
		default:
			a.results[i] = a.result(name, answer)
		}
	}
	if again {
		pending, beyond = append(pending, beyond...), nil
	}
	a.pending = pending
	return a.result(name, err), beyond
}

// elsewhere reports whether another host may do better: not after a lasting
// refusal, nor when this one may have taken the message already.
func elsewhere(err error) bool {
	var ce *smtp.CommandError
	if !errors.As(err, &ce) || ce.Command == "message" || errors.Is(err, smtp.ErrOutcomeUnknown) {
		return false
	}
	var e *smtp.Error
	if !errors.As(err, &e) {
		return true // lost, or out of step
	}
	// RFC 5321 §3.8: a host that says 421 closes, whatever the question was.
	return e.Code == 421 || ce.Command == "MAIL" && smtp.IsTemporary(err)
}

// refused reports whether a recipient has got an answer that is final for now.
func refused(err error) bool {
	var ce *smtp.CommandError
	return errors.As(err, &ce) && ce.Command == "RCPT" && answered(err) && !elsewhere(err)
}

// result is what an error of the client means to the queue.
func (a *attempt) result(name string, err error) queue.Result {
	r := queue.Result{Err: a.localReply(err), Remote: name, Down: err != nil && beforeGreeting(err) && !errors.Is(err, smtp.ErrTransportClosed)}
	if errors.Is(err, smtp.ErrNotSent) {
		r.Remote = "" // we have said that, not they
	}
	return r
}

// target is an address of a host, secured as sec demands.
func (a *attempt) target(h route.Host, addr netip.Addr, sec smtp.TLSPolicy) *smtp.Target {
	to := &smtp.Target{Addr: netip.AddrPortFrom(addr, h.Port).String(), ServerName: h.Name, TLS: sec}
	if a.message.Options.RequireTLS { // RFC 8689 §4.2.1
		to.TLS.Mode = smtp.TLSVerified
	}
	ask := a.remote.Auth
	if ask == nil || ask(h) == nil {
		return to
	}
	to.Login = "at " + h.Name
	to.Auth = func() (gosasl.Client, error) { return ask(h), nil }
	if sec.Mode != smtp.TLSNone {
		to.TLS.Mode = smtp.TLSVerified
	}
	return to
}

// transport is ready for use.
func (d *Remote) transport() *smtp.Transport {
	d.once.Do(func() {
		c := &d.Transport.Client
		c.Allow8Bit = true
		if c.Timeouts.Dial == 0 {
			c.Timeouts.Dial = 30 * time.Second
		}
	})
	return &d.Transport
}

// answered reports whether the other system said anything at all.
func answered(err error) bool {
	var e *smtp.Error
	return errors.As(err, &e)
}

// beforeGreeting reports whether there was not even a greeting.
func beforeGreeting(err error) bool {
	var ce *smtp.CommandError
	return errors.As(err, &ce) && (ce.Command == "connect" || ce.Command == "greeting") && !answered(err)
}

// maxReply bounds how much of a reply, in octets, is kept.
const maxReply = 1000

// localReply turns an error of the client into the reply that the queue keeps
// and a bounce shows.
func (a *attempt) localReply(err error) error {
	if err == nil {
		return nil
	}
	var ce *smtp.CommandError
	if !errors.As(err, &ce) {
		ce = &smtp.CommandError{Command: "connect", Err: err}
	}
	var e *smtp.Error
	switch {
	case !errors.As(err, &e):
	case ce.Command == "AUTH":
		// The password's owner will mend it: that is no reason to return mail.
		return smtp.Errorf(451, smtp.EnhancedCode{4, 7, 8}, "Login failed: %d %s", e.Code, shorten(e.Text))
	case ce.Command == "EHLO" && errors.Is(err, smtp.ErrNotSent):
		return smtp.Errorf(451, smtp.EnhancedCode{4, 3, 5}, "System not configured: %s", e.Text)
	default:
		e := &smtp.Error{Code: e.Code, Enhanced: e.Enhanced, Text: shorten(e.Text)}
		if smtp.IsTemporary(err) && !e.Temporary() {
			// RFC 5321 §4.5.3.1.10: 552 to RCPT means 452.
			e.Code, e.Enhanced = 452, smtp.EnhancedCode{4, 5, 3}
		}
		return e
	}
	if cerr := a.ctx.Err(); cerr != nil {
		return cerr
	}
	why := shorten(ce.Err.Error())
	switch ce.Command {
	case "connect":
		return smtp.Errorf(451, smtp.EnhancedCode{4, 4, 1}, "Connection failed: %s", why)
	case "STARTTLS":
		return smtp.Errorf(451, smtp.EnhancedCode{4, 7, 5}, "TLS failed: %s", why)
	}
	return smtp.Errorf(451, smtp.EnhancedCode{4, 4, 2}, "Connection lost at %s: %s", ce.Command, why)
}

// shorten cuts a text at the end of a character.
func shorten(s string) string {
	if len(s) <= maxReply {
		return s
	}
	n := maxReply
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// remoteName is how a host is called in logs and bounces.
func remoteName(h route.Host, addr netip.Addr) string {
	if h.Name == "" {
		return "[" + addr.String() + "]"
	}
	return h.Name
}

func (a *attempt) log() *slog.Logger {
	if a.remote.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return a.remote.Logger
}
