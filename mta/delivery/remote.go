// Package delivery makes one attempt to hand a message to another system: it
// goes through the hosts of a route and their addresses until one has
// answered, encrypted where the host can.
package delivery

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

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

// Security says how a connection to a host is to be secured.
type Security struct {
	// Mode is when to encrypt. TLSIfOffered retries in plain text when the
	// handshake fails, the other modes never do.
	Mode smtp.TLSMode
	// Config is for the handshake; nil accepts any certificate under
	// TLSIfOffered (RFC 7435) and verifies the host's name otherwise.
	Config *tls.Config
}

// Remote is a queue.Deliverer for other systems. Set its fields before use;
// safe for concurrent use.
type Remote struct {
	// Router is required.
	Router Router
	// Hostname is given in EHLO; "localhost" if empty.
	Hostname string
	// Secure decides about TLS for each host; nil encrypts where it is
	// offered, without demanding a certificate.
	Secure func(ctx context.Context, domain string, host route.Host) (Security, error)
	// Auth, if not nil, gives what to log in with at a host (a smarthost), or
	// nil. Together with it Secure should demand TLS.
	Auth func(host route.Host) gosasl.Client
	// Timeouts are those of the SMTP client; zero fields have RFC 5321's
	// values, but a TCP connection gets 30 s, since there may be many.
	Timeouts smtp.Timeouts
	// DialContext replaces net.Dialer's.
	DialContext func(ctx context.Context, network, addr string) (net.Conn, error)
	Logger      *slog.Logger
}

// Replies of this system, when no other gave one.
var (
	errNoRouter = smtp.Errorf(451, smtp.EnhancedCode{4, 3, 5}, "No route configured")
	errPolicy   = smtp.Errorf(451, smtp.EnhancedCode{4, 7, 5}, "TLS policy of the destination cannot be determined")
)

// Deliver implements queue.Deliverer. All recipients of m have the same domain.
func (d *Remote) Deliver(ctx context.Context, m *queue.Message, body store.Body) []queue.Result {
	results := make([]queue.Result, len(m.Recipients))
	if len(results) == 0 {
		return results
	}
	a := &attempt{remote: d, ctx: ctx, message: m, body: body, results: results}
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
	down := true
	for _, h := range r.Hosts {
		for _, addr := range h.Addrs {
			if a.ctx.Err() != nil {
				a.fail(queue.Result{Err: a.ctx.Err()})
				return
			}
			res, final := a.host(domain, h, addr)
			if final {
				return
			}
			a.log().Info("host not usable", "id", a.message.ID, "domain", domain, "host", res.Remote, "err", res.Err)
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

// fail gives every recipient the same result.
func (a *attempt) fail(r queue.Result) {
	for i := range a.results {
		a.results[i] = r
	}
}

// host tries one address. final says that there is an answer for every
// recipient; otherwise the next host may have one.
func (a *attempt) host(domain string, h route.Host, addr netip.Addr) (res queue.Result, final bool) {
	name := remoteName(h, addr)
	sec := Security{}
	if a.remote.Secure != nil {
		var err error
		if sec, err = a.remote.Secure(a.ctx, domain, h); err != nil {
			a.log().Warn("no TLS policy", "domain", domain, "host", h.Name, "err", err)
			return queue.Result{Err: errPolicy, Remote: name}, false
		}
	}
	c, err := a.connect(h, addr, sec)
	if err != nil {
		return queue.Result{Err: localReply(err), Remote: name, Down: !answered(err)}, false
	}
	defer c.Close()
	env := &smtp.Envelope{From: a.message.From, MailOptions: a.message.Options, To: a.message.Paths()}
	env.Size = a.body.Size()
	sent, err := c.Send(a.ctx, env, io.NewSectionReader(a.body, 0, a.body.Size()))
	if err != nil && a.elsewhere(err) {
		return queue.Result{Err: localReply(err), Remote: name}, false
	}
	for i := range a.results {
		a.results[i] = queue.Result{Err: localReply(sent.Recipients[i]), Remote: name}
	}
	if c.Alive() {
		_ = c.Quit(a.ctx)
	}
	return queue.Result{}, true
}

// elsewhere reports whether another host may do better: not after a lasting
// refusal, nor when this one may have taken the message already.
func (a *attempt) elsewhere(err error) bool {
	var ce *smtp.CommandError
	if !errors.As(err, &ce) {
		return true
	}
	return smtp.IsTemporary(err) && (ce.Command == "MAIL" || !answered(err) && ce.Command != "message")
}

// connect makes a client, encrypted as sec demands.
func (a *attempt) connect(h route.Host, addr netip.Addr, sec Security) (*smtp.Client, error) {
	cfg := &smtp.ClientConfig{
		Hostname: a.remote.Hostname, TLS: sec.Mode, TLSConfig: sec.Config, Timeouts: a.remote.Timeouts,
		DialContext: a.remote.DialContext, Allow8Bit: true,
	}
	if cfg.Timeouts.Dial == 0 {
		cfg.Timeouts.Dial = 30 * time.Second
	}
	if cfg.TLSConfig == nil {
		cfg.TLSConfig = &tls.Config{ServerName: h.Name, InsecureSkipVerify: sec.Mode == smtp.TLSIfOffered}
	}
	login := func() gosasl.Client {
		if a.remote.Auth == nil {
			return nil
		}
		return a.remote.Auth(h)
	}
	target := netip.AddrPortFrom(addr, h.Port).String()
	cfg.Auth = login()
	c, err := smtp.Dial(a.ctx, target, cfg)
	if err == nil || sec.Mode != smtp.TLSIfOffered || !isHandshake(err) || cfg.Auth != nil {
		return c, err
	}
	// RFC 7435 §3: an unauthenticated handshake that fails protects nobody
	// by failing the delivery. A password would be another matter.
	a.log().Warn("TLS handshake failed, trying in plain text", "host", h.Name, "addr", target, "err", err)
	cfg.TLS = smtp.TLSNone
	return smtp.Dial(a.ctx, target, cfg)
}

// isHandshake reports whether STARTTLS or its handshake failed. A host that
// sent plain text into the handshake is not tried again at all.
func isHandshake(err error) bool {
	var ce *smtp.CommandError
	return errors.As(err, &ce) && ce.Command == "STARTTLS" && !errors.Is(err, smtp.ErrProtocol)
}

// answered reports whether the other system said anything at all.
func answered(err error) bool {
	var e *smtp.Error
	return errors.As(err, &e)
}

// localReply turns an error of the client into the reply that the queue keeps
// and a bounce shows.
func localReply(err error) error {
	if err == nil {
		return nil
	}
	var e *smtp.Error
	if errors.As(err, &e) {
		if smtp.IsTemporary(err) && !e.Temporary() {
			// RFC 5321 §4.5.3.1.10: 552 to RCPT means 452.
			return &smtp.Error{Code: 452, Enhanced: smtp.EnhancedCode{4, 5, 3}, Text: e.Text}
		}
		return e
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var ce *smtp.CommandError
	what := "connection"
	if errors.As(err, &ce) {
		what = ce.Command
		err = ce.Err
	}
	if what == "connect" || what == "connection" {
		return smtp.Errorf(451, smtp.EnhancedCode{4, 4, 1}, "Connection failed: %v", err)
	}
	return smtp.Errorf(451, smtp.EnhancedCode{4, 4, 2}, "Connection lost at %s: %v", what, err)
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
