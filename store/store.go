package store

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/posta-mail/posta/message"
)

// Store is a place where mail is kept. Safe for concurrent use.
type Store interface {
	// Stage reads a body to its end and keeps it, not yet part of any
	// account, until it is placed or discarded. Memory is bounded whatever
	// the body's size. An error of r is returned wrapped; nothing is kept then.
	Stage(ctx context.Context, r io.Reader) (Staged, error)

	// Place files staged messages durably and returns one result per target,
	// in order. All targets of one account are one atomic commit: if one of
	// them fails they all do, with its error. Accounts are independent. When
	// ctx ends early the outcome of a target may be unknown: its error is
	// ctx's, and a retry with the same Token files it at most once.
	Place(ctx context.Context, targets []Target) []Placed

	// Account opens an account on behalf of actor, the account of the user
	// who is acting; equal to name for the owner. ErrNotFound if there is none.
	//
	// Where the account has Annotations, an actor who is not the owner has
	// \Seen flags of his own: none is set at first, and Snapshot, Info.Unseen,
	// Changes, Flag and Expunge speak of them. A change of one gets a mod-sequence like
	// any other, which shows in the rows of that actor alone, and as
	// MailboxChanged to him. Copy carries the \Seen of whoever copies, for him
	// alone: to all others the copy is new. Move carries everybody's. Place
	// speaks of the owner's. All else is shared; whether the actor may is for
	// Guard to say. An engine without Annotations returns ErrReadOnly for other
	// actors.
	Account(ctx context.Context, name, actor string) (Account, error)

	// CreateAccount makes an account with an INBOX; ErrExists if there is one.
	CreateAccount(ctx context.Context, name string) error
	// DeleteAccount removes an account and all its mail.
	DeleteAccount(ctx context.Context, name string) error
	// Accounts lists the account names in order. The iterator may be stopped.
	Accounts(ctx context.Context) iter.Seq2[string, error]

	// Close releases the store. Calls under way finish first; later ones
	// return ErrUnavailable.
	Close() error
}

// Staged is a message body that has been received but not yet placed. It may
// be placed any number of times, in several accounts and in the spool; the
// bytes are kept once. Reads are safe for concurrent use. Any engine accepts
// any Staged, and its own without copying.
type Staged interface {
	io.ReaderAt
	// Size is the length in octets.
	Size() int64
	// Outline is the structure of the body as message.Parse gave it.
	Outline() *message.Outline
	// Discard releases what has not been placed. Placed copies stay. It may
	// be called more than once; a deferred Discard is the normal use.
	Discard() error
}

// Target is one placement of a staged message.
type Target struct {
	Account string
	// Mailbox is the destination's name; Inbox for "INBOX". ErrNotFound in
	// the result if it does not exist: placing never creates a mailbox.
	Mailbox string
	// Body is the message, preceded in this placement by Prefix: complete
	// header lines (Return-Path, Received …), each ended by CRLF.
	Body   Staged
	Prefix []byte
	Flags  []Flag
	// Date is the internal date; the zero time means now.
	Date time.Time
	// Token makes a retry idempotent: a second placement in the account with
	// the same non-empty Token files nothing and reports the first's result
	// with Duplicate set. Tokens are remembered for at least a day. At most
	// 128 octets.
	Token string
	// UIDL is the message's unique-id for POP3, if it has one from elsewhere:
	// up to 70 characters from 0x21 to 0x7E. Engines without UIDLs ignore it.
	// Copies do not inherit it.
	UIDL string
	// Replaces names a message that goes in the same commit (RFC 8508); its
	// mailbox is given by ReplacesIn, a MailboxID. ErrNotFound if it is not
	// there, and nothing is filed.
	Replaces   UID
	ReplacesIn MailboxID
}

// Placed is the outcome for one Target.
type Placed struct {
	Mailbox     MailboxID
	UIDValidity uint32
	UID         UID
	ModSeq      ModSeq
	Duplicate   bool
	Err         error
}

