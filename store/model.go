package store

import "time"

// UID numbers a message within its mailbox: 1 to 2^32-1, strictly growing
// (RFC 9051 §2.3.1.1).
type UID uint32

// ModSeq orders all changes of an account: 1 to 2^63-1, strictly growing
// (RFC 7162 §3.1).
type ModSeq uint64

// MailboxID names a mailbox for its whole life, across renames; unique within
// the account, never reused. Zero is no mailbox.
type MailboxID uint64

// Inbox is the name of the mailbox every account has. CanonicalName turns
// every spelling of it into this one (RFC 9051 §5.1).
const Inbox = "INBOX"

// Separator separates the levels of mailbox names.
const Separator = '/'

// Flag is a system flag (with backslash) or a keyword. Compared without case;
// engines keep the spelling first seen in the mailbox.
type Flag string

// The system flags (RFC 9051 §2.3.2).
const (
	FlagSeen     Flag = `\Seen`
	FlagAnswered Flag = `\Answered`
	FlagFlagged  Flag = `\Flagged`
	FlagDeleted  Flag = `\Deleted`
	FlagDraft    Flag = `\Draft`
)

// MailboxInfo describes a mailbox.
type MailboxInfo struct {
	ID   MailboxID
	Name string
	// SpecialUse is an RFC 6154 attribute such as `\Sent`, or empty.
	SpecialUse  string
	Subscribed  bool
	UIDValidity uint32
	UIDNext     UID
	// ModSeq is the highest mod-sequence of the mailbox, expunges included.
	ModSeq   ModSeq
	Messages int
	Unseen   int
	Deleted  int
	Size     int64 // octets of all messages
	// DeletedSize is Size of those that carry \Deleted (RFC 9208 §4.1.3).
	DeletedSize int64
}

// CreateOptions are the optional properties of a new mailbox.
type CreateOptions struct {
	SpecialUse string
}

// Row is the hot data of a message. Snapshots keep it packed.
type Row struct {
	UID     UID
	Size    uint32   // octets, prefix included; messages are below 4 GiB
	Flags   FlagBits // by the snapshot's table
	ModSeq  ModSeq   // last change
	Created ModSeq   // creation in this mailbox
	Date    int64    // internal date, seconds since 1970 UTC
	Saved   int64    // when it came into this mailbox (RFC 8514), likewise
	Ref     uint64   // the engine's reference to the body
}

// InternalDate is the internal date in UTC.
func (r Row) InternalDate() time.Time { return time.Unix(r.Date, 0).UTC() }

// SaveDate is the time at which the message came into its mailbox, in UTC.
func (r Row) SaveDate() time.Time { return time.Unix(r.Saved, 0).UTC() }

// FlagBits is a set of flags: the system flags below and one bit for each
// keyword of the mailbox, which therefore has at most MaxKeywords of them.
type FlagBits uint64

// The bits of the system flags.
const (
	BitSeen FlagBits = 1 << iota
	BitAnswered
	BitFlagged
	BitDeleted
	BitDraft

	systemBits = 5
)

// MaxKeywords is how many different keywords a mailbox may ever have seen;
// one more is ErrLimit.
const MaxKeywords = 64 - systemBits

// Changes is what happened in a mailbox after Since up to and including
// Through.
type Changes struct {
	Since, Through ModSeq
	// Rows are the messages created or changed, ascending by UID.
	Rows []Row
	// Vanished are the messages expunged, including such as were created
	// after Since.
	Vanished UIDSet
	UIDNext  UID
	Keywords []Flag // the mailbox's table, for FlagBits
}

// EventKind says what happened to a mailbox.
type EventKind uint8

// Kinds of mailbox events.
const (
	MailboxCreated EventKind = iota + 1
	MailboxDeleted
	MailboxRenamed
	MailboxChanged    // its messages
	MailboxSubscribed // or unsubscribed
	MailboxAnnotated  // see Annotations; Mailbox 0 and no Name for the account
)

// MailboxEvent is one event; several may concern one mailbox.
type MailboxEvent struct {
	Kind    EventKind
	ModSeq  ModSeq
	Mailbox MailboxID
	Name    string // after the event
	OldName string // MailboxRenamed
}

// AccountChanges is what happened to the mailboxes of an account.
type AccountChanges struct {
	Since, Through ModSeq
	Events         []MailboxEvent // in mod-sequence order; MailboxChanged coalesced to the last per mailbox
}
