package audit

import (
	"context"
	"fmt"
	"net/url"
	"strings"

	"github.com/posta-mail/posta/auth/dmarc"
)

// texts is the audit's resolver as dmarc wants it.
type texts struct{ in *inspection }

func (t texts) LookupTXT(_ context.Context, name string) ([]string, error) {
	answer, err := lookup(t.in, name, t.in.a.Resolver.TXT)
	return answer.Records, err
}

// dmarc judges the policy that the domain's mail is under.
func (in *inspection) dmarc() {
	name := "_dmarc." + in.domain
	own, ok := in.txt(SubjectDMARC, name)
	if !ok {
		return
	}
	n := 0
	for _, t := range own {
		if _, err := dmarc.ParseRecord(t); err == nil {
			in.found(SubjectDMARC, name, t)
			n++
		}
	}
	if n > 1 { // RFC 9989 §4.10: none of them counts
		in.find(Finding{Code: DMARCMultiple, Subject: SubjectDMARC, Name: name, Text: fmt.Sprintf("there are %d records: none of them counts", n)})
	}
	e := dmarc.Evaluator{Resolver: texts{in}}
	d, err := e.Discover(in.ctx, in.domain)
	switch {
	case err != nil:
		in.failed(SubjectDMARC, name, err)
		return
	case d.Record == nil && n == 0:
		in.find(Finding{Code: DMARCMissing, Subject: SubjectDMARC, Name: name, Text: "nothing says what to do with mail that only claims to be from this domain", Should: in.dmarcShould()})
		return
	case d.Record == nil:
		return
	}
	policy := d.Record.Policy
	if d.PolicyDomain != in.domain {
		name = "_dmarc." + d.PolicyDomain
		in.found(SubjectDMARC, name, d.Text)
		in.find(Finding{Code: DMARCInherited, Subject: SubjectDMARC, Name: name, Text: "the policy is that of " + d.PolicyDomain})
		if d.Record.Subdomains != "" {
			policy = d.Record.Subdomains
		}
	}
	in.judgePolicy(name, policy, d)
}

// dmarcShould is the policy of a domain that has none.
func (in *inspection) dmarcShould() string {
	if in.opt.NoMail {
		return "v=DMARC1; p=reject"
	}
	return "v=DMARC1; p=none; rua=mailto:dmarc@" + in.domain
}

func (in *inspection) judgePolicy(name string, policy dmarc.Policy, d dmarc.Discovery) {
	r := d.Record
	find := func(code Code, text, should string) {
		in.find(Finding{Code: code, Subject: SubjectDMARC, Name: name, Record: d.Text, Text: text, Should: should})
	}
	if r.Unusable {
		find(DMARCUnusable, "p, sp or np is missing or malformed and there is no valid rua: the record does not count", "")
		return
	}
	switch {
	case policy == dmarc.None:
		find(DMARCNone, "p=none only watches: mail that fails is delivered as before", enforced(r).String())
	case r.Subdomains == dmarc.None || r.NonExistent == dmarc.None:
		find(DMARCSubdomains, "the domain is protected, but its subdomains are not", "")
	}
	if r.Testing {
		find(DMARCTesting, "t=y asks for the next milder policy", "")
	}
	in.policyOK = policy != dmarc.None && r.Subdomains != dmarc.None && !r.Testing
	if len(r.AggregateURIs) == 0 && !in.opt.NoMail {
		find(DMARCNoReports, "without rua nobody tells who sends in the domain's name", reported(r, in.domain).String())
	}
	if old := oldTags(d.Text); old != "" {
		find(DMARCOldTags, "tags that have no meaning any more: "+old, "")
	}
	for _, uri := range append(append([]string(nil), r.AggregateURIs...), r.FailureURIs...) {
		in.external(name, d, uri)
	}
}

// external makes sure that whoever gets reports about this domain has agreed
// (RFC 9990 §4).
func (in *inspection) external(name string, d dmarc.Discovery, uri string) {
	u, err := url.Parse(uri)
	if err != nil || !strings.EqualFold(u.Scheme, "mailto") {
		return
	}
	host := strings.ToLower(u.Opaque[strings.LastIndexByte(u.Opaque, '@')+1:])
	if host == d.OrgDomain || strings.HasSuffix(host, "."+d.OrgDomain) || host == "" {
		return
	}
	at := d.PolicyDomain + "._report._dmarc." + host
	answers, ok := in.txt(SubjectDMARC, at)
	if !ok {
		return
	}
	for _, t := range answers {
		// The record may hold nothing but the version.
		if v, _, _ := strings.Cut(t, ";"); strings.TrimSpace(v) == "v=DMARC1" {
			return
		}
	}
	in.find(Finding{Code: DMARCExternal, Subject: SubjectDMARC, Name: at, Record: uri, Text: host + " has not agreed to get reports about " + d.PolicyDomain + ": they are not sent", Should: "v=DMARC1"})
}

// oldTags lists the tags of RFC 7489 that RFC 9989 has dropped.
func oldTags(text string) string {
	var found []string
	for part := range strings.SplitSeq(text, ";") {
		name, _, _ := strings.Cut(part, "=")
		switch name = strings.TrimSpace(name); name {
		case "pct", "rf", "ri":
			found = append(found, name)
		}
	}
	return strings.Join(found, ", ")
}

// enforced is a policy that does more than watch. What the record says instead of
// p, sp and np, and what is malformed, is not taken over.
func enforced(r *dmarc.Record) *dmarc.Record {
	own := *r
	own.Policy = dmarc.Quarantine
	for _, p := range []*dmarc.Policy{&own.Subdomains, &own.NonExistent} {
		if *p == dmarc.None {
			*p = ""
		}
	}
	return &own
}

// reported is a policy whose domain gets reports.
func reported(r *dmarc.Record, domain string) *dmarc.Record {
	own := *r
	own.AggregateURIs = []string{"mailto:dmarc@" + domain}
	return &own
}

var _ dmarc.Resolver = texts{}
