// Package transfer moves mail between stores and other forms: mbox files,
// Maildir folders, IMAP servers, and any store.Store. Each form is a Source, a
// Sink or both, and Copy moves from any of them to any other:
//
//	report, err := transfer.Copy(ctx,
//		transfer.Mbox{Path: "/var/mail/anna"},
//		transfer.Account{Store: st, Name: "anna", Create: true},
//		transfer.Options{Checkpoint: "anna.state"})
//
// # What holds for all of them
//
// Memory is bounded whatever the number and the size of messages: they are
// streamed one by one, and at most some MiB wait for a commit. A message that
// cannot be read or is not taken is reported and left out; it ends nothing.
// Copy that is interrupted, by its context or by SIGKILL, goes on when it is
// called again in the same way with the same Checkpoint, and nothing is there
// twice. Nothing is ever removed from a source.
//
// Sources are expected not to be changed by others meanwhile except by adding
// messages: those are seen, or found by the next Copy with the Checkpoint.
package transfer