// Account is one user's mailboxes as seen by an actor. Safe for concurrent
// use; it holds no lock and needs no closing.
type Account interface {
	// Name is the account's name, Actor who is acting.
	Name() string
	Actor() string

	// Mailboxes lists all mailboxes in name order.
	Mailboxes(ctx context.Context) ([]MailboxInfo, error)
	// Mailbox opens a mailbox by its name; ErrNotFound if there is none.
	Mailbox(ctx context.Context, name string) (Mailbox, error)

	// Create makes a mailbox, and its missing parents; ErrExists if there is
	// one, ErrInvalidName for a name CanonicalName refuses.
	Create(ctx context.Context, name string, opt CreateOptions) (MailboxInfo, error)
	// Rename renames a mailbox and everything below it, keeping their ids,
	// UIDs and UIDVALIDITY. Missing parents of the new name are made.
	// ErrExists if a new name is taken, ErrInvalidName if CanonicalName
	// refuses one or to lies below from; nothing is renamed then. Renaming
	// INBOX moves its messages to a new mailbox and leaves INBOX, and what
	// lies below it (RFC 9051 §6.3.6).
	Rename(ctx context.Context, from, to string) error
	// Delete removes a mailbox and its messages, not those below it. INBOX
	// cannot be deleted: ErrReadOnly.
	Delete(ctx context.Context, name string) error
	// Subscribe sets or clears a name's subscription. The name need not
	// exist (RFC 9051 §6.3.7), and deletion does not clear it.
	Subscribe(ctx context.Context, name string, on bool) error
	// Subscriptions lists the subscribed names in order.
	Subscriptions(ctx context.Context) ([]string, error)

	// Changes tells what happened to mailboxes after since; ErrHistoryGone
	// below the low-water mark.
	Changes(ctx context.Context, since ModSeq) (AccountChanges, error)
	// Watch returns a channel that receives a value after commits to the
	// account: a coalesced wake-up, never a count. The truth is in Changes
	// and snapshots. It is closed when ctx ends or the store closes.
	Watch(ctx context.Context) <-chan struct{}
}

// Mailbox is one mailbox of an account. It stays valid across a rename; after
// deletion its methods return ErrNotFound.
type Mailbox interface {
	ID() MailboxID
	// Info is the current state of the mailbox; its counts are O(1).
	Info(ctx context.Context) (MailboxInfo, error)

	// Snapshot is the mailbox as of now: immutable, shared between callers.
	Snapshot(ctx context.Context) (*Snapshot, error)
	// Changes tells what happened to messages after since; ErrHistoryGone
	// below the low-water mark.
	Changes(ctx context.Context, since ModSeq) (Changes, error)

	// Open gives the bytes of a message of a snapshot. A message that has
	// been expunged since stays readable for a grace time, then ErrExpunged.
	Open(ctx context.Context, row Row) (Body, error)
	// Details gives what was computed at staging, for many messages at
	// once and in their order. A message that cannot be read yields its
	// error and does not end the iteration; when ctx ends or the store
	// closes, that error is yielded and is the last.
	Details(ctx context.Context, rows []Row) iter.Seq2[Detail, error]

	// Flag changes the flags of the named messages in one commit; UIDs that
	// do not exist are ignored.
	Flag(ctx context.Context, uids UIDSet, update FlagUpdate) (Flagged, error)
	// Expunge removes those of the named messages that carry every flag of
	// with (usually \Deleted; none: all named), in one commit.
	Expunge(ctx context.Context, uids UIDSet, with ...Flag) (Expunged, error)
	// Copy copies messages to another mailbox of the account, all or none,
	// keeping flags and internal dates. ErrNotFound: no such destination.
	Copy(ctx context.Context, uids UIDSet, dest MailboxID) (Copied, error)
	// Move is Copy and Expunge in one commit.
	Move(ctx context.Context, uids UIDSet, dest MailboxID) (Copied, error)
}

// Body reads the bytes of one message, prefix and body as one. Close it.
type Body interface {
	io.ReaderAt
	io.Closer
	Size() int64
}

// Detail is the cold data of a message.
type Detail struct {
	Row Row
	// Outline is the structure of the whole message, prefix included.
	// Shared: not to be modified.
	Outline *message.Outline
	// EmailID and ThreadID identify content across mailboxes (RFC 8474);
	// ThreadID may be empty.
	EmailID, ThreadID string
}

// FlagOp says what FlagUpdate does with its flags.
type FlagOp uint8

// The three operations of STORE.
const (
	FlagsAdd FlagOp = iota
	FlagsRemove
	FlagsReplace
)

// FlagUpdate is one change of flags.
type FlagUpdate struct {
	Op    FlagOp
	Flags []Flag
	// UnchangedSince, if not nil, leaves out every message whose mod-sequence
	// is greater (RFC 7162 §3.1.3).
	UnchangedSince *ModSeq
}

// Flagged is the outcome of a flag change. A change that changes nothing gets
// no new mod-sequence.
type Flagged struct {
	ModSeq  ModSeq // of the commit; 0 if nothing changed
	Changed UIDSet // messages whose flags changed
	Failed  UIDSet // messages left out by UnchangedSince
}

// Expunged is the outcome of an expunge.
type Expunged struct {
	ModSeq ModSeq // of the commit; 0 if nothing was removed
	UIDs   UIDSet
}

// Copied is the outcome of a copy or move: From[i] became To[i].
type Copied struct {
	UIDValidity uint32 // of the destination
	From, To    []UID
	ModSeq      ModSeq
}
