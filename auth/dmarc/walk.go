package dmarc

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// maxLabels is how many labels a walk goes through one by one; longer names
// jump from the whole name to seven labels (RFC 9989 §4.10, step 4).
const maxLabels = 8

// Discovery is what the tree walk found for a domain.
type Discovery struct {
	// Domain is the domain asked about.
	Domain string
	// OrgDomain is its Organizational Domain (RFC 9989 §4.10.2).
	OrgDomain string
	// PolicyDomain is where the applicable record is: Domain, OrgDomain or the
	// public suffix above; empty where there is none (RFC 9989 §4.10.1).
	PolicyDomain string
	// Record is the applicable record, nil where there is none.
	Record *Record
	// Text is the record as published.
	Text string
}

// Discover finds policy and Organizational Domain of a domain. Errors are
// ErrAuthorDomain and ErrDNS; finding nothing is none.
func (e *Evaluator) Discover(ctx context.Context, domain string) (Discovery, error) {
	name, ok := canonicalDomain(domain)
	if !ok {
		return Discovery{}, ErrAuthorDomain
	}
	s, cancel := e.session(ctx)
	defer cancel()
	found, err := s.walk(name)
	if err != nil {
		return Discovery{}, err
	}
	return discovery(name, found), nil
}

func discovery(name string, found []published) Discovery {
	d := Discovery{Domain: name, OrgDomain: orgDomain(name, found)}
	// RFC 9989 §4.10.1: in this order of preference.
	for _, f := range found {
		if f.name == name {
			d.use(f)
			return d
		}
	}
	for _, f := range found {
		if f.name == d.OrgDomain {
			d.use(f)
			return d
		}
	}
	if n := len(found); n > 0 && found[n-1].record.PSD == PSDYes {
		d.use(found[n-1])
	}
	return d
}

func (d *Discovery) use(f published) {
	d.PolicyDomain, d.Record, d.Text = f.name, f.record, f.text
}

// orgDomain selects the Organizational Domain from the records of a walk, which
// come from the longest name to the shortest (RFC 9989 §4.10.2).
func orgDomain(start string, found []published) string {
	for _, f := range found {
		if f.record.PSD == PSDNo {
			return f.name
		}
		if f.record.PSD == PSDYes && f.name != start {
			return lastLabels(start, labelCount(f.name)+1)
		}
	}
	if n := len(found); n > 0 {
		return found[n-1].name
	}
	return start
}

// published is a policy record at its name.
type published struct {
	name   string
	record *Record // nil where there is none
	text   string
}

// answer is a query for a policy record: found, not there, or failed.
type answer struct {
	published
	err    error
	exists bool // the name asked for exists, and so does the domain below it
}

// session makes the queries of one evaluation, each once.
type session struct {
	ctx      context.Context
	resolver Resolver
	rooted   bool
	answers  map[string]answer
}

func (e *Evaluator) session(ctx context.Context) (*session, context.CancelFunc) {
	timeout := e.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	s := &session{ctx: ctx, resolver: e.Resolver, answers: make(map[string]answer, maxLabels)}
	if s.resolver == nil {
		s.resolver = net.DefaultResolver
	}
	_, s.rooted = s.resolver.(*net.Resolver)
	return s, cancel
}

// absolute keeps the search list of the host out of queries by net.Resolver.
func (s *session) absolute(name string) string {
	if s.rooted {
		return name + "."
	}
	return name
}

// record queries for the policy record of a domain.
func (s *session) record(domain string) answer {
	if a, ok := s.answers[domain]; ok {
		return a
	}
	a := answer{published: published{name: domain}}
	txts, err := s.resolver.LookupTXT(s.ctx, s.absolute("_dmarc."+domain))
	switch {
	case err == nil:
		a.exists = true
	case isNotFound(err):
		_, a.exists = existence(err)
	default:
		a.err = fmt.Errorf("%w: %w", ErrDNS, err)
	}
	// RFC 9989 §4.10 step 2: other records are discarded, and so are several
	// policy records at one name.
	n := 0
	for _, txt := range txts {
		if r, err := ParseRecord(txt); err == nil {
			a.record, a.text = r, txt
			n++
		}
	}
	if n != 1 {
		a.record, a.text = nil, ""
	}
	s.answers[domain] = a
	return a
}

// walk is the DNS Tree Walk from a domain upwards (RFC 9989 §4.10). It makes at
// most eight queries.
func (s *session) walk(domain string) ([]published, error) {
	var found []published
	for name := domain; ; {
		a := s.record(name)
		if a.err != nil {
			return nil, a.err
		}
		if a.record != nil {
			found = append(found, a.published)
			if a.record.PSD != PSDUnknown {
				return found, nil
			}
		}
		n := labelCount(name)
		if n == 1 {
			return found, nil
		}
		name = lastLabels(name, min(n, maxLabels)-1)
	}
}

// exists finds out whether a domain exists (RFC 9989 §3.2.13).
func (s *session) exists(domain string) (bool, error) {
	if s.answers[domain].exists {
		return true, nil // RFC 8020: the name below it could not exist otherwise
	}
	name := s.absolute(domain)
	lookups := []func() error{
		func() error { _, err := s.resolver.LookupTXT(s.ctx, name); return err },
	}
	if r, ok := s.resolver.(interface {
		LookupHost(context.Context, string) ([]string, error)
	}); ok {
		lookups = append(lookups, func() error { _, err := r.LookupHost(s.ctx, name); return err })
	}
	if r, ok := s.resolver.(interface {
		LookupMX(context.Context, string) ([]*net.MX, error)
	}); ok {
		lookups = append(lookups, func() error {
			mx, err := r.LookupMX(s.ctx, name)
			if len(mx) > 0 {
				return nil // net.Resolver complains of invalid ones among them
			}
			return err
		})
	}
	for _, lookup := range lookups {
		err := lookup()
		if err == nil {
			return true, nil
		}
		if !isNotFound(err) {
			return false, fmt.Errorf("%w: %w", ErrDNS, err)
		}
		if known, exists := existence(err); known {
			return exists, nil
		}
	}
	return false, nil
}

func isNotFound(err error) bool {
	var d *net.DNSError
	if errors.As(err, &d) {
		return d.IsNotFound
	}
	known, exists := existence(err)
	return known && !exists
}

// existence reads from a not-found error whether the name exists, if the error
// knows.
func existence(err error) (known, exists bool) {
	var nx interface{ NXDOMAIN() bool }
	if !errors.As(err, &nx) {
		return false, false
	}
	return true, !nx.NXDOMAIN()
}
