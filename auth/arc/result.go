package arc

import (
	"errors"
	"net/netip"
	"strconv"

	"github.com/posta-mail/posta/auth/authres"
	"github.com/posta-mail/posta/auth/dkim"
)

// Status is the state of a chain (RFC 8617 §4.4), or the outcome of one check
// of it.
type Status string

const (
	// StatusNone: there is no chain.
	StatusNone Status = "none"
	// StatusPass: the chain is intact.
	StatusPass Status = "pass"
	// StatusFail: the chain is broken, for good (RFC 8617 §5.2.1).
	StatusFail Status = "fail"
	// StatusTempError: a key could not be fetched and nothing else is wrong; a
	// later try may succeed. RFC 8617 has no such state: to those who are told,
	// it is a fail.
	StatusTempError Status = "temperror"
)

// Result is what a Verifier found out about a message.
type Result struct {
	// Status is that of the chain. A pass says that the sets are those that the
	// sealers made and the message is the one that the last sealer sent; see
	// Trusted for what that is worth.
	Status Status
	// Instance is the highest instance that the message has, 0 without a chain.
	Instance int
	// OldestPass tells since when the message is unchanged, if Status is
	// StatusPass: the lowest instance whose message signature, and all above,
	// still verify; 0 if all do (RFC 8617 §5.2).
	OldestPass int
	// Sets are the sets from the first to Instance. In a chain that fails, what
	// could not be read is zero.
	Sets []Set
	// Err is why Status is StatusFail or StatusTempError: a *SetError, or
	// dkim.ErrHeaderTooLarge, dkim.ErrBareNewline.
	Err error

	final bool   // the newest seal says cv=fail
	seal  []byte // b= of the newest seal
}

// Set is one set of a chain: what one system that forwarded the message says.
type Set struct {
	// Instance is i=, from 1 to 50.
	Instance int
	// CV is what the sealer found of the chain that it received.
	CV Status
	// Results are what the sealer found out about the message that it received,
	// nil where that cannot be read.
	Results *authres.Header
	// Message is the signature of the message as it was sent, Seal that of the
	// sets up to this one.
	Message, Seal Signature
}

// Signature is the outcome for one of the two signatures of a set.
type Signature struct {
	// Status is StatusPass, StatusFail, StatusTempError, or empty if the check
	// came to its end before.
	Status Status
	// Domain is d= and Selector s=, in lower case with A-labels.
	Domain, Selector string
	// Algorithm is a= and KeyBits the size of the key.
	Algorithm dkim.Algorithm
	KeyBits   int
	// Testing: the key says t=y (RFC 6376 §3.6.1).
	Testing bool
	// SignedFields are the names in h= of a message signature in lower case.
	SignedFields []string
	// Err is why Status is not StatusPass.
	Err error
}

func (s *Signature) fill(sig *signature, err error) {
	if sig != nil {
		s.Domain, s.Selector, s.Algorithm, s.SignedFields = sig.domain, sig.selector, sig.algorithm, sig.headers
	}
	if err != nil {
		s.settle(err)
	}
}

func (s *Signature) settle(err error) {
	switch s.Err = err; {
	case err == nil:
		s.Status = StatusPass
	case errors.Is(err, dkim.ErrKeyUnavailable):
		s.Status = StatusTempError
	default:
		s.Status = StatusFail
	}
}

// newResult takes over what a chain says of itself.
func newResult(c *chain) *Result {
	r := &Result{Status: StatusNone, Instance: len(c.sets), Err: c.err, final: c.sealedAsFailed()}
	if c.err != nil {
		r.Status = StatusFail
	}
	if len(c.sets) == 0 {
		return r
	}
	if s := c.newest().seal; s != nil {
		r.seal = s.b
	}
	r.Sets = make([]Set, len(c.sets))
	for i := range c.sets {
		from, to := &c.sets[i], &r.Sets[i]
		to.Instance, to.Results = i+1, from.results
		if from.seal != nil {
			to.CV = from.seal.cv
		}
		to.Message.fill(from.message, from.messageErr)
		to.Seal.fill(from.seal, from.sealErr)
	}
	return r
}

// AuthResult is the result for an Authentication-Results field (RFC 8617 §6).
// remote is the address that the message came from; the zero Addr leaves it
// out.
func (r *Result) AuthResult(remote netip.Addr) authres.Result {
	value, oldest := r.Status, ""
	switch value {
	case StatusPass:
		oldest = strconv.Itoa(r.OldestPass)
	case StatusTempError: // not registered for this method
		value = StatusFail
	}
	a := authres.ARC(string(value), oldest, remote)
	a.Reason = r.Reason()
	return a
}

// Reason is a short fixed text for Err, fit for the reason of an
// Authentication-Results field; empty without error.
func (r *Result) Reason() string {
	var set *SetError
	switch {
	case r.Err == nil:
		return ""
	case !errors.As(r.Err, &set):
		return reason(r.Err)
	case set.Instance == 0:
		return reason(set.Err)
	}
	return "i=" + strconv.Itoa(set.Instance) + " " + reason(set.Err)
}

// reason is the text of the innermost error that this package or dkim names,
// without what has come with the network.
func reason(err error) string {
	for _, known := range reasons {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return (&dkim.Result{Status: dkim.StatusFail, Err: err}).Reason()
}

var reasons = []error{ErrTooManySets, ErrInstance, ErrDuplicate, ErrIncomplete, ErrMarkedFailed, ErrChainValue, ErrSealHeaders, ErrSealSigned}
