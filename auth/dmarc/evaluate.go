package dmarc

import (
	"context"
	"errors"
)

// Status is the outcome in the words of RFC 8601 and RFC 9989.
type Status string

const (
	// StatusNone: no policy applies to the message.
	StatusNone Status = "none"
	// StatusPass: the Author Domain is confirmed by SPF or DKIM.
	StatusPass Status = "pass"
	// StatusFail: a policy applies and the Author Domain is not confirmed.
	StatusFail Status = "fail"
	// StatusTempError: a DNS failure leaves it open; a later try may succeed
	// (RFC 9989 §5.3.6).
	StatusTempError Status = "temperror"
	// StatusPermError: the message has no single Author Domain, or the policy
	// record is not usable.
	StatusPermError Status = "permerror"
)

// Input is what is known of a message.
type Input struct {
	// From holds the value of each From field of the message, all of them; see
	// AuthorDomain.
	From []string
	// SPF is the outcome for MAIL FROM, not for HELO, except with a null sender
	// (RFC 9989 §4.4.2).
	SPF Identifier
	// DKIM are the outcomes of the signatures, d= being the domain. The first
	// 50 are considered. A signature that is not to be trusted, because it
	// covers only a part of the body for instance, must not be a pass.
	DKIM []Identifier
}

// maxIdentifiers bounds the tree walks of one evaluation.
const maxIdentifiers = 50

// Identifier is a domain that was checked. The zero value is one that does not
// count.
type Identifier struct {
	// Domain is the name, with U-labels or A-labels.
	Domain string
	// Pass: the use of the domain was confirmed.
	Pass bool
	// Open: a DNS failure left that open. If the message fails and it would
	// pass had this been a Pass, the result is a temporary error (RFC 9989
	// §5.3.6).
	Open bool
}

// Result is the outcome for one message.
type Result struct {
	Status Status
	// Policy is what the owner wants done with this message: None unless
	// Status is fail; test mode is taken into account. See Handling.
	Policy Policy
	// Published is the policy of the record that applies to the Author Domain,
	// whatever Status is; empty where no record applies.
	Published Policy
	// Tag is where Published comes from: "p", "sp" or "np".
	Tag string
	// Testing: the record has t=y.
	Testing bool
	// Record is the record that applies, nil where none does. It may be
	// Unusable, with StatusPermError.
	Record *Record
	// Text is the record as published.
	Text string
	// Domain is the Author Domain.
	Domain string
	// PolicyDomain is where the record is published.
	PolicyDomain string
	// OrgDomain is the Organizational Domain of Domain. Where Domain has a
	// record of its own and no other domain's alignment had to be judged, it is
	// Domain (RFC 9989 §4.10.2).
	OrgDomain string
	// AlignedSPF and AlignedDKIM: a confirmed domain of that kind is aligned.
	AlignedSPF, AlignedDKIM bool
	// Err says why the Status is an error, or why no policy applies although
	// there is a record. It wraps one of the Err variables of this package.
	Err error
}

// Reason is a short fixed text for Err, fit for the reason of an
// Authentication-Results field.
func (r *Result) Reason() string {
	for _, err := range []error{ErrNoAuthor, ErrManyAuthors, ErrAuthorDomain, ErrRecord, ErrDNS} {
		if errors.Is(r.Err, err) {
			return err.Error()
		}
	}
	return ""
}

// Handling is what to do with the message as far as DMARC goes: Policy, but
// Quarantine for Reject unless there is other evidence against the message,
// because mail that was forwarded or came over a list fails too (RFC 9989
// §7.4).
func (r *Result) Handling(otherEvidence bool) Policy {
	if r.Policy == Reject && !otherEvidence {
		return Quarantine
	}
	return r.Policy
}

// Evaluate evaluates one message (RFC 9989 §5.3).
func (e *Evaluator) Evaluate(ctx context.Context, in Input) Result {
	domain, err := AuthorDomain(in.From)
	if err != nil {
		return Result{Status: StatusPermError, Policy: None, Err: err}
	}
	s, cancel := e.session(ctx)
	defer cancel()
	v := evaluation{session: s, Result: Result{Domain: domain, Policy: None}}
	v.evaluate(in)
	return v.Result
}

// evaluation is one message on its way to a Result.
type evaluation struct {
	*session
	Result
	walked bool // OrgDomain is known
	err    error
}

