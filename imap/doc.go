// Package imap is an IMAP server: IMAP4rev1 (RFC 3501) and IMAP4rev2 (RFC
// 9051) over any [store.Store].
//
// A [Server] needs a Store, an [auth.Authenticator] and, unless the network is
// closed, a TLS configuration; everything else has defaults. A session begins
// as rev1; ENABLE IMAP4rev2 switches it.
//
// Every session works on an immutable snapshot of its mailbox, which is at the
// same time the model its client has. What others change is told at the next
// command that allows it, and at once in IDLE. No lock is held while a
// response is written, so a client that does not read delays nobody else.
//
// [store.Store]: https://pkg.go.dev/github.com/posta-mail/posta/store#Store
package imap
