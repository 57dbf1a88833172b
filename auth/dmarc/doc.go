// Package dmarc evaluates DMARC (RFC 9989): whether a message's From domain is
// confirmed by SPF or DKIM, and what the domain's owner wants done where it is
// not.
//
// [Evaluator.Evaluate] takes the From field and what SPF and DKIM found, and
// needs nothing else but a resolver. [Evaluator.Discover] finds the policy and
// the Organizational Domain of a domain by the DNS Tree Walk (RFC 9989 §4.10);
// there is no list of public suffixes. [ParseRecord] reads a policy record.
//
// The policy of an owner is a wish. [Result.Handling] is what RFC 9989 §7.4
// makes of "reject" for a receiver that knows nothing else of the message.
package dmarc

import (
	"context"
	"errors"
	"time"
)

// Resolver is what an Evaluator needs of the DNS; *net.Resolver has it. The
// strings of one TXT record come joined (RFC 9989 §4.5). An error in which
// errors.As finds a *net.DNSError with IsNotFound means that there is no
// record; every other error means that nothing is known.
//
// A not-found error that also has a method NXDOMAIN() bool tells names that do
// not exist from those without such a record. With others, such as those of
// *net.Resolver, a domain counts as not existing if LookupHost and LookupMX,
// where the resolver has them, find nothing either.
type Resolver interface {
	LookupTXT(ctx context.Context, name string) ([]string, error)
}

// DefaultTimeout bounds all DNS queries of one evaluation together.
const DefaultTimeout = 10 * time.Second

// Evaluator evaluates messages. The zero value works, with net.DefaultResolver.
// It may be used by several goroutines at once; its fields must not change
// meanwhile.
type Evaluator struct {
	// Resolver answers DNS queries; nil means net.DefaultResolver. At most
	// eight are made per tree walk (RFC 9989 §4.10).
	Resolver Resolver
	// Timeout bounds the queries of one call together; zero or less means
	// DefaultTimeout.
	Timeout time.Duration
}

// Errors that Result.Err may wrap; find them with errors.Is.
var (
	// ErrNoAuthor: no domain can be taken from the From field, or there is none.
	ErrNoAuthor = errors.New("no author domain")
	// ErrManyAuthors: several From fields, or several domains in one. RFC 9989
	// §5.3.1 leaves it to local policy to refuse such a message.
	ErrManyAuthors = errors.New("more than one author domain")
	// ErrAuthorDomain: the domain in From is no domain name.
	ErrAuthorDomain = errors.New("invalid author domain")
	// ErrRecord: the policy record is not usable (RFC 9989 §4.10.1).
	ErrRecord = errors.New("invalid policy record")
	// ErrDNS: a query that was needed failed for now.
	ErrDNS = errors.New("dns failure")
)

// ErrNotDMARC: the text given to ParseRecord does not begin with v=DMARC1.
var ErrNotDMARC = errors.New("dmarc: not a DMARC policy record")
