// Package sqlite is the embedded, crash-safe store: SQLite for what is known
// of messages, append-only segment files for their octets, in one folder that
// one process has open.
//
//	st, err := sqlite.Open("./mail")
//
// Everything that changes the store passes through one committer. It takes all
// that waits, writes new bodies behind the active segment, syncs it once,
// commits one transaction with synchronous=FULL, and only then acknowledges:
// the more is waiting, the larger the batch, without any timer. After a sync
// or a write of SQLite has failed, the store refuses further writes with
// store.ErrUnavailable until it is opened again; a full disk is
// store.ErrNoSpace and leaves it usable.
//
// Rows of messages are kept as packed pages of 128 UIDs, so that flags of many
// messages change in few writes, and loaded into snapshots that all readers
// share; the \Seen flags of users who share an account are kept likewise, for
// each of them. Quotas are checked in the commit that would pass them. With
// Options.Dedupe bodies of equal content are kept once. Expunged messages stay readable for a grace time; then sweeps in the
// background give their space back, by removing segments that are not used any
// more and copying what is used of those that hardly are. Store.Check reads
// everything and reports damage. FORMAT.md describes the files.
package sqlite
