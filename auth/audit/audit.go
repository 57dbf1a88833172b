package audit

import (
	"context"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/posta-mail/posta/dns"
)

// Resolver is what an audit looks up; *dns.Resolver has it. DANE is judged by
// the Authentic bits of its answers.
type Resolver interface {
	MX(ctx context.Context, name string) (dns.Answer[dns.MX], error)
	IP(ctx context.Context, name string) (dns.Answer[netip.Addr], error)
	TXT(ctx context.Context, name string) (dns.Answer[string], error)
	CNAME(ctx context.Context, name string) (dns.Answer[string], error)
	TLSA(ctx context.Context, name string) (dns.Answer[dns.TLSA], error)
}

// Defaults of an Auditor.
const (
	DefaultMaxLookups = 300
	DefaultTimeout    = time.Minute
)

// Auditor judges domains. Resolver must be set; the rest of the zero value is
// useful. Fields must not change once it is in use; it is then safe for
// concurrent use. It starts no goroutines.
type Auditor struct {
	Resolver Resolver
	// HTTP fetches the MTA-STS policy, without following redirects. Nil: the
	// policy is not looked at, which the report says.
	HTTP *http.Client
	// MaxLookups bounds the DNS lookups of one audit. 0: DefaultMaxLookups.
	MaxLookups int
	// Timeout bounds one audit. 0: DefaultTimeout.
	Timeout time.Duration
}

// Options say what an audit cannot find out by itself.
type Options struct {
	// Selectors are those of the domain's DKIM keys: DNS has no list of them.
	Selectors []string
	// BIMISelector is the selector of the brand indicator. Empty: "default".
	BIMISelector string
	// NoMail says that the domain neither sends nor receives mail, and is to be
	// judged by that.
	NoMail bool
}

// Audit looks a domain's records up and judges them. A U-label domain is
// converted. It always returns a report: what could not be looked up is a
// finding of its own. It blocks until all is looked up, ctx ends, or a limit is
// reached.
func (a *Auditor) Audit(ctx context.Context, domain string, opt Options) *Report {
	timeout := a.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	in := &inspection{ctx: ctx, a: a, opt: opt, report: &Report{Domain: strings.TrimSuffix(domain, ".")}, left: a.MaxLookups}
	if in.left <= 0 {
		in.left = DefaultMaxLookups
	}
	most := in.left
	name, err := dns.CanonicalName(domain)
	if err != nil || name == "." {
		in.find(Finding{Code: BadDomain, Subject: SubjectDNS, Name: in.report.Domain, Text: "this is no domain name"})
		return in.report
	}
	in.domain, in.report.Domain = name, name
	in.mx()
	in.spf()
	in.dkim()
	in.dmarc()
	in.sts()
	in.tlsrpt()
	in.dane()
	in.bimi()
	in.report.Lookups = most - in.left
	return in.report
}

// inspection is one audit under way.
type inspection struct {
	ctx    context.Context
	a      *Auditor
	opt    Options
	domain string
	report *Report
	left   int // lookups

	hosts    []string // mail servers that mail may be delivered to
	authMX   bool     // the MX records are authentic
	nullMX   bool
	policyOK bool // DMARC is enforced, as BIMI demands
}

// errBudget ends an audit that has made all its lookups.
var errBudget = errors.New("audit: no lookups left")

// spend takes a lookup from the budget.
func (in *inspection) spend() error {
	if in.left == 0 {
		return errBudget
	}
	in.left--
	return in.ctx.Err()
}

// lookup makes one lookup within the budget.
func lookup[T any](in *inspection, name string, by func(context.Context, string) (dns.Answer[T], error)) (dns.Answer[T], error) {
	if err := in.spend(); err != nil {
		return dns.Answer[T]{}, err
	}
	return by(in.ctx, name)
}

// txt returns the TXT records of a name, nil if there are none. ok is false if
// that is not known, which has been reported.
func (in *inspection) txt(subject Subject, name string) (texts []string, ok bool) {
	answer, err := lookup(in, name, in.a.Resolver.TXT)
	switch {
	case err == nil:
		return answer.Records, true
	case dns.IsNotFound(err):
		return nil, true
	}
	in.failed(subject, name, err)
	return nil, false
}

// failed reports a lookup without an answer.
func (in *inspection) failed(subject Subject, name string, err error) {
	if errors.Is(err, errBudget) {
		if in.report.Has(Budget) {
			return
		}
		in.find(Finding{Code: Budget, Subject: subject, Name: name, Text: "the audit has made all the lookups it may; the rest is not judged"})
		return
	}
	in.find(Finding{Code: LookupFailed, Subject: subject, Name: name, Text: "DNS gives no answer: " + err.Error()})
}

// find adds a finding, whose severity is that of its code.
func (in *inspection) find(f Finding) {
	f.Severity = f.Code.severity()
	f.Reference = f.Code.reference()
	in.report.Findings = append(in.report.Findings, f)
}

// found notes a record that was found.
func (in *inspection) found(subject Subject, name, text string) {
	in.report.Records = append(in.report.Records, Published{Subject: subject, Name: name, Text: text})
}
