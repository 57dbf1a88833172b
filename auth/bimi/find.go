package bimi

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"
)

// Status is what was found, in the words of the draft's Authentication-Results
// method "bimi".
type Status string

// The results.
const (
	Pass      Status = "pass"      // there is a record with a location
	None      Status = "none"      // there is no record
	Fail      Status = "fail"      // the record is malformed
	TempError Status = "temperror" // DNS gave no answer
	Declined  Status = "declined"  // the domain wants no indicator
	Skipped   Status = "skipped"   // the message is not eligible; nothing was looked up
)

// DefaultSelector is used where a message names none.
const DefaultSelector = "default"

// DefaultTimeout bounds all lookups of one message.
const DefaultTimeout = 10 * time.Second

// Resolver looks TXT records up; *net.Resolver and *dns.Resolver have it. A
// name that does not exist, or has no such record, is an error with which
// errors.As finds a *net.DNSError whose IsNotFound is true; any other error is
// temporary. Names are passed with a final dot.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// Finder looks for records. The zero value, without a Resolver, finds nothing
// and says temperror. Safe for concurrent use if its Resolver is; at most two
// lookups for one message.
type Finder struct {
	Resolver Resolver
	// Timeout bounds all lookups of one message. 0: DefaultTimeout.
	Timeout time.Duration
}

// Input is what is known of a message.
type Input struct {
	// Domain is the author domain as DMARC found it, OrgDomain its
	// organizational domain; both A-labels. OrgDomain may be empty.
	Domain, OrgDomain string
	// Selector is that of the message's BIMI-Selector field, if DKIM signed
	// it; empty: DefaultSelector.
	Selector string
	// Enforced says that DMARC passed and that the policy is quarantine or
	// reject, for the organizational domain too and not under test. Without it
	// nothing is looked up.
	Enforced bool
}

// Result is what was found.
type Result struct {
	Status Status
	// Domain and Selector are where the record was; set where one was found.
	Domain, Selector string
	// Record is never nil, but empty unless Status is Pass.
	Record *Record
	// Err tells why Status is neither Pass nor Skipped nor Declined.
	Err error
}

// Find looks for the record of a message's author: at the domain itself, then,
// if there is none, at the organizational one. It does not panic and needs no other error value:
// what went wrong is in the result.
func (f *Finder) Find(ctx context.Context, in Input) Result {
	r := Result{Status: Skipped, Record: new(Record)}
	if !in.Enforced || in.Domain == "" {
		return r
	}
	selector := in.Selector
	if !validSelector(selector) {
		selector = DefaultSelector
	}
	timeout := f.Timeout
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	domains := []string{in.Domain}
	if in.OrgDomain != "" && !strings.EqualFold(in.OrgDomain, in.Domain) {
		domains = append(domains, in.OrgDomain)
	}
	for _, d := range domains {
		text, err := f.lookup(ctx, selector+"._bimi."+strings.TrimSuffix(d, "."))
		if errors.Is(err, ErrNone) {
			r.Status, r.Err = None, err
			if errors.Is(err, errSeveral) { // the draft's §7.2: only where there is none one goes on
				return r
			}
			continue
		}
		if err != nil {
			r.Status, r.Err = TempError, err
			return r
		}
		r.Domain, r.Selector, r.Err = d, selector, nil
		record, err := ParseRecord(text)
		switch {
		case err != nil:
			r.Status, r.Err = Fail, err
		case record.Declined():
			r.Status = Declined
		default:
			r.Status, r.Record = Pass, record
		}
		return r
	}
	return r
}

// errSeveral is an ErrNone that ends the search.
var errSeveral = fmt.Errorf("%w: more than one", ErrNone)

// lookup returns the one record at a name.
func (f *Finder) lookup(ctx context.Context, name string) (string, error) {
	if f.Resolver == nil {
		return "", fmt.Errorf("%w: no resolver", ErrDNS)
	}
	texts, err := f.Resolver.LookupTXT(ctx, name+".") // rooted: no search list of the host comes in
	var de *net.DNSError
	if errors.As(err, &de) && de.IsNotFound {
		return "", fmt.Errorf("%w at %s", ErrNone, name)
	}
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrDNS, err)
	}
	found, n := "", 0
	for _, t := range texts {
		if IsRecord(t) {
			found, n = t, n+1
		}
	}
	switch n {
	case 0:
		return "", fmt.Errorf("%w at %s", ErrNone, name)
	case 1:
		return found, nil
	}
	return "", fmt.Errorf("%w: %d at %s", errSeveral, n, name)
}
