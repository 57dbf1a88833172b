// Package store is the contract between mail systems and the place where mail
// is kept: accounts with mailboxes of messages, and the spool of messages
// that are still on their way.
//
// IMAP, POP3, LMTP and local delivery are written against the interfaces in
// store.go, which is the file to read first, the queue against spool.go. Engines
// implement them: store/sqlite (embedded, crash-safe), store/maildir (files that
// other programs share) and store/memory (tests); store/storetest proves any
// engine. The package itself holds no engine; it brings what engines and
// protocols share: snapshots and UID sets, the search evaluator, mailbox names,
// and for engines the checks of arguments, flag tables, outlines with a prefix,
// wake-ups, leases and a staging helper.
//
// On top of any engine, Guard enforces who may do what with whose mailboxes, and
// Across copies and moves between accounts and stores. ReadOnly makes a store of
// whatever can list and open its messages: begin there for a back end of your
// own.
//
// # Rules every engine keeps
//
// A call that returned without error is durable, as far as the engine claims
// durability at all. Every mutation of an account gets the next mod-sequence
// in the same commit. UIDs of a mailbox grow strictly and become visible in
// order: whoever sees a UID sees all lower ones that still exist. A mailbox's
// name never gets the same UIDVALIDITY twice. Nothing is ever renumbered.
//
// # Abilities
//
// What not every engine can do is an interface of its own, which its Store,
// Account or Mailbox has or has not. Servers ask once and offer what follows:
//
//	ability           of       needed for
//	Annotations       Account  IMAP METADATA; ACL and sharing, see Guard
//	AnnotationFinder  Store    finding what is shared without a look at every account
//	Quotas            Store    IMAP QUOTA, limits on delivery
//	Leaser            Store    POP3's lock when several processes share the store
//	UIDLs             Mailbox  POP3 unique-ids that survive a migration
//	Pipeliner         Store    deliveries of one connection that share a commit
//	FlagPipeliner     Mailbox  changes of flags of one connection that share a commit
//	Spooler           Store    the queue of mta
//	Searcher          Mailbox  searching by an index instead of looking at each message
//	Righted           Account  telling what is permitted, where not everything is
//
// All else is in every engine:
//
//	IMAP4rev2, MOVE, UIDPLUS    Mailbox; Placed and Copied tell the UIDs
//	CONDSTORE, QRESYNC          Row.ModSeq, FlagUpdate.UnchangedSince, Mailbox.Changes
//	UIDONLY                     UIDs are all there is: no sequence numbers here
//	OBJECTID                    MailboxInfo.ID, Detail.EmailID, Detail.ThreadID
//	NOTIFY, IDLE                Account.Watch, Account.Changes, Diff of two snapshots
//	SAVEDATE                    Row.Saved
//	SPECIAL-USE                 CreateOptions, MailboxInfo
//	STATUS=SIZE, STATUS=DELETED MailboxInfo
//	MULTIAPPEND, REPLACE        Place with several targets; Target.Replaces
//	SEARCH                      Search
//	POP3 UIDL                   UIDVALIDITY and UID
//	JMAP: what changed since    Account.Changes, then Mailbox.Changes and Row.Created
package store
