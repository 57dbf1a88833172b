package verify

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/posta-mail/posta/auth/arc"
	"github.com/posta-mail/posta/auth/dkim"
	"github.com/posta-mail/posta/auth/dmarc"
	"github.com/posta-mail/posta/auth/dnsbl"
	"github.com/posta-mail/posta/auth/iprev"
	"github.com/posta-mail/posta/auth/spf"
	"github.com/posta-mail/posta/internal/ctxio"
)

// ErrTimeout is why a check has no result: the time was up.
var ErrTimeout = errors.New("verify: the time is up")

// DefaultTimeout is for how long the checks may go on when the message has
// come to its end.
const DefaultTimeout = 20 * time.Second

// spfLookups are the DNS lookups that an evaluation of SPF may make, by the
// limits of RFC 7208 §4.6.4. Each check has its own lookups for a message, so
// that nobody can make a doubt of what is looked up for one by spending those of
// another, or by more signatures than there are lookups.
const spfLookups = 111

// dkimLookups suffice for the keys of all signatures that are tried.
func (v *Verifier) dkimLookups() int { return 2 * max(v.DKIM.MaxSignatures, dkim.DefaultMaxSignatures) }

func (v *Verifier) arcLookups() int {
	return arc.DefaultMaxSets + min(max(v.ARC.MaxHistory, arc.DefaultMaxHistory), arc.DefaultMaxSets)
}

// dmarcLookups suffice for the walks of eight from the author's domain, that of
// SPF, and those of the signatures (RFC 9989 §4.10), and for whether the
// author's exists.
func (v *Verifier) dmarcLookups() int {
	return 8*(2+max(v.DKIM.MaxSignatures, dkim.DefaultMaxSignatures)) + 4
}

func (v *Verifier) iprevLookups() int { return 1 + max(v.IPRev.Names, iprev.DefaultNames) }

// Verifier verifies messages. The zero value works, with net.DefaultResolver
// and without a name for Authentication-Results. Its fields must not change
// once it is in use; it is then safe for concurrent use, and no state is kept
// between messages.
type Verifier struct {
	// Hostname is this system's name: the authserv-id of RFC 8601 §2.5, and the
	// receiver in SPF's macros. Empty: "localhost".
	Hostname string
	// Resolver answers for all checks; nil: net.DefaultResolver. Each question
	// is asked once for a message.
	Resolver Resolver
	// SPF, DKIM, ARC and DMARC are the settings of the checks. Their Resolvers
	// are not used, nor are IPRev's and SPF's Receiver.
	SPF   spf.Checker
	DKIM  dkim.Verifier
	ARC   arc.Verifier
	DMARC dmarc.Evaluator
	// IPRev are the settings of the check that the client's address has a name
	// with that address; NoIPRev leaves it out.
	IPRev   iprev.Checker
	NoIPRev bool
	// Lists are the block and allow lists that are asked about the client's
	// address, with their own Resolver and time; nil: none. Their domain lists
	// are not asked.
	Lists *dnsbl.Checker
	// Trusted are the sealers whose word counts where DMARC fails (RFC 8617
	// §7.2.1). Empty: nobody; chains are verified and told all the same.
	Trusted arc.Trusted
	// Policy is how far Recommend goes beyond what the standards ask.
	Policy Policy
	// Timeout is for how long the checks may go on when the message has come to
	// its end; what is open then is a temporary error. 0: DefaultTimeout.
	Timeout time.Duration
}

// Envelope is what is known of a message beside its octets.
type Envelope struct {
	// Remote is the client's address. The zero Addr leaves SPF out.
	Remote netip.Addr
	// HELO is the name the client gave.
	HELO string
	// MailFrom is the sender, local@domain; empty for the null sender.
	MailFrom string
	// User is who logged in, told as "auth" (RFC 8601 §2.7.4); empty: nobody.
	User string
	// UTF8 says that the message may have UTF-8 in its header (RFC 6532), and so
	// may the field that tells of it.
	UTF8 bool
}

