package store

import "time"

// Criteria is a search: every field that is set must match. The zero value
// matches every message. It is what IMAP's SEARCH and other searches are
// turned into; sequence numbers have become UIDs before.
type Criteria struct {
	// UID sets that must each contain the message.
	UIDs []UIDSet
	// Flags that must be set, or not.
	Flags, NotFlags []Flag
	// Larger and Smaller bound the size in octets, exclusive; nil: no bound.
	Larger, Smaller *int64
	// Internal date, by day without time zone: Since ≤ date < Before
	// (RFC 9051 §6.4.4). Zero: no bound.
	Since, Before time.Time
	// Date header field, likewise.
	SentSince, SentBefore time.Time
	// ModSeq is the least mod-sequence (RFC 7162 §3.1.5).
	ModSeq ModSeq
	// Header fields that must contain a text; an empty Text matches any
	// message with the field.
	Header []HeaderCriterion
	// Body and Text are substrings that must all occur, without case, in
	// the decoded body, or in header or body.
	Body, Text []string
	// Not lists searches that must not match, Or pairs of which one must.
	Not []Criteria
	Or  [][2]Criteria
}

// HeaderCriterion is a condition on header fields named Name.
type HeaderCriterion struct{ Name, Text string }
