// Package pop3 is a POP3 server (RFC 1939) over any [store.Store]: the INBOX
// of the account that has logged in, with TOP, UIDL, CAPA (RFC 2449), STLS
// (RFC 2595), SASL (RFC 5034) and response codes (RFC 3206).
//
// A session sees the mailbox as it was at login: numbers and sizes stay, new
// mail is seen by the next session. It holds an exclusive lock against other
// POP3 sessions. Messages marked by DELE are removed only after QUIT (RFC 1939
// §6): a session that ends in any other way removes nothing. Retrieving a
// message does not set \Seen: POP3 clients fetch by UIDL, and what a program
// has fetched, its user has not read. Messages that an IMAP client has marked
// \Deleted are there until they are expunged.
//
// Messages go out as they are stored, with CRLF ends of line and the final
// one added where it is missing. The size that STAT, LIST and RETR tell is
// that of the stored message; a store that keeps canonical CRLF, as all of
// Posta's protocols put in, tells what is sent. There is no UTF8 mode: header
// fields in UTF-8 go out as they are, as most servers do.
package pop3
