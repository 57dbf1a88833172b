// Package authres reads and writes Authentication-Results fields (RFC 8601):
// what a border server found out about a message, for those behind it.
//
// [Parse] reads a field, [Header.Field] writes one. Values may come from the
// message or the envelope and hold anything: they are quoted, and can neither
// end the field nor pass for another result. A server that adds its own field
// first drops those that came with the message and claim to be its own:
// [Remove] decides that for one field, a [Remover] does it for a whole message
// that is passing through.
package authres

import "errors"

// Errors of Parse and Header.Field, to be found with errors.Is.
var (
	// ErrSyntax: the text is no Authentication-Results field.
	ErrSyntax = errors.New("authres: malformed field")
	// ErrVersion: the field has a version other than 1 (RFC 8601 §2.2).
	ErrVersion = errors.New("authres: unsupported version")
	// ErrLimit: the field is larger than MaxFieldBytes, or has more results,
	// properties or nested comments than accepted.
	ErrLimit = errors.New("authres: field too large")
	// ErrName: a method, result or property is no keyword, or the authserv-id
	// is empty or over 255 octets.
	ErrName = errors.New("authres: invalid name")
)

// Limits of Parse.
const (
	// MaxFieldBytes is the largest field body read, in octets.
	MaxFieldBytes = 64 << 10
	// MaxResults is the largest number of results in a field.
	MaxResults = 200
	// MaxProps is the largest number of properties of a result.
	MaxProps = 50
	// MaxCommentDepth is how deep comments may be nested.
	MaxCommentDepth = 16
)

// Methods registered for RFC 8601 §2.7 and RFC 8617, as Result.Method.
const (
	MethodAuth  = "auth"
	MethodSPF   = "spf"
	MethodDKIM  = "dkim"
	MethodDMARC = "dmarc"
	MethodARC   = "arc"
	MethodIPRev = "iprev"
	MethodDNSWL = "dnswl" // RFC 8904
	MethodBIMI  = "bimi"  // draft-brand-indicators-for-message-identification
)

// Header is an Authentication-Results field.
type Header struct {
	// ServID is the authserv-id: who did the checks, usually a host name.
	ServID string
	// Version is 1 where the field gives none.
	Version int
	// Results are what was checked; none is written as "none".
	Results []Result
	// UTF8 lets Field write UTF-8, for messages sent with SMTPUTF8 (RFC 6532).
	// Otherwise each character outside of ASCII becomes "?".
	UTF8 bool
}

// Result is the outcome of one method.
type Result struct {
	// Method names what was checked, such as MethodSPF.
	Method string
	// MethodVersion is 1 where the field gives none; zero is written as 1.
	MethodVersion int
	// Value is the outcome, such as "pass".
	Value string
	// Comment is for humans and ignored by programs; cut at 256 octets.
	Comment string
	// Reason says why, for programs that keep statistics; cut at 256 octets.
	Reason string
	// Props are what the outcome is about. Those whose value cannot be written
	// in one line of 998 octets are left out by Field: half a domain name would
	// be another one.
	Props []Prop
}

// Prop is one property of a result, "type.property=value".
type Prop struct {
	// Type is where the value comes from: "smtp", "header", "body", "policy",
	// "dns"; empty for the properties without a type that some servers write.
	Type string
	// Property is a field name, a part of the protocol or a name of the method.
	Property string
	Value    string
}

// Prop returns the value of a property, or "". Names are compared without
// regard to case.
func (r *Result) Prop(ptype, property string) string {
	for i := range r.Props {
		p := &r.Props[i]
		if equalFold(p.Type, ptype) && equalFold(p.Property, property) {
			return p.Value
		}
	}
	return ""
}

// Find returns the results of a method, compared without regard to case.
func (h *Header) Find(method string) []Result {
	var out []Result
	for _, r := range h.Results {
		if equalFold(r.Method, method) {
			out = append(out, r)
		}
	}
	return out
}

// equalFold compares ASCII names.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := 0; i < len(a); i++ {
		if lower(a[i]) != lower(b[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}
