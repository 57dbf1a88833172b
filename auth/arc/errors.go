package arc

import (
	"errors"
	"fmt"
)

// Why a chain is not valid. SetError wraps one of these, or one of the errors
// of package dkim about signatures, keys and bodies; find them with errors.Is.
// Their texts are fixed and hold nothing of the message.
var (
	// ErrTooManySets: the message has more sets than accepted, 50 by RFC 8617
	// §5.2.
	ErrTooManySets = errors.New("too many sets")
	// ErrInstance: i= is missing or no number from 1 to 50 (RFC 8617 §4.2.1).
	ErrInstance = errors.New("invalid instance")
	// ErrDuplicate: an instance has a field twice (RFC 8617 §4.2).
	ErrDuplicate = errors.New("field occurs twice in its set")
	// ErrIncomplete: an instance lacks a field, or there is a gap in the
	// instances (RFC 8617 §5.2).
	ErrIncomplete = errors.New("field missing from its set")
	// ErrMarkedFailed: a seal says cv=fail, which is final (RFC 8617 §5.2.1).
	ErrMarkedFailed = errors.New("chain sealed as failed")
	// ErrChainValue: cv= is unknown, or not what its place in the chain demands:
	// none in the first set, pass in all others (RFC 8617 §5.2).
	ErrChainValue = errors.New("invalid chain validation value")
	// ErrSealHeaders: a seal has h=, although what it covers is fixed (RFC 8617
	// §4.1.3).
	ErrSealHeaders = errors.New("seal lists header fields")
	// ErrSealSigned: a message signature covers seals (RFC 8617 §4.1.2).
	ErrSealSigned = errors.New("message signature covers a seal")
)

// Errors of sealing.
var (
	// ErrFinal: the newest seal says cv=fail; nothing may be added to such a
	// chain (RFC 8617 §5.1). Send the message as it is.
	ErrFinal = errors.New("arc: chain is sealed as failed")
	// ErrFull: the chain has 50 sets. Send the message as it is.
	ErrFull = errors.New("arc: chain is full")
	// ErrUndecided: the chain could not be verified for now. To seal it would
	// mark it as failed for good: verify again later.
	ErrUndecided = errors.New("arc: chain undecided")
	// ErrChanged: the message does not have the sets that the Result is about.
	ErrChanged = errors.New("arc: not the chain that was verified")
	// ErrFolded: the message begins with white space, so that its first line would
	// become a part of the field that is put above it.
	ErrFolded = errors.New("arc: message begins with white space")
	// ErrConfig: a Sealer cannot be used as configured.
	ErrConfig = errors.New("arc: invalid configuration")
)

// SetError says which field of which set made a chain invalid.
type SetError struct {
	// Instance is the set, 0 where it is not known.
	Instance int
	// Field is the name of the field, "" where the set as a whole is meant.
	Field string
	// Err is the reason.
	Err error
}

func (e *SetError) Error() string {
	switch {
	case e.Field == "":
		return fmt.Sprintf("arc: i=%d: %v", e.Instance, e.Err)
	case e.Instance == 0:
		return fmt.Sprintf("arc: %s: %v", e.Field, e.Err)
	}
	return fmt.Sprintf("arc: %s i=%d: %v", e.Field, e.Instance, e.Err)
}

func (e *SetError) Unwrap() error { return e.Err }
