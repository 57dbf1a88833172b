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
	// Bounds of the internal date to the second, both included: NotBefore ≤
	// date ≤ NotAfter. Zero: no bound. OLDER and YOUNGER are these, the caller
	// having subtracted the interval from his clock (RFC 5032 §2).
	NotBefore, NotAfter time.Time
	// Date at which the message came into its mailbox, by day like Since and
	// Before (RFC 8514 §4.3).
	SavedSince, SavedBefore time.Time
	// EmailIDs and ThreadIDs, unless nil, hold the message's id (RFC 8474 §6),
	// compared octet by octet. An empty list that is not nil matches nothing,
	// and a message without a thread id is on no list.
	EmailIDs, ThreadIDs []string
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
