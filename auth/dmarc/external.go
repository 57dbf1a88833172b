package dmarc

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Destination is where reports about a domain may be sent.
type Destination struct {
	// URI is as published, or what the other domain says instead.
	URI string
	// Address is the mail address of a mailto URI; empty for others.
	Address string
	// External says that it is in another organization, which has agreed.
	External bool
}

// MaxDestinations is how many URIs of a record are looked at.
const MaxDestinations = 10

// Reasons why reports are not sent to a destination. Match them with errors.Is.
var (
	// ErrNotAgreed: the other organization has not said that it takes reports
	// about the domain (RFC 9990 §4).
	ErrNotAgreed = errors.New("dmarc: the destination has not agreed to get reports")
	// ErrDestination: no mailto URI, or one without a domain.
	ErrDestination = errors.New("dmarc: no destination for reports")
)

// Destinations finds out where reports about a domain go (RFC 9990 §4): uris
// are AggregateURIs of the record at policyDomain. A destination
// in another organization must have agreed, by a record at
// POLICYDOMAIN._report._dmarc.HOST, which may name others of the same host
// instead; one that names another host's counts as no. The second result has an error for each URI that is left out:
// ErrDestination, ErrNotAgreed, or ErrDNS, with which it may be tried later.
func (e *Evaluator) Destinations(ctx context.Context, policyDomain string, uris []string) ([]Destination, []error) {
	return e.agreed(ctx, policyDomain, uris, func(r *Record) []string { return r.AggregateURIs })
}

// FailureDestinations is Destinations for failure reports: the other
// organization names others of the same host by ruf (RFC 9990 §4, RFC 9991).
func (e *Evaluator) FailureDestinations(ctx context.Context, policyDomain string, uris []string) ([]Destination, []error) {
	return e.agreed(ctx, policyDomain, uris, func(r *Record) []string { return r.FailureURIs })
}

func (e *Evaluator) agreed(ctx context.Context, policyDomain string, uris []string, named func(*Record) []string) ([]Destination, []error) {
	domain, ok := canonicalDomain(policyDomain)
	if !ok {
		return nil, []error{ErrAuthorDomain}
	}
	s, cancel := e.session(ctx)
	defer cancel()
	var all []Destination
	var errs []error
	for _, uri := range uris[:min(len(uris), MaxDestinations)] {
		found, err := s.destinations(domain, uri, named)
		if err != nil {
			errs = append(errs, fmt.Errorf("%.200q: %w", uri, err))
			continue
		}
		all = append(all, found...)
	}
	return all, errs
}

// destinations is Destinations for one URI.
func (s *session) destinations(domain, uri string, named func(*Record) []string) ([]Destination, error) {
	address, host, err := mailto(uri)
	if err != nil {
		return nil, err
	}
	same, err := s.sameOrganization(domain, host)
	if err != nil {
		return nil, err
	}
	if same {
		return []Destination{{URI: uri, Address: address}}, nil
	}
	texts, err := s.resolver.LookupTXT(s.ctx, s.absolute(domain+"._report._dmarc."+host))
	if err != nil {
		if isNotFound(err) {
			return nil, ErrNotAgreed
		}
		return nil, fmt.Errorf("%w: %w", ErrDNS, err)
	}
	for _, txt := range texts {
		// RFC 9990 §4: only the version is needed; p means nothing here.
		r, err := ParseRecord(txt)
		if err != nil {
			continue
		}
		if len(named(r)) == 0 {
			return []Destination{{URI: uri, Address: address, External: true}}, nil
		}
		return instead(named(r), host)
	}
	return nil, ErrNotAgreed
}

// instead are the destinations that the other organization names. Where one is
// at another host nothing is sent to anybody (RFC 9990 §4).
func instead(uris []string, host string) ([]Destination, error) {
	var all []Destination
	for _, uri := range uris[:min(len(uris), MaxDestinations)] {
		address, h, err := mailto(uri)
		switch {
		case err != nil: // not by mail
		case h != host:
			return nil, ErrNotAgreed
		default:
			all = append(all, Destination{URI: uri, Address: address, External: true})
		}
	}
	if len(all) == 0 {
		return nil, ErrDestination
	}
	return all, nil
}

// sameOrganization reports whether two domains have one Organizational Domain.
func (s *session) sameOrganization(a, b string) (bool, error) {
	if a == b {
		return true, nil
	}
	if lastLabels(a, 1) != lastLabels(b, 1) {
		return false, nil
	}
	var orgs [2]string
	for i, name := range []string{a, b} {
		found, err := s.walk(name)
		if err != nil {
			return false, err
		}
		orgs[i] = orgDomain(name, found)
	}
	return orgs[0] == orgs[1], nil
}

// mailto takes a mailto URI apart (RFC 6068): one address, header fields are
// not taken over.
func mailto(uri string) (address, host string, err error) {
	u, err := url.Parse(uri)
	if err != nil || !strings.EqualFold(u.Scheme, "mailto") {
		return "", "", ErrDestination
	}
	address, err = url.PathUnescape(u.Opaque)
	at := strings.LastIndexByte(address, '@')
	if err != nil || at <= 0 || strings.IndexFunc(address, func(r rune) bool { return r <= ' ' || r == ',' || r == '<' || r == '>' || r == 0x7F }) >= 0 {
		return "", "", ErrDestination
	}
	host, ok := canonicalDomain(address[at+1:])
	if !ok {
		return "", "", ErrDestination
	}
	return address[:at+1] + host, host, nil
}
