// Package store is the contract between mail systems and the place where mail
// is kept: accounts with mailboxes of messages, and the spool of messages
// that are still on their way.
//
// IMAP, POP3, LMTP and local delivery are written against the interfaces in
// store.go, the queue against spool.go. Engines implement them: store/sqlite
// (embedded, crash-safe) and store/memory (tests); store/storetest proves any
// engine. The package itself holds no engine; it brings what engines and
// protocols share: snapshots and UID sets, the search evaluator, mailbox names,
// and for engines the checks of arguments, flag tables, outlines with a prefix,
// wake-ups, leases and a staging helper.
//
// # Rules every engine keeps
//
// A call that returned without error is durable, as far as the engine claims
// durability at all. Every mutation of an account gets the next mod-sequence
// in the same commit. UIDs of a mailbox grow strictly and become visible in
// order: whoever sees a UID sees all lower ones that still exist. A mailbox's
// name never gets the same UIDVALIDITY twice. Nothing is ever renumbered.
package store