func (v *evaluation) evaluate(in Input) {
	if err := v.discover(); err != nil {
		v.Status, v.Err = StatusTempError, err
		return
	}
	if v.Record == nil {
		v.Status = StatusNone
		return
	}
	if v.Record.Unusable {
		v.Status, v.Err = StatusPermError, ErrRecord
		return
	}
	v.Testing = v.Record.Testing
	v.AlignedSPF = v.aligned(in.SPF, v.Record.StrictSPF)
	for _, id := range in.DKIM[:min(len(in.DKIM), maxIdentifiers)] {
		if v.aligned(id, v.Record.StrictDKIM) {
			v.AlignedDKIM = true
			break
		}
	}
	policyErr := v.choosePolicy()
	switch {
	case v.AlignedSPF || v.AlignedDKIM:
		v.Status = StatusPass
	case v.err != nil:
		// RFC 9989 §5.3.6: neither pass nor fail, and no policy.
		v.Status, v.Err = StatusTempError, v.err
	case policyErr != nil:
		v.Status, v.Err = StatusTempError, policyErr
	case v.open(in):
		v.Status, v.Err = StatusTempError, ErrDNS
	default:
		v.Status = StatusFail
		if v.Policy = v.Published; v.Testing {
			v.Policy = v.Published.lower()
		}
	}
}

// open reports whether a check that could not be made would have decided.
func (v *evaluation) open(in Input) bool {
	is := func(id Identifier, strict bool) bool {
		id.Pass = id.Open
		return v.aligned(id, strict) || v.err != nil
	}
	if is(in.SPF, v.Record.StrictSPF) {
		return true
	}
	for _, id := range in.DKIM[:min(len(in.DKIM), maxIdentifiers)] {
		if is(id, v.Record.StrictDKIM) {
			return true
		}
	}
	return false
}

// discover finds the record. The walk above a domain that has its own record is
// put off until an alignment depends on it.
func (v *evaluation) discover() error {
	a := v.record(v.Domain)
	if a.err != nil {
		return a.err
	}
	if a.record != nil {
		v.OrgDomain, v.PolicyDomain, v.Record, v.Text = v.Domain, v.Domain, a.record, a.text
		return nil
	}
	found, err := v.walk(v.Domain)
	if err != nil {
		return err
	}
	d := discovery(v.Domain, found)
	v.OrgDomain, v.PolicyDomain, v.Record, v.Text = d.OrgDomain, d.PolicyDomain, d.Record, d.Text
	v.walked = true
	return nil
}

// aligned judges one identifier (RFC 9989 §4.4, §4.10.2). A DNS failure is kept
// in v.err and counts as not aligned.
func (v *evaluation) aligned(id Identifier, strict bool) bool {
	if !id.Pass {
		return false
	}
	domain, ok := canonicalDomain(id.Domain)
	if !ok {
		return false
	}
	if domain == v.Domain {
		return true
	}
	if strict {
		return false
	}
	// Whatever the walks would find, an Organizational Domain is an ancestor:
	// without a common one there is nothing to ask.
	if lastLabels(domain, 1) != lastLabels(v.Domain, 1) {
		return false
	}
	if !v.walked {
		found, err := v.walk(v.Domain)
		if err != nil {
			v.err = err
			return false
		}
		v.OrgDomain, v.walked = orgDomain(v.Domain, found), true
	}
	if !within(domain, v.OrgDomain) {
		return false
	}
	found, err := v.walk(domain)
	if err != nil {
		v.err = err
		return false
	}
	return orgDomain(domain, found) == v.OrgDomain
}

// choosePolicy picks p, sp or np (RFC 9989 §4.10.1). Whether the Author Domain
// exists is asked only where it matters.
func (v *evaluation) choosePolicy() error {
	r := v.Record
	v.Published, v.Tag = r.Policy, "p"
	if v.PolicyDomain == v.Domain {
		return nil
	}
	if r.Subdomains != "" {
		v.Published, v.Tag = r.Subdomains, "sp"
	}
	if r.NonExistent == "" || r.NonExistent == v.Published {
		return nil
	}
	exists, err := v.exists(v.Domain)
	if err == nil && !exists {
		v.Published, v.Tag = r.NonExistent, "np"
	}
	return err
}
