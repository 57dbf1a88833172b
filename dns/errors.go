package dns

import (
	"errors"
	"fmt"
	"net"
)

// Kind tells why a lookup gave no records.
type Kind uint8

// The kinds of failure.
const (
	// NXDomain: the name does not exist, for any type (RFC 2308 §2.1).
	NXDomain Kind = iota + 1
	// NoData: the name exists but has no record of the type (RFC 2308 §2.2).
	NoData
	// Temporary: no usable answer for now: time-out, SERVFAIL, REFUSED, network
	// failure, cancelled context. Nothing is known about the name.
	Temporary
	// BadName: the name asked for cannot exist in the DNS (empty label, label
	// over 63 or name over 253 octets, not convertible to A-labels).
	BadName
	// BadAnswer: an answer came but makes no sense: a CNAME loop or a chain
	// over 10 links, an undecodable message, more records than accepted.
	BadAnswer
)

// String returns a short English name.
func (k Kind) String() string {
	switch k {
	case NXDomain:
		return "no such domain"
	case NoData:
		return "no record of this type"
	case Temporary:
		return "temporary failure"
	case BadName:
		return "invalid name"
	case BadAnswer:
		return "unusable answer"
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Error is the error of every lookup; errors.As finds it. It can also be taken
// as a *net.DNSError (errors.As), as code written for net.Resolver expects:
// IsNotFound for NXDomain, NoData and BadName, IsTemporary for Temporary and
// BadAnswer, IsTimeout where time ran out. An Error is immutable.
type Error struct {
	// Kind tells why there are no records.
	Kind Kind
	// Name is the name asked for and Type the record type's mnemonic ("MX").
	Name, Type string
	// Server is the resolver that answered last; empty when none was asked.
	Server string
	// Detail adds what the server said (response code, extended error of
	// RFC 8914) or what was wrong with the answer. Printable ASCII.
	Detail string
	// Authentic is the AD bit of a negative answer: the absence itself is
	// proven. Always false for other kinds.
	Authentic bool
	// Err is the underlying network or context error, if any.
	Err error

	timeout bool
}

// Error describes the failure in one line.
func (e *Error) Error() string {
	s := "dns: " + e.Type + " " + e.Name + ": " + e.Kind.String()
	if e.Detail != "" {
		s += " (" + e.Detail + ")"
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	if e.Server != "" {
		s += " [" + e.Server + "]"
	}
	return s
}

// Unwrap returns Err, so that errors.Is finds context.Canceled and the like.
func (e *Error) Unwrap() error { return e.Err }

// As lets errors.As find a *net.DNSError.
func (e *Error) As(target any) bool {
	t, ok := target.(**net.DNSError)
	if !ok {
		return false
	}
	text := e.Kind.String()
	if e.NotFound() {
		text = "no such host" // the text net.Resolver uses for all of these
	}
	*t = &net.DNSError{
		UnwrapErr:   e.Err,
		Err:         text,
		Name:        e.Name,
		Server:      e.Server,
		IsTimeout:   e.timeout,
		IsTemporary: e.Temporary(),
		IsNotFound:  e.NotFound(),
	}
	return true
}

// NXDOMAIN reports whether the name does not exist at all.
func (e *Error) NXDOMAIN() bool { return e.Kind == NXDomain }

// NotFound reports whether there is certainly no such record: NXDomain, NoData
// or BadName.
func (e *Error) NotFound() bool {
	return e.Kind == NXDomain || e.Kind == NoData || e.Kind == BadName
}

// Temporary reports whether the same lookup may succeed later: Temporary or
// BadAnswer.
func (e *Error) Temporary() bool { return e.Kind == Temporary || e.Kind == BadAnswer }

// Timeout reports whether time ran out.
func (e *Error) Timeout() bool { return e.timeout }

// IsNotExist reports whether err says that the name does not exist (NXDomain).
func IsNotExist(err error) bool { return kindOf(err) == NXDomain }

// IsNoData reports whether err says that the name exists without a record of
// the type.
func IsNoData(err error) bool { return kindOf(err) == NoData }

// IsNotFound reports whether err says that there is no such record, whatever
// the reason: NXDomain, NoData or BadName. It also understands *net.DNSError.
func IsNotFound(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d) && d.IsNotFound
}

// IsTemporary reports whether the same lookup may succeed later. It also
// understands *net.DNSError. Errors that are not of the DNS are not temporary.
func IsTemporary(err error) bool {
	var d *net.DNSError
	return errors.As(err, &d) && !d.IsNotFound && (d.IsTemporary || d.IsTimeout)
}

func kindOf(err error) Kind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return 0
}
