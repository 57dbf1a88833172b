package dkim

import (
	"errors"
	"strings"
	"time"
)

// Status is the outcome for one signature in the words of RFC 8601 §2.7.1.
type Status string

const (
	// StatusNone: the message is not signed. No Result has it; it is what to
	// report where there are no results.
	StatusNone Status = "none"
	// StatusPass: the signature verified. See also Result.Trusted.
	StatusPass Status = "pass"
	// StatusFail: the signature was checked and does not hold.
	StatusFail Status = "fail"
	// StatusPolicy: the signature was not checked, or is not accepted, because
	// of a limit of this verifier.
	StatusPolicy Status = "policy"
	// StatusNeutral: the signature cannot be understood.
	StatusNeutral Status = "neutral"
	// StatusTempError: the key could not be fetched; a later try may succeed.
	StatusTempError Status = "temperror"
	// StatusPermError: the signature can never be verified, for want of a key,
	// of a signed From field and the like.
	StatusPermError Status = "permerror"
)

// Result is the outcome for one signature. What could not be found out is zero.
type Result struct {
	Status Status
	// Trusted: the message may be attributed to Domain: Status is pass and the
	// domain is not just testing. It is what DMARC should count.
	Trusted bool
	// Domain is d= and Selector s=, in lower case with A-labels.
	Domain, Selector string
	// Identifier is i=, or "@" and Domain where there is none. What stands
	// before the "@" is the signer's and as received.
	Identifier string
	// Algorithm is a= in lower case, also where it is not accepted.
	Algorithm Algorithm
	// KeyBits is the size of the public key.
	KeyBits int
	// HeaderCanon and BodyCanon are c=.
	HeaderCanon, BodyCanon Canonicalization
	// SignedFields are the names in h= in lower case.
	SignedFields []string
	// BodyLength is l= in octets, -1 where there is none.
	BodyLength int64
	// Partial: text follows behind the l= octets that are signed, by anyone's
	// hand. Such a signature is StatusPolicy at best.
	Partial bool
	// Testing: the key says t=y. RFC 6376 §3.6.1 wants such mail treated as
	// unsigned.
	Testing bool
	// Strict: the key says t=s, so that the domain of Identifier must be Domain
	// itself (RFC 6376 §3.6.1).
	Strict bool
	// Signed is t= and Expires is x=, zero where there is none or where it is
	// later than the year 9999.
	Signed, Expires time.Time
	// Expired: x= has passed.
	Expired bool
	// SignaturePrefix is the beginning of b=, at least eight characters and as
	// long as needed to tell the signatures of a message apart (RFC 6008 §3).
	SignaturePrefix string
	// Err is nil for StatusPass; otherwise it wraps the reason, one of the Err
	// variables of this package.
	Err error
}

// Reason is a short fixed text for Err, fit for the reason of an
// Authentication-Results field; empty for a pass.
func (r *Result) Reason() string {
	if r.Err == nil {
		return ""
	}
	for _, o := range outcomes {
		if errors.Is(r.Err, o.err) {
			return strings.TrimPrefix(o.err.Error(), "dkim: ")
		}
	}
	return string(r.Status)
}

// outcomes says what each reason amounts to.
var outcomes = []struct {
	err    error
	status Status
}{
	{ErrSyntax, StatusNeutral},
	{ErrVersion, StatusNeutral},
	{ErrQueryMethod, StatusNeutral},
	{ErrMissingTag, StatusPermError},
	{ErrAlgorithm, StatusPermError}, // RFC 8301 §3.1
	{ErrDomain, StatusPermError},
	{ErrIdentifier, StatusPermError},
	{ErrFromNotSigned, StatusPermError},
	{ErrFromCount, StatusPermError},
	{ErrNoKey, StatusPermError},
	{ErrKeySyntax, StatusPermError},
	{ErrKeyRevoked, StatusPermError},
	{ErrKeyMismatch, StatusPermError},
	{ErrHeaderTooLarge, StatusPermError},
	{ErrBareNewline, StatusPermError},
	{ErrExpired, StatusFail},
	{ErrKeyTooShort, StatusFail}, // RFC 8301 §3.2: never valid
	{ErrBodyHash, StatusFail},
	{ErrBodyLength, StatusFail},
	{ErrSignature, StatusFail},
	{ErrPartialBody, StatusPolicy},
	{ErrKeyTooLong, StatusPolicy},
	{ErrKeyRecordSize, StatusPolicy},
	{ErrTooManySignatures, StatusPolicy},
	{ErrKeyUnavailable, StatusTempError},
}

// timeOf is the time of t= or x=, or zero for -1 and what no calendar has.
func timeOf(seconds int64) time.Time {
	const last = 253402300799 // the end of the year 9999
	if seconds < 0 || seconds > last {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

func statusOf(err error) Status {
	if err == nil {
		return StatusPass
	}
	for _, o := range outcomes {
		if errors.Is(err, o.err) {
			return o.status
		}
	}
	return StatusPermError
}

// How long the prefixes of results may be.
const (
	prefixLength = 8
	maxPrefix    = 32
)

// setPrefixes gives the results prefixes of one length at which they differ.
func setPrefixes(results []Result, texts []string) {
	length := prefixLength
	for ; length < maxPrefix && len(texts) > 1; length += 4 {
		seen := make(map[string]bool, len(texts))
		for _, t := range texts {
			seen[t[:min(length, len(t))]] = true
		}
		if len(seen) == len(texts) {
			break
		}
	}
	for i, t := range texts {
		results[i].SignaturePrefix = t[:min(length, len(t))]
	}
}
