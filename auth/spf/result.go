package spf

import (
	"errors"
	"fmt"
	"net/netip"
)

// Status is the result of a check (RFC 7208 §2.6). Its text, as String returns
// it, is the one of Received-SPF and Authentication-Results.
type Status uint8

// The results.
const (
	// None: no domain to check, or it publishes no policy (§2.6.1). The zero value.
	None Status = iota
	// Neutral: the domain says nothing about this host (§2.6.2).
	Neutral
	// Pass: the host is authorised (§2.6.3).
	Pass
	// Fail: the host is not authorised (§2.6.4).
	Fail
	// SoftFail: the host is probably not authorised (§2.6.5).
	SoftFail
	// TempError: a lookup failed for now; try again later (§2.6.6).
	TempError
	// PermError: the published policy cannot be interpreted (§2.6.7).
	PermError
)

var statusText = [...]string{"none", "neutral", "pass", "fail", "softfail", "temperror", "permerror"}

// String returns the name of RFC 7208 §9.1, in lower case.
func (s Status) String() string {
	if int(s) < len(statusText) {
		return statusText[s]
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// Identity is which of a client's two names was checked.
type Identity uint8

// The identities.
const (
	// MailFrom is the domain of the MAIL FROM address (RFC 7208 §2.4).
	MailFrom Identity = iota
	// HELO is the name given by EHLO or HELO (RFC 7208 §2.3).
	HELO
)

// String returns the keyword of RFC 7208 §9.1: "mailfrom" or "helo".
func (i Identity) String() string {
	if i == HELO {
		return "helo"
	}
	return "mailfrom"
}

// Result is the outcome of one check. Trace and Explain tell how it came about.
type Result struct {
	// Status is the result.
	Status Status
	// Identity is what was checked.
	Identity Identity
	// Domain is the checked domain as A-labels in lower case without final dot.
	// As given, and good for display only, when it is no domain name.
	Domain string
	// Sender is the address that stood for the identity: MAIL FROM, or
	// postmaster@HELO.
	Sender string
	// HELO and IP are the parameters of the check; IP with 4-in-6 unmapped.
	HELO string
	IP   netip.Addr
	// Mechanism is the directive that decided, as published ("-all"); with an
	// include the one of the outermost record. Empty when none matched.
	Mechanism string
	// Explanation is the domain's own text for a Fail (RFC 7208 §6.2): printable
	// ASCII of at most 450 octets, but the words of a stranger. Often empty.
	Explanation string
	// Err tells the reason of TempError and PermError, and of None where the
	// domain is not a name that can publish a policy; otherwise nil.
	Err error
	// Lookups counts the terms that needed the DNS, VoidLookups those of them
	// that found nothing (RFC 7208 §4.6.4).
	Lookups, VoidLookups int

	trace record
}

// Reasons in Result.Err, for errors.Is. A record that does not parse gives a
// *SyntaxError, a failed lookup the resolver's error.
var (
	// ErrBadDomain: the identity is no domain name of two or more labels (§4.3).
	ErrBadDomain = errors.New("spf: not a domain name")
	// ErrMultipleRecords: the domain publishes more than one policy (§4.5).
	ErrMultipleRecords = errors.New("spf: more than one record")
	// ErrLookupLimit: evaluation needs more terms with lookups than allowed (§4.6.4).
	ErrLookupLimit = errors.New("spf: too many terms that need lookups")
	// ErrVoidLookupLimit: more lookups found nothing than allowed (§4.6.4).
	ErrVoidLookupLimit = errors.New("spf: too many lookups without result")
	// ErrMXLimit: an mx mechanism leads to more hosts than allowed (§4.6.4).
	ErrMXLimit = errors.New("spf: too many mail exchangers")
	// ErrNoPolicy: an include or redirect leads to a domain without a policy (§5.2, §6.1).
	ErrNoPolicy = errors.New("spf: include or redirect to a domain without a record")
	// ErrTimeout: the check took longer than allowed (§4.6.4).
	ErrTimeout = errors.New("spf: check timed out")
)
