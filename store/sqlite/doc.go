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
// share. FORMAT.md describes the files.
package sqlite