// Verify reads a message to its end and verifies it. The error is r's or
// ctx's; what is wrong with the message is in the Results.
func (v *Verifier) Verify(ctx context.Context, env Envelope, r io.Reader) (*Results, error) {
	m := v.Begin(ctx, env)
	defer m.Close()
	if err := ctxio.Feed(ctx, m, r); err != nil {
		return nil, err
	}
	return m.Results(ctx), nil
}

// Message is the verification of one message that is being written to it. It is
// not safe for concurrent use.
type Message struct {
	v      *Verifier
	env    Envelope
	ctx    context.Context
	cancel context.CancelCauseFunc
	dns    *lookups
	dkim   *dkim.Verification
	arc    *arc.Verification
	lf     *dkim.LineEnds
	header *dkim.Header
	body   dkim.BodyHasher // for dkim and arc
	err    error           // of the header
	from   []string
	dmarc  *dmarc.Evaluator
	spf    chan spf.Result // of MAIL FROM, then of HELO
	helo   chan spf.Result
	iprev  chan *iprev.Result
	lists  chan []dnsbl.Result

	once    sync.Once
	closed  bool // before there were results
	results *Results
}

// Begin starts the verification of a message whose envelope is known: SPF at
// once, the rest as the message is written to it. Results or Close must follow.
// ctx bounds it all; it starts a few goroutines, which end with it.
func (v *Verifier) Begin(ctx context.Context, env Envelope) *Message {
	if env.MailFrom == "<>" {
		env.MailFrom = ""
	}
	m := &Message{v: v, env: env, spf: make(chan spf.Result, 1), helo: make(chan spf.Result, 1),
		iprev: make(chan *iprev.Result, 1), lists: make(chan []dnsbl.Result, 1)}
	m.ctx, m.cancel = context.WithCancelCause(ctx)
	m.dns = newLookups(m.ctx, v.Resolver)
	m.header = dkim.NewHeader(v.DKIM.MaxHeaderBytes, v.DKIM.MaxHeaderFields)
	if v.DKIM.AcceptLF {
		m.lf = new(dkim.LineEnds)
	}
	policy := v.DMARC
	policy.Resolver = m.dns.part(v.dmarcLookups())
	m.dmarc = &policy
	m.checkSPF()
	m.checkAddr()
	return m
}

// checkAddr asks who has the client's address.
func (m *Message) checkAddr() {
	switch {
	case !m.env.Remote.IsValid() || m.v.NoIPRev:
		m.iprev <- nil
	default:
		checker := m.v.IPRev
		checker.Resolver = m.dns.part(m.v.iprevLookups())
		go func() {
			r := checker.Check(m.ctx, m.env.Remote)
			m.iprev <- &r
		}()
	}
	if !m.env.Remote.IsValid() || m.v.Lists == nil {
		m.lists <- nil
		return
	}
	go func() { m.lists <- m.v.Lists.Addr(m.ctx, m.env.Remote) }()
}

// checkSPF checks MAIL FROM, and HELO beside it (RFC 7208 §2.3): with a null
// sender they are one.
func (m *Message) checkSPF() {
	if !m.env.Remote.IsValid() {
		m.spf <- spf.Result{Status: spf.None, HELO: m.env.HELO}
		m.helo <- spf.Result{Status: spf.None, Identity: spf.HELO, HELO: m.env.HELO}
		return
	}
	checker := m.v.SPF
	checker.Receiver, checker.Resolver = m.v.hostname(), m.dns.part(spfLookups)
	helo := checker
	helo.Resolver = m.dns.part(spfLookups)
	go func() { m.spf <- checker.Check(m.ctx, m.env.Remote, m.env.HELO, m.env.MailFrom) }()
	if m.env.MailFrom == "" {
		return
	}
	go func() { m.helo <- helo.CheckHELO(m.ctx, m.env.Remote, m.env.HELO) }()
}

// Write takes the next piece of the message as it came. It always takes all of
// it: what is wrong with the message is in the Results.
func (m *Message) Write(p []byte) (int, error) {
	if m.results != nil {
		return len(p), nil
	}
	size := len(p)
	if m.lf != nil {
		p = m.lf.Convert(p)
	}
	p = m.header.Take(p)
	if m.dkim == nil && m.header.Done() {
		m.head()
	}
	_, _ = m.body.Write(p)
	return size, nil
}

// head is called when the header is complete: it sends for the keys, and for
// the policy of the author's domain, so that nobody waits for it who has waited
// for others.
func (m *Message) head() {
	m.err = m.header.Close()
	signatures, chain := m.v.DKIM, m.v.ARC
	signatures.Resolver, chain.Resolver = m.dns.part(m.v.dkimLookups()), m.dns.part(m.v.arcLookups())
	m.dkim = signatures.NewBodyVerification(m.ctx, m.header, &m.body)
	m.arc = chain.NewBodyVerification(m.ctx, m.header, &m.body)
	for _, f := range m.header.Fields("from") {
		_, value, _ := strings.Cut(string(f), ":")
		m.from = append(m.from, value)
	}
	if domain, err := dmarc.AuthorDomain(m.from); err == nil {
		go func() { _, _ = m.dmarc.Discover(m.ctx, domain) }()
	}
}

// Close gives the verification up; it is harmless after Results. Results that
// are asked for all the same are without a verdict: DMARC's is a temporary error.
func (m *Message) Close() error {
	m.closed = true
	m.cancel(nil)
	if m.dkim != nil {
		_ = m.dkim.Close()
		_ = m.arc.Close()
	}
	return nil
}

// Results ends the message and returns what was found out. It waits for DNS, at
// most for Timeout or until ctx ends. Further calls return the same.
func (m *Message) Results(ctx context.Context) *Results {
	m.once.Do(func() {
		timeout := m.v.Timeout
		if timeout <= 0 {
			timeout = DefaultTimeout
		}
		end := time.AfterFunc(timeout, func() { m.cancel(ErrTimeout) })
		defer end.Stop()
		stop := context.AfterFunc(ctx, func() { m.cancel(context.Cause(ctx)) })
		defer stop()
		m.results = m.conclude()
		m.Close()
	})
	return m.results
}

func (m *Message) conclude() *Results {
	if m.dkim == nil {
		m.head()
	}
	r := &Results{Envelope: m.env, hostname: m.v.hostname(), policy: m.v.Policy}
	r.DKIM = m.dkim.Results()
	if a := m.arc.Result(); a != nil { // nil after Close
		r.ARC = *a
	}
	// These end when m.ctx does, since all they wait for are its lookups.
	r.SPF = <-m.spf
	if r.HELO = r.SPF; m.env.MailFrom != "" {
		r.HELO = <-m.helo
	}
	r.IPRev = <-m.iprev
	select {
	case r.Lists = <-m.lists: // their Resolver is another
	case <-m.ctx.Done():
	}
	in := dmarc.Input{From: m.from, SPF: dmarc.Identifier{Domain: r.SPF.Domain, Pass: r.SPF.Status == spf.Pass, Open: r.SPF.Status == spf.TempError}}
	for _, d := range r.DKIM {
		// DMARC considers so many: not to be used up by those that failed.
		if id := (dmarc.Identifier{Domain: d.Domain, Pass: d.Trusted, Open: d.Status == dkim.StatusTempError}); id.Pass || id.Open {
			in.DKIM = append(in.DKIM, id)
		}
	}
	// What has been looked up counts even if the time is up.
	r.DMARC = m.dmarc.Evaluate(m.ctx, in)
	switch {
	case m.closed:
		r.DMARC = dmarc.Result{Status: dmarc.StatusTempError, Policy: dmarc.None, Domain: r.DMARC.Domain, Err: context.Canceled}
	case m.err != nil:
		r.DMARC = dmarc.Result{Status: dmarc.StatusPermError, Policy: dmarc.None, Err: m.err}
	}
	r.unreadable = m.err != nil || errors.Is(r.DMARC.Err, dmarc.ErrNoAuthor) && len(m.from) > 0
	if r.DMARC.Status == dmarc.StatusFail {
		r.Override = m.v.Trusted.DMARC(&r.ARC, r.DMARC.Domain)
	}
	return r
}

func (v *Verifier) hostname() string {
	if v.Hostname == "" {
		return "localhost"
	}
	return v.Hostname
}
